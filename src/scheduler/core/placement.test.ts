// Where tasks go: earliest start, data, memory, restrictions; and what happens when there is no place.

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, CoreFixture, range, type WorkerSetup } from './fixture.conformance.ts'

const MB = 1_000_000

/** A value of `nbytes` on this worker. */
function put(sim: CoreFixture, key: string, worker: string, nbytes: number): void {
  sim.graph({ [key]: [] }, { options: { workers: [worker] }, name: 'put', fn: 'put' })
  sim.finish(key, { nbytes, durationMs: 10 })
  sim.take()
}

describe('a task without inputs', () => {
  it('5.2-7 goes to the worker where it starts first, round robin among equals', () => {
    const sim = cluster({ a: {}, b: {}, c: {} })
    sim.graph({ x: [], y: [], z: [] })
    expect(new Set([sim.on('x'), sim.on('y'), sim.on('z')]).size).toBe(3)
    sim.finish('y')
    const free = ['x', 'z'].map((key) => sim.on(key))
    sim.now += 1000
    sim.graph({ w: [] })
    expect(free).not.toContain(sim.on('w'))
  })

  it('counts threads: a worker with four of them takes four before one with one takes two', () => {
    const sim = cluster({ small: { nthreads: 1 }, large: { nthreads: 4 } })
    sim.graph(range(5))
    expect([sim.workerRecord('small').processing.size, sim.workerRecord('large').processing.size]).toEqual([1, 4])
  })
})

describe('a task with inputs', () => {
  it('5.2-4 goes where they are', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'small', 'a', 1 * MB)
    put(sim, 'large', 'b', 100 * MB)
    sim.graph({ sum: ['small', 'large'] })
    expect(sim.on('sum')).toBe('b')
  })

  it('5.2-5 leaves a busy holder only when much work is ahead there', () => {
    const sim = cluster({ a: {}, b: {} })
    for (let n = 0; n < 6; n++) put(sim, `x-${n}`, 'a', 1 * MB)
    sim.graph(Object.fromEntries(Array.from({ length: 12 }, (_, n) => [`use-${n}`, [`x-${n % 6}`]])), { fn: 'use' })
    const onA = sim.workerRecord('a').processing.size
    expect(onA).toBeGreaterThanOrEqual(4)
    expect(sim.workerRecord('b').processing.size).toBe(12 - onA)
    expect(onA).toBeLessThan(12)
  })

  it('5.2-5 stays where a large input is, however much waits there', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a', 100_000 * MB)
    sim.graph({ u: ['x'], v: ['x'], w: ['x'], y: ['x'] })
    expect(sim.workerRecord('a').processing.size).toBe(4)
  })

  it('prefers another worker of the same host to one far away', () => {
    const sim = cluster({ a: { host: 'one' }, b: { host: 'one' }, far: { host: 'two' } })
    put(sim, 'x', 'a', 10 * MB)
    sim.workerSays('a', { op: 'worker-status-change', status: 'paused' })
    sim.graph({ y: ['x'] }, { options: { workers: ['b', 'far'] } })
    expect(sim.on('y')).toBe('b')
  })

  it('5.2-5 breaks ties by stored bytes', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a', 10 * MB)
    sim.workerSays('b', {
      op: 'add-keys',
      keys: [{ key: taskKey('x'), runId: sim.task('x').acceptedRunId as RunId, durable: false }],
    })
    put(sim, 'ballast', 'a', 50 * MB)
    sim.graph({ y: ['x'] })
    expect(sim.on('y')).toBe('b')
  })
})

describe('workers that should get nothing', () => {
  it('acceptance 22: paused and retiring ones never do; tasks wait for them without a worker', () => {
    const sim = cluster({ a: { status: 'paused' } })
    sim.graph({ x: [] })
    expect(sim.stateOf('x')).toBe('queued')
    sim.workerSays('a', { op: 'worker-status-change', status: 'running' })
    expect(sim.on('x')).toBe('a')
  })

  it('what a paused worker handed back is handed back at most once in ten seconds', () => {
    const sim = cluster({ a: {}, b: { status: 'paused' } })
    sim.graph({ x: [] }, { options: { workers: ['a', 'b'] } })
    const pauses = (from: string, to: string): object[] => {
      sim.take()
      sim.workerSays(to, { op: 'worker-status-change', status: 'running' })
      sim.workerSays(from, { op: 'worker-status-change', status: 'paused' })
      const run = { key: taskKey('x'), runId: sim.task('x').runId as RunId }
      sim.workerSays(from, { op: 'reschedule', ...run, reason: 'the worker is paused' })
      expect(sim.on('x')).toBe(to)
      return sim.sent(to).filter(({ op }) => op === 'hold-runs')
    }
    expect(pauses('a', 'b')).toMatchObject([{ runs: [{ key: 'x' }], forMs: 10_000 }])
    sim.advance(4000)
    sim.workerSays('b', { op: 'worker-status-change', status: 'closing' })
    sim.workerSays('a', { op: 'worker-status-change', status: 'running' })
    // It comes back from a worker that does not pause: the time runs on.
    sim.workerSays('b', {
      op: 'reschedule',
      key: taskKey('x'),
      runId: sim.task('x').runId as RunId,
      reason: 'the worker is closing',
    })
    expect(sim.sent('a').filter(({ op }) => op === 'hold-runs')).toMatchObject([{ forMs: 6000 }])
    sim.advance(7000)
    expect(pauses('a', 'b')).toMatchObject([{ forMs: 10_000 }])
  })

  it('5.2-8 nearly full ones do only when there is no other, also when they hold the inputs', () => {
    const sim = cluster({ a: { memoryLimit: 1000 }, b: { memoryLimit: 1000 } })
    put(sim, 'x', 'a', 500)
    sim.beat('a', { process: 850 })
    sim.graph({ y: ['x'], z: [] })
    expect([sim.on('y'), sim.on('z')]).toEqual(['b', 'b'])
    sim.beat('b', { process: 900 })
    sim.graph({ v: ['x'] }, { fn: 'v' })
    expect(sim.on('v')).toBe('a')
    sim.beat('a', { process: 100 })
    sim.graph({ w: [] }, { fn: 'w' })
    expect(sim.on('w')).toBe('a')
  })
})

