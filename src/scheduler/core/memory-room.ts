// How much more a worker can take before it would pause: what its last report left, less what has come since and what its
// present runs are expected to bring. A worker without room is passed over as long as there is another (placement.ts), and
// never gets stolen work (stealing.ts).

import { expectedNeedBytes } from './expectation.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** What brings less than this part of the limit is welcome anywhere: it may well free more. */
const SMALL = 0.01

/** `missingBytes`: inputs of the task that would have to be brought there. */
export function hasRoom(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, missingBytes: number): boolean {
  const limit = worker.info.memoryLimit
  if (limit === 0 || state.options.pauseFraction === Infinity) return true
  const needed = missingBytes + expectedNeedBytes(state, task)
  if (needed < SMALL * limit) return true
  return expectedUse(state, worker) + needed <= state.options.pauseFraction * limit
}

/** Process memory as it will be when everything that is on its way there has come. */
export function expectedUse(state: SchedulerState, worker: WorkerRecord): number {
  const arrived = Math.max(0, worker.nbytes - worker.nbytesTold)
  const { incoming } = state.copies
  const coming = incoming.size === 0 ? 0 : (incoming.get(worker) ?? 0)
  return worker.usedBytes + arrived + worker.expectedBytes + coming
}

/** Exactly, for a task with few inputs. */
export function missingBytes(task: TaskRecord, worker: WorkerRecord): number {
  let sum = 0
  for (const input of task.dependencies) if (!worker.replicas.has(input)) sum += Math.max(0, input.nbytes)
  return sum
}
