import type { TaskKey } from '../../../base/ids.ts'
import type { RequestNumber } from '../events.ts'
import type { TaskRecord } from '../records.ts'
import type { SchedulerState } from '../state.ts'

/** The tasks of these keys, each once. null: one is not in memory, and the request has been refused. */
export function valuesOf(
  state: SchedulerState,
  request: RequestNumber,
  keys: readonly TaskKey[],
  what: string,
): TaskRecord[] | null {
  const tasks = new Set<TaskRecord>()
  for (const key of keys) {
    const task = state.tasks.get(key)
    if (task?.state === 'memory') tasks.add(task)
    else {
      const how = task === undefined ? 'not known (any more)' : task.state
      const message = `${what} moves values that are there: "${key}" is ${how}. Wait for its future first.`
      state.outbox.refuse(request, 'INVALID_ARGUMENT', message, { key, state: task?.state ?? null })
      return null
    }
  }
  return [...tasks]
}
