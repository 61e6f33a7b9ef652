// From `released`: known, not in memory, not on its way there.

import { beginWait } from '../fairness.ts'
import { FIRE_AND_FORGET } from '../names.ts'
import { isAvailable } from '../replicas.ts'
import type { RunId } from '../../../base/ids.ts'
import { isActive, type TaskFailure, type TaskRecord } from '../records.ts'
import { become, recommend, removeWant, reportTo, type Arrival, type SchedulerState } from '../state.ts'
import { abandon } from './abandon.ts'
import { enterMemory } from './memory.ts'
import { neverReadable, neverRunsAgain } from '../failures.ts'

export function releasedToWaiting(state: SchedulerState, task: TaskRecord): void {
  if (!task.isNeeded) return
  if (!task.hasRecipe) {
    if (!state.placements.has(task)) abandon(state, [task], { reason: 'scattered data lost', code: 'DATA_LOST' })
    return
  }
  for (const input of task.dependencies) {
    if (input.state === 'forgotten') return abandon(state, [task], { reason: 'lost dependencies', code: 'DATA_LOST' })
  }
  task.failure = failureOfInputs(task) ?? neverRunsAgain(task) ?? neverReadable(task)
  if (task.failure !== null) return releasedToErred(state, task)
  become(state, task, 'waiting')
  beginWait(task)
  let missing = 0
  for (const input of task.dependencies) {
    input.waiters++
    if (isAvailable(input)) continue
    missing++
    recommend(state, input, 'settled')
  }
  task.waitingOn = missing
  if (missing === 0) recommend(state, task, 'settled')
}

export function releasedToErred(state: SchedulerState, task: TaskRecord): void {
  task.failure ??= failureOfInputs(task)
  if (task.failure === null) return
  become(state, task, 'erred')
  for (const client of task.wantedBy) {
    reportTo(state, client, task)
    if (client.id === FIRE_AND_FORGET) removeWant(client, task)
  }
  for (const dependent of task.dependents ?? []) if (isActive(dependent.state)) recommend(state, dependent, 'erred')
  if (!task.isNeeded) recommend(state, task, 'settled')
}

/** A value turned up that nobody computes now: scattered data arrived, or an inventory brought it back. */
export function releasedToMemory(state: SchedulerState, task: TaskRecord, arrival: Arrival): void {
  state.placements.delete(task)
  enterMemory(state, task, arrival)
}

export function releasedToForgotten(state: SchedulerState, task: TaskRecord): void {
  become(state, task, 'forgotten')
  task.failure = null
  state.tasks.delete(task.key)
  dropPlaced(state, task)
  state.awaited.delete(task)
  for (const input of task.dependencies) {
    input.dependents?.delete(task)
    if (!input.hasDependents && !input.isNeeded) recommend(state, input, 'settled')
  }
  leaveGroup(state, task)
  // Some may have started to wait for it after it was given up, and before this was followed.
  const stranded = [...(task.dependents ?? [])].filter((dependent) => isActive(dependent.state))
  if (stranded.length > 0) abandon(state, stranded, { reason: 'lost dependencies', code: 'DATA_LOST' })
}

/** A scatter that was not completed: its workers may have the value, or get it yet (then they say so). */
function dropPlaced(state: SchedulerState, task: TaskRecord): void {
  const placed = state.placements.get(task)
  if (placed === undefined) return
  state.placements.delete(task)
  for (const worker of placed)
    if (state.workers.get(worker.id) === worker) state.outbox.freeRun(worker, task.key, task.runId as RunId)
}

function leaveGroup(state: SchedulerState, task: TaskRecord): void {
  const { group } = task
  task.group.prefix.counts.forgotten--
  group.live--
  if (group.family !== null && --group.family.live === 0) group.family.fn.families.delete(group.family.generation)
  if (group.live > 0 || group.fn === null) return
  group.fn.groups--
  releaseFunction(state, group.fn)
}

/** Drops a function that no group uses and no client believes to be known here. */
export function releaseFunction(state: SchedulerState, fn: NonNullable<TaskRecord['group']['fn']>): void {
  if (fn.groups > 0 || fn.clients > 0) return
  state.functions.delete(fn.id)
  for (const worker of state.workers.values()) {
    if (worker.functions.delete(fn.id)) state.outbox.toWorker(worker, { op: 'free-functions', ids: [fn.id] })
  }
}

function failureOfInputs(task: TaskRecord): TaskFailure | null {
  for (const input of task.dependencies) if (input.state === 'erred') return input.failure
  return null
}
