// Fairness between clients with equal user priority: tasks are given turns when they are submitted, and turns of all clients
// interleave, so that a client with ten tasks does not wait for the hundred thousand that another one sent before. A turn is
// a fixed amount of expected work. Turns never change afterwards: every queue stays a heap of constants.
//
// F1. As long as a client has unfinished tasks, turn and position grow in the order of submission and, within a graph, in
//     its static order.
// F2. What a client has had is what it was issued less what it still waits for: whatever ends a task, however, counts.
// F3. A client that has no more to do than there are threads goes on where the least served of those that have more is, not
//     before: nobody is owed anything for having been idle. One that has nothing to do starts there: nobody pays for having
//     been alone, or for what was cancelled.

import { expectedMs } from './expectation.ts'
import type { ClientRecord, TaskGroup, TaskRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** Expected work in one turn: one task of unknown duration, or many short ones. */
const TURN_MS = 500
/** No task is free. */
const STEP_MIN_MS = 0.01
/** A guess that is far off must not cost a client hours. */
const STEP_MAX_MS = 60_000

/** To be called before the tasks of one message get their turns. */
export function joinTurns(state: SchedulerState, client: ClientRecord): void {
  if (client.active > state.runningThreads) return
  const servedMs = leastServed(state)
  client.issuedMs = client.active === 0 ? servedMs : Math.max(client.issuedMs, servedMs)
}

/** The turn of the client's next task. */
export function nextTurn(client: ClientRecord, group: TaskGroup): number {
  const turn = Math.floor(client.issuedMs / TURN_MS)
  client.issuedMs += group.stepMs
  return turn
}

/** What a task of this function counts for, as far as is known when it is submitted. */
export function stepOf(state: SchedulerState, group: Pick<TaskGroup, 'fn' | 'prefix'>): number {
  return Math.min(STEP_MAX_MS, Math.max(STEP_MIN_MS, expectedMs(state, group)))
}

/** The task means to run from now on. */
export function beginWait(task: TaskRecord): void {
  const { client, stepMs } = task.group
  if (client === null) return
  client.active++
  client.activeMs += stepMs
}

export function endWait(task: TaskRecord): void {
  const { client, stepMs } = task.group
  if (client === null) return
  client.active--
  // Sums of fractions are not exact: with nothing left they start anew.
  client.activeMs = client.active === 0 ? 0 : client.activeMs - stepMs
}

function leastServed(state: SchedulerState): number {
  let least = Infinity
  let most = 0
  for (const { active, issuedMs, activeMs } of state.clients.values()) {
    if (active > state.runningThreads) least = Math.min(least, issuedMs - activeMs)
    else if (active > 0) most = Math.max(most, issuedMs - activeMs)
  }
  state.servedMs = Math.max(state.servedMs, least === Infinity ? most : least)
  return state.servedMs
}
