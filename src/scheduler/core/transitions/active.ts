// Entering and leaving the states in which a task means to run (waiting, no-worker, queued, processing), seen from its inputs.

import type { TaskRecord } from '../records.ts'
import { recommend, type SchedulerState } from '../state.ts'

/** To be called with the step out of the active states: inputs that nobody else waits for are looked at again. */
export function leaveActive(state: SchedulerState, task: TaskRecord): void {
  for (const input of task.dependencies) {
    input.waiters--
    if (input.waiters === 0 && input.wantedBy.length === 0) recommend(state, input, 'settled')
  }
}