describe('restrictions', () => {
  const workers: Record<string, WorkerSetup> = {
    a: { name: 'alice', host: 'one', resources: { GPU: 1 } },
    b: { name: 'bob', host: 'two' },
    c: { name: 'carol', host: 'two', resources: { GPU: 2 } },
  }

  it.each([
    ['name', 'bob', 'b'],
    ['address', 'tcp://c', 'c'],
    ['host', 'one', 'a'],
    ['id', 'b', 'b'],
  ])('5.6-1 by %s', (_what, label, expected) => {
    const sim = cluster(workers)
    sim.graph(range(3), { options: { workers: [label] } })
    for (const key of Object.keys(range(3))) expect(sim.on(key)).toBe(expected)
  })

  it('5.6-2 5.6-3 resources count against total supply, together with names', () => {
    const sim = cluster(workers)
    sim.graph({ x: [] }, { options: { resources: { GPU: 2 } } })
    expect(sim.on('x')).toBe('c')
    sim.graph({ y: [] }, { options: { resources: { GPU: 1 }, workers: ['two'] } })
    expect(sim.on('y')).toBe('c')
    sim.graph({ z: [] }, { options: { resources: { GPU: 1 }, workers: ['bob'] } })
    expect(sim.stateOf('z')).toBe('no-worker')
  })

  it('are looked up once for all tasks that have the same, however they were submitted', () => {
    const sim = cluster(workers)
    for (let n = 0; n < 50; n++) sim.graph({ [`t${n}`]: [] }, { options: { workers: ['two'], resources: { GPU: 1 } } })
    expect(new Set(Object.keys(range(50)).map((_, n) => sim.task(`t${n}`).group.allowed)).size).toBe(1)
    expect(sim.task('t49').group.allowed?.pool.map(({ id }) => id)).toEqual(['c'])
    for (let n = 0; n < 2500; n++) sim.graph({ [`u${n}`]: [] }, { options: { workers: [`nobody${n}`] } })
    expect(sim.state.allowed.size).toBeLessThanOrEqual(1000)
  })

  it('5.2-4 hold against data: the task goes to an allowed worker, not to its input', () => {
    const sim = cluster(workers)
    put(sim, 'x', 'b', 50 * MB)
    sim.graph({ y: ['x'] }, { options: { workers: ['alice'] } })
    expect(sim.on('y')).toBe('a')
  })

  it('5.2-10 5.6-4 that no worker meets make the task wait until one comes; loose ones do not', () => {
    const sim = cluster(workers)
    sim.graph({ x: [], y: [] }, { options: { workers: ['dave'] } })
    sim.graph({ z: [] }, { options: { workers: ['dave'], allowOtherWorkers: true } })
    expect([sim.stateOf('x'), sim.stateOf('z')]).toEqual(['no-worker', 'processing'])
    sim.take()
    sim.worker('d', { name: 'dave' })
    expect(CoreFixture.assigned(sim.sent('d'))).toEqual(['x', 'y'])
  })
})

describe('no workers for too long', () => {
  it('fails unrunnable tasks with what they ask for, and queued ones when there is no worker at all', () => {
    const sim = cluster({ a: { name: 'alice' } }, { noWorkersTimeoutMs: 1000 })
    sim.graph({ x: [] }, { options: { workers: ['bob'] } })
    sim.advance(900)
    expect(sim.stateOf('x')).toBe('no-worker')
    sim.advance(500)
    expect(sim.task('x').failure?.error).toMatchObject({
      code: 'NO_WORKERS',
      message: expect.stringContaining('bob') as string,
    })
    sim.workerSays('a', { op: 'worker-status-change', status: 'closing' })
    sim.workerLost('a')
    sim.graph({ y: [], z: [] }, { fn: 'g' })
    sim.advance(2000)
    expect([sim.stateOf('y'), sim.stateOf('z')]).toEqual(['erred', 'erred'])
  })
})
