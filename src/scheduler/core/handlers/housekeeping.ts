// What is only noticed by looking: workers that fell silent, tasks that no worker may run, a cluster that nobody uses.

import { failedForWorkers } from '../failures.ts'
import { setLink } from '../losing.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import type { SchedulerState } from '../state.ts'
import { transition } from '../transitions/table.ts'
import { heartbeatMs } from './worker-registration.ts'
import { awaitWorker, removeWorker } from './worker-loss.ts'

/** Often when a timeout of the user's choice depends on it, seldom for silent workers. */
const SHORT_TICK_MS = 250
const LONG_TICK_MS = 5000
/** A silent worker is given at least so many heartbeats. */
const BEATS_MISSED_MAX = 10

export function startHousekeeping(state: SchedulerState): void {
  const { noWorkersTimeoutMs, idleTimeoutMs, workerTtlMs } = state.options
  state.idleSinceMs = state.now
  state.workerlessSinceMs = state.now
  if (noWorkersTimeoutMs !== null || idleTimeoutMs !== null)
    state.outbox.setTimer({ kind: 'housekeeping' }, SHORT_TICK_MS)
  else if (workerTtlMs !== null) state.outbox.setTimer({ kind: 'housekeeping' }, LONG_TICK_MS)
}

export function housekeeping(state: SchedulerState): void {
  const { noWorkersTimeoutMs, idleTimeoutMs, workerTtlMs } = state.options
  if (workerTtlMs !== null) dropSilentWorkers(state, workerTtlMs)
  if (noWorkersTimeoutMs !== null) failUnrunnable(state, noWorkersTimeoutMs)
  if (idleTimeoutMs !== null) closeWhenIdle(state, idleTimeoutMs)
  state.outbox.setTimer(
    { kind: 'housekeeping' },
    noWorkersTimeoutMs === null && idleTimeoutMs === null ? LONG_TICK_MS : SHORT_TICK_MS,
  )
}

function dropSilentWorkers(state: SchedulerState, ttlMs: number): void {
  const allowedMs = Math.max(ttlMs, BEATS_MISSED_MAX * heartbeatMs(state.workers.size))
  for (const worker of state.workers.values()) {
    if (worker.link === 'live' && state.now - worker.lastSeenMs > allowedMs) dropSilent(state, worker)
  }
}

function dropSilent(state: SchedulerState, worker: WorkerRecord): void {
  const silentMs = Math.round(state.now - worker.lastSeenMs)
  state.outbox.push({
    kind: 'CloseConnection',
    connection: worker.connection,
    reason: `no heartbeat for ${silentMs} ms`,
  })
  if (!state.nannies.has(worker.id)) return removeWorker(state, worker, `no heartbeat for ${silentMs} ms`)
  const reason = `no heartbeat for ${silentMs} ms (scheduler.worker-ttl)`
  state.outbox.log('warning', `worker ${worker.info.address} is killed by its nanny and started again: ${reason}`, {
    worker: worker.id,
  })
  state.outbox.push({ kind: 'SendToNanny', worker: worker.id, message: { op: 'kill-worker', reason } })
  setLink(state, worker, 'lost')
  awaitWorker(state, worker)
}

function failUnrunnable(state: SchedulerState, timeoutMs: number): void {
  const failed: TaskRecord[] = []
  for (const [task, since] of state.noWorker) {
    const held = task.trouble !== null && task.trouble.heldUntilMs > state.now
    if (!held && state.now - since > timeoutMs) failed.push(task)
  }
  if (state.workerlessSinceMs !== null && state.now - state.workerlessSinceMs > timeoutMs) failed.push(...state.queue)
  for (const task of failed) {
    task.failure = failedForWorkers(state, task)
    transition(state, task, 'erred')
  }
}

function closeWhenIdle(state: SchedulerState, timeoutMs: number): void {
  if (isBusy(state)) {
    state.idleSinceMs = state.now
    state.idleTransitions = state.story.total
  } else if (state.now - state.idleSinceMs > timeoutMs) {
    state.outbox.push({ kind: 'CloseScheduler', reason: `nothing to do for ${timeoutMs} ms (scheduler.idle-timeout)` })
  }
}

function isBusy(state: SchedulerState): boolean {
  if (state.story.total !== state.idleTransitions || state.queue.size > 0 || state.noWorker.size > 0) return true
  for (const worker of state.workers.values()) if (worker.processing.size > 0) return true
  return false
}
