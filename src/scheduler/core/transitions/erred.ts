// From `erred`: failed for good, with the reason. Left by a retry, or when nobody needs the task.

import type { TaskRecord } from '../records.ts'
import { become, type SchedulerState } from '../state.ts'

export function erredToReleased(state: SchedulerState, task: TaskRecord): void {
  task.failure = null
  become(state, task, 'released')
}
