// When the next task starts. A thread's worth of work is 1: a run of a function of which one executor takes `depth` at once
// counts 1/depth, so long tasks never sit behind one another while microsecond tasks keep the pipes full.
//
// E1. Runs start in order of priority; a task is overtaken only while it waits for resources (resources.ts).
// E2. The weights of running runs sum up to at most `nthreads`; discarded runs count until their end is reported.
// E3. Nothing starts while the worker is paused or retiring; while it probes, one task starts when nothing else runs.

import { armHandBack } from './handlers/hand-back-timer.ts'
import { comparePriority } from './ready-queue.ts'
import { demandOf } from './resources.ts'
import { type LocalTask, type Run, statusOf, type WorkerState } from './state.ts'
import { transition } from './transitions/transition.ts'
import type { Turn } from './turn.ts'

/** Sums of fractions are not exact. */
const EPSILON = 1e-6

export function startExecutions(turn: Turn): void {
  const state = turn.state
  if ((state.ready.size === 0 && state.resources.isEmpty) || statusOf(state) !== 'running') return
  for (let task = nextTask(state); task !== undefined; task = nextTask(state)) {
    const weight = 1 / (state.depths.get(task.assignment?.name ?? '') ?? 1)
    if (state.load + weight > state.settings.nthreads + EPSILON) return
    if (state.probing && state.running > 0) return
    startRun(turn, task, weight)
    if (state.probing) return endProbe(turn)
  }
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

function startRun(turn: Turn, task: LocalTask, weight: number): void {
  const state = turn.state
  const assignment = task.assignment
  if (assignment === null) return
  const { runId, name, fn, fnBytes, args, options, attempt } = assignment
  const run: Run = {
    runId,
    key: task.key,
    name,
    weight,
    startedAt: turn.now,
    phase: 'running',
    recall: 'none',
    fate: 'keep',
    durationMs: 0,
  }
  state.runs.set(runId, run)
  state.load += weight
  state.running++
  const demand = demandOf(task)
  if (demand !== null) state.resources.take(run, demand)
  transition(turn, task, 'executing')
  task.run = run
  const inputs = assignment.inputs.map((input) => input.key)
  turn.execute({ runId, key: task.key, name, fn, fnBytes, args, inputs, options, attempt })
}

/** The executor is free of it. */
export function freeSlot(state: WorkerState, run: Run): void {
  if (run.phase !== 'running') return
  state.running--
  state.load = state.running === 0 ? 0 : state.load - run.weight
  state.resources.giveBack(run)
}
