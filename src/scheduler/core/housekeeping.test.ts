// What only time brings: 5.14 of the reference's facts.

import { describe, expect, it } from 'vitest'
import type { Effect } from './effects.ts'
import { cluster, range, type CoreFixture } from './fixture.conformance.ts'
import { memory, processing, schedulerInfo } from './view.ts'

const closing = (sim: CoreFixture): Effect | undefined => sim.take().find((effect) => effect.kind === 'CloseScheduler')

const statusOf = (sim: CoreFixture, worker: string): string | undefined =>
  schedulerInfo(sim.state, { address: 'tcp://s', pid: 1, dashboard: null }).workers[`tcp://${worker}`]?.status

const errorOf = (sim: CoreFixture, key: string): unknown => sim.task(key).failure?.error

describe('a silent worker (5.14-1)', () => {
  const silent = (sim: CoreFixture): void => {
    sim.advance(16_000)
    for (const worker of sim.state.workers.keys()) sim.beat(worker, {})
    sim.advance(19_000)
    expect([...sim.state.workers.values()].map((worker) => worker.link)).not.toContain('lost')
    sim.take()
    sim.advance(10_000)
  }

  it('is removed when it has no nanny; what it ran runs elsewhere, without blame', () => {
    const sim = cluster({ a: {} }, { workerTtlMs: 20_000, allowedFailures: 0 })
    sim.graph({ x: [] })
    silent(sim)
    expect(sim.take().filter((effect) => effect.kind === 'CloseConnection')).toMatchObject([
      { reason: expect.stringContaining('no heartbeat') as string },
    ])
    expect(sim.state.workers.size).toBe(0)
    sim.worker('b')
    expect(sim.on('x')).toBe('b')
  })

  it('is killed by its nanny and started again; values in files stay, and only the run that executed is blamed', () => {
    const sim = cluster({ a: { nthreads: 2 } }, { workerTtlMs: 20_000, workerGraceMs: 15_000 })
    sim.nanny('a')
    sim.graph({ stays: [], ran: [], waited: [] })
    sim.finish('stays', { durable: true })
    silent(sim)
    expect(sim.take().filter((effect) => effect.kind === 'SendToNanny')).toMatchObject([
      {
        worker: 'a',
        message: { op: 'kill-worker', reason: expect.stringContaining('scheduler.worker-ttl') as string },
      },
    ])
    expect(statusOf(sim, 'a')).toBe('disconnected')
    sim.exited('a', [sim.task('ran').runId])
    expect(statusOf(sim, 'a')).toBe('restarting')
    expect([sim.task('ran').trouble?.crashes, sim.task('waited').trouble]).toEqual([1, null])
    const { acceptedRunId: runId } = sim.task('stays')
    const keys = [{ key: sim.task('stays').key, runId: runId as never, nbytes: 100, type: 'number', durable: true }]
    sim.worker('a', { incarnation: 2, nthreads: 2, inventory: { keys, tasks: [] } })
    expect(statusOf(sim, 'a')).toBe('running')
    expect([sim.stateOf('stays'), sim.task('stays').runId, sim.on('ran')]).toEqual(['memory', runId, 'a'])
  })

  it('is not one that lives by ten slow heartbeats', () => {
    const sim = cluster({ a: {} }, { workerTtlMs: 1000 })
    sim.advance(4500)
    expect(statusOf(sim, 'a')).toBe('running')
  })

  it('is waited for without end when the time to live is null', () => {
    const sim = cluster({ a: {} }, { workerTtlMs: null })
    sim.advance(1e7)
    expect(statusOf(sim, 'a')).toBe('running')
    expect(sim.timers).toEqual([])
  })
})

