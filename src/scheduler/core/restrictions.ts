// What a task asks of its worker: a name (`workers`) and a share of what it offers (`resources`). Both must hold at once.

import type { TaskGroup, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

export function isNamed(worker: WorkerRecord, group: TaskGroup): boolean {
  return group.labels === null || group.labels.some((label) => worker.labels.includes(label))
}

/** By total supply: what is free is the worker's business. */
export function supplies(worker: WorkerRecord, group: TaskGroup): boolean {
  return (
    group.resources === null || group.resources.every(([name, amount]) => (worker.info.resources[name] ?? 0) >= amount)
  )
}

/** Running workers that may run tasks of this group; remembered until workers change. */
export function poolOf(state: SchedulerState, group: TaskGroup): readonly WorkerRecord[] {
  if (group.poolVersion === state.poolVersion) return group.pool
  const supplied = [...state.byStart].filter((worker) => supplies(worker, group))
  const named = group.labels === null ? supplied : supplied.filter((worker) => isNamed(worker, group))
  group.pool = named.length === 0 && group.options.allowOtherWorkers === true ? supplied : named
  group.poolVersion = state.poolVersion
  return group.pool
}

/** Without a walk through the pool; `allowOtherWorkers` has opened it when even its first member is not named. */
export function isInPool(group: TaskGroup, pool: readonly WorkerRecord[], worker: WorkerRecord): boolean {
  return supplies(worker, group) && (isNamed(worker, group) || !isNamed(pool[0] as WorkerRecord, group))
}
