// Losing replicas and values: what the loss of one copy means for its task.

import { askToKeep, endOrdersOf } from './copies.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import { availabilityChanged, isAvailable, removeReplica } from './replicas.ts'
import { recommend, settleRunning, type SchedulerState } from './state.ts'
import type { WorkerLink } from './records.ts'
import { abandon } from './transitions/abandon.ts'
import { transition } from './transitions/table.ts'

/** This worker does not have the value any more (and is not told so). The last replica takes the value with it. */
export function loseReplica(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): void {
  if (!worker.replicas.has(task)) return
  const before = isAvailable(task)
  removeReplica(state, task, worker)
  if (before && !isAvailable(task)) availabilityChanged(state, task, false)
  const [left, another] = task.holders
  if (left === undefined) loseValue(state, task)
  else if (another === undefined && left.loose.has(task)) askToKeep(state, task, left)
}

/** Every replica is gone or given up: it is computed again when somebody needs it, or lost for good without a recipe. */
function loseValue(state: SchedulerState, task: TaskRecord): void {
  if (task.hasRecipe) {
    transition(state, task, 'released')
    recommend(state, task, 'settled')
  } else abandon(state, [task], { reason: 'all copies of the scattered data are lost', code: 'DATA_LOST' })
}

/** The worker's stream went or came back: what it holds stops or starts to be fetchable, and it to be chosen. */
export function setLink(state: SchedulerState, worker: WorkerRecord, link: WorkerLink): void {
  if (worker.link === link) return
  const comesBack = link === 'live'
  const affected: TaskRecord[] = []
  for (const task of worker.replicas.keys()) if (isAvailable(task) !== comesBack) affected.push(task)
  worker.link = link
  if (!comesBack) endOrdersOf(state, worker)
  for (const task of affected) if (isAvailable(task) === comesBack) availabilityChanged(state, task, comesBack)
  settleRunning(state, worker)
}
