import { describe, expect, it } from 'vitest'
import { functionId, runId } from '../../base/ids.ts'
import type { AdmissionSettings } from './admission.ts'
import type { WorkerEffect } from './effects.ts'
import { computeTask, Core, executed, input } from './fixture.conformance.ts'
import type { CoreSettings } from './state.ts'

const LIMIT = 1000
const named = (name: string) => ({ name, fn: functionId(name) })
const MEMORY: AdmissionSettings = { limitBytes: LIMIT, pauseBytes: 800, canSpill: true, divertsResults: false }

function coreWith(settings: Partial<CoreSettings> = {}): Core {
  return new Core({ nthreads: 8, memory: MEMORY, ...settings })
}

function measure(core: Core, idleBytes: number, tierBytes: number, grown: Record<number, number> = {}): WorkerEffect[] {
  return core.send({
    kind: 'MemoryMeasured',
    idleBytes,
    tierBytes,
    grown: Object.entries(grown).map(([run, bytes]) => ({ runId: runId(Number(run)), bytes })),
  })
}

function end(core: Core, run: number, peakBytes: number, nbytes = 0, durationMs = 2): WorkerEffect[] {
  return [
    ...core.send({ kind: 'RunFinished', runId: runId(run), durationMs, depth: 1, peakBytes }),
    ...core.send({ kind: 'ValueStored', runId: runId(run), nbytes, type: 'number', durable: false }),
  ]
}

/** Runs of these functions that ended before: what they need is known. */
function taught(needs: Record<string, number>, settings: Partial<CoreSettings> = {}): Core {
  const core = coreWith(settings)
  for (const [index, [name, peakBytes]] of Object.entries(needs).entries()) {
    core.compute(`taught-${name}`, 900 + index, named(name))
    end(core, 900 + index, peakBytes)
  }
  return core
}

const asks = (effects: readonly WorkerEffect[]) =>
  effects.flatMap((effect) => (effect.kind === 'MakeRoom' ? [effect.bytes] : []))
const batch = (core: Core, runs: readonly number[], name: string) =>
  executed(core.receive(...runs.map((run) => computeTask(`t${run}`, run, named(name)))))

describe('a task starts', () => {
  it('while what is in use and its need are at most pause', () => {
    const core = taught({ f: 200 })
    measure(core, 100, 100)
    // 100 + 100 + 3 x 200 = 800.
    expect(batch(core, [1, 2, 3, 4], 'f')).toEqual(['t1', 't2', 't3'])
    expect(executed(end(core, 1, 200))).toEqual(['t4'])
  })

  it('with the result counted as well, from its start to its place in memory', () => {
    const core = coreWith()
    measure(core, 100, 0)
    core.compute('first', 50, { ...named('f') })
    end(core, 50, 200, 100)
    measure(core, 110, 0)
    // 110 + 2 x 300 = 710; the first one leaves 100 in memory.
    expect(batch(core, [1, 2, 3, 4], 'f')).toEqual(['t1', 't2'])
    expect(executed(end(core, 1, 200, 100))).toEqual([])
    expect(executed(end(core, 2, 200, 100))).toEqual(['t3'])
  })

  it('without the result where that goes to disk when memory is high', () => {
    const core = coreWith({ memory: { ...MEMORY, divertsResults: true } })
    core.compute('first', 50, { ...named('f') })
    end(core, 50, 200, 100)
    measure(core, 110, 0)
    // 110 + 3 x 200 = 710.
    expect(batch(core, [1, 2, 3, 4], 'f')).toEqual(['t1', 't2', 't3'])
  })

  it('with a claim in whole bytes, whatever fraction of the limit is left for it: sums of claims are exact', () => {
    const core = taught({ big: 5000 }, { memory: { ...MEMORY, pauseBytes: 800.1 } })
    core.compute('first', 50, named('small'))
    end(core, 50, 10, 100)
    core.compute('stored', 51, named('small'))
    core.send({ kind: 'RunFinished', runId: runId(51), durationMs: 2, depth: 1, peakBytes: 10 })
    measure(core, 0, 0)
    expect(batch(core, [1], 'big')).toEqual(['t1'])
    core.send({ kind: 'ValueStored', runId: runId(51), nbytes: 100, type: 'number', durable: false })
    expect(core.state.admission.claimedBytes).toBe(800)
  })

  it('beside runs that have grown beyond what was expected, as those have grown', () => {
    const core = taught({ f: 200 })
    measure(core, 100, 0)
    batch(core, [1], 'f')
    measure(core, 100, 0, { 1: 600 })
    expect(batch(core, [2], 'f')).toEqual([])
    expect(executed(end(core, 1, 600))).toEqual(['t2'])
  })

  it('with what it asks for itself, whatever was seen', () => {
    const core = taught({ f: 700 })
    measure(core, 100, 0)
    const options = { memory: 300 }
    const runs = [1, 2, 3].map((run) => computeTask(`t${run}`, run, { ...named('f'), options }))
    expect(executed(core.receive(...runs))).toEqual(['t1', 't2'])
  })

  it('alone, whatever it needs, when nothing runs and no room can be made', () => {
    const core = taught({ f: 5000 })
    measure(core, 400, 0)
    expect(batch(core, [1, 2], 'f')).toEqual(['t1'])
    expect(executed(end(core, 1, 5000))).toEqual(['t2'])
  })

  it('at once in a worker without a limit', () => {
    const core = coreWith({ memory: null })
    measure(core, 1e12, 1e12)
    expect(batch(core, [1, 2, 3, 4, 5, 6, 7, 8], 'f')).toHaveLength(8)
  })

  it('with its share of a thread, when several wait in one executor', () => {
    const core = taught({ f: 400 }, { nthreads: 1 })
    measure(core, 100, 0)
    batch(core, [1], 'f')
    const started = executed(
      core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 4, peakBytes: 400 }),
    )
    expect(started).toEqual([])
    expect(batch(core, [2, 3, 4, 5, 6], 'f')).toHaveLength(4)
  })
})

