// Data producers are held back, consumers are not, and trivial tasks flow.

import { describe, expect, it } from 'vitest'
import { functionId, taskKey } from '../../base/ids.ts'
import type { TaskRow } from '../../protocol/tasks.ts'
import { cluster, CoreFixture, range } from './fixture.conformance.ts'

const assigned = (sim: CoreFixture, worker: string): number => sim.workerRecord(worker).processing.size

describe('data producers', () => {
  it.each([
    [1, 2],
    [2, 3],
    [4, 5],
    [10, 11],
    [16, 18],
  ])('5.3-3 a worker with %i threads gets %i of them', (nthreads, slots) => {
    const sim = cluster({ a: { nthreads } })
    sim.graph(range(100))
    expect(assigned(sim, 'a')).toBe(slots)
    expect(sim.state.queue.size).toBe(100 - slots)
  })

  it('5.3-6 5.3-7 5.3-9 go out one by one as slots open, in order; released ones are dropped', () => {
    const sim = cluster({ a: {} })
    sim.graph(range(10))
    sim.take()
    sim.finish('t-0', { nbytes: 1e9 })
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['t-2'])
    sim.fail('t-1')
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['t-3'])
    sim.release('t-2')
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['t-4'])
  })

  it('5.3-11 wait behind their consumers: stored bytes stay near the slots, not the number of tasks', () => {
    const sim = cluster({ a: {} })
    const graph: Record<string, readonly string[]> = {}
    for (let n = 0; n < 50; n++) {
      graph[`load-${n}`] = []
      graph[`use-${n}`] = [`load-${n}`]
    }
    sim.graph(graph, { wanted: Object.keys(graph).filter((key) => key.startsWith('use')), name: 'both' })
    let peak = 0
    for (let left = 100; left > 0; left--) {
      const running = [...sim.workerRecord('a').processing].sort((x, y) => x.order - y.order)[0]
      sim.finish(running?.key as string, { nbytes: running?.key.startsWith('load') === true ? 1e6 : 1 })
      peak = Math.max(peak, sim.workerRecord('a').nbytes)
    }
    expect(sim.state.queue.size).toBe(0)
    expect(peak).toBeLessThanOrEqual(3e6)
  })

  it('5.3-1 5.3-2 are not those with restrictions, nor small groups, nor groups that lean on many inputs', () => {
    const sim = cluster({ a: {} })
    sim.graph(range(20, 'r'), { options: { workers: ['a'] }, fn: 'r' })
    expect(sim.state.queue.size).toBe(0)
    sim.graph(range(2, 's'), { fn: 's' })
    expect(sim.state.queue.size).toBe(0)
    sim.graph(Object.fromEntries(Object.keys(range(20, 'r')).map((key) => [`on-${key}`, [key]])), { fn: 'on' })
    for (const key of Object.keys(range(20, 'r'))) sim.finish(key)
    expect(sim.state.queue.size).toBe(0)
  })

  it('that share one input are producers still', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { fn: 'x' })
    sim.finish('x')
    sim.graph(Object.fromEntries(Object.keys(range(20)).map((key) => [key, ['x']])), { fn: 'on' })
    expect(sim.state.queue.size).toBe(18)
  })

  it('submitted one by one are one family', () => {
    const sim = cluster({ a: {} })
    for (const key of Object.keys(range(20))) sim.graph({ [key]: [] })
    expect(assigned(sim, 'a')).toBeLessThanOrEqual(3)
    expect(sim.task('t-5').group).toBe(sim.task('t-6').group)
  })

  it('are made when what they are made for comes: maps that came as one graph', () => {
    const sim = cluster({ a: {} })
    const numbers = Array.from({ length: 12 }, (_, n) => n)
    const row = (key: string, ...inputs: string[]): TaskRow => [taskKey(key), new Uint8Array([1]), inputs.map(taskKey)]
    const maps: Record<string, TaskRow[]> = {
      make: numbers.map((n) => row(`make${n}`)),
      pair: numbers.slice(6).map((n) => row(`pair${n - 6}`, `make${n - 6}`, `make${n}`)),
    }
    sim.says('c', {
      op: 'update-graph',
      groups: Object.entries(maps).map(([name, tasks]) => ({ fn: functionId(name), name, options: {}, tasks })),
      functions: Object.keys(maps).map((name) => ({ id: functionId(name), bytes: new Uint8Array([7]) })),
      wanted: Object.values(maps).flatMap((tasks) => tasks.map(([key]) => key)),
    })
    expect(sim.task('make0').group.family).toMatchObject({ total: 12 })
    const ran: string[] = []
    for (let open = CoreFixture.assigned(sim.sent('a')); open.length > 0; open = open.slice(1)) {
      ran.push(open[0] as string)
      sim.finish(open[0] as string, { nbytes: 1_000_000 })
      open.push(...CoreFixture.assigned(sim.sent('a')))
    }
    expect(ran).toHaveLength(18)
    for (const n of [0, 1, 2, 3, 4, 5]) expect(ran.indexOf(`pair${n}`)).toBeLessThan(3 * (n + 1) + 3)
  })

  it('5.2-1 all go out with infinite saturation', () => {
    const sim = cluster({ a: {} }, { saturation: Infinity })
    sim.graph(range(20))
    expect(assigned(sim, 'a')).toBe(20)
  })
})

