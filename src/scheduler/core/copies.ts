// What is on the move between workers: copies that were ordered, and replicas that were told to go. Whoever wants data
// elsewhere (replicate, rebalance, retire, the memory manager) orders it here; who has what is booked in replicas.ts.
//
// M1. The books change only by what workers say (`add-keys`, `release-worker-data`) and by their loss, never by an order.
// M2. A replica is told to go only while another live worker has a copy that stays: one that its worker keeps and that is
//     not told to go itself. Where no such copy is known, a worker first confirms that it keeps one.
// M3. Every order ends: with its answer, with the loss of its worker or value, or, a copy, when it is overdue or its worker
//     takes no more values. Requests that wait for it are told once (`ended`).
// M4. A worker may go on with a copy after its order has ended without an answer, or fetch one for which there was no order
//     (`late`): the copy is welcome as long as there is the value; with the value, it is called back.
// M5. A copy of a value without a recipe (scattered) is kept in a file, like the first one: it may be the last one soon, and
//     outlives the process of its worker.

import type { RunId } from '../../base/ids.ts'
import type { RequestNumber } from './events.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import { fetchableHolders, type CopyOrder, type SchedulerState } from './state.ts'

/** How often overdue orders are looked for. */
export const COPIES_TICK_MS = 250
/** A copy has this long, and as long again as everything that is on its way to the worker takes at a tenth of the usual speed. */
const COPY_MS = 10_000
const SLOW = 0.1

/** More orders than this at a time make nothing faster. */
const ORDERS_MAX = 20_000

/** Whether more copies may be ordered now: whoever has many waits for earlier ones to end. */
export function mayOrder({ copies }: SchedulerState): boolean {
  return copies.orders.size < ORDERS_MAX
}

export interface CopyOptions {
  /** Waits for the end of the order. */
  readonly request?: RequestNumber
  /** Told to go when the copy is there. */
  readonly thenRemove?: WorkerRecord
}

/** Asks the worker for a copy that it keeps; asked twice, both wait for the one. */
export function orderCopy(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  { request, thenRemove }: CopyOptions = {},
): void {
  const orders = entryOf(state.copies.orders, task)
  let order = orders.get(worker)
  if (order === undefined) {
    order = newOrder(state, task, worker)
    orders.set(worker, order)
    removeEntry(state.copies.late, task, worker)
    askToKeep(state, task, worker)
  }
  if (thenRemove !== undefined) order.thenRemove.push({ worker: thenRemove, request: request ?? null })
  else if (request !== undefined) order.requests.push(request)
  wake(state)
}

function newOrder(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): CopyOrder {
  const nbytes = worker.replicas.has(task) ? 0 : task.nbytes
  const { incoming } = state.copies
  const coming = (incoming.get(worker) ?? 0) + nbytes
  incoming.set(worker, coming)
  const deadlineMs = state.now + COPY_MS + (1000 * coming) / (SLOW * state.bandwidth)
  return { nbytes, deadlineMs, requests: [], thenRemove: [] }
}

/** Whatever it has by then: afterwards it has a copy, fetched if need be, and does not drop it for room; in a file (M5). */
export function askToKeep(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): void {
  const holders = fetchableHolders(task, state.copies.cursor++).filter((holder) => holder.id !== worker.id)
  const input = { key: task.key, runId: task.acceptedRunId as RunId, nbytes: task.nbytes, holders }
  state.outbox.acquire(worker, task.hasRecipe ? input : { ...input, durable: true })
}

/** Looks after the orders, and after who waits for them. */
export function wake(state: SchedulerState): void {
  if (state.copies.timer) return
  state.copies.timer = true
  state.outbox.setTimer({ kind: 'copies' }, COPIES_TICK_MS)
}

/** Tells a replica to go (M2). false: it is the only one that can be counted on. */
export function orderRemoval(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  request: RequestNumber | null = null,
): boolean {
  if (worker.link !== 'live' || isLeaving(state, task, worker)) return false
  if (task.holders.some((other) => other !== worker && stays(state, task, other))) {
    sendRemoval(state, task, worker, request)
    return true
  }
  const keeper = bestKeeper(state, task, worker)
  if (keeper === undefined) return false
  orderCopy(state, task, keeper, { thenRemove: worker, ...(request !== null && { request }) })
  return true
}

function sendRemoval(
  state: SchedulerState,
  task: TaskRecord,
  worker: WorkerRecord,
  request: RequestNumber | null,
): void {
  entryOf(state.copies.removals, task).set(worker, request)
  state.outbox.removeReplica(worker, task.key)
}

