// The policy that is on by default: as many copies of a value as the tasks that still need it can use, and one when
// nobody does. What `replicate` is working on, and what is on the move, is left alone.

import type { Policy } from './memory-manager.ts'
import { isActive, type TaskRecord, type WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** Tasks on one worker share its copy; with so many that need it there is hardly a worker without one. */
const WAITERS_COUNTED = 20

export const reduceReplicas: Policy = {
  name: 'ReduceReplicas',
  *run(state) {
    const pinned = replicatedNow(state)
    for (const task of state.replicated) {
      if (pinned.has(task) || state.copies.orders.has(task)) continue
      const leaving = state.copies.removals.get(task)?.size ?? 0
      for (let extra = task.holders.length - leaving - copiesNeeded(task); extra > 0; extra--)
        if ((yield { op: 'drop', task }) === null) break
    }
  },
}

export function copiesNeeded(task: TaskRecord): number {
  if (task.waiters <= 1 || task.waiters >= WAITERS_COUNTED) return Math.max(1, task.waiters)
  const workers = new Set<WorkerRecord>()
  let unassigned = 0
  for (const dependent of task.dependents ?? []) {
    if (!isActive(dependent.state)) continue
    if (dependent.processingOn === null) unassigned++
    else workers.add(dependent.processingOn)
  }
  return workers.size + unassigned
}

function replicatedNow(state: SchedulerState): Set<TaskRecord> {
  const tasks = new Set<TaskRecord>()
  for (const pending of state.requests.values())
    if (pending.kind === 'replicate') for (const task of pending.open) tasks.add(task)
  return tasks
}
