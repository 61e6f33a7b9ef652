// Messages about replicas: copies that were fetched, dropped, became durable, or were not found where they should be.
//
// The scheduler's books are the authority. A worker that holds what the books do not want is told to drop it, but only
// when that cannot hit another value: keys name values, and the same worker may be computing this key anew.

import type { RunId, TaskKey } from '../../../base/ids.ts'
import type { ClientToScheduler } from '../../../protocol/scheduler-client.ts'
import { askToKeep, endCopy, endRemoval } from '../copies.ts'
import { noteUnreadable } from '../failures.ts'
import { loseReplica } from '../losing.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import { addReplica, availabilityChanged, isAvailable, setLoose } from '../replicas.ts'
import { fetchableHolders, recommend, type SchedulerState } from '../state.ts'
import { transition } from '../transitions/table.ts'

/** What a worker says of a key of which it holds nothing. */
const NO_RUN = 0

interface ReplicaNote {
  readonly key: TaskKey
  readonly runId: RunId
}

export function addKeys(
  state: SchedulerState,
  worker: WorkerRecord,
  keys: readonly (ReplicaNote & { readonly durable: boolean; readonly kept?: RunId })[],
): void {
  for (const { key, runId, durable, kept = null } of keys) {
    const task = state.tasks.get(key)
    if (task !== undefined && task.acceptedRunId === runId) acceptReplica(state, task, worker, { runId, durable, kept })
    // What was just scattered there may not count yet; a copy of the key's earlier life never will.
    else if (task?.runId !== runId || !state.placements.has(task)) dropUnwanted(state, worker, key, runId)
  }
}

/** Values of which a client that died may never speak: nobody else would know that they are there. */
export function keysScattered(state: SchedulerState, worker: WorkerRecord, keys: readonly ReplicaNote[]): void {
  for (const { key, runId } of keys) {
    const task = state.tasks.get(key)
    if (task !== undefined && state.placements.has(task) && task.runId === runId) continue
    if (task?.state !== 'memory' || task.acceptedRunId !== runId) dropUnwanted(state, worker, key, runId)
    else if (!worker.replicas.has(task)) {
      const before = isAvailable(task)
      addReplica(state, task, worker, true)
      if (!before) availabilityChanged(state, task, true)
    }
  }
}

/** A copy of the run that was accepted last: one more replica, or the value itself when it had been given up. */
function acceptReplica(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  { runId: run, durable, kept }: { readonly runId: RunId; readonly durable: boolean; readonly kept: RunId | null },
): void {
  // The news may have crossed the order to compute the value anew, which makes the worker drop its copy.
  const seen = Math.max(run, kept ?? 0, worker.registeredRun)
  const crossed = (task.trouble?.reruns?.get(worker.id) ?? 0) > seen
  if (task.state === 'memory') {
    const before = isAvailable(task)
    if (kept !== null || !worker.replicas.has(task)) {
      addReplica(state, task, worker, durable)
      // Not to be counted on before it is there again.
      setLoose(state, task, worker, kept === null || crossed)
    }
    if (!before) availabilityChanged(state, task, true)
    // Whether it did or not: after this it has one.
    if (crossed) askToKeep(state, task, worker)
    else if (kept !== null) endCopy(state, task, worker, true)
    else endRemoval(state, task, worker, false)
  } else if (task.processingOn === worker) {
    // It will drop the copy, if it has not yet, when it finds the new order.
  } else if (!crossed && task.isNeeded && task.state !== 'erred') {
    transition(state, task, 'memory', { worker, run, nbytes: task.nbytes, type: task.type, durable })
    setLoose(state, task, worker, kept === null)
  } else dropUnwanted(state, worker, task.key, run)
}

/** Tells the worker to drop what this run gave, unless the books know of a value or a run of the key there. */
export function dropUnwanted(state: SchedulerState, worker: WorkerRecord, key: TaskKey, run: RunId): void {
  const task = state.tasks.get(key)
  if (task !== undefined && (task.processingOn === worker || worker.replicas.has(task))) return
  state.outbox.freeRun(worker, key, run)
}

export function releaseWorkerData(
  state: SchedulerState,
  worker: WorkerRecord,
  keys: readonly (ReplicaNote & { readonly unreadable?: string })[],
): void {
  for (const { key, runId, unreadable } of keys) {
    const task = state.tasks.get(key)
    if (task === undefined) continue
    // A client that missed it may have told before.
    if (unreadable !== undefined && task.acceptedRunId === runId) noteUnreadable(task, worker, unreadable)
    if (task.acceptedRunId === runId || runId === NO_RUN) loseReplica(state, task, worker)
    endCopy(state, task, worker, false)
    endRemoval(state, task, worker, true)
  }
}

export function keysDurable(state: SchedulerState, worker: WorkerRecord, keys: readonly ReplicaNote[]): void {
  for (const { key, runId } of keys) {
    const task = state.tasks.get(key)
    if (task !== undefined && task.acceptedRunId === runId && worker.replicas.has(task)) worker.replicas.set(task, true)
  }
}

export function refreshWhoHas(state: SchedulerState, worker: WorkerRecord, keys: readonly TaskKey[]): void {
  const answers = keys.map((key) => {
    const task = state.tasks.get(key)
    // Itself as well: then it says that it has none.
    const holders = task === undefined ? [] : fetchableHolders(task)
    return { key, runId: (task?.acceptedRunId ?? 0) as RunId, nbytes: Math.max(0, task?.nbytes ?? 0), holders }
  })
  state.outbox.toWorker(worker, { op: 'refresh-who-has', keys: answers })
}

export function reportMissing(
  state: SchedulerState,
  message: Extract<ClientToScheduler, { readonly op: 'report-missing' }>,
): void {
  const task = state.tasks.get(message.key)
  if (task === undefined || task.acceptedRunId !== message.runId || task.state !== 'memory') return
  for (const id of message.workers) {
    const worker = state.workers.get(id)
    if (worker === undefined || !worker.replicas.has(task)) continue
    state.outbox.toWorker(worker, { op: 'remove-replicas', keys: [task.key] })
    loseReplica(state, task, worker)
  }
  recommend(state, task, 'settled')
}
