// What a task is expected to cost, and the books of each worker's load: occupancy in whole microseconds and expected
// result bytes, so that what is added when a run starts is taken off exactly when it ends.
//
// O1. `expectedUs` and `expectedBytes` of a task are what its present run added to its worker.
// O2. A prefix without a finished run lists its runs in `guessed`; the first result corrects what they added.

import type { Measurements, PrefixRecord, TaskRecord, WorkerRecord } from './records.ts'
import { touch, type SchedulerState } from './state.ts'

/** Weight of the newest sample in every mean. */
const NEWEST = 0.5

/** Expected run time in milliseconds: as measured for the function, else for its name, else the configured guess. */
export function expectedMs(state: SchedulerState, task: TaskRecord): number {
  const own = task.group.fn?.measured.meanMs ?? -1
  if (own >= 0) return own
  const byName = task.group.prefix.measured.meanMs
  return byName >= 0 ? byName : guessedMs(state, task.group.prefix)
}

export function expectedResultBytes(state: SchedulerState, task: TaskRecord): number {
  const own = task.group.fn?.measured.meanBytes ?? -1
  if (own >= 0) return own
  const byName = task.group.prefix.measured.meanBytes
  return byName >= 0 ? byName : state.options.unknownResultBytes
}

/** `task` starts its run on `worker`; `transferUs` is the time that its missing inputs need. */
export function addLoad(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, transferUs: number): void {
  const { prefix, fn } = task.group
  if (prefix.measured.meanMs < 0 && (fn === null || fn.measured.meanMs < 0)) (prefix.guessed ??= new Set()).add(task)
  task.expectedUs = wholeUs(expectedMs(state, task) * 1000 + transferUs)
  task.expectedBytes = Math.round(expectedResultBytes(state, task))
  task.processingOn = worker
  worker.processing.add(task)
  worker.occupancyUs += task.expectedUs
  worker.expectedBytes += task.expectedBytes
  worker.lastAssigned = ++state.assignments
  touch(state, worker)
}

/** The run of `task` is over, or is not waited for any more. */
export function removeLoad(state: SchedulerState, task: TaskRecord): void {
  const worker = task.processingOn
  if (worker === null) return
  task.processingOn = null
  task.group.prefix.guessed?.delete(task)
  worker.processing.delete(task)
  worker.occupancyUs -= task.expectedUs
  worker.expectedBytes -= task.expectedBytes
  task.expectedUs = 0
  task.expectedBytes = 0
  touch(state, worker)
}

/** A run finished after `durationMs` with a result of `nbytes`. */
export function measure(state: SchedulerState, task: TaskRecord, durationMs: number, nbytes: number): void {
  const { prefix, fn } = task.group
  if (fn !== null) learn(fn.measured, durationMs, nbytes)
  learn(prefix.measured, durationMs, nbytes)
  if (prefix.guessed !== null) correctGuesses(state, prefix)
}

/** A running task has taken much longer than its mean: the mean is wrong, and this is the least that it must be. */
export function outlasted(task: TaskRecord, runningMs: number): void {
  const { fn, prefix } = task.group
  for (const measured of [fn?.measured, prefix.measured]) {
    if (measured !== undefined && measured.meanMs >= 0 && runningMs > 2 * measured.meanMs) measured.meanMs = runningMs
  }
}

function learn(measured: Measurements, durationMs: number, nbytes: number): void {
  measured.meanMs = measured.meanMs < 0 ? durationMs : measured.meanMs + NEWEST * (durationMs - measured.meanMs)
  measured.meanBytes = measured.meanBytes < 0 ? nbytes : measured.meanBytes + NEWEST * (nbytes - measured.meanBytes)
}

function correctGuesses(state: SchedulerState, prefix: PrefixRecord): void {
  const guessed = prefix.guessed ?? []
  const guessMs = guessedMs(state, prefix)
  prefix.guessed = null
  for (const task of guessed) {
    const worker = task.processingOn
    if (worker === null) continue
    const corrected = wholeUs(Math.max(0, task.expectedUs + 1000 * (expectedMs(state, task) - guessMs)))
    worker.occupancyUs += corrected - task.expectedUs
    task.expectedUs = corrected
    touch(state, worker)
  }
}

function guessedMs(state: SchedulerState, prefix: PrefixRecord): number {
  return state.options.defaultDurationsMs[prefix.name] ?? state.options.unknownDurationMs
}

/** A small integer: at most half an hour, above that the order of workers does not change any more. */
function wholeUs(us: number): number {
  return Math.min(0x6fffffff, Math.round(us))
}
