// Work stealing, fact by fact (5.13 of the reference's behaviour), and where ours differs.

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import type { RunName } from '../../protocol/scheduler-worker.ts'
import { cluster, CoreFixture, range, type WorkerSetup } from './fixture.conformance.ts'
import type { CoreOptions } from './state.ts'

const MB = 1_000_000
const LOOK_MS = 10

function stealing(workers: Record<string, WorkerSetup> = { a: {} }, options: Partial<CoreOptions> = {}): CoreFixture {
  return cluster(workers, { workStealing: true, saturation: Infinity, ...options })
}

/** Keys that this worker is asked for; everything else said to it is dropped. */
function asked(sim: CoreFixture, worker = 'a'): string[] {
  return sim
    .sent(worker)
    .flatMap((message) => (message.op === 'steal-request' ? message.runs.map(({ key }) => key) : []))
}

function names(sim: CoreFixture, ...keys: readonly string[]): RunName[] {
  return keys.map((key) => ({ key: taskKey(key), runId: sim.task(key).runId as RunId }))
}

function gives(sim: CoreFixture, worker: string, ...keys: readonly string[]): void {
  sim.workerSays(worker, { op: 'steal-response', taken: names(sim, ...keys), kept: [] })
}

function keeps(sim: CoreFixture, worker: string, ...keys: readonly string[]): void {
  sim.workerSays(worker, { op: 'steal-response', taken: [], kept: names(sim, ...keys) })
}

/** Ten tasks on `a`, then `b` comes. */
function lateWorker(options: Partial<CoreOptions> = {}, setup: WorkerSetup = {}): CoreFixture {
  const sim = stealing({ a: {} }, options)
  sim.graph(range(10))
  sim.worker('b', setup)
  sim.take()
  sim.advance(LOOK_MS)
  return sim
}

/** A value on this worker, measured as taking `durationMs`. */
function put(sim: CoreFixture, key: string, worker: string, nbytes: number, durationMs = 1000): void {
  sim.graph({ [key]: [] }, { options: { workers: [worker] }, fn: 'put' })
  sim.finish(key, { nbytes, durationMs })
  sim.take()
}

describe('a worker with nothing to do', () => {
  it('5.13-7 gets its share of what waits elsewhere, in one request, soon', () => {
    const sim = lateWorker()
    const keys = asked(sim)
    expect(keys).toEqual(['t-1', 't-2', 't-3', 't-4', 't-5'])
    gives(sim, 'a', ...keys)
    expect(CoreFixture.assigned(sim.sent('b'))).toEqual(keys)
    expect([sim.workerRecord('a').processing.size, sim.workerRecord('b').processing.size]).toEqual([5, 5])
    sim.advance(5000)
    expect([asked(sim, 'a'), asked(sim, 'b')]).toEqual([[], []])
  })

  it('does not get trivial tasks that are done before they could travel', () => {
    const sim = stealing({ a: {}, b: {} })
    sim.graph({ w: [] })
    sim.finish('w', { durationMs: 1 })
    put(sim, 'x', 'a', 10)
    sim.graph(Object.fromEntries(Object.keys(range(8)).map((key) => [key, ['x']])), {
      options: { workers: ['a'], allowOtherWorkers: true },
    })
    sim.advance(1000)
    expect(asked(sim)).toEqual([])
  })

  it('5.13-7 gets nothing twice while the answer is on its way', () => {
    const sim = lateWorker()
    expect(asked(sim)).toHaveLength(5)
    sim.worker('c')
    sim.advance(LOOK_MS)
    const more = asked(sim)
    expect(more.length).toBeGreaterThan(0)
    expect(more.every((key) => !['t-1', 't-2', 't-3', 't-4', 't-5'].includes(key))).toBe(true)
    expect(more.length).toBeLessThanOrEqual(2)
  })

  it('5.13-7 does not take back and forth: one task more or less is no reason', () => {
    const sim = lateWorker()
    gives(sim, 'a', ...asked(sim))
    sim.finish('t-0')
    for (let n = 0; n < 5; n++) {
      sim.advance(1000)
      expect([asked(sim, 'a'), asked(sim, 'b')]).toEqual([[], []])
    }
  })

  it('5.13-12 is looked for: without one, nothing moves', () => {
    const sim = stealing({ a: {}, b: {} })
    sim.graph(range(20))
    sim.take()
    sim.advance(5000)
    expect([asked(sim, 'a'), asked(sim, 'b')]).toEqual([[], []])
  })
})