describe('functions that never ended here', () => {
  it('are tried out in a quarter of the threads', () => {
    const core = coreWith()
    measure(core, 0, 0)
    expect(batch(core, [1, 2, 3, 4, 5], 'new')).toEqual(['t1', 't2'])
    expect(executed(end(core, 1, 10))).toEqual(['t3', 't4', 't5'])
  })

  it('are tried out one at a time by a small worker', () => {
    const core = coreWith({ nthreads: 2 })
    measure(core, 0, 0)
    expect(batch(core, [1, 2], 'new')).toEqual(['t1'])
  })

  it('hold up no others', () => {
    const core = taught({ f: 10 })
    measure(core, 0, 0)
    expect(batch(core, [1, 2, 3], 'new')).toEqual(['t1', 't2'])
    expect(batch(core, [4, 5], 'f')).toEqual(['t4', 't5'])
  })

  it('are tried out by more once they were watched and stayed small', () => {
    const core = coreWith()
    measure(core, 0, 0)
    batch(core, [1, 2, 3, 4, 5], 'new')
    core.now = 200
    expect(executed(measure(core, 0, 0, { 1: 10, 2: 10 }))).toEqual([])
    core.now = 250
    expect(executed(measure(core, 0, 0, { 1: 10, 2: 300 }))).toEqual(['t3'])
    expect(executed(measure(core, 0, 0, { 1: 10, 2: 300 }))).toEqual([])
  })

  it('are tried out one at a time as long as they grow, however slowly', () => {
    const core = coreWith()
    measure(core, 0, 0)
    batch(core, [1, 2, 3, 4], 'new')
    core.now = 250
    expect(executed(measure(core, 0, 0, { 1: 15, 2: 15 }))).toEqual([])
    core.now = 300
    expect(executed(measure(core, 0, 0, { 1: 30, 2: 30 }))).toEqual([])
    expect(executed(measure(core, 0, 0, { 1: 30, 2: 45 }))).toEqual(['t3'])
  })

  it('claim twice their inputs', () => {
    const core = coreWith()
    measure(core, 0, 0)
    core.hold('big', 20, 200)
    const runs = [1, 2].map((run) =>
      computeTask(`t${run}`, run, { ...named('new'), inputs: [input('big', 20, [], 200)] }),
    )
    measure(core, 0, 200)
    // 200 + 400 = 600, and 400 more are too many.
    expect(executed(core.receive(...runs))).toEqual(['t1'])
  })

  it('are known by their deaths: twice what they had taken is expected', () => {
    const core = coreWith()
    measure(core, 0, 0)
    batch(core, [1, 2], 'greedy')
    const died = { failure: 'out-of-memory', error: new Uint8Array(0), durationMs: 0, peakBytes: 300 } as const
    core.send({ kind: 'RunErred', runId: runId(1), ...died })
    core.send({ kind: 'RunErred', runId: runId(2), ...died })
    expect(batch(core, [3, 4], 'greedy')).toEqual(['t3'])
  })
})

