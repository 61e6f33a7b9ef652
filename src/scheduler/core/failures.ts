// What a failed run means for its task: another attempt, or the end. Each kind of bad luck has its own budget.
//
// F1. Only the run that was executing is blamed: `crashed` and `out-of-memory` are told by its worker, a run named in
//     `worker-exited` by the nanny: it was executing, or had just ended and its end was not heard of. Runs that waited are
//     repeated for nothing.
// F2. An attempt after one that ran out of memory has twice as much reserved as that had taken; the last one runs alone.
// F3. A task with `idempotent: false` is never run again once a run may have been started.

import { formatBytes } from '../../base/units.ts'
import type { TaskKey } from '../../base/ids.ts'
import type { TaskFailureKind } from '../../protocol/tasks.ts'
import { largestLimitFor, largestWorkerFor, sumOfInputs } from './input-limit.ts'
import type { TaskFailure, TaskRecord, WorkerRecord } from './records.ts'
import { troubleOf, type SchedulerState } from './state.ts'

/** How often a result that no store could take is computed again, and how long the first pause is; it doubles. */
const STORE_FULL_RETRIES = 3
const STORE_FULL_PAUSE_MS = 100

/** How much more memory an attempt gets than the one before had taken when it died. */
const RESERVE_FACTOR = 2

export interface RunFailure {
  readonly kind: TaskFailureKind
  readonly error: Uint8Array
  /** Out of memory: what the run had taken, at least, bytes. */
  readonly peakBytes?: number
}

/** Books the failure of the run that just ended; null = the task may run again. */
export function afterError(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  { kind, error: bytes, peakBytes }: RunFailure,
): TaskFailure | null {
  noteAttempt(task, worker)
  const history = historyOf(task)
  const failure: TaskFailure = {
    origin: task.key,
    worker: worker.info.address,
    error: { kind: 'encoded', bytes },
    ...(history !== null && { history }),
  }
  if (task.group.options.idempotent === false) return failure
  switch (kind) {
    case 'user':
    case 'timeout':
      return task.retriesLeft-- > 0 ? null : failure
    case 'out-of-memory':
      return reserveMore(state, task, worker, peakBytes ?? 0) ? null : failure
    case 'crashed':
      return ++troubleOf(task).crashes <= state.options.allowedFailures ? null : failure
    case 'store-full':
      return holdBack(state, task, worker) ? null : failure
    case 'system':
      return failure
  }
}

/** More memory for the next attempt, the last one alone on its worker; false when there is none. */
function reserveMore(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, peakBytes: number): boolean {
  const trouble = troubleOf(task)
  const attempts = state.options.allowedOomFailures
  if (++trouble.outOfMemory > attempts) return false
  const { memoryLimit, nthreads } = worker.info
  const had = Math.max(trouble.reserve?.bytes ?? 0, task.group.options.memory ?? 0)
  const known = Math.max(had, peakBytes)
  const bytes = RESERVE_FACTOR * (known > 0 ? known : memoryLimit / nthreads)
  trouble.reserve = {
    bytes: Math.round(Math.min(bytes, largestLimitFor(state, task.group))),
    alone: trouble.outOfMemory === attempts,
  }
  return true
}

/** The worker process died with this run in execution. */
export function afterWorkerDeath(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  blamed: boolean,
): TaskFailure | null {
  if (task.group.options.idempotent === false) return lostWithWorker(task, worker)
  if (!blamed) return null
  noteAttempt(task, worker)
  const trouble = troubleOf(task)
  if (++trouble.crashes <= state.options.allowedFailures) return null
  const message =
    `task ${task.key} was running on workers or executors each of the ${trouble.crashes} times that one died under it (${trouble.workers.join(', ')}; ` +
    `${task.attempts} attempts in all). See the log of the nanny of ${worker.info.address}; raise scheduler.allowed-failures (${state.options.allowedFailures}) if the deaths had another cause.`
  const { workers } = trouble
  const fields = {
    key: task.key,
    deaths: trouble.crashes,
    attempts: task.attempts,
    worker: worker.info.address,
    workers,
  }
  return raised(task.key, 'WORKER_LOST', message, fields, worker)
}

/** Of the workers on which a task failed, so many are named. */
const WORKERS_NAMED_MAX = 10

function noteAttempt(task: TaskRecord, worker: WorkerRecord): void {
  const { workers } = troubleOf(task)
  const { address } = worker.info
  if (workers.length < WORKERS_NAMED_MAX && !workers.includes(address)) workers.push(address)
}

/** null: this was the first attempt. */
function historyOf(task: TaskRecord): NonNullable<TaskFailure['history']> | null {
  return task.attempts > 1 ? { attempts: task.attempts, workers: [...troubleOf(task).workers] } : null
}

/** A task that must not run twice and has been given to a worker before. */
export function neverRunsAgain(task: TaskRecord): TaskFailure | null {
  if (task.group.options.idempotent !== false || task.attempts === 0) return null
  const message = `task ${task.key} is marked idempotent: false and may have run before; its value is lost and it is not run again. Submit it under a new key to run it once more.`
  return raised(task.key, 'WORKER_LOST', message, { key: task.key })
}

