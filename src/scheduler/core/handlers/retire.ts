// Retiring workers: no new tasks, what only they hold is copied to others, then they close. A retirement looks at its
// workers every now and then until each is empty; one whose values nobody can take goes back to work and is not in the
// answer.
//
// R1. A worker leaves when each of its values has a copy elsewhere that stays (copies.ts, M2): nothing is computed again.
// R2. Whoever takes a value may have to spill for it: what a retiring worker had on disk may go to a disk.

import { isHome, isOrdered, mayOrder, orderCopy, stays } from '../copies.ts'
import type { EventOf, RequestNumber } from '../events.ts'
import { hasRoomOnDisk, Ledger } from '../ledger.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import { workersToClose } from '../adaptive.ts'
import { settleRunning, type PendingRequest, type SchedulerState } from '../state.ts'
import { noneNamed } from './named.ts'
import { removeWorker } from './worker-loss.ts'

type PendingRetirement = Extract<PendingRequest, { readonly kind: 'retire' }>

/** Looking at a value takes time: the more there are, the longer the pause. */
const TICK_MS = { least: 20, most: 1000, valuesPerMs: 10 } as const
const RETIRED_MAX = 1000
/** Nobody has room: it is given so long to become better, since workers that are nearly full spill. */
const PATIENCE_MS = 5000

export function retireRequested(state: SchedulerState, event: EventOf<'RetireRequested'>): void {
  const { request, closeWorkers, n } = event
  const chosen =
    event.workers === null ? workersToClose(state, { ...(n !== undefined && { n }) }) : named(state, event.workers)
  if (event.workers !== null && event.workers.length > 0 && chosen.length === 0)
    return noneNamed(state, request, event.workers, 'retireWorkers')
  const workers = new Set(chosen.filter((worker) => worker.link === 'live'))
  for (const worker of workers) setStatus(state, worker, 'retiring')
  state.requests.set(request, { kind: 'retire', workers, retired: [], closeWorkers, progress: new Map() })
  retirementTick(state, request)
}

function named(state: SchedulerState, labels: readonly string[]): WorkerRecord[] {
  const asked = new Set(labels)
  return [...state.workers.values()].filter((worker) => worker.labels.some((label) => asked.has(label)))
}

export function retirementTick(state: SchedulerState, request: RequestNumber): void {
  const pending = state.requests.get(request)
  if (pending?.kind !== 'retire') return
  const ledger = new Ledger(state, state.options.memoryManager.measure)
  for (const worker of pending.workers) advance(state, worker, pending, ledger)
  if (pending.workers.size > 0) return state.outbox.setTimer({ kind: 'retirement', request }, tickMs(pending))
  state.requests.delete(request)
  state.outbox.answer(request, { retired: pending.retired })
}

function tickMs({ workers }: PendingRetirement): number {
  let values = 0
  for (const worker of workers) values += worker.replicas.size
  return Math.min(TICK_MS.most, Math.max(TICK_MS.least, values / TICK_MS.valuesPerMs))
}

/** The one who asked is gone: workers that are not empty yet go back to work. */
export function abandonRetirement(state: SchedulerState, request: RequestNumber, pending: PendingRetirement): void {
  state.outbox.clearTimer({ kind: 'retirement', request })
  for (const worker of pending.workers) if (worker.status === 'retiring') setStatus(state, worker, 'running')
}

function advance(state: SchedulerState, worker: WorkerRecord, pending: PendingRetirement, ledger: Ledger): void {
  if (state.workers.get(worker.id) !== worker) {
    pending.workers.delete(worker)
    return
  }
  let left = 0
  let stuck: TaskRecord | null = null
  for (const task of worker.replicas.keys()) {
    if (task.holders.some((other) => other !== worker && isHome(other) && stays(state, task, other))) continue
    left++
    if (!copyAway(state, task, worker, ledger)) stuck ??= task
  }
  if (left === 0 && worker.processing.size === 0 && !isAwaitingScatter(state, worker))
    return retire(state, worker, pending)
  if (noteProgress(state, worker, pending, left, stuck !== null) || stuck === null) return
  pending.workers.delete(worker)
  setStatus(state, worker, 'running')
  state.outbox.log(
    'warning',
    `worker ${worker.info.address} cannot retire: no running worker has room for ${stuck.key}`,
    { worker: worker.id, values: left },
  )
}

/** false: nobody could take a value for too long, or there is nobody. */
function noteProgress(
  state: SchedulerState,
  worker: WorkerRecord,
  { progress }: PendingRetirement,
  left: number,
  isStuck: boolean,
): boolean {
  const before = progress.get(worker)
  if (before === undefined || before.left !== left || !isStuck) progress.set(worker, { left, sinceMs: state.now })
  if ([...state.workers.values()].every((other) => other === worker || !isHome(other))) return false
  return before === undefined || state.now - before.sinceMs < PATIENCE_MS
}

function retire(state: SchedulerState, worker: WorkerRecord, pending: PendingRetirement): void {
  pending.workers.delete(worker)
  pending.retired.push(worker.info.address)
  if (!pending.closeWorkers) return
  state.outbox.toWorker(worker, { op: 'close', reason: 'retired' })
  state.retired.set(worker.id, worker.info.incarnation)
  const [oldest] = state.retired.keys()
  if (state.retired.size > RETIRED_MAX && oldest !== undefined) state.retired.delete(oldest)
  removeWorker(state, worker, 'retired')
}

/** A client was told to send a value here and has not said yet that it has arrived. */
function isAwaitingScatter(state: SchedulerState, worker: WorkerRecord): boolean {
  for (const workers of state.placements.values()) if (workers.includes(worker)) return true
  return false
}

/** false: nobody can take it now. */
function copyAway(state: SchedulerState, task: TaskRecord, from: WorkerRecord, ledger: Ledger): boolean {
  for (const [worker] of state.copies.orders.get(task) ?? []) if (isHome(worker)) return true
  if (!mayOrder(state)) return true
  for (const other of task.holders) {
    if (other === from || !isHome(other) || !other.loose.has(task) || isOrdered(state, task, other)) continue
    orderCopy(state, task, other)
    return true
  }
  const taker = ledger.roomiest(task, null, hasRoomOnDisk)
  if (taker === undefined) return false
  orderCopy(state, task, taker)
  ledger.add(taker, task.nbytes)
  return true
}

export function setStatus(state: SchedulerState, worker: WorkerRecord, status: 'running' | 'retiring'): void {
  worker.status = status
  state.outbox.toWorker(worker, { op: 'set-status', status })
  settleRunning(state, worker)
}