describe('a task that does not fit', () => {
  it('is overtaken by others for two seconds, or ten times what it takes', () => {
    const core = taught({ large: 650, small: 10 })
    measure(core, 100, 0)
    batch(core, [1, 2], 'large')
    expect(batch(core, [3], 'small')).toEqual(['t3'])
    core.now = 1999
    expect(batch(core, [4], 'small')).toEqual(['t4'])
    core.now = 2000
    expect(batch(core, [5], 'small')).toEqual([])
    expect(executed(end(core, 1, 650))).toEqual(['t2', 't5'])
  })

  it('waits the longer, the longer its function takes', () => {
    const core = coreWith()
    measure(core, 100, 0)
    core.compute('a', 50, { ...named('large') })
    end(core, 50, 700, 0, 400)
    core.compute('b', 51, { ...named('small') })
    end(core, 51, 10)
    batch(core, [1, 2], 'large')
    core.now = 3999
    expect(batch(core, [3], 'small')).toEqual([])
    core.now += 3999
    expect(batch(core, [4], 'small')).toEqual([])
  })
})

describe('room', () => {
  it('is asked for where stored values are in the way, once, and the task starts when it is there', () => {
    const core = taught({ f: 300 })
    measure(core, 100, 500)
    const effects = core.compute('t1', 1, { ...named('f') })
    expect([executed(effects), asks(effects)]).toEqual([[], [100]])
    expect(asks(core.compute('t2', 2, { ...named('f') }))).toEqual([])
    const made = core.send({ kind: 'RoomMade', tierBytes: 400 })
    // The next one is not started, but asked for.
    expect([executed(made), asks(made)]).toEqual([['t1'], [300]])
  })

  it('is asked for ahead of the next task while all threads are busy', () => {
    const core = coreWith({ nthreads: 1 })
    core.compute('first', 50, { ...named('f') })
    end(core, 50, 100, 100)
    measure(core, 100, 400)
    expect(batch(core, [1], 'f')).toEqual(['t1'])
    // When t1 is done: 100 + 400 + its result 100, and then 200 for t2.
    expect(asks(core.compute('t2', 2, { ...named('f') }))).toEqual([])
    measure(core, 100, 500)
    expect(asks(measure(core, 100, 500))).toEqual([])
    expect(core.state.admission.awaitsRoom).toBe(true)
  })

  it('is not asked for again before memory was looked at, when the store could make none; the task starts alone', () => {
    const core = taught({ f: 300 })
    measure(core, 100, 500)
    core.receive(computeTask('t1', 1, { ...named('f') }), computeTask('t2', 2, { ...named('f') }))
    const made = core.send({ kind: 'RoomMade', tierBytes: 480 })
    expect([executed(made), asks(made)]).toEqual([['t1'], []])
    expect(asks(measure(core, 100, 480, { 1: 300 }))).toHaveLength(1)
  })

  it('is not asked for when nothing may be spilled', () => {
    const core = taught({ f: 300 }, { memory: { ...MEMORY, canSpill: false } })
    measure(core, 100, 500)
    const effects = core.compute('t1', 1, { ...named('f') })
    expect([executed(effects), asks(effects)]).toEqual([['t1'], []])
  })
})

describe('an attempt after one that ran out of memory', () => {
  const reserve = { bytes: 500, alone: false }

  it('needs what the scheduler has reserved for it', () => {
    const core = taught({ f: 200 })
    measure(core, 100, 0)
    const effects = core.receive(
      computeTask('t1', 1, { ...named('f'), reserve }),
      computeTask('t2', 2, { ...named('f') }),
      computeTask('t3', 3, { ...named('f') }),
    )
    expect(executed(effects)).toEqual(['t1', 't2'])
    const runs = effects.flatMap((effect) => (effect.kind === 'Execute' ? effect.runs : []))
    expect(runs.map((run) => run.memory)).toEqual([
      { reservedBytes: 500, heapBytes: 500, resultBytes: 0 },
      { reservedBytes: 200, heapBytes: 200, resultBytes: 0 },
    ])
  })

  it('that is the last one waits until nothing runs, has stored values moved away, and keeps others from starting', () => {
    const core = taught({ f: 10 })
    measure(core, 100, 0)
    batch(core, [1], 'f')
    measure(core, 100, 50)
    const waiting = core.compute('t2', 2, { ...named('f'), reserve: { bytes: 500, alone: true }, priority: [0, 0, 0] })
    expect([executed(waiting), asks(waiting)]).toEqual([[], []])
    expect(asks(end(core, 1, 10))).toEqual([50])
    const effects = core.send({ kind: 'RoomMade', tierBytes: 0 })
    expect(executed(effects)).toEqual(['t2'])
    const [run] = effects.flatMap((effect) => (effect.kind === 'Execute' ? effect.runs : []))
    expect(run?.memory).toEqual({ reservedBytes: 700, heapBytes: LIMIT, resultBytes: 0 })
    expect(batch(core, [3], 'f')).toEqual([])
    expect(executed(end(core, 2, 700))).toEqual(['t3'])
  })
})