/**
 * How often a value is computed again because the only copy of it could not be read. A damaged file is an accident; a disk, or
 * a container of the program's own, that never gives back what it got would have it computed for ever.
 */
const UNREADABLE_RETRIES = 5

export function noteUnreadable(task: TaskRecord, worker: WorkerRecord, reason: string): void {
  if (!task.hasRecipe || task.holders.some((holder) => holder !== worker)) return
  const trouble = troubleOf(task)
  trouble.unreadable++
  trouble.unreadableReason = reason
  noteAttempt(task, worker)
}

/** Its value was lost to its store again and again. */
export function neverReadable(task: TaskRecord): TaskFailure | null {
  const { trouble } = task
  if (trouble === null || trouble.unreadable <= UNREADABLE_RETRIES) return null
  const { workers, unreadable, unreadableReason: reason } = trouble
  const message =
    `the value of task ${task.key} was computed ${unreadable} times and could not be read back any time, on ${workers.join(', ')}; the last time: ${reason}. ` +
    'Look at the disk and the memory of these machines, or at the container for values (option `data`), then retry() it.'
  return raised(task.key, 'DATA_LOST', message, { key: task.key, losses: unreadable, reason, workers })
}

/** Inputs named in the error, largest first. */
const INPUTS_NAMED_MAX = 5

export function failedForInputs(state: SchedulerState, task: TaskRecord): TaskFailure {
  const { key, group, dependencies } = task
  const inputBytes = sumOfInputs(task)
  const limit = largestLimitFor(state, group)
  const largest = largestWorkerFor(state, group)
  const named = [...dependencies].sort((a, b) => b.nbytes - a.nbytes).slice(0, INPUTS_NAMED_MAX)
  const list = named.map((input) => `${input.key} ${formatBytes(input.nbytes)}`).join(', ')
  const more = dependencies.length > named.length ? `, and ${dependencies.length - named.length} more` : ''
  const restricted = group.labels !== null || group.resources !== null
  const which = restricted ? 'every worker that may run it' : 'every worker'
  const message =
    `the ${dependencies.length} inputs of task ${key} are ${formatBytes(inputBytes)} together (${list}${more}), more than the memory limit of ${which} ` +
    `(the largest is ${formatBytes(limit)}, of ${largest?.info.address}). Combine them in several steps, as a tree, make the parts smaller, ` +
    `or give a worker more than ${formatBytes(inputBytes)}.`
  return raised(key, 'INPUTS_EXCEED_LIMIT', message, {
    key,
    inputBytes,
    inputs: named.map((input) => ({ key: input.key, nbytes: input.nbytes })),
    inputCount: dependencies.length,
    largestLimitBytes: limit,
    largestWorker: largest?.info.address,
  })
}

export function failedForWorkers(state: SchedulerState, task: TaskRecord): TaskFailure {
  const { labels, resources } = task.group
  const wish = [
    labels === null ? '' : `workers ${labels.join(', ')}`,
    resources === null ? '' : `resources ${resources.map((each) => each.join('=')).join(', ')}`,
  ]
  const why =
    state.workers.size === 0
      ? 'no worker is connected; start one with: plimsoll worker ADDRESS'
      : `none of the ${state.workers.size} workers may run it${labels === null && resources === null ? '' : ` (it asks for ${wish.filter(Boolean).join(' and ')})`}`
  const message = `task ${task.key} found no worker within ${state.options.noWorkersTimeoutMs} ms (scheduler.no-workers-timeout): ${why}`
  return raised(task.key, 'NO_WORKERS', message, { key: task.key, workers: state.workers.size, labels, resources })
}

/** After a pause, and elsewhere when there is another worker; false when that was tried often enough. */
function holdBack(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): boolean {
  const trouble = troubleOf(task)
  if (++trouble.storeFull > STORE_FULL_RETRIES) return false
  const pauseMs = STORE_FULL_PAUSE_MS * 2 ** (trouble.storeFull - 1)
  trouble.avoid = worker.id
  trouble.heldUntilMs = state.now + pauseMs
  state.outbox.setTimer({ kind: 'task-held', key: task.key }, pauseMs)
  return true
}

function lostWithWorker(task: TaskRecord, worker: WorkerRecord): TaskFailure {
  const message =
    `task ${task.key} is marked idempotent: false and its worker ${worker.info.address} died while it had the task; ` +
    'it may have run, so it is not run again. Check its side effects, then submit it under a new key.'
  return raised(task.key, 'WORKER_LOST', message, { key: task.key, worker: worker.info.address }, worker)
}

/** A failure that the scheduler states itself; `origin` is the task that failed first. */
export function raised(
  origin: TaskKey,
  code: 'WORKER_LOST' | 'DATA_LOST' | 'INPUTS_EXCEED_LIMIT' | 'NO_WORKERS' | 'KEY_CONFLICT' | 'GRAPH_CYCLE',
  message: string,
  fields: Readonly<Record<string, unknown>>,
  worker?: WorkerRecord,
): TaskFailure {
  return { origin, worker: worker?.info.address ?? null, error: { kind: 'raised', code, message, fields } }
}
