// Inputs and memory limits: a task whose inputs together are larger than a worker's limit cannot run there, however empty
// the worker is. Larger than all that may ever run it: it fails at once. Larger than those that run now: it waits.

import { isNamed, supplies } from './restrictions.ts'
import type { TaskGroup, TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

export function sumOfInputs(task: TaskRecord): number {
  let sum = 0
  for (const input of task.dependencies) sum += input.nbytes
  return sum
}

/** Can the worker hold these inputs at all? */
export function holds(worker: WorkerRecord, inputBytes: number): boolean {
  const limit = worker.info.memoryLimit
  return limit === 0 || inputBytes <= limit
}

/** Largest memory limit of the workers that may run the group, running or not; Infinity when one has none, or when there is none. */
export function largestLimitFor(state: SchedulerState, group: TaskGroup): number {
  const { allowed } = group
  if (allowed === null) return (state.largestLimit ??= limitOf([...state.workers.values()]))
  if (allowed.limitVersion !== state.poolVersion) {
    allowed.limitVersion = state.poolVersion
    allowed.largestLimit = limitOf(allowedOf(state, group))
  }
  return allowed.largestLimit
}

/** Among these, the one with the largest limit: named in the error. */
export function largestWorkerFor(state: SchedulerState, group: TaskGroup): WorkerRecord | undefined {
  let largest: WorkerRecord | undefined
  for (const worker of allowedOf(state, group))
    if (largest === undefined || limitOf([worker]) > limitOf([largest])) largest = worker
  return largest
}

function allowedOf(state: SchedulerState, group: TaskGroup): WorkerRecord[] {
  const supplied = [...state.workers.values()].filter((worker) => supplies(worker, group))
  const named = supplied.filter((worker) => isNamed(worker, group))
  return named.length === 0 && group.options.allowOtherWorkers === true ? supplied : named
}

function limitOf(workers: readonly WorkerRecord[]): number {
  let largest = 0
  for (const { info } of workers) largest = Math.max(largest, info.memoryLimit === 0 ? Infinity : info.memoryLimit)
  return workers.length === 0 ? Infinity : largest
}
