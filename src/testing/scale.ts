// Runs without faults on many workers with many tasks: what the cores cost, and that they bear the size. Invariants are
// sampled, messages are handed over unencoded, values are minimal.

import { taskKey } from '../base/ids.ts'
import { checkInvariants } from '../scheduler/core/validate.ts'
import { SimCluster } from './sim-cluster.ts'
import { NO_TROUBLE, type SimTask } from './task-book.ts'
import { World } from './world.ts'

export interface ScaleOptions {
  readonly workers: number
  readonly tasks: number
}

const KB = 1024
const LIMIT_MS = 24 * 3_600_000
/** Of all tasks, so many are submitted in one graph. */
const GRAPH_TASKS = 10_000

/** True when every task finished and every invariant held. */
export async function scaleRun({ workers, tasks }: ScaleOptions, say: (line: string) => void): Promise<boolean> {
  const world = new World({ seed: 1, trace: false })
  const profile = {
    nthreads: 2,
    memoryLimit: 0,
    inlineLimit: 64 * KB,
    maxSpill: Infinity,
    resources: {},
    monitorMs: LIMIT_MS,
    validate: false,
  }
  const cluster = new SimCluster(world, {
    workers: Array.from({ length: workers }, () => profile),
    machines: Math.ceil(workers / 100),
    network: { latencyMs: 0.1, jitterMs: 0.1, bytesPerMs: 100_000, encodes: false },
    disk: { memoryBytes: Infinity, diskBytes: Infinity, callMs: 0.1, bytesPerMs: 100_000 },
    scheduler: {},
    checkEvery: 0,
  })
  const client = cluster.startClient()
  const { state } = cluster.scheduler
  await world.run(() => state.byLoad.size === workers, LIMIT_MS)
  const heapBefore = heapBytes()
  const startedAt = performance.now()
  const [events, steps, spent] = [world.events, cluster.scheduler.steps, cluster.scheduler.spentMs]
  const keys = submitAll(cluster, tasks)
  await world.run(() => state.runCounter >= tasks && state.processing === 0, LIMIT_MS)
  const ms = performance.now() - startedAt
  const heap = heapBytes() - heapBefore
  checkInvariants(state)
  for (const worker of cluster.workers.slice(0, 10)) worker.checkInvariants()
  const done = [...state.tasks.values()].filter((task) => task.state === 'memory').length
  const perTask = (value: number): string => ((1000 * value) / tasks).toFixed(1)
  const schedulerMs = cluster.scheduler.spentMs - spent
  say(
    `${workers} workers, ${tasks} tasks: ${done} done, ${world.events - events} events, ${cluster.scheduler.steps - steps} steps of the scheduler`,
  )
  say(
    `wall ${(ms / 1000).toFixed(2)} s; per task: scheduler ${perTask(schedulerMs)} us, workers, client and simulation ${perTask(ms - schedulerMs)} us, heap of everything ${(heap / tasks).toFixed(0)} bytes`,
  )
  client.release(keys)
  client.close()
  await world.run(() => state.tasks.size === 0, LIMIT_MS)
  if (world.failure !== null) say(world.failure.what)
  if (state.tasks.size > 0) say(`${state.tasks.size} tasks are left`)
  return world.failure === null && done === tasks && state.tasks.size === 0
}

function submitAll(cluster: SimCluster, count: number): SimTask['key'][] {
  const client = cluster.clients[0]
  const keys: SimTask['key'][] = []
  for (let first = 0; first < count; first += GRAPH_TASKS) {
    const tasks = Array.from({ length: Math.min(GRAPH_TASKS, count - first) }, (_, n): SimTask => ({
      key: taskKey(`t-${first + n}`),
      name: 't',
      inputs: [],
      bytes: 0,
      durationMs: 1,
      random: false,
      trouble: NO_TROUBLE,
      options: {},
    }))
    for (const task of tasks) cluster.book.add(task)
    const graph = tasks.map((task) => task.key)
    client?.submit(tasks, graph, { reads: false })
    keys.push(...graph)
  }
  return keys
}

function heapBytes(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}