describe('the switch', () => {
  it('5.13-1 off: no timer, no request', () => {
    const sim = lateWorker({ workStealing: false })
    sim.advance(10_000)
    expect([asked(sim), sim.timers]).toEqual([[], []])
  })

  it('5.13-1 the period: all workers are compared that often even when nothing happens', () => {
    const sim = stealing({ a: {}, b: {} }, { workStealingIntervalMs: 300 })
    sim.graph(range(20), { options: { workers: ['a'] } })
    sim.graph({ x: [], y: [], z: [] }, { options: { workers: ['b'] }, fn: 'g' })
    sim.finish('x', { durationMs: 100 })
    sim.take()
    expect(sim.timers).toEqual(['stealing'])
    const due = sim.state.stealing.sweepAtMs
    sim.advance(301)
    expect(sim.state.stealing.sweepAtMs).toBe(due + 300)
  })
})

describe('what moves', () => {
  it('5.13-2 not what takes longer to bring than to run', () => {
    const sim = stealing({ a: {}, b: {} })
    put(sim, 'x', 'a', 100 * MB)
    sim.graph({ w: ['x'] }, { fn: 'quick' })
    sim.finish('w', { durationMs: 30, nbytes: 1 })
    sim.graph(Object.fromEntries(Object.keys(range(200)).map((key) => [key, ['x']])), {
      fn: 'quick',
      options: { workers: ['a'], allowOtherWorkers: true },
    })
    sim.take()
    sim.advance(1000)
    expect(asked(sim)).toEqual([])
  })

  it('5.13-2 what is cheapest to move moves first', () => {
    const sim = stealing({ a: {} })
    put(sim, 'large', 'a', 50 * MB)
    put(sim, 'small', 'a', 1000)
    sim.graph({ s1: [] }, { fn: 'slow' })
    sim.finish('s1', { durationMs: 1000, nbytes: 1 })
    sim.graph({ u: ['large'], v: ['large'], w: ['small'], x: ['small'], y: [], z: [] }, { fn: 'slow' })
    sim.worker('b')
    sim.advance(LOOK_MS)
    expect(asked(sim)).toEqual(['y', 'z', 'w'])
  })

  it('5.13-3 not what is configured to be quick', () => {
    const sim = lateWorker({ defaultDurationsMs: { f: 1 } })
    expect(asked(sim)).toEqual([])
  })

  it('5.13-4 tasks of unknown duration, by the configured guess', () => {
    expect(asked(lateWorker({ unknownDurationMs: 500 }))).toHaveLength(5)
    expect(asked(lateWorker({ unknownDurationMs: 1 }))).toEqual([])
  })

  it('5.13-9 not what has started by the last heartbeat, nor what was kept', () => {
    const sim = stealing({ a: {} })
    sim.graph(range(4))
    sim.beat('a', { executing: names(sim, 't-2').map((run) => ({ ...run, runningMs: 5 })) })
    sim.worker('b')
    sim.advance(LOOK_MS)
    expect(asked(sim)).toEqual(['t-1', 't-3'])
    keeps(sim, 'a', 't-1', 't-3')
    expect(sim.on('t-1')).toBe('a')
    expect(sim.state.stealing.steals.size).toBe(0)
    sim.advance(2000)
    expect(asked(sim)).toEqual([])
  })

  it('what waits behind a task that turns out to take long, however quick it is itself', () => {
    const sim = stealing({ a: {}, b: {} })
    sim.graph({ w: [] })
    sim.finish('w', { durationMs: 1 })
    sim.graph({ long: [], x: [], y: [] }, { options: { workers: ['a'], allowOtherWorkers: true } })
    sim.take()
    sim.advance(1000)
    expect(asked(sim)).toEqual([])
    sim.beat('a', { executing: names(sim, 'long').map((run) => ({ ...run, runningMs: 500 })) })
    sim.advance(LOOK_MS)
    expect(asked(sim)).toEqual(['x', 'y'])
  })

  it('5.13-8 only to where it may run: by name and resources, unless loose', () => {
    const sim = stealing({ a: { resources: { GPU: 1 } } })
    sim.graph(range(3, 'named'), { options: { workers: ['a'] } })
    sim.graph(range(3, 'gpu'), { options: { resources: { GPU: 1 } }, fn: 'g' })
    sim.worker('b')
    sim.advance(2000)
    expect(asked(sim)).toEqual([])
    sim.worker('c', { resources: { GPU: 2 } })
    sim.take()
    sim.advance(LOOK_MS)
    const keys = asked(sim)
    expect(keys.length).toBeGreaterThan(0)
    expect(keys.every((key) => key.startsWith('gpu'))).toBe(true)
    gives(sim, 'a', ...keys)
    expect(CoreFixture.assigned(sim.sent('c'))).toEqual(keys)
  })

  it('5.13-8 a wish for one worker is no reason to wait for it', () => {
    const sim = stealing({ a: {}, b: {} })
    sim.graph(range(6), { options: { workers: ['a'], allowOtherWorkers: true } })
    sim.advance(LOOK_MS)
    const keys = asked(sim)
    expect(keys).toHaveLength(3)
    gives(sim, 'a', ...keys)
    expect(keys.map((key) => sim.on(key))).toEqual(['b', 'b', 'b'])
  })

  it('5.13-8 a wish for a worker that is not there binds nobody', () => {
    const sim = stealing({ a: {} })
    sim.graph(range(6), { options: { workers: ['nobody'], allowOtherWorkers: true } })
    sim.worker('b')
    sim.advance(LOOK_MS)
    expect(asked(sim)).toHaveLength(3)
  })
})

