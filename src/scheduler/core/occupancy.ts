// The books of each worker's load: occupancy in whole microseconds and expected bytes of memory, so that what is added when
// a run starts is taken off exactly when it ends.
//
// O1. `expectedUs` and `expectedBytes` of a task are what its present run added to its worker.
// O2. A prefix without a finished run lists its runs in `guessed`; the first result corrects what they added.
// O3. An input that has to be brought to a worker counts once, from the first task there that needs it until the input has
//     arrived or the last of them is gone.

import { expectedMs, expectedNeedBytes, guessedMs, isMeasured, learn, outlasted, wholeUs } from './expectation.ts'
import type { PrefixRecord, TaskRecord, WorkerRecord } from './records.ts'
import { touch, type SchedulerState } from './state.ts'
import { correctSteal, endSteal } from './steals.ts'
import { fetchUs } from './transfer-cost.ts'

/** `task` starts its run on `worker`. */
export function addLoad(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): void {
  if (!isMeasured(task)) (task.group.prefix.guessed ??= new Set()).add(task)
  task.expectedUs = wholeUs(expectedMs(state, task.group) * 1000)
  task.expectedBytes = Math.round(expectedNeedBytes(state, task))
  task.processingOn = worker
  worker.processing.add(task)
  state.processing++
  worker.occupancyUs += task.expectedUs
  worker.expectedBytes += task.expectedBytes
  worker.lastAssigned = ++state.assignments
  for (const input of task.dependencies) if (!worker.replicas.has(input)) awaitInput(state, worker, input)
  touch(state, worker)
}

/** The run of `task` is over, or is not waited for any more. */
export function removeLoad(state: SchedulerState, task: TaskRecord): void {
  const worker = task.processingOn
  if (worker === null) return
  if (state.stealing.steals.size > 0) endSteal(state, task)
  task.processingOn = null
  task.group.prefix.guessed?.delete(task)
  worker.processing.delete(task)
  state.processing--
  worker.occupancyUs -= task.expectedUs
  worker.expectedBytes -= task.expectedBytes
  task.expectedUs = 0
  task.expectedBytes = 0
  if (worker.fetching.size > 0) for (const input of task.dependencies) stopAwaiting(worker, input)
  touch(state, worker)
}

function awaitInput(state: SchedulerState, worker: WorkerRecord, input: TaskRecord): void {
  const open = worker.fetching.get(input)
  if (open !== undefined) {
    open.count++
    return
  }
  const us = wholeUs(fetchUs(state, input, worker))
  worker.fetching.set(input, { count: 1, us })
  worker.occupancyUs += us
}

function stopAwaiting(worker: WorkerRecord, input: TaskRecord): void {
  const open = worker.fetching.get(input)
  if (open === undefined || --open.count > 0) return
  worker.fetching.delete(input)
  worker.occupancyUs -= open.us
}

/** A run finished after `durationMs` with a result of `nbytes`. */
export function measure(state: SchedulerState, task: TaskRecord, durationMs: number, nbytes: number): void {
  const { prefix, fn } = task.group
  if (fn !== null) learn(fn.measured, durationMs, nbytes)
  learn(prefix.measured, durationMs, nbytes)
  if (prefix.guessed !== null) correctGuesses(state, prefix)
}

/** It has been running for this long. What takes longer than expected is taken to be half done. */
export function noteRunning(state: SchedulerState, task: TaskRecord, runningMs: number): void {
  outlasted(task, runningMs)
  if (1000 * runningMs > task.expectedUs) correct(state, task, wholeUs(2000 * runningMs))
}

function correctGuesses(state: SchedulerState, prefix: PrefixRecord): void {
  const guessed = prefix.guessed ?? []
  const guessMs = guessedMs(state, prefix)
  prefix.guessed = null
  for (const task of guessed) {
    correct(state, task, wholeUs(Math.max(0, task.expectedUs + 1000 * (expectedMs(state, task.group) - guessMs))))
  }
}

function correct(state: SchedulerState, task: TaskRecord, us: number): void {
  const worker = task.processingOn
  if (worker === null) return
  const byUs = us - task.expectedUs
  task.expectedUs = us
  worker.occupancyUs += byUs
  touch(state, worker)
  correctSteal(state, task, byUs)
}