function bestKeeper(state: SchedulerState, task: TaskRecord, leaving: WorkerRecord): WorkerRecord | undefined {
  let best: WorkerRecord | undefined
  for (const worker of task.holders) {
    if (worker === leaving || worker.link !== 'live' || isLeaving(state, task, worker)) continue
    if (best === undefined || (worker.isRunning && !best.isRunning)) best = worker
  }
  return best
}

/** Values may stay there: also with one that takes no work at the moment. */
export function isHome({ link, status }: WorkerRecord): boolean {
  return link === 'live' && (status === 'running' || status === 'paused')
}

/** Its copy can be counted on. */
export function stays(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): boolean {
  return (
    worker.link === 'live' && worker.replicas.has(task) && !worker.loose.has(task) && !isLeaving(state, task, worker)
  )
}

/** Told to go, or about to be. */
export function isLeaving({ copies }: SchedulerState, task: TaskRecord, worker: WorkerRecord): boolean {
  if (copies.removals.get(task)?.has(worker) === true) return true
  for (const { thenRemove } of copies.orders.get(task)?.values() ?? [])
    if (thenRemove.some((removal) => removal.worker === worker)) return true
  return false
}

export function isOrdered({ copies }: SchedulerState, task: TaskRecord, worker: WorkerRecord): boolean {
  return copies.orders.get(task)?.has(worker) === true
}

/** The worker has said that the copy is there, or that it will not come. */
export function endCopy(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, done: boolean): void {
  const { orders, incoming, late } = state.copies
  if (late.size > 0) removeEntry(late, task, worker)
  const order = orders.get(task)?.get(worker)
  if (order === undefined) return
  removeEntry(orders, task, worker)
  const coming = (incoming.get(worker) ?? 0) - order.nbytes
  if (coming > 0) incoming.set(worker, coming)
  else incoming.delete(worker)
  for (const request of order.requests) state.copies.ended.push({ what: 'copy', request, task, worker, done })
  for (const removal of order.thenRemove) {
    if (done && removal.worker.link === 'live' && removal.worker.replicas.has(task))
      sendRemoval(state, task, removal.worker, removal.request)
    else if (removal.request !== null)
      state.copies.ended.push({ what: 'removal', request: removal.request, task, worker: removal.worker, done: false })
  }
}

/** The replica is gone, or the worker needs it and keeps it. */
export function endRemoval(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, done: boolean): void {
  const { removals, ended } = state.copies
  const request = removals.get(task)?.get(worker)
  if (request === undefined) return
  removeEntry(removals, task, worker)
  if (request !== null) ended.push({ what: 'removal', request, task, worker, done })
}

/** The value is no more: whoever fetches it may stop. */
export function endOrdersFor(state: SchedulerState, task: TaskRecord): void {
  const { orders, removals, late } = state.copies
  for (const fetching of [orders, late]) {
    for (const worker of fetching.size === 0 ? [] : (fetching.get(task)?.keys() ?? [])) {
      endCopy(state, task, worker, false)
      if (!worker.replicas.has(task)) state.outbox.removeReplica(worker, task.key)
    }
  }
  if (removals.size > 0) for (const worker of removals.get(task)?.keys() ?? []) endRemoval(state, task, worker, false)
}

/** The worker cannot be talked to: what it was told may not have reached it. */
export function endOrdersOf(state: SchedulerState, worker: WorkerRecord): void {
  for (const task of state.copies.orders.keys()) endCopy(state, task, worker, false)
  for (const task of state.copies.late.keys()) removeEntry(state.copies.late, task, worker)
  for (const task of state.copies.removals.keys()) endRemoval(state, task, worker, false)
}

/** M3, M4. Nobody waits any longer for copies that are overdue, or that a worker will not fetch now. */
export function sweepCopies(state: SchedulerState): void {
  for (const [task, orders] of state.copies.orders) {
    for (const [worker, order] of orders) {
      const fetches = worker.isRunning || worker.replicas.has(task)
      if (fetches && state.now <= order.deadlineMs) continue
      endCopy(state, task, worker, false)
      if (!worker.replicas.has(task)) noteLate(state, task, worker)
    }
  }
}

/** M4. */
export function noteLate(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): void {
  entryOf(state.copies.late, task).set(worker, null)
}

function entryOf<K, V>(map: Map<TaskRecord, Map<K, V>>, task: TaskRecord): Map<K, V> {
  let entry = map.get(task)
  if (entry === undefined) {
    entry = new Map()
    map.set(task, entry)
  }
  return entry
}

function removeEntry<K>(map: Map<TaskRecord, Map<K, unknown>>, task: TaskRecord, key: K): void {
  const entry = map.get(task)
  entry?.delete(key)
  if (entry?.size === 0) map.delete(task)
}