describe('who gets stolen work', () => {
  it.each([
    ['a paused one', (sim: CoreFixture) => sim.workerSays('b', { op: 'worker-status-change', status: 'paused' })],
    ['a retiring one', (sim: CoreFixture) => sim.workerSays('b', { op: 'worker-status-change', status: 'retiring' })],
    ['a crowded one (5.13-15)', (sim: CoreFixture) => sim.beat('b', { process: 850 })],
    ['one whose stream is lost', (sim: CoreFixture) => sim.workerLost('b')],
  ])('5.13-5 not %s', (_who, spoil) => {
    const sim = stealing({ a: {} })
    sim.graph(range(10))
    sim.worker('b', { memoryLimit: 1000 })
    spoil(sim)
    sim.advance(2000)
    expect(asked(sim)).toEqual([])
  })

  it('5.13-15 not one that could not hold inputs and result', () => {
    const small = stealing({ a: {} })
    put(small, 'x', 'a', 600)
    small.graph(Object.fromEntries(Object.keys(range(6)).map((key) => [key, ['x']])), { fn: 'use' })
    small.worker('b', { memoryLimit: 2000 })
    small.beat('b', { process: 1200 })
    small.advance(2000)
    expect(asked(small)).toEqual([])
    small.beat('b', { process: 100 })
    small.advance(1000)
    expect(asked(small)).toEqual([])
    small.worker('c', { memoryLimit: 100_000 })
    small.advance(LOOK_MS)
    expect(asked(small).length).toBeGreaterThan(0)
  })
})

