// `rebalance`: carries a plan (rebalance.ts) out. Each move copies first and removes afterwards, so that there is never
// less than one copy; a value that could not be moved stays where it is.

import { mayOrder, orderCopy } from '../copies.ts'
import type { EventOf, RequestNumber } from '../events.ts'
import { planRebalance, type Move } from '../rebalance.ts'
import type { CopyEnd, PendingRequest, SchedulerState } from '../state.ts'
import { homesNamed, valuesOf } from './named.ts'

export type PendingRebalance = Extract<PendingRequest, { readonly kind: 'rebalance' }>

export function rebalanceRequested(state: SchedulerState, event: EventOf<'RebalanceRequested'>): void {
  const { request, keys, workers: labels, measure } = event
  const tasks = keys === null ? null : valuesOf(state, request, keys, 'rebalance')
  if (keys !== null && tasks === null) return
  const workers = homesNamed(state, request, labels, 'rebalance')
  if (workers === null) return
  const { rebalance } = state.options
  const options = { ...rebalance, measure: measure ?? rebalance.measure }
  const moves = planRebalance(state, workers, tasks === null ? null : new Set(tasks), options)
  const pending: PendingRebalance = {
    kind: 'rebalance',
    open: 0,
    waiting: moves.toReversed(),
    moved: 0,
    movedBytes: 0,
    notMoved: [],
  }
  state.requests.set(request, pending)
  const addresses = (of: 'sender' | 'recipient'): string[] => [...new Set(moves.map((move) => move[of].info.address))]
  if (moves.length > 0)
    state.outbox.log('info', `rebalance: ${moves.length} values move`, {
      senders: addresses('sender'),
      recipients: addresses('recipient'),
    })
  advance(state, request, pending)
}

/** A replica was removed: its value has been moved; or something went wrong on the way. */
export function rebalanceMoved(
  state: SchedulerState,
  request: RequestNumber,
  pending: PendingRebalance,
  { task, done }: CopyEnd,
): void {
  pending.open--
  if (done) {
    pending.moved++
    pending.movedBytes += task.nbytes
  } else if (task.state === 'memory') pending.notMoved.push(task.key)
  advance(state, request, pending)
}

/** Orders what waits, as much as may be ordered at a time; what has changed since the plan was made stays where it is. */
function advance(state: SchedulerState, request: RequestNumber, pending: PendingRebalance): void {
  while (pending.waiting.length > 0 && (mayOrder(state) || pending.open === 0)) {
    const { task, sender, recipient } = pending.waiting.pop() as Move
    if (sender.replicas.has(task) && recipient.isRunning && !recipient.replicas.has(task)) {
      pending.open++
      orderCopy(state, task, recipient, { request, thenRemove: sender })
    } else if (task.state === 'memory') pending.notMoved.push(task.key)
  }
  if (pending.open > 0 || !state.requests.delete(request)) return
  const { moved, movedBytes, notMoved } = pending
  state.outbox.answer(request, { moved, movedBytes, notMoved })
}
