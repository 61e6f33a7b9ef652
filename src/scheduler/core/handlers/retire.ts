// Retiring workers: no new tasks, what only they hold is copied to others, then they close. A retirement looks at its
// workers every TICK_MS until each is empty; one whose values nobody can take goes back to work and is not in the answer.

import type { EventOf, RequestNumber } from '../events.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import { settleRunning, type PendingRequest, type SchedulerState } from '../state.ts'
import { copyTo } from './replica-messages.ts'
import { removeWorker } from './worker-loss.ts'

type PendingRetirement = Extract<PendingRequest, { readonly kind: 'retire' }>

const TICK_MS = 100
const RETIRED_MAX = 1000
/** A copy that has not arrived after this time is asked for again, perhaps elsewhere. */
const COPY_AGAIN_MS = 10_000

export function retireRequested(state: SchedulerState, event: EventOf<'RetireRequested'>): void {
  const asked = new Set(event.workers)
  const workers = new Set<WorkerRecord>()
  for (const worker of state.workers.values()) {
    if (worker.link !== 'live' || !worker.labels.some((label) => asked.has(label))) continue
    workers.add(worker)
    setStatus(state, worker, 'retiring')
  }
  state.requests.set(event.request, {
    kind: 'retire',
    workers,
    retired: [],
    closeWorkers: event.closeWorkers,
    copying: new Map(),
  })
  retirementTick(state, event.request)
}

export function retirementTick(state: SchedulerState, request: RequestNumber): void {
  const pending = state.requests.get(request)
  if (pending?.kind !== 'retire') return
  for (const worker of pending.workers) advance(state, worker, pending)
  if (pending.workers.size > 0) return state.outbox.setTimer({ kind: 'retirement', request }, TICK_MS)
  state.requests.delete(request)
  state.outbox.answer(request, { retired: pending.retired })
}

/** The one who asked is gone: workers that are not empty yet go back to work. */
export function abandonRetirement(state: SchedulerState, request: RequestNumber, pending: PendingRetirement): void {
  state.outbox.clearTimer({ kind: 'retirement', request })
  for (const worker of pending.workers) if (worker.status === 'retiring') setStatus(state, worker, 'running')
}

function advance(state: SchedulerState, worker: WorkerRecord, pending: PendingRetirement): void {
  if (state.workers.get(worker.id) !== worker) {
    pending.workers.delete(worker)
    return
  }
  const onlyHere = [...worker.replicas.keys()].filter(
    (task) => !task.holders.some((holder) => holder !== worker && holder.isRunning),
  )
  for (const task of onlyHere) {
    if (copyAway(state, task, pending)) continue
    pending.workers.delete(worker)
    setStatus(state, worker, 'running')
    return state.outbox.log(
      'warning',
      `worker ${worker.info.address} cannot retire: no running worker has room for ${task.key}`,
      { worker: worker.id },
    )
  }
  if (onlyHere.length > 0 || worker.processing.size > 0 || isAwaitingScatter(state, worker)) return
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

/** false: nobody can take it. */
function copyAway(state: SchedulerState, task: TaskRecord, pending: PendingRetirement): boolean {
  const since = pending.copying.get(task)
  if (since !== undefined && state.now - since < COPY_AGAIN_MS) return true
  const taker = roomiest(state, task.nbytes)
  if (taker === undefined) return false
  pending.copying.set(task, state.now)
  copyTo(state, task, taker)
  return true
}

function roomiest(state: SchedulerState, nbytes: number): WorkerRecord | undefined {
  let best: WorkerRecord | undefined
  for (const worker of state.byLoad) {
    if (worker.crowded || room(worker) < nbytes) continue
    if (best === undefined || room(worker) > room(best)) best = worker
  }
  return best
}

/** Memory and disk both take values: what is stored above the limit lies on disk, so only the limit of one value counts there. */
function room(worker: WorkerRecord): number {
  const limit = worker.info.memoryLimit
  return limit === 0 ? Number.MAX_SAFE_INTEGER - worker.nbytes : Math.max(limit - worker.memory.process, limit / 4)
}

export function setStatus(state: SchedulerState, worker: WorkerRecord, status: 'running' | 'retiring'): void {
  worker.status = status
  state.outbox.toWorker(worker, { op: 'set-status', status })
  settleRunning(state, worker)
}
