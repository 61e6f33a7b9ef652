// Requests that wait for copies: told of the end of each, and woken now and then.

import { COPIES_TICK_MS, sweepCopies } from '../copies.ts'
import type { SchedulerState } from '../state.ts'
import { rebalanceMoved } from './rebalance.ts'
import { advanceReplicate, replicateMoved } from './replicate.ts'

/** Everything that ended in this step. */
export function settleMoves(state: SchedulerState): void {
  for (let ended = state.copies.ended; ended.length > 0; ended = state.copies.ended) {
    state.copies.ended = []
    for (const end of ended) {
      const pending = state.requests.get(end.request)
      if (pending?.kind === 'replicate') replicateMoved(state, end.request, pending, end)
      else if (pending?.kind === 'rebalance') rebalanceMoved(state, end.request, pending, end)
    }
  }
}

export function copiesTick(state: SchedulerState): void {
  const { copies } = state
  copies.timer = false
  sweepCopies(state)
  let waiting = copies.orders.size > 0
  for (const [request, pending] of state.requests) {
    if (pending.kind !== 'replicate') continue
    advanceReplicate(state, request, pending)
    waiting ||= state.requests.has(request)
  }
  if (!waiting || copies.timer) return
  copies.timer = true
  state.outbox.setTimer({ kind: 'copies' }, COPIES_TICK_MS)
}
