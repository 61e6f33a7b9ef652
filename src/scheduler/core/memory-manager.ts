// The active memory manager: policies suggest copies and removals, one after the other; each suggestion is checked here,
// carried out or not, and the policy hears which worker it came to. Pure: a pass is a function of the state.
//
// A1. A copy goes to the running worker with the least memory that does not have one, is not about to get one, and would
//     not pause with it. Only values in memory are copied.
// A2. A removal takes the replica of a worker that runs nothing which needs it, workers that are not running first, then the
//     one with the most memory. One copy stays, whatever is suggested (copies.ts, M2).
// A3. It does not take the only replica on a running worker while tasks on paused or retiring ones still need theirs: it would be
//     copied back at once.
// A4. A policy that throws is logged and left out of this pass; the others go on.

import type { MemoryMeasure } from '../../base/memory-measure.ts'
import { toError } from '../../errors/plimsoll-error.ts'
import { isLeaving, orderCopy, orderRemoval } from './copies.ts'
import type { RequestNumber } from './events.ts'
import { Ledger } from './ledger.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

export interface Suggestion {
  readonly op: 'replicate' | 'drop'
  readonly task: TaskRecord
  /** Which workers come into question; left out: all. */
  readonly among?: readonly WorkerRecord[]
}

export interface Policy {
  readonly name: string
  /** What it hears of each suggestion: the worker chosen, or null. */
  run(state: SchedulerState, ledger: Ledger): Generator<Suggestion, void, WorkerRecord | null>
}

export interface PassResult {
  /** What was carried out. */
  readonly copies: number
  readonly removals: number
}

/** More suggestions than this of one policy in one pass are left for the next. */
const SUGGESTIONS_MAX = 100_000

export function runPolicies(state: SchedulerState, policies: readonly Policy[], measure: MemoryMeasure): PassResult {
  const ledger = new Ledger(state, measure)
  const result = { copies: 0, removals: 0 }
  for (const policy of policies) {
    try {
      runPolicy(state, policy, ledger, result)
    } catch (error) {
      state.outbox.log('warning', `the memory policy ${policy.name} failed: ${toError(error).message}`, {
        policy: policy.name,
      })
    }
  }
  return result
}

function runPolicy(
  state: SchedulerState,
  policy: Policy,
  ledger: Ledger,
  result: { copies: number; removals: number },
): void {
  const suggestions = policy.run(state, ledger)
  let next = suggestions.next()
  for (let count = 0; next.done !== true && count < SUGGESTIONS_MAX; count++) {
    const { op, task, among } = next.value
    const worker = op === 'replicate' ? copy(state, task, among, ledger) : drop(state, task, among, ledger)
    if (worker !== null) result[op === 'replicate' ? 'copies' : 'removals']++
    next = suggestions.next(worker)
  }
  if (next.done !== true) suggestions.return()
}

/** A1. */
function copy(
  state: SchedulerState,
  task: TaskRecord,
  among: readonly WorkerRecord[] | undefined,
  ledger: Ledger,
): WorkerRecord | null {
  if (task.state !== 'memory') return null
  const worker = ledger.roomiest(task, among ?? null)
  if (worker === undefined) return null
  orderCopy(state, task, worker)
  ledger.add(worker, task.nbytes)
  return worker
}

/** A2. `request` waits for the removal. */
export function drop(
  state: SchedulerState,
  task: TaskRecord,
  among: readonly WorkerRecord[] | undefined,
  ledger: Ledger,
  request: RequestNumber | null = null,
): WorkerRecord | null {
  if (task.state !== 'memory') return null
  const present = task.holders.filter((worker) => worker.link === 'live' && !isLeaving(state, task, worker))
  if (present.length < 2) return null
  const needy = workersThatNeed(task)
  let best: WorkerRecord | null = null
  for (const worker of present) {
    if ((among !== undefined && !among.includes(worker)) || needy.has(worker)) continue
    if (isLastRunning(worker, present, needy)) continue
    if (best === null || compareDroppable(worker, best, ledger) < 0) best = worker
  }
  if (best === null || !orderRemoval(state, task, best, request)) return null
  ledger.add(best, -task.nbytes)
  return best
}

/** Where dependents run or are about to. */
function workersThatNeed(task: TaskRecord): Set<WorkerRecord> {
  const needy = new Set<WorkerRecord>()
  for (const dependent of task.dependents ?? []) if (dependent.processingOn !== null) needy.add(dependent.processingOn)
  return needy
}

/** A3. */
function isLastRunning(
  worker: WorkerRecord,
  present: readonly WorkerRecord[],
  needy: ReadonlySet<WorkerRecord>,
): boolean {
  if (!worker.isRunning) return false
  const others = present.filter((other) => other !== worker)
  return !others.some((other) => other.isRunning) && others.some((other) => needy.has(other))
}

/** Negative: `a` goes first. */
function compareDroppable(a: WorkerRecord, b: WorkerRecord, ledger: Ledger): number {
  return Number(a.isRunning) - Number(b.isRunning) || ledger.of(b) - ledger.of(a)
}
