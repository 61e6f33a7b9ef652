// The books of stealing: what busy workers were asked to give back, for whom, and what that does to the load of both while
// the answer is on its way, so that no decision meanwhile counts a task twice or sends another one after it.
//
// B1. A task is in `steals` at most once, only while it is processing on the victim under the run that was asked for; the
//     entry ends with that run, or with the answer that the victim keeps it.
// B2. `shift` and `shiftUs` of a worker are the sums over the entries that it takes part in.

import { expectedMs, wholeUs } from './expectation.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import { touch, type SchedulerState } from './state.ts'
import { transferUs } from './transfer-cost.ts'

export function beginSteal(state: SchedulerState, task: TaskRecord, victim: WorkerRecord, thief: WorkerRecord): void {
  const thiefUs = wholeUs(expectedMs(state, task.group) * 1000 + transferUs(state, task, thief))
  state.stealing.steals.set(task, { run: task.runId, victim, thief, victimUs: task.expectedUs, thiefUs })
  shift(state, victim, -1, -task.expectedUs)
  shift(state, thief, 1, thiefUs)
}

export function endSteal(state: SchedulerState, task: TaskRecord): void {
  const steal = state.stealing.steals.get(task)
  if (steal === undefined) return
  state.stealing.steals.delete(task)
  shift(state, steal.victim, 1, steal.victimUs)
  shift(state, steal.thief, -1, -steal.thiefUs)
}

/** Its expected duration turned out to be another one. */
export function correctSteal(state: SchedulerState, task: TaskRecord, byUs: number): void {
  const steal = state.stealing.steals.get(task)
  if (steal === undefined) return
  steal.victimUs += byUs
  steal.thiefUs += byUs
  shift(state, steal.victim, 0, -byUs)
  shift(state, steal.thief, 0, byUs)
}

function shift(state: SchedulerState, worker: WorkerRecord, count: number, us: number): void {
  worker.shift += count
  worker.shiftUs += us
  worker.occupancyUs += us
  touch(state, worker)
}
