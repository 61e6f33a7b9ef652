// Cancelling: 4.6 of the reference's facts, and what of a cancelled task may still come.

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, range, type CoreFixture } from './fixture.conformance.ts'

describe('cancelling', () => {
  const answer = (...keys: string[]) => ({
    op: 'cancelled-keys',
    keys,
    reason: 'enough',
    code: 'TASK_CANCELLED',
    cancel: 1,
  })
  const cancel = (sim: CoreFixture, client: string, keys: readonly string[], force = false, number = 1): void =>
    sim.says(client, { op: 'cancel-keys', keys: keys.map(taskKey), force, reason: 'enough', cancel: number })

  it('ends a running task and all unfinished dependents, and tells the client what it did not name itself (4.6-1, 4.6-3, 4.6-6)', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ x: [], y: ['x'], other: [] })
    sim.take()
    cancel(sim, 'c', ['x'])
    expect(sim.told('c')).toEqual([answer('y')])
    expect(sim.sent('a')).toEqual([
      { op: 'cancel-task', key: 'x', runId: 1, force: false },
      { op: 'free-keys', keys: ['x'] },
    ])
    expect([...sim.state.tasks.keys()]).toEqual(['other'])
    sim.graph({ x: [] })
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('ends only the own interest when another client wants the task, unless forced (4.6-2, 4.6-4)', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] })
    sim.graph({ x: [], y: ['x'] }, { client: 'd' })
    sim.take()
    cancel(sim, 'c', ['x'])
    expect(sim.told('c')).toEqual([answer()])
    expect(sim.take()).toEqual([])
    expect(sim.stateOf('x')).toBe('processing')
    sim.says('c', { op: 'client-desires-keys', keys: [taskKey('x')] })
    cancel(sim, 'c', ['x'], true)
    expect(sim.told('c')).toEqual([answer()])
    expect(sim.told('d')).toMatchObject([{ op: 'cancelled-keys', keys: ['x', 'y'] }])
    expect(sim.state.tasks.size).toBe(0)
  })

  it('spares what another client still computes with', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] })
    sim.graph({ y: ['x'] }, { client: 'd' })
    cancel(sim, 'c', ['x'])
    sim.finish('x')
    sim.finish('y')
    expect(sim.told('d')).toMatchObject([{ op: 'key-in-memory', key: 'y' }])
  })

  it('a finished or unknown task is safe (4.6-5)', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    cancel(sim, 'c', ['x', 'never'])
    expect(sim.state.tasks.size).toBe(0)
  })

  it('of a failed task lets it be submitted anew with another function', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.fail('x')
    cancel(sim, 'c', ['x'])
    sim.graph({ x: [] }, { fn: 'repaired' })
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('of a root, then the whole graph again at once: all of it runs, and the answer says which cancel it belongs to', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ x: [], y: ['x'], z: ['y'] })
    sim.take()
    cancel(sim, 'c', ['x'], false, 3)
    sim.graph({ x: [], y: ['x'], z: ['y'] })
    expect(sim.told('c')).toEqual([{ ...answer('y', 'z'), cancel: 3 }])
    for (const key of ['x', 'y', 'z']) sim.finish(key)
    expect(sim.told('c').map((message) => 'key' in message && message.key)).toEqual(['x', 'y', 'z'])
  })

  it('drops the late result of the run that it ended (5.5-7, 6.3-13)', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    const run = sim.task('x').runId
    cancel(sim, 'c', ['x'])
    sim.graph({ x: [] })
    sim.take()
    sim.finish('x', { runId: run })
    sim.workerSays('a', { op: 'task-cancelled', key: taskKey('x'), runId: run as RunId })
    expect(sim.told('c')).toEqual([])
    expect(sim.stateOf('x')).toBe('processing')
    expect(sim.task('x').runId).toBeGreaterThan(run)
  })

  it('takes queued tasks and tasks without a worker out of their lists (5.3-9)', () => {
    const sim = cluster({ a: {} })
    sim.graph(range(20))
    sim.graph({ nowhere: [] }, { options: { workers: ['nobody'] }, fn: 'g' })
    expect(sim.state.queue.size).toBeGreaterThan(0)
    cancel(sim, 'c', [...Object.keys(range(20)), 'nowhere'])
    expect([sim.state.queue.size, sim.state.noWorker.size, sim.state.tasks.size]).toEqual([0, 0, 0])
  })

  it('ends a running dependent of a finished root, both named, with force', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ x: [], y: ['x'] })
    sim.finish('x')
    sim.take()
    cancel(sim, 'c', ['x', 'y'], true)
    expect(sim.sent('a')).toMatchObject([
      { op: 'cancel-task', key: 'y', force: true },
      { op: 'free-keys', keys: expect.arrayContaining(['x', 'y']) as string[] },
    ])
    expect(sim.told('c')).toEqual([answer()])
    expect(sim.state.tasks.size).toBe(0)
  })
})
