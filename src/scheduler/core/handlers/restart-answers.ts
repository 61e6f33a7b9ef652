// Restarts that wait for their workers, and their answers.

import type { WorkerId } from '../../../base/ids.ts'
import type { RequestNumber } from '../events.ts'
import type { SchedulerState } from '../state.ts'

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
