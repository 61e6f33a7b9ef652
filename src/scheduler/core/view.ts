// Read-only snapshots of the state for whoever asks (clients, probes, HTTP): plain data, computed on demand, nothing kept.

import type { RunId, TaskKey } from '../../base/ids.ts'
import type {
  MemoryMeasures,
  PrefixCounts,
  SchedulerInfo,
  SchedulerRequests,
  WorkerInfo,
  WorkerPresence,
} from '../../protocol/scheduler-client.ts'
import type { Holder } from '../../protocol/tasks.ts'
import { TASK_STATES, type TaskRecord, type WorkerRecord } from './records.ts'
import { fetchableHolders, type SchedulerState } from './state.ts'

export interface TaskInfo {
  readonly key: TaskKey
  readonly state: TaskRecord['state']
  /** Of the function: the unit of statistics. */
  readonly name: string
  /** Bytes; 0 before the first result. */
  readonly nbytes: number
  readonly type: string
  /** Addresses of the workers that hold the value. */
  readonly workers: readonly string[]
  readonly processingOn: string | null
  /** Runs that were started or may have been. */
  readonly attempts: number
  /** Clients with futures of it. */
  readonly clients: number
  readonly dependencies: readonly TaskKey[]
}

export function workerInfo(worker: WorkerRecord): WorkerInfo {
  const { info } = worker
  return {
    id: worker.id,
    name: info.name,
    address: info.address,
    pid: info.pid,
    nannyPid: info.nannyPid,
    host: info.host,
    nthreads: info.nthreads,
    memoryLimit: info.memoryLimit,
    status: presenceOf(worker),
    executors: worker.link === 'away' ? [] : worker.executors,
    resources: info.resources,
    dashboard: info.dashboard,
    localDirectory: info.localDirectory,
    memoryDirectory: info.memoryDirectory,
    restarts: worker.restarts,
    processPeak: worker.processPeak,
    spilledTotal: worker.spilledTotal,
    memory: memoryOf(worker),
    processing: worker.processing.size,
    stored: worker.replicas.size,
  }
}

function presenceOf({ link, status }: WorkerRecord): WorkerPresence {
  if (link === 'live') return status
  return link === 'away' ? 'restarting' : 'disconnected'
}

/** Of the last heartbeat; a process that is dead has no memory, and its files stay. */
function memoryOf({ link, memory: measures }: WorkerRecord): MemoryMeasures {
  if (link !== 'away') return measures
  const { limit, spilled } = measures
  return { limit, process: 0, managed: 0, unmanaged: 0, unmanagedRecent: 0, spilled }
}

/** Workers by address, also those that are waited for. */
export function schedulerInfo(
  state: SchedulerState,
  process: Pick<SchedulerInfo, 'address' | 'pid' | 'dashboard'>,
): SchedulerInfo {
  const workers: Record<string, WorkerInfo> = {}
  for (const worker of state.workers.values()) workers[worker.info.address] = workerInfo(worker)
  const tasks: Record<string, number> = Object.fromEntries(TASK_STATES.map((name) => [name, 0]))
  for (const prefix of state.prefixes.values())
    for (const name of TASK_STATES) tasks[name] = (tasks[name] ?? 0) + prefix.counts[name]
  delete tasks['forgotten']
  return {
    id: state.id,
    ...process,
    workers,
    memory: memory(state).cluster,
    clients: [...state.clients.values()].filter((client) => client.connection !== null).length,
    tasks,
  }
}

export function whoHas(state: SchedulerState, keys: readonly TaskKey[] | undefined): Record<string, readonly Holder[]> {
  const found: Record<string, readonly Holder[]> = {}
  if (keys !== undefined) for (const key of keys) found[key] = allHolders(state.tasks.get(key))
  else for (const task of state.tasks.values()) if (task.state === 'memory') found[task.key] = allHolders(task)
  return found
}

export function locate(state: SchedulerState, keys: readonly TaskKey[]): SchedulerRequests['locate'][1]['found'] {
  const found: SchedulerRequests['locate'][1]['found'][number][] = []
  for (const key of keys) {
    const task = state.tasks.get(key)
    if (task?.state !== 'memory') continue
    found.push({ key, runId: task.acceptedRunId as RunId, nbytes: task.nbytes, holders: fetchableHolders(task) })
  }
  return found
}

