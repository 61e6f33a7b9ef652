// What a task asks of its worker: a name (`workers`) and a share of what it offers (`resources`). Both must hold at once.

import type { TaskOptionsWire } from '../../protocol/tasks.ts'
import type { AllowedWorkers, TaskGroup, WorkerRecord } from './records.ts'
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

/** Restrictions are few, but a program may make them up: beyond this many, the memory of them starts anew. */
const ALLOWED_MAX = 1000

/** One record for the same restrictions: a loop of `submit` does not look at all workers for each of its tasks. */
export function allowedWorkers(state: SchedulerState, options: TaskOptionsWire): AllowedWorkers {
  const { workers = [], resources = {}, allowOtherWorkers = false } = options
  const name = JSON.stringify([workers, resources, allowOtherWorkers])
  let allowed = state.allowed.get(name)
  if (allowed === undefined) {
    if (state.allowed.size >= ALLOWED_MAX) state.allowed.clear()
    allowed = { pool: [], poolVersion: -1, largestLimit: Infinity, limitVersion: -1 }
    state.allowed.set(name, allowed)
  }
  return allowed
}

/** Running workers that may run tasks of this restricted group; remembered until workers change. */
export function poolOf(state: SchedulerState, group: TaskGroup): readonly WorkerRecord[] {
  const allowed = group.allowed as AllowedWorkers
  if (allowed.poolVersion === state.poolVersion) return allowed.pool
  const supplied = [...state.byStart].filter((worker) => supplies(worker, group))
  const named = group.labels === null ? supplied : supplied.filter((worker) => isNamed(worker, group))
  allowed.pool = named.length === 0 && group.options.allowOtherWorkers === true ? supplied : named
  allowed.poolVersion = state.poolVersion
  return allowed.pool
}

/** Without a walk through the pool; `allowOtherWorkers` has opened it when even its first member is not named. */
export function isInPool(group: TaskGroup, pool: readonly WorkerRecord[], worker: WorkerRecord): boolean {
  return supplies(worker, group) && (isNamed(worker, group) || !isNamed(pool[0] as WorkerRecord, group))
}
