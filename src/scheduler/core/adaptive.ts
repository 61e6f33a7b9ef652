// How many workers a cluster needs, and which of them it needs least. Pure functions of the state; `LocalCluster.adapt` acts
// on them, and `retire-workers` without names.
//
// T1. For the work: enough threads to do what is expected within `targetDurationMs`, never more than there are tasks; at
//     least one worker while anything waits.
// T2. For the data: twice as many workers while more than MEMORY_FULL of all limits is stored.
// T3. Fewer workers only as far as idle ones can go without filling the others: what they hold fits twice into what is left.

import type { WorkerRecord } from './records.ts'
import { expectedMs } from './expectation.ts'
import type { SchedulerState } from './state.ts'

const MEMORY_FULL = 0.6
/** Limits of the workers that stay, over what is stored. */
const MEMORY_RATIO = 2
/** Tasks whose durations are added up; the rest is taken to be like them. */
const SAMPLE = 100

export interface AdaptiveQuestion {
  readonly targetDurationMs: number
  readonly minimum: number
  readonly maximum: number
}

export function adaptiveTarget(
  state: SchedulerState,
  { targetDurationMs, minimum, maximum }: AdaptiveQuestion,
): { readonly target: number; readonly close: readonly WorkerRecord[] } {
  const workers = livingWorkers(state)
  const wanted = clamp(Math.max(forWork(state, workers, targetDurationMs), forMemory(workers)), minimum, maximum)
  if (wanted >= workers.length) return { target: wanted, close: [] }
  // What is above the maximum goes, whatever it does.
  const close = workersToClose(state, workers.length > maximum ? { n: workers.length - maximum } : { keep: wanted })
  return { target: workers.length - close.length, close }
}

/** T1. */
function forWork(state: SchedulerState, workers: readonly WorkerRecord[], targetDurationMs: number): number {
  let occupancyMs = 0
  let threads = 0
  for (const worker of workers) {
    occupancyMs += worker.occupancyUs / 1000
    threads += worker.nthreads
  }
  const waiting = [...firstOf(state.queue, SAMPLE), ...firstOf(state.noWorker.keys(), SAMPLE)]
  const tasks = state.queue.size + state.noWorker.size
  let waitingMs = 0
  for (const task of waiting) waitingMs += expectedMs(state, task.group)
  if (waiting.length > 0) waitingMs *= tasks / waiting.length
  const slots = Math.min(Math.ceil((occupancyMs + waitingMs) / targetDurationMs), tasks + state.processing)
  const perWorker = workers.length === 0 ? 1 : threads / workers.length
  const needed = Math.ceil(slots / perWorker)
  return needed === 0 && tasks > 0 ? 1 : needed
}

/** T2. */
function forMemory(workers: readonly WorkerRecord[]): number {
  let limit = 0
  let stored = 0
  for (const { info, nbytes } of workers) {
    if (info.memoryLimit === 0) return 0
    limit += info.memoryLimit
    stored += nbytes
  }
  return stored > MEMORY_FULL * limit ? 2 * workers.length : 0
}

/**
 * Those that are of least use: idle ones first, those with fewest stored bytes first. Exactly `n` of them; or as many as
 * leave `keep` (default: one) and satisfy T3.
 */
export function workersToClose(
  state: SchedulerState,
  { n, keep = 1 }: { readonly n?: number; readonly keep?: number },
): WorkerRecord[] {
  const workers = livingWorkers(state).sort(
    (a, b) => Number(isBusy(a)) - Number(isBusy(b)) || a.nbytes - b.nbytes || (a.info.name < b.info.name ? 1 : -1),
  )
  if (n !== undefined) return workers.slice(0, n)
  const close: WorkerRecord[] = []
  const left = new Set(workers)
  const stored = workers.reduce((sum, { nbytes }) => sum + nbytes, 0)
  for (const worker of workers) {
    if (left.size <= keep || isBusy(worker)) break
    left.delete(worker)
    if (limitOf(left) < MEMORY_RATIO * stored) break
    close.push(worker)
  }
  return close
}

function limitOf(workers: Iterable<WorkerRecord>): number {
  let limit = 0
  for (const { info } of workers) limit += info.memoryLimit === 0 ? Infinity : info.memoryLimit
  return limit
}

function isBusy(worker: WorkerRecord): boolean {
  return worker.processing.size > 0
}

/** Not on their way out; also those that are being started again. */
function livingWorkers(state: SchedulerState): WorkerRecord[] {
  return [...state.workers.values()].filter(({ status }) => status !== 'retiring' && status !== 'closing')
}

function* firstOf<T>(items: Iterable<T>, count: number): Generator<T> {
  let taken = 0
  for (const item of items) {
    if (taken++ === count) return
    yield item
  }
}

function clamp(value: number, minimum: number, maximum: number): number {
  return Math.min(maximum, Math.max(minimum, value))
}
