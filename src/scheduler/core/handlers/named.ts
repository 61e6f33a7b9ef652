// What requests about data name: values by key, workers by any of their labels.

import type { TaskKey } from '../../../base/ids.ts'
import type { RequestNumber } from '../events.ts'
import { isHome } from '../copies.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
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

/** Workers on which values may stay, also paused ones. `labels`: names, hosts, addresses or ids; null for all. */
export function homesAmong(state: SchedulerState, labels: readonly string[] | null): WorkerRecord[] {
  return [...state.workers.values()].filter(
    (worker) => isHome(worker) && (labels === null || worker.labels.some((label) => labels.includes(label))),
  )
}

/** null: none of the workers named is there, and the request has been refused. */
export function homesNamed(
  state: SchedulerState,
  request: RequestNumber,
  labels: readonly string[] | null,
  what: string,
): WorkerRecord[] | null {
  const workers = homesAmong(state, labels)
  if (labels === null || workers.length > 0) return workers
  noneNamed(state, request, labels, what)
  return null
}

export function noneNamed(
  state: SchedulerState,
  request: RequestNumber,
  labels: readonly string[],
  what: string,
): void {
  const message = `${what} found none of the workers ${labels.join(', ')}`
  state.outbox.refuse(request, 'INVALID_ARGUMENT', message, { workers: labels })
}
