// The checker itself: each kind of damage is found and named.

import { describe, expect, it } from 'vitest'
import { workerId } from '../../base/ids.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'
import type { WorkerRecord } from './records.ts'
import { checkInvariants } from './validate.ts'

function damaged(): CoreFixture {
  const sim = cluster({ a: {}, b: {} })
  sim.graph({ x: [], y: ['x'], z: ['y'] }, { fn: 'g' })
  sim.finish('x')
  sim.graph(range(20))
  return sim
}

describe('checkInvariants', () => {
  it('finds nothing in a sound state', () => {
    expect(() => checkInvariants(damaged().state)).not.toThrow()
  })

  it.each<[string, (sim: CoreFixture) => void, RegExp]>([
    ['5.17-1 a value without a holder', (sim) => void (sim.task('x').holders = []), /x \(memory\) has 0 holders/],
    ['5.17-7 a wrong sum of bytes', (sim) => void (sim.workerRecord('a').nbytes += 1), /wrong sum of stored bytes/],
    ['5.17-10 a wrong occupancy', (sim) => void (sim.workerRecord('a').occupancyUs -= 1), /wrong occupancy/],
    ['5.17-6 a count of waiters', (sim) => void sim.task('y').waiters++, /counts 2 waiters but has 1/],
    [
      '5.17-3 a task that waits for nothing',
      (sim) => void (sim.task('z').waitingOn = 0),
      /waits for 0 inputs, 1 are missing/,
    ],
    [
      '5.17-4 a state without its collection',
      (sim) => sim.state.queue.delete(sim.task('t-19')),
      /t-19 \(queued\) is in the queue/,
    ],
    [
      'a wish that is not mirrored',
      (sim) => sim.task('x').wantedBy[0]?.wants.delete(sim.task('x')),
      /wanted by a client/,
    ],
    ['5.17-9 a running worker outside the heaps', (sim) => sim.state.byLoad.delete(sim.workerRecord('a')), /heaps/],
    [
      '5.17-2 two workers for one run',
      (sim) => sim.workerRecord('b').processing.add(sim.task('y')),
      /lists y as processing/,
    ],
    [
      '5.17-5 a released task with a worker',
      (sim) => void (sim.task('y').state = 'released'),
      /y \(released\) has a worker/,
    ],
    [
      '5.17-10 a wrong number of threads',
      (sim) => void sim.state.runningThreads++,
      /there are 2 running threads, not 3/,
    ],
    ['a removed worker', (sim) => sim.state.workers.delete(workerId('a')), /is in a heap but removed/],
    [
      'a count of a prefix',
      (sim) => void sim.task('x').group.prefix.counts.memory++,
      /prefix g counts 2 tasks memory, there are 1/,
    ],
    [
      'a free slot',
      (sim) => (sim.state.byLoad.best as WorkerRecord).processing.clear(),
      /while worker . has a free slot/,
    ],
    ['5.17-6 a lost link', (sim) => void (sim.task('y').dependencies = []), /x .* is not an input of its dependent y/],
    [
      'an open recommendation',
      (sim) => void sim.state.todo.tasks.push(sim.task('x')),
      /1 recommendations were not followed/,
    ],
  ])('names %s', (_what, damage, sentence) => {
    const sim = damaged()
    damage(sim)
    expect(() => checkInvariants(sim.state)).toThrow(sentence)
  })

  it('adds the story of a task concerned', () => {
    const sim = damaged()
    sim.task('x').holders = []
    expect(() => checkInvariants(sim.state)).toThrow(/Story of x: released -> waiting/)
  })
})
