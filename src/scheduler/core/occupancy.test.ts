// Occupancy, expected durations and bandwidth, fact by fact (5.4 of the reference's behaviour).

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'

const MB = 1_000_000

const occupancyMs = (sim: CoreFixture, worker: string): number => sim.workerRecord(worker).occupancyUs / 1000

function put(sim: CoreFixture, key: string, worker: string, nbytes: number): void {
  sim.graph({ [key]: [] }, { options: { workers: [worker] }, name: 'put', fn: 'put' })
  sim.finish(key, { nbytes, durationMs: 10 })
}

/** Takes one input to this worker for this task. */
function arrives(sim: CoreFixture, key: string, worker: string): void {
  const runId = sim.task(key).acceptedRunId as RunId
  sim.workerSays(worker, { op: 'add-keys', keys: [{ key: taskKey(key), runId, durable: false }] })
}

describe('occupancy', () => {
  it('5.4-1 is the expected time of what runs and of what has to be brought', () => {
    const sim = cluster({ a: {}, b: {} }, { bandwidth: 100 * MB })
    put(sim, 'x', 'a', 50 * MB)
    sim.graph({ u: ['x'] }, { options: { workers: ['b'] } })
    expect(occupancyMs(sim, 'b')).toBe(500 + 500)
    sim.finish('u', { durationMs: 200 })
    expect(occupancyMs(sim, 'b')).toBe(0)
  })

  it('5.4-2 counts an input once per worker, however many tasks wait for it, until it is there', () => {
    const sim = cluster({ a: {}, b: {} }, { bandwidth: 100 * MB })
    put(sim, 'x', 'a', 50 * MB)
    sim.graph({ u: ['x'], v: ['x'], w: ['x'] }, { options: { workers: ['b'] } })
    expect(occupancyMs(sim, 'b')).toBe(3 * 500 + 500)
    sim.release('u')
    expect(occupancyMs(sim, 'b')).toBe(2 * 500 + 500)
    arrives(sim, 'x', 'b')
    expect(occupancyMs(sim, 'b')).toBe(2 * 500)
    sim.release('v', 'w')
    expect(occupancyMs(sim, 'b')).toBe(0)
  })

  it('5.4-2 the last task that waited for an input takes its transfer with it', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a', 50 * MB)
    sim.graph({ u: ['x'], v: ['x'] }, { options: { workers: ['b'] } })
    sim.release('u', 'v')
    expect([occupancyMs(sim, 'b'), sim.workerRecord('b').fetching.size]).toEqual([0, 0])
  })
})

describe('expected durations', () => {
  it('5.4-3 are measured, else configured by name, else the general guess', () => {
    const sim = cluster({ a: {} }, { defaultDurationsMs: { named: 20 }, unknownDurationMs: 700 })
    sim.graph({ x: [] }, { fn: 'other' })
    sim.graph({ y: [], z: [] }, { fn: 'named' })
    expect(['x', 'y', 'z'].map((key) => sim.task(key).expectedUs)).toEqual([700_000, 20_000, 20_000])
    sim.finish('y', { durationMs: 100 })
    expect(sim.task('z').expectedUs).toBe(100_000)
    sim.finish('z', { durationMs: 50 })
    sim.graph({ w: [] }, { fn: 'named' })
    expect(sim.task('w').expectedUs).toBe(75_000)
  })

  it('5.4-5 a task that runs more than twice its mean shows the mean to be wrong: it counts as what it took so far', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x', { durationMs: 10 })
    sim.graph({ y: [] })
    const executing = (runningMs: number) => [{ key: taskKey('y'), runId: sim.task('y').runId as RunId, runningMs }]
    sim.beat('a', { executing: executing(15) })
    expect(sim.task('y').group.fn?.measured.meanMs).toBe(10)
    sim.beat('a', { executing: executing(5000) })
    sim.graph({ z: [] })
    expect(sim.task('z').expectedUs).toBe(5_000_000)
    expect(sim.task('y').expectedUs).toBe(10_000_000)
  })
})

