// Which worker holds which value. The only place that changes TaskRecord.holders and WorkerRecord.replicas.
//
// R1. A value is available when a live worker holds it: only then can dependents run. Held by workers that are not
//     live, it stays in the books (state memory) and dependents wait for the worker's return or for its end, however
//     quick it were to compute: whoever has seen it would see another one where results differ from run to run.
// R2. A replica is loose while its worker may drop it for room: copies that were fetched for a task. Only others are counted
//     on when copies are removed or workers leave (copies.ts); the last copy is asked to be kept.
// R3. Dependents in state waiting count, in `waitingOn`, exactly the inputs that are not available.

import { askToKeep, endRemoval } from './copies.ts'
import { isActive, type TaskRecord, type WorkerRecord } from './records.ts'
import { recommend, touch, type SchedulerState } from './state.ts'

const NO_WORKERS: readonly WorkerRecord[] = Object.freeze([])

export function isAvailable(task: TaskRecord): boolean {
  if (task.state !== 'memory') return false
  for (const worker of task.holders) if (worker.link === 'live') return true
  return false
}

/** Books one replica; what that means for dependents is the caller's business (`availabilityChanged`, transitions). */
export function addReplica(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, durable: boolean): void {
  const known = worker.replicas.get(task)
  if (known === undefined) {
    task.holders = task.holders.length === 0 ? [worker] : [...task.holders, worker]
    worker.nbytes += task.nbytes
    worker.replicas.set(task, durable)
    if (task.holders.length > 1) state.replicated.add(task)
    if (worker.fetching.size > 0) inputArrived(worker, task)
    touch(state, worker)
  } else if (durable && !known) worker.replicas.set(task, true)
}

/** Its way there is no work ahead of the worker any more. */
function inputArrived(worker: WorkerRecord, task: TaskRecord): void {
  const open = worker.fetching.get(task)
  if (open === undefined) return
  worker.fetching.delete(task)
  worker.occupancyUs -= open.us
}

export function removeReplica(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): void {
  if (!worker.replicas.delete(task)) return
  task.holders = task.holders.length === 1 ? NO_WORKERS : task.holders.filter((each) => each !== worker)
  worker.nbytes -= task.nbytes
  if (worker.loose.size > 0) worker.loose.delete(task)
  if (state.replicated.size > 0 && task.holders.length < 2) state.replicated.delete(task)
  if (state.copies.removals.size > 0) endRemoval(state, task, worker, true)
  touch(state, worker)
}

/** What a worker says of its replica: whether it may drop it for room. The last copy is to be kept. */
export function setLoose(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, loose: boolean): void {
  if (!loose) {
    worker.loose.delete(task)
    return
  }
  worker.loose.add(task)
  if (task.holders.length === 1) askToKeep(state, task, worker)
}

/** A task in memory became available, or stopped being so, without leaving that state. */
export function availabilityChanged(state: SchedulerState, task: TaskRecord, available: boolean): void {
  for (const dependent of task.dependents ?? []) {
    if (dependent.state === 'waiting') {
      dependent.waitingOn += available ? -1 : 1
      if (dependent.waitingOn === 0) recommend(state, dependent, 'processing')
    } else if (!available && (dependent.state === 'queued' || dependent.state === 'no-worker'))
      recommend(state, dependent, 'released')
  }
}

/** How many dependents still need the value. */
export function countWaiters(task: TaskRecord): number {
  let count = 0
  for (const dependent of task.dependents ?? []) if (isActive(dependent.state)) count++
  return count
}
