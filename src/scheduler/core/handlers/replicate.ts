// `replicate`: so many copies of each value, kept by their workers, made tree-wise: workers fetch from workers, and in one
// round at most `branchingFactor` copies per worker that has one are on their way. What is too many is removed.
//
// R1. A copy goes to a running worker with room (ledger.ts). Where there is none, the request waits for one, as long as
//     something moves now and then; then it is answered with what is missing.
// R2. A copy that its worker may drop for room does not count before its worker keeps it.

import type { EventOf, RequestNumber } from '../events.ts'
import { isLeaving, isOrdered, mayOrder, orderCopy, stays, wake } from '../copies.ts'
import { Ledger } from '../ledger.ts'
import { drop } from '../memory-manager.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import { homesAmong, homesNamed, valuesOf } from './named.ts'
import type { CopyEnd, PendingRequest, SchedulerState } from '../state.ts'

export type PendingReplicate = Extract<PendingRequest, { readonly kind: 'replicate' }>

/** Without any progress for this long there will be none. */
const STALLED_MS = 10_000

export function replicateRequested(state: SchedulerState, event: EventOf<'ReplicateRequested'>): void {
  const { request, n, workers, branchingFactor } = event
  const tasks = valuesOf(state, request, event.keys, 'replicate')
  if (tasks === null || homesNamed(state, request, workers, 'replicate') === null) return
  const pending: PendingReplicate = {
    kind: 'replicate',
    n,
    labels: workers,
    branchingFactor,
    open: new Set(tasks),
    removing: 0,
    incomplete: [],
    copies: 0,
    movedAtMs: state.now,
  }
  state.requests.set(request, pending)
  wake(state)
  advanceReplicate(state, request, pending)
}

/** A copy has come, or will not. */
export function replicateMoved(
  state: SchedulerState,
  request: RequestNumber,
  pending: PendingReplicate,
  { what, task, done }: CopyEnd,
): void {
  if (what === 'removal') {
    pending.removing--
    return finishWhenDone(state, request, pending)
  }
  if (done) {
    pending.movedAtMs = state.now
    pending.copies++
  }
  advanceTask(state, request, pending, task, new Ledger(state, state.options.memoryManager.measure))
  finishWhenDone(state, request, pending)
}

/** Time has passed: there may be room now, or there was none for too long. */
export function advanceReplicate(state: SchedulerState, request: RequestNumber, pending: PendingReplicate): void {
  const ledger = new Ledger(state, state.options.memoryManager.measure)
  const stalled = state.now - pending.movedAtMs > STALLED_MS
  for (const task of pending.open) {
    if (stalled && !state.copies.orders.has(task)) giveUp(state, pending, task)
    else advanceTask(state, request, pending, task, ledger)
  }
  finishWhenDone(state, request, pending)
}

function advanceTask(
  state: SchedulerState,
  request: RequestNumber,
  pending: PendingReplicate,
  task: TaskRecord,
  ledger: Ledger,
): void {
  if (!pending.open.has(task)) return
  if (task.state !== 'memory') return giveUp(state, pending, task)
  const pool = poolOf(state, pending, task)
  const target = Math.min(pending.n ?? Infinity, pool.length)
  const having = pool.filter((worker) => stays(state, task, worker))
  if (having.length >= target) {
    pending.open.delete(task)
    if (pending.n === null) return
    for (let extra = having.length - target; extra > 0; extra--)
      if (drop(state, task, pool, ledger, request) !== null) pending.removing++
    return
  }
  if (!mayOrder(state)) return wake(state)
  const coming = state.copies.orders.get(task)?.size ?? 0
  let free = Math.min(target - having.length, pending.branchingFactor * task.holders.length) - coming
  for (const worker of pool) {
    // It has one already, which it only has to keep.
    if (free <= 0 || !worker.loose.has(task) || isOrdered(state, task, worker) || isLeaving(state, task, worker))
      continue
    orderCopy(state, task, worker, { request })
    free--
  }
  for (; free > 0; free--) {
    const worker = ledger.roomiest(task, pool)
    if (worker === undefined) break
    orderCopy(state, task, worker, { request })
    ledger.add(worker, task.nbytes)
  }
}

/** Running workers among those named, and paused ones that have the value: they keep it. */
function poolOf(state: SchedulerState, { labels }: PendingReplicate, task: TaskRecord): WorkerRecord[] {
  return homesAmong(state, labels).filter((worker) => worker.isRunning || worker.replicas.has(task))
}

function giveUp(state: SchedulerState, pending: PendingReplicate, task: TaskRecord): void {
  pending.open.delete(task)
  const pool = poolOf(state, pending, task)
  const copies = pool.filter((worker) => worker.replicas.has(task)).length
  pending.incomplete.push({ key: task.key, copies, wanted: Math.min(pending.n ?? Infinity, pool.length) })
}

function finishWhenDone(state: SchedulerState, request: RequestNumber, pending: PendingReplicate): void {
  if (pending.open.size > 0 || pending.removing > 0 || !state.requests.delete(request)) return
  state.outbox.answer(request, { copies: pending.copies, incomplete: pending.incomplete })
}
