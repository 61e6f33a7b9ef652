// Restarts that wait for their workers, and their answers.

import type { WorkerId } from '../../../base/ids.ts'
import type { RequestNumber } from '../events.ts'
import type { PendingRequest, SchedulerState } from '../state.ts'

type PendingRestartOf = Extract<PendingRequest, { readonly kind: 'restart-workers' }>

/** A worker has registered, or is given up: restarts that only waited for it are answered. */
export function finishRestarts(state: SchedulerState, id: WorkerId): void {
  state.restarting.delete(id)
  for (const [request, pending] of state.requests) {
    if (pending.kind !== 'restart' || !pending.missing.delete(id) || pending.missing.size > 0) continue
    state.requests.delete(request)
    state.outbox.clearTimer({ kind: 'request-timeout', request })
    answerRestart(state, request)
  }
}

export function answerRestart(state: SchedulerState, request: RequestNumber): void {
  let workers = 0
  for (const worker of state.workers.values()) if (worker.link === 'live') workers++
  state.outbox.answer(request, { generation: state.generation, workers })
}

/** Somebody has asked for a new process of this worker and waits for it. */
export function isRestarting(state: SchedulerState, worker: WorkerId): boolean {
  for (const pending of state.requests.values())
    if (pending.kind === 'restart-workers' && pending.missing.has(worker)) return true
  return false
}

/** One of the workers that were to restart is back, or gone for good. */
export function noteRestarted(state: SchedulerState, worker: WorkerId, outcome: 'ok' | 'removed'): void {
  for (const [request, pending] of state.requests) {
    if (pending.kind !== 'restart-workers' || !pending.missing.delete(worker)) continue
    const entry = pending.outcomes.get(worker)
    if (entry !== undefined) entry.outcome = outcome
    finishRestartOf(state, request, pending)
  }
}

export function finishRestartOf(state: SchedulerState, request: RequestNumber, pending: PendingRestartOf): void {
  if (pending.missing.size > 0) return
  state.requests.delete(request)
  state.outbox.clearTimer({ kind: 'request-timeout', request })
  answerRestartOf(state, request, pending)
}

export function answerRestartOf(state: SchedulerState, request: RequestNumber, { outcomes }: PendingRestartOf): void {
  state.outbox.answer(request, {
    outcomes: Object.fromEntries(Array.from(outcomes.values(), ({ name, outcome }) => [name, outcome])),
  })
}
