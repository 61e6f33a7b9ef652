// Holding data producers back. A task that needs no data of its own makes data as fast as workers take it, so it waits
// on the scheduler until some worker has a free slot; consumers, which free memory, always go first.
//
// Q1. A producer ("rootish") has no restrictions, and its family is larger than two tasks per thread and leans on few inputs.
// Q2. A worker has ceil(saturation x threads) slots for producers: enough that none waits for the scheduler.
// Q3. Slots count work, not tasks: a function measured as quick and small gets enough slots for SLOT_WORK_MS of work,
//     so that trivial tasks flow without a round trip for each.
// Q4. slots = ceil(perThread x threads), so a worker is full exactly when its tasks per thread reach `perThread`: the
//     least loaded worker of the heap is full only when all are. Looking at one worker decides for a thousand.
// Q5. The queue is served in priority order, and its head waits for a slot even when a later task would find one.

import { hasRoom, missingBytes } from './memory-room.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

const SLOT_WORK_MS = 20
const SLOTS_PER_THREAD_MAX = 64
/** Above this mean result size a function is a data producer, however quick. */
const SMALL_RESULT_BYTES = 64 * 1024
const PRODUCER_INPUTS_MAX = 5
/** Workers looked at when the least loaded one has no room. */
const WORKERS_SEEN = 32

export function isRootish(state: SchedulerState, task: TaskRecord): boolean {
  const { family, labels, resources } = task.group
  if (family === null || labels !== null || resources !== null) return false
  return family.inputs !== null && family.total > 2 * state.runningThreads
}

/** A family stops being one of producers when it leans on many inputs. */
export function noteInputs(task: TaskRecord): void {
  const { family } = task.group
  if (family === null || family.inputs === null) return
  for (const input of task.dependencies) {
    family.inputs.add(input)
    if (family.inputs.size < PRODUCER_INPUTS_MAX) continue
    family.inputs = null
    return
  }
}

/** The worker that takes this producer now, if one has a slot. */
export function slotFor(state: SchedulerState, task: TaskRecord): WorkerRecord | undefined {
  const worker = state.byLoad.best
  if (worker === undefined) return undefined
  if (worker.load >= slotsOf(state, worker, task)) return undefined
  return isGood(state, task, worker) ? worker : (betterSlot(state, task) ?? worker)
}

function betterSlot(state: SchedulerState, task: TaskRecord): WorkerRecord | undefined {
  return state.byLoad
    .top(WORKERS_SEEN)
    .find((worker) => worker.load < slotsOf(state, worker, task) && isGood(state, task, worker))
}

/** It has room for the result, and did not just fail this task. */
function isGood(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): boolean {
  if (worker.crowded || (task.trouble !== null && task.trouble.avoid === worker.id)) return false
  return worker.info.memoryLimit === 0 || hasRoom(state, task, worker, missingBytes(task, worker))
}

function slotsOf(state: SchedulerState, worker: WorkerRecord, task: TaskRecord): number {
  const measured = task.group.fn?.measured
  let perThread = state.options.saturation
  if (measured !== undefined && measured.meanMs >= 0 && measured.meanBytes < SMALL_RESULT_BYTES) {
    perThread = Math.max(perThread, Math.min(SLOTS_PER_THREAD_MAX, SLOT_WORK_MS / measured.meanMs))
  }
  return Math.ceil(perThread * worker.nthreads)
}
