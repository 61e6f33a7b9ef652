// When the next task starts. A thread's worth of work is 1: a run of a function of which one executor takes `depth` at once
// counts 1/depth, so long tasks never sit behind one another while microsecond tasks keep the pipes full.
//
// E1. Runs start in order of priority; a task is overtaken only while it waits for resources (resources.ts) or memory (E3).
// E2. The weights of running runs sum up to at most `nthreads`; discarded runs count until their end is reported.
// E3. A task for which there is no memory waits (admission.ts); others may overtake it for a while.
// E4. Nothing starts while the worker is paused or retiring; while it probes, one task starts when nothing else runs.

import type { Plan } from './admission.ts'
import { armHandBack } from './handlers/hand-back-timer.ts'
import { comparePriority } from './ready-queue.ts'
import { demandOf } from './resources.ts'
import { type LocalTask, type Run, statusOf, type WorkerState } from './state.ts'
import { transition } from './transitions/transition.ts'
import type { Turn } from './turn.ts'

/** Sums of fractions are not exact. */
const EPSILON = 1e-6
/** How many tasks behind one that has no memory are looked at. */
const OVERTAKERS_SEEN = 8

const NO_RUNS: readonly Run[] = []

export function startExecutions(turn: Turn): void {
  const state = turn.state
  if ((state.ready.size === 0 && state.resources.isEmpty) || statusOf(state) !== 'running') return
  for (let task = nextTask(state); task !== undefined; task = nextTask(state)) {
    const weight = weightOf(state, task)
    const plan = state.admission.planFor(task)
    if (!hasThread(state, weight)) return askForRoom(turn, task, plan, weight, state.runs.values())
    if (state.probing) {
      if (state.running > 0) return
      startRun(turn, task, weight, plan)
      return endProbe(turn)
    }
    if (state.admission.admits(plan, weight, state.running)) startRun(turn, task, weight, plan)
    else {
      askForRoom(turn, task, plan, weight, NO_RUNS)
      if (!overtake(turn, task, plan)) return
    }
  }
}

function weightOf(state: WorkerState, task: LocalTask): number {
  return 1 / (state.depths.get(task.assignment?.name ?? '') ?? 1)
}

/** E2. */
function hasThread(state: WorkerState, weight: number): boolean {
  return state.load + weight <= state.settings.nthreads + EPSILON
}

function askForRoom(turn: Turn, task: LocalTask, plan: Plan, weight: number, ending: Iterable<Run>): void {
  const bytes = turn.state.admission.roomToAsk(plan, weight, ending, turn.state.running)
  if (bytes === 0) return
  const keep = task.assignment?.inputs.map((input) => input.key) ?? []
  turn.emit({ kind: 'MakeRoom', bytes, keep })
}

/** Starts a less urgent task than the first one, for which there is no memory now. False when there is none. */
function overtake(turn: Turn, first: LocalTask, plan: Plan): boolean {
  const { state, now } = turn
  const { admission } = state
  if (!admission.isTriedOut(plan) && !admission.mayBeOvertaken(first, now)) return false
  const constrained = state.resources.firstAffordable()
  const others = state.ready.peekMany(OVERTAKERS_SEEN)
  if (constrained !== undefined) others.push(constrained)
  for (const task of others.sort((a, b) => comparePriority(a.priority, b.priority))) {
    if (comparePriority(task.priority, first.priority) <= 0) continue
    const weight = weightOf(state, task)
    const its = admission.planFor(task)
    if (!hasThread(state, weight) || !admission.admits(its, weight, state.running)) continue
    startRun(turn, task, weight, its)
    return true
  }
  return false
}

/** The pause goes on, for all but the run that has just started. */
function endProbe(turn: Turn): void {
  turn.state.probing = false
  turn.state.memoryPaused = true
  turn.send({ op: 'worker-status-change', status: 'paused' })
  armHandBack(turn)
}

function nextTask(state: WorkerState): LocalTask | undefined {
  const ready = state.ready.peek()
  const constrained = state.resources.firstAffordable()
  if (ready === undefined || constrained === undefined) return ready ?? constrained
  return comparePriority(constrained.priority, ready.priority) < 0 ? constrained : ready
}

function startRun(turn: Turn, task: LocalTask, weight: number, plan: Plan): void {
  const state = turn.state
  const assignment = task.assignment
  if (assignment === null) return
  const { runId, name, fn, fnBytes, args, options, attempt } = assignment
  const run: Run = {
    runId,
    key: task.key,
    fn,
    name,
    weight,
    startedAt: turn.now,
    phase: 'running',
    recall: 'none',
    fate: 'keep',
    durationMs: 0,
    claimBytes: 0,
    resultBytes: 0,
    isTry: false,
    seenBytes: 0,
  }
  const memory = state.admission.memoryOf(task, plan)
  state.admission.begin(run, plan)
  state.runs.set(runId, run)
  state.load += weight
  state.running++
  const demand = demandOf(task)
  if (demand !== null) state.resources.take(run, demand)
  transition(turn, task, 'executing')
  task.run = run
  const inputs = assignment.inputs.map((input) => input.key)
  turn.execute({ runId, key: task.key, name, fn, fnBytes, args, inputs, options, attempt, memory })
}

/** The executor is free of it. */
export function freeSlot(state: WorkerState, run: Run): void {
  if (run.phase !== 'running') return
  state.admission.release(run)
  state.running--
  state.load = state.running === 0 ? 0 : state.load - run.weight
  state.resources.giveBack(run)
}
