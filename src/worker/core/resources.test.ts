// Resources on the worker: 5.6-2 (availability is enforced here), 6.2-2, 6.3-3, 6.3-14, 6.7-1 of the reference's facts.

import { describe, expect, it } from 'vitest'
import { runId } from '../../base/ids.ts'
import { Core, executed, input, messagesOf } from './fixture.conformance.ts'

const GPU = { options: { resources: { GPU: 1 } } }
const supply = (nthreads: number, resources: Record<string, number>) => new Core({ nthreads, resources })

describe('a task that asks for resources', () => {
  it('waits until they are free, whatever the number of threads (5.6-2, 6.3-3)', () => {
    const core = supply(4, { GPU: 2 })
    const started = ['a', 'b', 'c', 'd'].flatMap((key, n) => executed(core.compute(key, n + 1, GPU)))
    expect(started).toEqual(['a', 'b'])
    expect([core.stateOf('c'), core.stateOf('d')]).toEqual(['constrained', 'constrained'])
    expect(executed(core.finish(1))).toEqual(['c'])
    expect(executed(core.finish(2))).toEqual(['d'])
  })

  it('does not block those behind it that ask for nothing, or for something else (6.7-1)', () => {
    const core = supply(4, { GPU: 1, disk: 1 })
    core.compute('holds', 1, GPU)
    expect(executed(core.compute('blocked', 2, GPU))).toEqual([])
    expect(executed(core.compute('plain', 3))).toEqual(['plain'])
    expect(executed(core.compute('other', 4, { options: { resources: { disk: 1 } } }))).toEqual(['other'])
    expect(core.stateOf('blocked')).toBe('constrained')
  })

  it('competes with the others by priority (6.7-1)', () => {
    const core = supply(1, { GPU: 1 })
    core.compute('running', 1)
    core.compute('late', 2, { priority: [0, 0, 9] })
    core.compute('mid', 3, { ...GPU, priority: [0, 0, 5] })
    core.compute('early', 4, { priority: [0, 0, 1] })
    expect(executed(core.finish(1))).toEqual(['early'])
    expect(executed(core.finish(4))).toEqual(['mid'])
    expect(executed(core.finish(3))).toEqual(['late'])
  })

  it('runs in order of priority among its like (test_constrained_tasks_respect_priority)', () => {
    const core = supply(4, { GPU: 1 })
    core.compute('first', 1, GPU)
    core.compute('less', 2, { ...GPU, priority: [0, 0, 9] })
    core.compute('more', 3, { ...GPU, priority: [0, 0, 2] })
    expect(executed(core.finish(1))).toEqual(['more'])
    expect(executed(core.finish(3))).toEqual(['less'])
  })

  it('that is large is not starved by small ones: what it asks for is kept for it', () => {
    const core = supply(4, { GPU: 2 })
    core.compute('small', 1, GPU)
    core.compute('large', 2, { options: { resources: { GPU: 2 } }, priority: [0, 0, 2] })
    expect(executed(core.compute('later', 3, { ...GPU, priority: [0, 0, 3] }))).toEqual([])
    expect(executed(core.compute('urgent', 4, { ...GPU, priority: [0, 0, 1] }))).toEqual(['urgent'])
    expect(executed(core.finish(1))).toEqual([])
    expect(executed(core.finish(4))).toEqual(['large'])
    expect(executed(core.finish(2))).toEqual(['later'])
  })

  it('may ask for parts that are no whole numbers, again and again', () => {
    const core = supply(10, { share: 1 })
    for (let run = 1; run <= 11; run++) core.compute(`t${run}`, run, { options: { resources: { share: 0.1 } } })
    expect(core.stateOf('t10')).toBe('executing')
    expect(core.stateOf('t11')).toBe('constrained')
    expect(executed(core.finish(3))).toEqual(['t11'])
  })
})

describe('resources come back', () => {
  const waits = (): Core => {
    const core = supply(4, { GPU: 1 })
    core.compute('a', 1, GPU)
    core.compute('b', 2, GPU)
    return core
  }

  it('when the task fails (6.3-14)', () => {
    const core = waits()
    const effects = core.send({
      kind: 'RunErred',
      runId: runId(1),
      failure: 'user',
      error: new Uint8Array(),
      durationMs: 1,
    })
    expect(executed(effects)).toEqual(['b'])
  })

  it('when the executor is done, before the store has the value', () => {
    const core = waits()
    expect(executed(core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 1 }))).toEqual(['b'])
  })

  it('when a cancelled run has really ended, and not before (6.3-14, test_resources_reset_after_cancelled_task)', () => {
    const core = waits()
    expect(executed(core.receive({ op: 'free-keys', keys: ['a' as never] }))).toEqual([])
    expect(core.stateOf('b')).toBe('constrained')
    expect(executed(core.send({ kind: 'RunCancelled', runId: runId(1) }))).toEqual(['b'])
  })

  it('when an executor gave the task back before it started: it takes them again', () => {
    const core = waits()
    expect(executed(core.send({ kind: 'RunReturned', runId: runId(1), reason: 'executor died' }))).toEqual(['a'])
    expect(core.stateOf('b')).toBe('constrained')
  })

  it('when everything is wiped', () => {
    const core = waits()
    core.receive({ op: 'wipe', generation: 2 })
    core.send({ kind: 'RunCancelled', runId: runId(1) })
    expect(executed(core.compute('c', 3, GPU))).toEqual(['c'])
  })
})

describe('a constrained task', () => {
  it('waits again when its input goes, and comes back when it is there', () => {
    const core = supply(4, { GPU: 1 })
    core.hold('x', 1)
    core.compute('holds', 2, GPU)
    core.compute('needs', 3, { ...GPU, inputs: [input('x', 1, ['p'])] })
    core.send({
      kind: 'ReplicasLost',
      values: [{ key: 'x' as never, runId: runId(1) }],
      reason: 'room',
    })
    expect(core.stateOf('needs')).toBe('waiting')
    core.hold('x', 1)
    expect(core.stateOf('needs')).toBe('constrained')
    expect(executed(core.finish(2))).toEqual(['needs'])
  })

  it('is given to a thief, handed back by a paused worker, and taken back by the scheduler (6.4-4, 6.4-8)', () => {
    const core = supply(4, { GPU: 1 })
    for (const [n, key] of ['holds', 'stolen', 'freed', 'left'].entries()) core.compute(key, n + 1, GPU)
    const runs = [{ key: 'stolen' as never, runId: runId(2) }]
    const steal = core.receive({ op: 'steal-request', runs })
    expect(messagesOf(steal)).toEqual([{ op: 'steal-response', taken: runs, kept: [] }])
    core.receive({ op: 'free-keys', keys: ['freed' as never] })
    core.send({ kind: 'MemoryPaused' })
    core.now += 500
    const handedBack = messagesOf(core.send({ kind: 'HandBackDue' }))
    expect(handedBack).toMatchObject([{ op: 'reschedule', key: 'left', runId: 4 }])
  })
})
