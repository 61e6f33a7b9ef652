// What it takes to bring the inputs of a task to a worker. Between workers of one host a value is handed over by a hard
// link, which costs almost nothing but still counts twice against memory: cheap, never free.

import { isAvailable } from './replicas.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** Bytes per second within one host. */
const NEAR_BANDWIDTH = 8 * 2 ** 30

/** Time from bytes that have to come from other hosts, and from other workers of the same one. */
export function transferTimeUs(state: SchedulerState, farBytes: number, nearBytes: number): number {
  return (farBytes / state.bandwidth + nearBytes / NEAR_BANDWIDTH) * 1e6
}

/** For one worker, exactly. */
export function transferUs(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): number {
  let far = 0
  let near = 0
  for (const input of task.dependencies) {
    if (!isAvailable(input) || worker.replicas.has(input)) continue
    if (isOnHost(input, worker)) near += input.nbytes
    else far += input.nbytes
  }
  return far + near === 0 ? 0 : transferTimeUs(state, far, near)
}

function isOnHost(input: TaskRecord, worker: WorkerRecord): boolean {
  if (worker.host.workers.size === 1) return false
  for (const holder of input.holders) if (holder.host === worker.host && holder.link === 'live') return true
  return false
}
