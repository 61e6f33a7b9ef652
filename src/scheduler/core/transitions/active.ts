// Entering and leaving the states in which a task means to run (waiting, no-worker, queued, processing), seen from its inputs.

import { endWait } from '../fairness.ts'
import type { TaskRecord } from '../records.ts'
import { recommend, type SchedulerState } from '../state.ts'

/** To be called with the step from an active state to `released`: the task is looked at first, its inputs after it, so that
 *  a task that only starts anew finds them where they were. */
export function giveUpActive(state: SchedulerState, task: TaskRecord): void {
  recommend(state, task, 'settled')
  leaveActive(state, task)
}

/** To be called with the step out of the active states: inputs that nobody else waits for are looked at again. */
export function leaveActive(state: SchedulerState, task: TaskRecord): void {
  endWait(task)
  for (const input of task.dependencies) {
    input.waiters--
    if (input.waiters === 0 && input.wantedBy.length === 0) recommend(state, input, 'settled')
  }
}
