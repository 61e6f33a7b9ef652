// Work stealing: tasks that wait on a busy worker move to one that would start them earlier. The scheduler asks the busy
// worker (the victim) for runs back; what it had not started is assigned to the idle one (the thief). See docs/scheduling.md.
//
// A1. Thieves are running, not crowded, have room for inputs and result, and satisfy the restrictions of the task.
// A2. A task that executes never moves: the victim keeps it. It is not asked for again.
// A3. What is on its way counts (steals.ts), and a move has to gain half of the task's time: nothing goes back and forth.
// A4. A task whose inputs take TRANSFER_MAX times as long to bring as it takes to run stays; those that are cheapest to move
//     go first, among equals the oldest.
// A5. Work is bounded: an idle worker makes the scheduler look, after IDLE_MS, at WORKERS_SEEN workers; every
//     `scheduler.work-stealing-interval` it looks at all of them. A look asks for at most STEALS_MAX runs of VICTIMS_MAX
//     victims. Nothing is done or kept per task.

import { expectedMs } from './expectation.ts'
import { mayTake } from './placement.ts'
import { poolOf } from './restrictions.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'
import { beginSteal } from './steals.ts'
import { transferUs } from './transfer-cost.ts'
import type { RunName } from '../../protocol/scheduler-worker.ts'

/** Idle for this long while others have more than they can start: shorter, and trivial tasks would travel for nothing. */
const IDLE_MS = 10
/** Work that a thread has ahead of it is worth a move from here on. */
const BACKLOG_US = 20_000
const WORKERS_SEEN = 1024
const VICTIMS_MAX = 8
const STEALS_MAX = 64
const TASKS_SEEN = 64
const THIEVES_SEEN = 4
const HOLDERS_SEEN = 2
const POOL_SEEN = 16
const TRANSFER_MAX = 8
/** Functions that are configured to be this quick are never worth it. */
const QUICK_MS = 1

export function startStealing(state: SchedulerState): void {
  if (!state.options.workStealing) return
  state.stealing.sweepAtMs = state.now + intervalMs(state)
  wakeAt(state, state.stealing.sweepAtMs)
}

/** After every step but that of the look itself: somebody has nothing to do, so one is due soon. */
export function noticeIdle(state: SchedulerState): void {
  if (!state.options.workStealing || state.processing < 2) return
  if (state.stealing.wakeAtMs <= state.now + IDLE_MS) return
  const idlest = state.byLoad.best
  if (idlest !== undefined && !idlest.crowded && idlest.load < idlest.nthreads) wakeAt(state, state.now + IDLE_MS)
}

/** The timer fired: one look around. */
export function balance(state: SchedulerState): void {
  const { stealing, byStart } = state
  let seen: Iterable<WorkerRecord>
  if (state.now >= stealing.sweepAtMs) {
    stealing.sweepAtMs = state.now + intervalMs(state)
    seen = state.workers.values()
  } else {
    seen = byStart.slice(stealing.cursor, WORKERS_SEEN)
    stealing.cursor = (stealing.cursor + WORKERS_SEEN) % Math.max(1, byStart.size)
  }
  wakeAt(state, stealing.sweepAtMs)
  let left = STEALS_MAX
  for (const victim of busiest(seen)) {
    if (left <= 0) return
    left -= relieve(state, victim, left)
  }
}

function intervalMs(state: SchedulerState): number {
  return Math.max(IDLE_MS, state.options.workStealingIntervalMs)
}

function wakeAt(state: SchedulerState, atMs: number): void {
  state.stealing.wakeAtMs = atMs
  state.outbox.setTimer({ kind: 'stealing' }, Math.max(0, atMs - state.now))
}

function busiest(workers: Iterable<WorkerRecord>): WorkerRecord[] {
  const found: WorkerRecord[] = []
  for (const worker of workers) {
    if (!hasBacklog(worker)) continue
    let place = found.length
    while (place > 0 && aheadUs(found[place - 1] as WorkerRecord) < aheadUs(worker)) place--
    if (place >= VICTIMS_MAX) continue
    found.splice(place, 0, worker)
    if (found.length > VICTIMS_MAX) found.pop()
  }
  return found
}

/** More than it can start soon; whatever waits on a worker that starts nothing is too much. */
function hasBacklog(worker: WorkerRecord): boolean {
  if (worker.link !== 'live' || worker.load <= 0) return false
  if (!worker.isRunning) return true
  return worker.load > worker.nthreads && worker.occupancyUs > BACKLOG_US * worker.nthreads
}

