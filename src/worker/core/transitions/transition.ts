import { invariant } from '../../../base/invariant.ts'
import { demandOf } from '../resources.ts'
import { isBlocked, type LocalTask, type WorkerState } from '../state.ts'
import { storyOf } from '../story.ts'
import type { NextState, Turn } from '../turn.ts'
import { ENTER } from './enter.ts'
import { LEAVE } from './leave.ts'
import { TRANSITIONS } from './table.ts'

/** Transitions of one step above which the core is taken to run in a circle. */
const TRANSITIONS_PER_STEP_MAX = 10_000_000

/** Applies one transition now. Handlers that depend on its result use it; everything else is recommended. */
export function transition(turn: Turn, task: LocalTask, to: NextState): void {
  const from = task.state
  if (from === to) return
  invariant(
    TRANSITIONS[from][to],
    () =>
      `task ${task.key} cannot go from ${from} to ${to} (${turn.cause})\n${storyOf(turn.state, task.key).join('\n')}`,
  )
  const assignment = task.assignment
  turn.state.log.push({
    at: turn.now,
    key: task.key,
    from,
    to,
    runId: assignment === null ? task.runId : assignment.runId,
    cause: turn.cause,
  })
  LEAVE[from](turn, task)
  if (to !== 'forgotten') task.state = to
  ENTER[to](turn, task)
}

/** Applies recommendations, and what they recommend, until none is left. */
export function settle(turn: Turn): void {
  let count = 0
  while (turn.applyNext(apply)) {
    invariant(++count <= TRANSITIONS_PER_STEP_MAX, () => `the worker core does not come to rest (${turn.cause})`)
  }
}

function apply(turn: Turn, task: LocalTask, recommended: NextState): void {
  const to = stillMeant(turn.state, task, recommended)
  if (to !== null) transition(turn, task, to)
}

/** Between a recommendation and its turn another one may have changed what it was based on. */
function stillMeant(state: WorkerState, task: LocalTask, to: NextState): NextState | null {
  if (state.tasks.get(task.key) !== task) return null
  let meant: NextState | null = to
  const wanted = task.dependents.size > 0 || task.acquire
  if (to === 'forgotten') meant = wanted ? null : to
  else if (to === 'ready') meant = runnable(state, task)
  else if (to === 'waiting') meant = task.assignment === null ? null : to
  else if (to === 'released') meant = task.assignment === null ? to : null
  else if (to === 'flight') meant = canJoin(state, task) ? to : null
  else if (to === 'fetch' || to === 'missing') {
    if (wanted) meant = task.holders.size > 0 ? 'fetch' : 'missing'
    else meant = task.state === 'released' ? 'forgotten' : 'released'
  }
  return meant !== null && TRANSITIONS[task.state][meant] ? meant : null
}

function runnable(state: WorkerState, task: LocalTask): 'ready' | 'constrained' | null {
  if (task.assignment?.missingInputs !== 0 || isBlocked(state, task.key)) return null
  return demandOf(task) === null ? 'ready' : 'constrained'
}

/** An abandoned transfer still brings what is wanted again. */
function canJoin(state: WorkerState, task: LocalTask): boolean {
  const open = state.flying.get(task.key)
  return open !== undefined && !open.aborted && open.keys.get(task.key)?.runId === task.runId
}