describe('an idle cluster (5.14-2)', () => {
  it('closes after the timeout, stored data or not, with or without workers', () => {
    for (const workers of [{ a: {} }, {}]) {
      const sim = cluster(workers, { idleTimeoutMs: 10_000 })
      if ('a' in workers) {
        sim.graph({ x: [] })
        sim.finish('x')
      }
      sim.advance(9000)
      expect(closing(sim)).toBeUndefined()
      sim.advance(2000)
      expect(closing(sim)).toMatchObject({ reason: expect.stringContaining('scheduler.idle-timeout') as string })
    }
  })

  it.each([
    ['running tasks', (sim: CoreFixture) => sim.graph({ x: [] })],
    ['queued tasks', (sim: CoreFixture) => sim.graph(range(20))],
    ['tasks without a worker', (sim: CoreFixture) => sim.graph({ x: [] }, { options: { workers: ['nobody'] } })],
  ])('does not close with %s', (_what, make) => {
    const sim = cluster({ a: {} }, { idleTimeoutMs: 1000 })
    make(sim)
    sim.advance(60_000)
    expect(closing(sim)).toBeUndefined()
  })

  it('starts to count anew with everything that happens', () => {
    const sim = cluster({ a: {} }, { idleTimeoutMs: 1000 })
    for (let n = 0; n < 10; n++) {
      sim.advance(800)
      sim.graph({ [`x${n}`]: [] })
      sim.finish(`x${n}`)
    }
    expect(closing(sim)).toBeUndefined()
    sim.advance(1600)
    expect(closing(sim)).toBeDefined()
  })
})

describe('tasks that no worker may run (5.14-3)', () => {
  const options = { noWorkersTimeoutMs: 1000 }

  it('wait without end by default', () => {
    const sim = cluster({})
    sim.graph({ x: [] })
    sim.advance(1e7)
    expect(sim.stateOf('x')).toBe('queued')
  })

  it('fail after the timeout for want of any worker, queued ones too', () => {
    const sim = cluster({ a: {} }, options)
    sim.graph(range(20))
    expect(sim.state.queue.size).toBeGreaterThan(0)
    sim.workerSays('a', { op: 'worker-status-change', status: 'closing' })
    sim.workerLost('a')
    sim.advance(1500)
    for (const key of Object.keys(range(20)))
      expect(errorOf(sim, key)).toMatchObject({
        code: 'NO_WORKERS',
        message: expect.stringContaining('no worker is connected') as string,
      })
  })

  it('fail after the timeout with what they ask for when none of the workers will do', () => {
    const sim = cluster({ a: { resources: { GPU: 1 } } }, options)
    sim.graph({ x: [] }, { options: { workers: ['bob'] } })
    sim.graph({ y: [] }, { options: { resources: { GPU: 2 } } })
    sim.advance(1500)
    expect(errorOf(sim, 'x')).toMatchObject({ message: expect.stringMatching(/none of the 1 workers.*bob/) as string })
    expect(errorOf(sim, 'y')).toMatchObject({
      message: expect.stringMatching(/none of the 1 workers.*GPU=2/) as string,
    })
  })

  it('are not those that run or that wait for inputs, however long (test_no_workers_timeout_processing)', () => {
    const sim = cluster({ a: {} }, options)
    sim.graph({ x: [], y: ['x'] })
    sim.advance(60_000)
    expect([sim.stateOf('x'), sim.stateOf('y')]).toEqual(['processing', 'waiting'])
  })

  it('are saved by a worker that comes in time', () => {
    const sim = cluster({}, options)
    sim.graph({ x: [] })
    sim.advance(900)
    sim.worker('a')
    sim.advance(5000)
    expect(sim.on('x')).toBe('a')
  })
})

describe('a worker that is waited for', () => {
  it('is shown as such, without a process: it runs nothing and uses no memory', () => {
    const sim = cluster({ a: { memoryLimit: 1000 } })
    sim.nanny('a')
    sim.graph({ x: [] })
    sim.beat('a', { process: 700, executors: [{ pid: 9 }] })
    sim.workerLost('a')
    expect(statusOf(sim, 'a')).toBe('disconnected')
    expect(processing(sim.state, undefined)).toEqual({ 'tcp://a': ['x'] })
    sim.exited('a')
    const info = schedulerInfo(sim.state, { address: 'tcp://s', pid: 1, dashboard: null }).workers['tcp://a']
    expect(info).toMatchObject({
      status: 'restarting',
      executors: [],
      memory: { limit: 1000, process: 0, unmanaged: 0 },
    })
    expect(processing(sim.state, ['a'])).toEqual({ 'tcp://a': [] })
    // As `schedulerInfo` tells it: a dead process has no memory.
    const none = { limit: 1000, process: 0, managed: 0 }
    expect(memory(sim.state)).toMatchObject({ cluster: none, workers: { 'tcp://a': none } })
    sim.worker('a', { incarnation: 2 })
    expect(statusOf(sim, 'a')).toBe('running')
  })
})