export function hasWhat(
  state: SchedulerState,
  labels: readonly string[] | undefined,
): Record<string, readonly TaskKey[]> {
  return byAddress(connectedWorkers(state), labels, (worker) => Array.from(worker.replicas.keys(), (task) => task.key))
}

export function processing(
  state: SchedulerState,
  labels: readonly string[] | undefined,
): Record<string, readonly TaskKey[]> {
  return byAddress(state.workers.values(), labels, (worker) => Array.from(worker.processing, (task) => task.key))
}

export function nbytes(
  state: SchedulerState,
  keys: readonly TaskKey[] | undefined,
  by: 'key' | 'prefix',
): Record<string, number> {
  const tasks = keys === undefined ? [...state.tasks.values()] : keys.map((key) => state.tasks.get(key))
  const sums: Record<string, number> = {}
  for (const task of tasks) {
    if (task?.state !== 'memory') continue
    const name = by === 'key' ? task.key : task.group.prefix.name
    sums[name] = (sums[name] ?? 0) + task.nbytes
  }
  return sums
}

export function taskCounts(state: SchedulerState): Record<string, PrefixCounts> {
  const prefixes: Record<string, PrefixCounts> = {}
  for (const { name, counts, runs, measured, nbytes: bytes } of state.prefixes.values()) {
    const { forgotten: _forgotten, ...known } = counts
    prefixes[name] = { ...known, runs, meanDurationMs: Math.max(0, measured.meanMs), nbytes: bytes }
  }
  return prefixes
}

/** Of all registered workers, as `workerInfo` tells it; the cluster's is the sum. */
export function memory(state: SchedulerState): SchedulerRequests['memory'][1] {
  const cluster = { limit: 0, process: 0, managed: 0, unmanaged: 0, unmanagedRecent: 0, spilled: 0 }
  const workers: Record<string, MemoryMeasures> = {}
  for (const worker of state.workers.values()) {
    const measures = memoryOf(worker)
    workers[worker.info.address] = measures
    for (const name of Object.keys(cluster) as (keyof MemoryMeasures)[]) cluster[name] += measures[name]
  }
  return { cluster, workers }
}

/** Published datasets: how many keys each pins, and the bytes of those in memory. */
export function datasets(state: SchedulerState): Record<string, { readonly keys: number; readonly nbytes: number }> {
  const infos: Record<string, { readonly keys: number; readonly nbytes: number }> = {}
  for (const { name, keys } of state.datasets.values()) {
    const sizes = Object.values(nbytes(state, keys, 'key'))
    infos[name] = { keys: keys.length, nbytes: sizes.reduce((sum, size) => sum + size, 0) }
  }
  return infos
}

/** One task as it is now; null when it is not known. */
export function taskInfo(state: SchedulerState, key: TaskKey): TaskInfo | null {
  const task = state.tasks.get(key)
  if (task === undefined) return null
  return {
    key,
    state: task.state,
    name: task.group.prefix.name,
    nbytes: Math.max(0, task.nbytes),
    type: task.type,
    workers: allHolders(task).map((holder) => holder.address),
    processingOn: task.processingOn?.info.address ?? null,
    attempts: task.attempts,
    clients: task.wantedBy.length,
    dependencies: task.dependencies.map((input) => input.key),
  }
}

function connectedWorkers(state: SchedulerState): WorkerRecord[] {
  return [...state.workers.values()].filter((worker) => worker.link === 'live')
}

function allHolders(task: TaskRecord | undefined): readonly Holder[] {
  return task === undefined
    ? []
    : task.holders.filter((worker) => worker.link === 'live').map((worker) => worker.holder)
}

function byAddress(
  workers: Iterable<WorkerRecord>,
  labels: readonly string[] | undefined,
  of: (worker: WorkerRecord) => readonly TaskKey[],
): Record<string, readonly TaskKey[]> {
  const found: Record<string, readonly TaskKey[]> = {}
  for (const worker of workers) {
    if (labels === undefined || labels.some((label) => worker.labels.includes(label)))
      found[worker.info.address] = of(worker)
  }
  return found
}
