// The states of a task and the ways between them: 5.1, 5.5, 5.7 and 5.8 of the reference's facts, as far as no other test has them.

import { describe, expect, it } from 'vitest'
import { InvariantError } from '../../base/invariant.ts'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'
import { TASK_STATES } from './records.ts'
import { transition } from './transitions/table.ts'
import { taskCounts } from './view.ts'

const storyOf = (sim: CoreFixture, key: string): string[] =>
  sim.state.story.of(key).map(({ text }) => text.replace(/[ ,(].*?(->)|,.*|\(.*/g, '$1').replaceAll(' ', ''))

describe('the states', () => {
  it('5.1-1 are eight, and a task in each can be seen', () => {
    const sim = cluster({ a: {} })
    sim.graph({ done: [], failed: [] }, { fn: 'g' })
    sim.finish('done')
    sim.fail('failed')
    sim.graph({ gone: [] }, { fn: 'g' })
    sim.finish('gone')
    sim.graph({ above: ['gone'] }, { fn: 'g' })
    sim.finish('above')
    sim.release('gone')
    sim.graph({ nowhere: [] }, { fn: 'g', options: { workers: ['nobody'] } })
    sim.graph({ ...range(20), after: ['t-0'] })
    const seen = new Set(
      ['done', 'failed', 'gone', 'nowhere', 't-0', 't-19', 'after', 'never'].map((key) => sim.stateOf(key)),
    )
    expect([...seen].toSorted()).toEqual([...TASK_STATES].toSorted())
  })

  it.each([
    ['memory', 'queued'],
    ['memory', 'processing'],
    ['memory', 'erred'],
    ['processing', 'no-worker'],
    ['erred', 'queued'],
    ['released', 'processing'],
  ] as const)('5.1-2 5.1-3 have no way from %s to %s: asking for it is a bug, told with the story', (from, to) => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    if (from === 'memory' || from === 'released') sim.finish('x')
    if (from === 'released') {
      sim.graph({ y: ['x'] })
      sim.finish('y')
      sim.release('x')
    }
    if (from === 'erred') sim.fail('x')
    expect(sim.stateOf('x')).toBe(from)
    expect(() => transition(sim.state, sim.task('x'), to)).toThrow(InvariantError)
    expect(() => transition(sim.state, sim.task('x'), to)).toThrow(
      new RegExp(`x cannot go from ${from} to ${to}.*waiting -> processing`),
    )
  })

  it('5.1-3 that have no direct way lead through released', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    sim.workerSays('a', {
      op: 'release-worker-data',
      keys: [{ key: taskKey('x'), runId: sim.task('x').acceptedRunId as RunId }],
    })
    expect(storyOf(sim, 'x')).toEqual([
      'released->waiting',
      'waiting->processing',
      'processing->memory',
      'memory->released',
      'released->waiting',
      'waiting->processing',
    ])
  })

  it('5.1-4 a replica that turns up while the task waits to be recomputed ends that', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [], y: ['x'], z: ['y'] }, { wanted: ['z'] })
    sim.finish('x')
    sim.finish('y')
    const { acceptedRunId: runId } = sim.task('y')
    const holder = sim.task('y').holders[0]?.id as string
    sim.workerSays(holder, { op: 'release-worker-data', keys: [{ key: taskKey('y'), runId: runId as RunId }] })
    expect([sim.stateOf('x'), sim.stateOf('y'), sim.stateOf('z')]).toEqual(['processing', 'waiting', 'waiting'])
    const other = holder === 'a' ? 'b' : 'a'
    sim.workerSays(other, { op: 'add-keys', keys: [{ key: taskKey('y'), runId: runId as RunId, durable: false }] })
    expect([sim.stateOf('x'), sim.stateOf('y'), sim.stateOf('z')]).toEqual(['released', 'memory', 'processing'])
  })

  it('5.1-6 are remembered for as many transitions as asked for, over all tasks', () => {
    const sim = cluster({ a: {} }, { storyLength: 4 })
    sim.graph({ x: [] })
    sim.finish('x')
    expect(storyOf(sim, 'x')).toEqual(['released->waiting', 'waiting->processing', 'processing->memory'])
    sim.graph({ y: [] })
    expect(storyOf(sim, 'x')).toEqual(['waiting->processing', 'processing->memory'])
    expect(storyOf(sim, 'y')).toEqual(['released->waiting', 'waiting->processing'])
  })

  it('5.1-9 an input whose size nobody knows yet counts for nothing', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x'] })
    expect(sim.task('x').nbytes).toBe(-1)
    sim.finish('x', { nbytes: 0 })
    expect(sim.on('y')).toBe('a')
  })

  it('5.1-10 are counted by function name, with runs and bytes, so that recomputation shows', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ a: [], b: [], c: ['a'] }, { name: 'load' })
    sim.finish('a', { nbytes: 70, durationMs: 20 })
    sim.fail('b')
    expect(taskCounts(sim.state)).toEqual({
      load: {
        released: 0,
        waiting: 0,
        'no-worker': 0,
        queued: 0,
        processing: 1,
        memory: 1,
        erred: 1,
        runs: 2,
        meanDurationMs: 20,
        nbytes: 70,
      },
    })
    sim.workerSays('a', {
      op: 'release-worker-data',
      keys: [{ key: taskKey('a'), runId: sim.task('a').acceptedRunId as RunId }],
    })
    sim.finish('a', { nbytes: 70 })
    expect(taskCounts(sim.state)['load']?.runs).toBe(3)
  })
})

describe('priorities', () => {
  it('5.5-3 decide among tasks that become runnable at once, whatever order they were named in', () => {
    const sim = cluster({})
    sim.graph({ low: [] }, { fn: 'f', options: { priority: -1 } })
    sim.graph({ mid: [] }, { fn: 'g' })
    sim.graph({ high: [] }, { fn: 'h', options: { priority: 5 } })
    sim.worker('a', { nthreads: 8 })
    const order = sim.sent('a').flatMap((message) => (message.op === 'compute-task' ? [message.key] : []))
    expect(order).toEqual(['high', 'mid', 'low'])
  })
})

describe('forgetting', () => {
  it('5.8-6 an error is kept, once, until the last future that shows it is released', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [], y: ['x'] })
    sim.graph({ x: [] }, { client: 'd' })
    sim.fail('x', 'user', [7])
    expect(sim.task('y').failure).toBe(sim.task('x').failure)
    sim.release('x', 'y')
    expect([...sim.state.tasks.keys()]).toEqual(['x'])
    sim.says('d', { op: 'close-client' })
    expect(sim.state.tasks.size).toBe(0)
  })

  it('5.7-1 5.7-2 a worker that says it holds what nobody knows is told to drop it', () => {
    const sim = cluster({ a: {} })
    sim.workerSays('a', { op: 'add-keys', keys: [{ key: taskKey('x'), runId: 9 as RunId, durable: false }] })
    expect(sim.sent('a')).toEqual([{ op: 'free-runs', runs: [{ key: 'x', runId: 9 }] }])
  })
})