describe('who is asked', () => {
  it('5.13-6 not a worker that will start everything soon', () => {
    const sim = stealing({ a: {} })
    sim.graph({ w: [] })
    sim.finish('w', { durationMs: 4 })
    sim.graph(range(5))
    sim.worker('b')
    sim.advance(2000)
    expect(asked(sim)).toEqual([])
  })

  it('5.13-6 a paused worker: all that it has not started moves away', () => {
    const sim = stealing({ a: {} })
    sim.graph(range(3))
    sim.workerSays('a', { op: 'worker-status-change', status: 'paused' })
    sim.beat('a', { executing: names(sim, 't-0').map((run) => ({ ...run, runningMs: 5 })) })
    sim.worker('b')
    sim.advance(1000)
    expect(asked(sim)).toEqual(['t-1', 't-2'])
  })

  it('5.13-13 the last task of a paused worker does not stay behind', () => {
    const sim = stealing({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'], allowOtherWorkers: true } })
    sim.workerSays('a', { op: 'worker-status-change', status: 'paused' })
    sim.advance(1000)
    expect(asked(sim)).toEqual(['x'])
    gives(sim, 'a', 'x')
    expect(sim.on('x')).toBe('b')
  })
})

describe('the answer', () => {
  it('5.13-10 that comes after the end of the run changes nothing', () => {
    const sim = lateWorker()
    const [first, second, third] = asked(sim) as [string, string, string]
    const late = names(sim, first, second, third)
    sim.finish(first)
    sim.fail(second)
    sim.release(third)
    sim.take()
    sim.workerSays('a', { op: 'steal-response', taken: late, kept: [] })
    sim.workerSays('a', { op: 'steal-response', taken: [], kept: late })
    expect([sim.stateOf(first), sim.stateOf(second), sim.stateOf(third)]).toEqual(['memory', 'erred', 'forgotten'])
    expect(sim.sent('b')).toEqual([])
  })

  it('5.13-10 counts once', () => {
    const sim = lateWorker()
    const [key] = asked(sim) as [string]
    const run = names(sim, key)
    gives(sim, 'a', key)
    sim.take()
    sim.workerSays('a', { op: 'steal-response', taken: run, kept: [] })
    expect([sim.on(key), sim.take()]).toEqual(['b', []])
  })

  it('5.13-11 finds the thief gone: the task is placed anew', () => {
    const sim = lateWorker()
    const keys = asked(sim)
    sim.workerSays('b', { op: 'worker-status-change', status: 'closing' })
    sim.workerLost('b')
    gives(sim, 'a', ...keys)
    expect(keys.map((key) => sim.on(key))).toEqual(keys.map(() => 'a'))
  })

  it('5.13-11 finds the thief paused or full: it gets nothing (the reference gives it the task)', () => {
    const sim = lateWorker({}, { memoryLimit: MB })
    const [first, second] = asked(sim) as [string, string]
    sim.workerSays('b', { op: 'worker-status-change', status: 'paused' })
    gives(sim, 'a', first)
    expect(sim.on(first)).toBe('a')
    sim.workerSays('b', { op: 'worker-status-change', status: 'running' })
    sim.beat('b', { process: 900_000 })
    gives(sim, 'a', second)
    expect(sim.on(second)).toBe('a')
  })

  it('never comes when the victim is lost: its runs are placed like others', () => {
    const sim = lateWorker({ connectionGraceMs: 100 })
    expect(asked(sim)).toHaveLength(5)
    sim.workerLost('a')
    sim.advance(200)
    expect(sim.workerRecord('b').processing.size).toBe(10)
    expect(sim.state.stealing.steals.size).toBe(0)
  })

  it('blames nobody: no attempt is counted, no retry spent, and inputs stay', () => {
    const sim = stealing({ a: {} })
    put(sim, 'x', 'a', 10)
    sim.graph({ u: ['x'], v: ['x'], w: ['x'] }, { options: { retries: 1, idempotent: false }, fn: 'use' })
    sim.release('x')
    sim.worker('b')
    sim.advance(LOOK_MS)
    const keys = asked(sim)
    gives(sim, 'a', ...keys)
    const [key] = keys as [string]
    expect(sim.on(key)).toBe('b')
    expect(sim.sent('b').find((message) => message.op === 'compute-task')).toMatchObject({ key, attempt: 1 })
    expect([sim.stateOf('x'), sim.task(key).retriesLeft]).toEqual(['memory', 1])
  })
})

describe('stealing', () => {
  it('5.13-14 is told: a line per request, and how many went', () => {
    const sim = lateWorker()
    const lines = sim.take().filter((effect) => effect.kind === 'Log' && effect.fields['topic'] === 'stealing')
    expect(lines).toMatchObject([{ level: 'debug', fields: { left: 5, nthreads: 1 } }])
    gives(sim, 'a', ...[...sim.state.stealing.steals.keys()].map((task) => task.key))
    expect(sim.state.stealing).toMatchObject({ asked: 5, moved: 5 })
  })

  it('asks for a bounded number of runs at a time, whatever waits and whoever is idle', () => {
    const sim = stealing({ a: {} }, { validate: false })
    sim.graph(range(3000))
    for (let n = 0; n < 300; n++) sim.worker(`idle-${n}`)
    sim.take()
    sim.advance(LOOK_MS)
    expect(asked(sim)).toHaveLength(64)
  })

  it('ends with every worker at work: nobody idles while another has more than it can start', () => {
    const sim = stealing({ a: {} })
    sim.graph(range(60))
    for (const id of ['b', 'c', 'd']) sim.worker(id, { nthreads: 2 })
    for (let round = 0; round < 20; round++) {
      sim.advance(LOOK_MS)
      const keys = asked(sim)
      if (keys.length > 0) gives(sim, 'a', ...keys)
    }
    const loads = ['a', 'b', 'c', 'd'].map((id) => sim.workerRecord(id).processing.size)
    expect(loads.reduce((sum, load) => sum + load)).toBe(60)
    expect(loads[0]).toBeGreaterThanOrEqual(6)
    expect(loads[0]).toBeLessThanOrEqual(12)
    for (const load of loads.slice(1)) expect(Math.abs(load - 17)).toBeLessThanOrEqual(2)
  })
})