describe('bandwidth', () => {
  it('5.4-6 is configured, then the mean of what workers report of other hosts', () => {
    const sim = cluster({ a: { host: 'one' }, b: { host: 'two' }, c: { host: 'two' } }, { bandwidth: 100 * MB })
    sim.beat('b', { bandwidth: { 'tcp://c': 5000 * MB } })
    expect(sim.state.bandwidth).toBe(100 * MB)
    for (let n = 0; n < 100; n++) sim.beat('b', { bandwidth: { 'tcp://a': 400 * MB } })
    expect(sim.state.bandwidth).toBeGreaterThan(390 * MB)
  })

  it('5.4-6 is known per pair: a task goes to the worker with the fast line to its input', () => {
    const sim = cluster({ a: {}, slow: {}, fast: {} })
    put(sim, 'x', 'a', 100 * MB)
    sim.beat('fast', { bandwidth: { 'tcp://a': 200 * MB } })
    sim.beat('slow', { bandwidth: { 'tcp://a': 20 * MB } })
    sim.graph(range(3), { fn: 'f' })
    sim.graph({ y: ['x'] }, { options: { workers: ['slow', 'fast'] }, fn: 'y' })
    expect(sim.on('y')).toBe('fast')
    expect(sim.workerRecord('fast').fetching.get(sim.task('x'))?.us).toBe(500_000)
  })

  it('5.4-6 between two holders the measured line decides', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a', 100 * MB)
    put(sim, 'y', 'b', 100 * MB)
    sim.beat('a', { bandwidth: { 'tcp://b': 10 * MB } })
    sim.beat('b', { bandwidth: { 'tcp://a': 1000 * MB } })
    sim.graph({ sum: ['x', 'y'] })
    expect(sim.on('sum')).toBe('b')
  })

  it('remembers a bounded number of peers per worker', () => {
    const sim = cluster({ a: {} })
    for (let n = 0; n < 600; n++) sim.beat('a', { bandwidth: { [`tcp://peer-${n}`]: MB } })
    expect(sim.workerRecord('a').rates.size).toBe(256)
    expect(sim.workerRecord('a').rates.has('tcp://peer-599')).toBe(true)
  })
})

describe('room', () => {
  it('5.2-8 a worker that would pass its pause threshold with a task is passed over while there is another', () => {
    const sim = cluster({ full: { memoryLimit: 1000 }, busy: { memoryLimit: 1000 } }, { unknownResultBytes: 300 })
    sim.beat('full', { process: 600 })
    sim.graph({ x: [] }, { options: { workers: ['busy'] }, fn: 'x' })
    sim.graph({ y: [] }, { fn: 'y' })
    expect(sim.on('y')).toBe('busy')
    sim.graph({ z: [] }, { fn: 'z' })
    expect(sim.on('z')).toBe('full')
  })

  it('5.2-8 expected results of what it runs, and what came since its last report, count', () => {
    const sim = cluster({ a: { memoryLimit: 10_000 }, b: { memoryLimit: 10_000 } }, { unknownResultBytes: 3000 })
    put(sim, 'x', 'a', 6000)
    sim.graph({ y: [] }, { options: { workers: ['b'] }, fn: 'y' })
    sim.graph({ z: [] }, { fn: 'z' })
    expect(sim.on('z')).toBe('b')
  })

  it('5.2-8 a task that makes next to nothing is not sent away from its data', () => {
    const sim = cluster({ a: { memoryLimit: 100_000 }, b: { memoryLimit: 100_000 } }, { unknownResultBytes: 10 })
    put(sim, 'x', 'a', 5000)
    sim.beat('a', { process: 79_995 })
    sim.graph({ y: ['x'] })
    expect(sim.on('y')).toBe('a')
  })

  it('5.3-5 producers go to a slot with room, if there is one', () => {
    const sim = cluster({ a: { memoryLimit: 1000 }, b: { memoryLimit: 1000 } }, { unknownResultBytes: 200 })
    sim.beat('a', { process: 700 })
    sim.graph(range(20))
    expect(sim.on('t-0')).toBe('b')
    expect([sim.workerRecord('a').processing.size, sim.workerRecord('b').processing.size]).toEqual([2, 2])
  })
})
