// What a failed run means for its task: another attempt, or the end. Each kind of bad luck has its own budget.
//
// F1. Only the run that was executing is blamed: `crashed` and `out-of-memory` are told by its worker, a run named in
//     `worker-exited` by the nanny. Runs that waited are repeated for nothing.
// F2. A task with `idempotent: false` is never run again once a run may have been started.

import { formatBytes } from '../../base/units.ts'
import type { TaskKey } from '../../base/ids.ts'
import type { TaskFailureKind } from '../../protocol/tasks.ts'
import type { TaskFailure, TaskRecord, WorkerRecord } from './records.ts'
import { troubleOf, type SchedulerState } from './state.ts'

/** How often a result that no store could take is computed again, and how long the first pause is; it doubles. */
const STORE_FULL_RETRIES = 3
const STORE_FULL_PAUSE_MS = 100

/** Books the failure of the run that just ended; null = the task may run again. */
export function afterError(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  kind: TaskFailureKind,
  bytes: Uint8Array,
): TaskFailure | null {
  const failure: TaskFailure = { origin: task.key, worker: worker.info.address, error: { kind: 'encoded', bytes } }
  if (task.group.options.idempotent === false) return failure
  switch (kind) {
    case 'user':
    case 'timeout':
      return task.retriesLeft-- > 0 ? null : failure
    case 'out-of-memory':
      return ++troubleOf(task).outOfMemory <= state.options.allowedOomFailures ? null : failure
    case 'crashed':
      return ++troubleOf(task).crashes <= state.options.allowedFailures ? null : failure
    case 'store-full':
      return holdBack(state, task, worker) ? null : failure
    case 'system':
      return failure
  }
}

/** The worker process died with this run in execution. */
export function afterWorkerDeath(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  blamed: boolean,
): TaskFailure | null {
  if (task.group.options.idempotent === false) return lostWithWorker(task, worker)
  if (!blamed || ++troubleOf(task).crashes <= state.options.allowedFailures) return null
  const message =
    `task ${task.key} was running on ${task.trouble?.crashes} workers or executors when they died; the last was ${worker.info.address}. ` +
    `See the log of that worker's nanny; raise scheduler.allowed-failures (${state.options.allowedFailures}) if the deaths had another cause.`
  const fields = { key: task.key, deaths: task.trouble?.crashes, worker: worker.info.address }
  return raised(task.key, 'WORKER_LOST', message, fields, worker)
}

/** A task that must not run twice and has been given to a worker before. */
export function neverRunsAgain(task: TaskRecord): TaskFailure | null {
  if (task.group.options.idempotent !== false || task.attempts === 0) return null
  const message = `task ${task.key} is marked idempotent: false and may have run before; its value is lost and it is not run again. Submit it under a new key to run it once more.`
  return raised(task.key, 'WORKER_LOST', message, { key: task.key })
}

export function failedForInputs(state: SchedulerState, task: TaskRecord): TaskFailure {
  const inputBytes = task.dependencies.reduce((sum, input) => sum + Math.max(0, input.nbytes), 0)
  const message =
    `the inputs of task ${task.key} are ${formatBytes(inputBytes)} together, more than the memory limit of every worker ` +
    `(at most ${formatBytes(state.largestLimit)}). Split the task, or give a worker a larger memory limit.`
  return raised(task.key, 'INPUTS_EXCEED_LIMIT', message, {
    key: task.key,
    inputBytes,
    largestLimitBytes: state.largestLimit,
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
  code: 'WORKER_LOST' | 'INPUTS_EXCEED_LIMIT' | 'NO_WORKERS' | 'KEY_CONFLICT' | 'GRAPH_CYCLE',
  message: string,
  fields: Readonly<Record<string, unknown>>,
  worker?: WorkerRecord,
): TaskFailure {
  return { origin, worker: worker?.info.address ?? null, error: { kind: 'raised', code, message, fields } }
}