function aheadUs(worker: WorkerRecord): number {
  return worker.isRunning ? worker.occupancyUs / worker.nthreads : Infinity
}

/** Asks for what others would start earlier; returns how many runs it asked for. */
function relieve(state: SchedulerState, victim: WorkerRecord, most: number): number {
  const runs: RunName[] = []
  for (const task of movable(state, victim)) {
    if (runs.length >= most || (victim.isRunning && victim.load <= victim.nthreads)) break
    const thief = thiefFor(state, task, victim)
    if (thief === undefined) continue
    beginSteal(state, task, victim, thief)
    runs.push({ key: task.key, runId: task.runId as RunName['runId'] })
  }
  if (runs.length === 0) return 0
  state.stealing.asked += runs.length
  state.outbox.toWorker(victim, { op: 'steal-request', runs })
  const { load, nthreads, info } = victim
  state.outbox.log('debug', `asks ${info.address} for ${runs.length} runs`, { topic: 'stealing', left: load, nthreads })
  return runs.length
}

/** Tasks of the victim that it has not started and will not start soon, those that are cheapest to move first. */
function movable(state: SchedulerState, victim: WorkerRecord): TaskRecord[] {
  const found: { readonly task: TaskRecord; readonly level: number }[] = []
  let soonUs = 0
  let soon = 0
  let seen = 0
  for (const task of victim.processing) {
    if (state.stealing.steals.has(task)) continue
    const startsSoon = victim.isRunning && (soon < victim.nthreads || soonUs < BACKLOG_US * victim.nthreads)
    if (startsSoon || victim.started.has(task.runId)) {
      soon++
      soonUs += task.expectedUs
      continue
    }
    if (++seen > TASKS_SEEN) break
    const level = transferLevel(state, task)
    if (level !== null) found.push({ task, level })
  }
  return found.sort((a, b) => a.level - b.level).map((each) => each.task)
}

/** How expensive a move would be, in powers of two; 0 without inputs, null when it is out of the question. */
function transferLevel(state: SchedulerState, task: TaskRecord): number | null {
  const { name } = task.group.prefix
  if ((state.options.defaultDurationsMs[name] ?? Infinity) <= QUICK_MS) return null
  if (task.dependencies.length === 0) return 0
  let bytes = 0
  for (const input of task.dependencies) bytes += Math.max(0, input.nbytes)
  const ratio = ((bytes / state.bandwidth) * 1000) / Math.max(0.001, expectedMs(state, task.group))
  return Math.max(1, Math.round(Math.log2(Math.max(1e-9, ratio))) + 6)
}

/** Where the task starts earliest among the idlest workers and the holders of its inputs, if that is early enough. */
function thiefFor(state: SchedulerState, task: TaskRecord, victim: WorkerRecord): WorkerRecord | undefined {
  const computeUs = 1000 * expectedMs(state, task.group)
  const latest = latestStartUs(victim, task) - computeUs / 2
  let best: WorkerRecord | undefined
  let bestUs = Infinity
  for (const thief of candidates(state, task)) {
    if (thief === victim || !mayTake(state, task, thief)) continue
    const moveUs = transferUs(state, task, thief)
    const startUs = (thief.load < thief.nthreads ? 0 : thief.occupancyUs / thief.nthreads) + moveUs
    if (startUs > latest || (victim.isRunning && moveUs > TRANSFER_MAX * computeUs) || startUs >= bestUs) continue
    best = thief
    bestUs = startUs
  }
  return best
}

/** When the victim would get to it, were it the last one. */
function latestStartUs(victim: WorkerRecord, task: TaskRecord): number {
  return victim.isRunning ? (victim.occupancyUs - task.expectedUs) / victim.nthreads : Infinity
}

function candidates(state: SchedulerState, task: TaskRecord): WorkerRecord[] {
  const { labels, resources } = task.group
  const found = state.byStart.top(THIEVES_SEEN)
  if (labels !== null || resources !== null) {
    const pool = poolOf(state, task.group)
    const start = pool.length <= POOL_SEEN ? 0 : state.assignments
    for (let n = 0; n < Math.min(pool.length, POOL_SEEN); n++)
      found.push(pool[(start + n) % pool.length] as WorkerRecord)
  }
  for (const input of task.dependencies.slice(0, HOLDERS_SEEN)) found.push(...input.holders.slice(0, HOLDERS_SEEN))
  return found
}
