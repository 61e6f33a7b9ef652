// Which worker a runnable task goes to: the one where it starts earliest, counting the work ahead of it and the time to
// bring its missing inputs. Pure choice: nothing is changed here but scratch fields.
//
// P1. Only running workers are chosen; a crowded one (memory above the pause threshold), or one that would be with this
//     task, only when there is no other.
// P2. Producers go through slots (queueing.ts). A task with inputs is compared among the holders of its inputs, and with
//     the idlest worker when the best holder has much work ahead. A restricted task is compared among those that may run it.
// P3. The cost of a choice is bounded by what it looks at (CANDIDATES_MAX), never by the number of workers or tasks.

import { holds, largestLimitFor, sumOfInputs } from './input-limit.ts'
import { isRootish, slotFor } from './queueing.ts'
import type { HostRecord, TaskRecord, WorkerRecord } from './records.ts'
import { isInPool, isNamed, poolOf, supplies } from './restrictions.ts'
import type { SchedulerState } from './state.ts'
import { expectedMs } from './expectation.ts'
import { hasRoom, missingBytes } from './memory-room.ts'
import { transferTimeUs, transferUs } from './transfer-cost.ts'
import { compareSpare } from './worker-heap.ts'

export type Decision = WorkerRecord | 'queued' | 'no-worker' | 'inputs-exceed-limit'

/** Holders looked at per input, and members of a pool looked at per task: more choice makes no better choice. */
const CANDIDATES_MAX = 32
/** A task leaves the holders of its inputs only when at least this many tasks of its kind are ahead of it there. */
const TASKS_AHEAD_MIN = 3

export function decide(state: SchedulerState, task: TaskRecord): Decision {
  const { group, trouble } = task
  if (trouble !== null && trouble.heldUntilMs > state.now) return 'no-worker'
  const inputBytes = sumOfInputs(task)
  if (inputBytes > largestLimitFor(state, group)) return 'inputs-exceed-limit'
  const thief = state.stealing.destinations.size === 0 ? undefined : state.stealing.destinations.get(task)
  if (thief !== undefined && mayTake(state, task, thief)) return thief
  if (isRootish(state, task)) {
    if (state.options.saturation === Infinity) return shareOf(state, task) ?? 'no-worker'
    if (task.state !== 'queued' && state.queue.size > 0) return 'queued'
    return slotFor(state, task) ?? 'queued'
  }
  const free = group.labels === null && group.resources === null
  const chosen = free ? chooseFreely(state, task, inputBytes) : chooseRestricted(state, task, inputBytes)
  if (chosen === undefined) return 'no-worker'
  return holds(chosen, inputBytes) ? chosen : (roomyWorker(state, task, inputBytes) ?? 'no-worker')
}

/** The best choice cannot hold the inputs: of all that can, the one where it starts earliest. Rare, so it may look at all of them. */
function roomyWorker(state: SchedulerState, task: TaskRecord, inputBytes: number): WorkerRecord | undefined {
  const { group } = task
  let best: WorkerRecord | undefined
  for (const worker of group.labels === null && group.resources === null ? state.byStart : poolOf(state, group)) {
    if (!holds(worker, inputBytes)) continue
    const us = startUs(state, task, worker)
    if (best === undefined || compare(state, task, inputBytes, worker, us, best, startUs(state, task, best)) < 0)
      best = worker
  }
  return best
}

function chooseFreely(state: SchedulerState, task: TaskRecord, inputBytes: number): WorkerRecord | undefined {
  const holder = task.dependencies.length === 0 ? undefined : bestHolder(state, task, inputBytes, null)
  const outsider = idlestFor(state, task, inputBytes)
  if (holder === undefined || outsider === undefined || outsider === holder) return outsider
  const order = penalty(state, task, outsider, inputBytes) - penalty(state, task, holder, inputBytes)
  if (order !== 0) return order < 0 ? outsider : holder
  return leavesHolder(state, task, holder, outsider) ? outsider : holder
}

/** The worker with the least work ahead that nothing speaks against, or speaks least against, among the idlest ones. */
function idlestFor(state: SchedulerState, task: TaskRecord, inputBytes: number): WorkerRecord | undefined {
  const idlest = state.byStart.best
  if (idlest === undefined || penalty(state, task, idlest, inputBytes) === 0) return idlest
  let best = idlest
  for (const worker of state.byStart.top(CANDIDATES_MAX)) {
    if (compare(state, task, inputBytes, worker, aheadUs(worker), best, aheadUs(best)) < 0) best = worker
  }
  return best
}

/** Neighbours in the graph's order go to one worker, up to its even share of them: then what they make is combined there. */
function shareOf(state: SchedulerState, task: TaskRecord): WorkerRecord | undefined {
  const family = task.group.family as NonNullable<typeof task.group.family>
  const { share } = family
  if (
    share !== null &&
    share.left > 0 &&
    state.byStart.has(share.worker) &&
    penalty(state, task, share.worker, 0) === 0
  ) {
    share.left--
    return share.worker
  }
  const worker = idlestFor(state, task, 0)
  if (worker === undefined) return undefined
  family.share = { worker, left: Math.ceil((family.total * worker.nthreads) / state.runningThreads) - 1 }
  return worker
}

function aheadUs(worker: WorkerRecord): number {
  return worker.occupancyUs / worker.nthreads
}

/** Data stays where it is until waiting for its holder costs clearly more than moving it. */
function leavesHolder(state: SchedulerState, task: TaskRecord, holder: WorkerRecord, outsider: WorkerRecord): boolean {
  const waitUs = aheadUs(holder)
  if (waitUs < TASKS_AHEAD_MIN * 1000 * expectedMs(state, task.group)) return false
  const elsewhereUs = aheadUs(outsider) + transferUs(state, task, outsider)
  return elsewhereUs < waitUs / 2 + transferUs(state, task, holder)
}