describe('slots count work', () => {
  it('quick tasks with small results get as many slots as make 20 ms of work, at most 64 per thread', () => {
    const sim = cluster({ a: { nthreads: 2 } })
    sim.graph(range(500))
    sim.finish('t-0', { durationMs: 1, nbytes: 10 })
    expect(assigned(sim, 'a')).toBe(40)
    sim.finish('t-1', { durationMs: 0.01, nbytes: 10 })
    expect(assigned(sim, 'a')).toBeGreaterThan(70)
    for (let n = 2; n < 12; n++) sim.finish(`t-${n}`, { durationMs: 0.01, nbytes: 10 })
    expect(assigned(sim, 'a')).toBe(128)
  })

  it('quick tasks with large results do not, nor slow ones', () => {
    const sim = cluster({ a: {} })
    sim.graph(range(50))
    sim.finish('t-0', { durationMs: 0.01, nbytes: 100_000 })
    expect(assigned(sim, 'a')).toBe(2)
    sim.graph(range(50, 'slow'), { fn: 'slow' })
    sim.finish('t-1', { durationMs: 30, nbytes: 100_000 })
    expect(assigned(sim, 'a')).toBe(2)
  })
})

describe('queued tasks', () => {
  it('5.3-7 5.3-8 go to a worker that comes, and wait again when an input is lost', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { fn: 'x' })
    sim.finish('x')
    sim.graph(Object.fromEntries(Object.keys(range(20)).map((key) => [key, ['x']])), { fn: 'on' })
    sim.worker('b')
    expect(assigned(sim, 'b')).toBe(2)
    sim.workerSays('a', {
      op: 'release-worker-data',
      keys: [{ key: sim.task('x').key, runId: sim.task('x').acceptedRunId as never }],
    })
    expect(sim.state.queue.size).toBe(0)
    expect(sim.stateOf('t-19')).toBe('waiting')
    sim.finish('x')
    expect(sim.state.queue.size).toBe(16)
  })

  it('5.3-5 spread over workers by tasks per thread', () => {
    const sim = cluster({ a: { nthreads: 1 }, b: { nthreads: 3 } })
    sim.graph(range(100))
    expect([assigned(sim, 'a'), assigned(sim, 'b')]).toEqual([2, 4])
  })
})

describe('with infinite saturation', () => {
  it('5.2-2 neighbours in the graph go to one worker, up to its even share; the next share to the idlest', () => {
    const sim = cluster({ a: { nthreads: 1 }, b: { nthreads: 3 } }, { saturation: Infinity })
    sim.graph(range(40))
    const places = Object.keys(range(40)).map((key) => sim.on(key))
    const changes = places.filter((place, n) => n > 0 && place !== places[n - 1]).length
    expect(changes).toBe(1)
    expect([assigned(sim, 'a'), assigned(sim, 'b')]).toEqual([10, 30])
  })

  it('5.2-2 a worker that pauses gets no more of its share', () => {
    const sim = cluster({ a: {}, b: {} }, { saturation: Infinity })
    for (let n = 0; n < 10; n++) sim.graph({ [`t-${n}`]: [] })
    const first = sim.on('t-9') as string
    sim.workerSays(first, { op: 'worker-status-change', status: 'paused' })
    sim.graph(range(20, 'u'))
    expect(new Set(Object.keys(range(20, 'u')).map((key) => sim.on(key)))).toEqual(new Set([first === 'a' ? 'b' : 'a']))
  })
})

describe('a pause', () => {
  it('5.3-7 that ends fills the slots of the worker at once', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph(range(20))
    sim.workerSays('a', { op: 'worker-status-change', status: 'paused' })
    for (const task of sim.workerRecord('a').processing) sim.finish(task.key)
    expect([assigned(sim, 'a'), sim.state.queue.size]).toEqual([0, 16])
    sim.take()
    sim.workerSays('a', { op: 'worker-status-change', status: 'running' })
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['t-4', 't-5'])
  })

  it('that ends makes the worker as good as others, though it was nearly full at its last heartbeat', () => {
    const sim = cluster({ a: { memoryLimit: 10_000 }, b: { memoryLimit: 10_000 } })
    sim.beat('a', { process: 9000 })
    sim.workerSays('a', { op: 'worker-status-change', status: 'paused' })
    sim.graph({ x: [], y: [] })
    sim.workerSays('a', { op: 'worker-status-change', status: 'running' })
    sim.graph({ z: [] })
    expect([sim.on('x'), sim.on('y'), sim.on('z')]).toEqual(['b', 'b', 'a'])
  })

  it('5.3-10 of every worker holds all back; the first to resume gets work, though its last heartbeat was long ago', () => {
    const sim = cluster({ a: { memoryLimit: 1000 }, b: { memoryLimit: 1000 } })
    for (const id of ['a', 'b']) {
      sim.beat(id, { process: 900 })
      sim.workerSays(id, { op: 'worker-status-change', status: 'paused' })
    }
    sim.graph(range(20))
    sim.graph({ x: [] }, { options: { workers: ['b'] }, fn: 'x' })
    expect([sim.state.queue.size, sim.stateOf('x')]).toEqual([20, 'no-worker'])
    sim.workerSays('b', { op: 'worker-status-change', status: 'running' })
    expect(sim.on('x')).toBe('b')
    expect(assigned(sim, 'b')).toBeGreaterThanOrEqual(2)
  })
})
