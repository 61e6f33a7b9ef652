// Pauses of workers, as properties: a brief one leaves no worker idle afterwards, and a cluster whose workers are all paused
// for their memory goes on.

import { describe, expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { SimCluster } from './sim-cluster.ts'
import type { SimWorker, WorkerProfile } from './sim-worker.ts'
import { NO_TROUBLE, type SimTask } from './task-book.ts'
import { World } from './world.ts'

const KB = 1024
const PROFILE: WorkerProfile = {
  nthreads: 1,
  memoryLimit: 0,
  inlineLimit: 64 * KB,
  maxSpill: Infinity,
  resources: {},
  monitorMs: 100,
  validate: true,
}

function started(seed: number, workers: number, profile: Partial<WorkerProfile> = {}): SimCluster {
  const cluster = new SimCluster(new World({ seed, trace: false }), {
    workers: Array.from({ length: workers }, () => ({ ...PROFILE, ...profile })),
    machines: 1,
    network: { latencyMs: 0.1, jitterMs: 0.2, bytesPerMs: 10_000, encodes: true },
    disk: { memoryBytes: Infinity, diskBytes: Infinity, callMs: 0.1, bytesPerMs: 20_000 },
    scheduler: {},
    checkEvery: 1,
  })
  cluster.startClient()
  return cluster
}

function submit(cluster: SimCluster, count: number, durationMs: number, inputs: readonly SimTask[] = []): SimTask[] {
  const tasks = Array.from({ length: count }, (_, n): SimTask => ({
    key: taskKey(`${inputs.length === 0 ? 'root' : 'next'}-${n}`),
    name: inputs.length === 0 ? 'root' : 'next',
    inputs: inputs.length === 0 ? [] : [(inputs[n % inputs.length] as SimTask).key],
    bytes: 100,
    durationMs,
    random: false,
    trouble: NO_TROUBLE,
    options: {},
  }))
  for (const task of tasks) cluster.book.add(task)
  const keys = tasks.map((task) => task.key)
  cluster.clients[0]?.submit(tasks, keys)
  return tasks
}

function runsAll({ clients: [client] }: SimCluster): boolean {
  const held = [...(client?.held.values() ?? [])]
  return held.length > 0 && client?.isSatisfied === true && held.every(({ value }) => value !== null)
}

function setStatus(worker: SimWorker | undefined, status: 'paused' | 'running'): void {
  worker?.driver.dispatch({ kind: 'MessagesReceived', messages: [{ op: 'set-status', status }] })
}

describe('a brief pause', () => {
  it.each([
    { pausedMs: 100, storms: 1, dependent: false },
    { pausedMs: 900, storms: 1, dependent: false },
    { pausedMs: 50, storms: 8, dependent: false },
    { pausedMs: 900, storms: 1, dependent: true },
    { pausedMs: 50, storms: 8, dependent: true },
  ])('of $pausedMs ms, $storms times, leaves no worker idle afterwards (dependents: $dependent)', async (plan) => {
    for (let seed = 1; seed <= 5; seed++) {
      const cluster = started(seed, 2)
      const { world } = cluster
      await world.run(() => cluster.scheduler.state.byLoad.size === 2, 10_000)
      const roots = submit(cluster, 40, 50)
      if (plan.dependent) submit(cluster, 40, 50, roots)
      const startMs = world.now
      let pausedMs = 0
      for (let n = 0; n < plan.storms; n++) {
        await world.run(() => world.now > startMs + 300 + 2 * n * plan.pausedMs, world.now + 10_000)
        setStatus(cluster.workers[0], 'paused')
        const from = world.now
        await world.run(() => world.now > from + plan.pausedMs, world.now + 10_000)
        setStatus(cluster.workers[0], 'running')
        pausedMs += world.now - from
      }
      let idleMs = 0
      const last = { atMs: world.now }
      const done = await world.run(() => {
        const { state } = cluster.scheduler
        // Near the end there is not enough for both.
        const enough = state.processing + state.queue.size > 6
        if (enough && cluster.workers.some((worker) => worker.pool.isIdle)) idleMs += world.now - last.atMs
        last.atMs = world.now
        return runsAll(cluster)
      }, world.now + 60_000)
      expect([seed, world.failure, done]).toEqual([seed, null, true])
      expect(idleMs).toBeLessThan(150)
      const work = plan.dependent ? 4000 : 2000
      expect(world.now - startMs).toBeLessThan(1.35 * ((work + pausedMs) / 2) + 300)
    }
  })
})

describe('a cluster whose workers are all paused for their memory', () => {
  it('goes on, one task at a time on each, and runs as before when the memory is back', async () => {
    const cluster = started(1, 2, { memoryLimit: 400 * KB })
    const { world } = cluster
    await world.run(() => cluster.scheduler.state.byLoad.size === 2, 10_000)
    for (const worker of cluster.workers) worker.pool.hoard(0.85 * 400 * KB, Infinity, false)
    expect(await world.run(() => cluster.scheduler.state.byLoad.size === 0, 10_000)).toBe(true)
    const roots = submit(cluster, 4, 50)
    submit(cluster, 2, 50, roots)
    expect(await world.run(() => runsAll(cluster), world.now + 120_000)).toBe(true)
    expect(cluster.scheduler.state.byLoad.size).toBe(0)
    for (const worker of cluster.workers) worker.pool.hoard(0, 0, false)
    await world.run(() => cluster.scheduler.state.byLoad.size === 2, world.now + 10_000)
    const fromMs = world.now
    submit(cluster, 40, 50, roots)
    expect(await world.run(() => runsAll(cluster), world.now + 60_000)).toBe(true)
    expect(world.now - fromMs).toBeLessThan(2500)
    expect(world.failure).toBeNull()
  })
})