function chooseRestricted(state: SchedulerState, task: TaskRecord, inputBytes: number): WorkerRecord | undefined {
  const pool = poolOf(state, task.group)
  if (pool.length === 0) return undefined
  const holder = task.dependencies.length === 0 ? undefined : bestHolder(state, task, inputBytes, pool)
  if (holder !== undefined && penalty(state, task, holder, inputBytes) === 0) return holder
  let best: WorkerRecord | undefined
  const start = pool.length <= CANDIDATES_MAX ? 0 : state.assignments
  for (let n = 0; n < Math.min(pool.length, CANDIDATES_MAX); n++) {
    const worker = pool[(start + n) % pool.length] as WorkerRecord
    if (
      best === undefined ||
      compare(state, task, inputBytes, worker, startUs(state, task, worker), best, startUs(state, task, best)) < 0
    )
      best = worker
  }
  return best
}

/** Where the task would start earliest among the running workers that hold one of its inputs (and are in the pool). */
function bestHolder(
  state: SchedulerState,
  task: TaskRecord,
  inputBytes: number,
  pool: readonly WorkerRecord[] | null,
): WorkerRecord | undefined {
  const candidates = countLocalBytes(state, task)
  let best: WorkerRecord | undefined
  let second: WorkerRecord | undefined
  let bestUs = 0
  for (const worker of candidates) {
    if (pool !== null && !isInPool(task.group, pool, worker)) continue
    const nearBytes = worker.host.localBytes - worker.localBytes
    const us = aheadUs(worker) + transferTimeUs(state, inputBytes - worker.host.localBytes, nearBytes)
    if (best !== undefined && compare(state, task, inputBytes, worker, us, best, bestUs) >= 0) {
      second ??= worker
      continue
    }
    second = best
    best = worker
    bestUs = us
  }
  return best === undefined || second === undefined ? best : byMeasuredSpeed(state, task, inputBytes, best, second)
}

/** The mean speed found two good places: what they measured between them and the holders decides, if anything was. */
function byMeasuredSpeed(
  state: SchedulerState,
  task: TaskRecord,
  inputBytes: number,
  best: WorkerRecord,
  second: WorkerRecord,
): WorkerRecord {
  if (best.rates.size + second.rates.size === 0 || task.dependencies.length > CANDIDATES_MAX) return best
  const order = compare(state, task, inputBytes, second, startUs(state, task, second), best, startUs(state, task, best))
  return order < 0 ? second : best
}

/** Whether stolen work may go there. */
export function mayTake(state: SchedulerState, task: TaskRecord, thief: WorkerRecord): boolean {
  if (!thief.isRunning || thief.crowded || state.workers.get(thief.id) !== thief) return false
  if (task.trouble !== null && task.trouble.avoid === thief.id) return false
  const { group } = task
  if (!supplies(thief, group) || (group.options.allowOtherWorkers !== true && !isNamed(thief, group))) return false
  return holds(thief, sumOfInputs(task)) && hasRoom(state, task, thief, missingBytes(task, thief))
}

/** One pass over inputs and holders; leaves the bytes at hand in `localBytes` of each candidate and of its host. */
function countLocalBytes(state: SchedulerState, task: TaskRecord): WorkerRecord[] {
  const stamp = ++state.placementStamp
  const candidates: WorkerRecord[] = []
  for (let n = 0; n < task.dependencies.length; n++) {
    const input = task.dependencies[n] as TaskRecord
    const { holders } = input
    const start = holders.length <= CANDIDATES_MAX ? 0 : state.assignments
    for (let h = 0; h < Math.min(holders.length, CANDIDATES_MAX); h++) {
      const worker = holders[(start + h) % holders.length] as WorkerRecord
      if (!worker.isRunning) continue
      if (worker.stamp !== stamp) {
        worker.stamp = stamp
        worker.localBytes = 0
        candidates.push(worker)
      }
      worker.localBytes += input.nbytes
      countOnHost(worker.host, stamp, n, input.nbytes)
    }
  }
  return candidates
}

/** Once per input, however many workers of the host hold it. */
function countOnHost(host: HostRecord, stamp: number, input: number, nbytes: number): void {
  if (host.stamp !== stamp) {
    host.stamp = stamp
    host.localBytes = 0
  } else if (host.countedInput === input) return
  host.countedInput = input
  host.localBytes += nbytes
}

function startUs(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): number {
  return aheadUs(worker) + transferUs(state, task, worker)
}

/** Negative when `a` is the better place. */
function compare(
  state: SchedulerState,
  task: TaskRecord,
  inputBytes: number,
  a: WorkerRecord,
  aUs: number,
  b: WorkerRecord,
  bUs: number,
): number {
  return penalty(state, task, a, inputBytes) - penalty(state, task, b, inputBytes) || aUs - bUs || compareSpare(a, b)
}

/**
 * Reasons to look elsewhere, whatever the start time: it cannot hold the inputs, is nearly full, just failed this task, or
 * would be nearly full with it. Of a task with inputs, `countLocalBytes` has been called before.
 */
function penalty(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, inputBytes: number): number {
  let reasons = 0
  if (!holds(worker, inputBytes)) reasons += 8
  if (worker.crowded) reasons += 4
  if (task.trouble !== null && task.trouble.avoid === worker.id) reasons += 2
  const here = inputBytes > 0 && worker.stamp === state.placementStamp ? worker.localBytes : 0
  if (worker.info.memoryLimit > 0 && !hasRoom(state, task, worker, inputBytes - here)) reasons += 1
  return reasons
}
