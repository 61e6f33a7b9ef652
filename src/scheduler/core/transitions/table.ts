// The transition table and the loop that works recommendations off.
//
// T1. Every pair of states has an entry: a function, `via released` (leave to released, go on from there), or `never`.
// T2. Handlers and transitions do not follow up on other tasks: they recommend, and the loop does it, first come first served.
// T3. A recommendation may be overtaken by events: one to run is void when the task is not runnable any more, and
//     `settled` is decided when its turn comes. A transition that is asked for directly and has no entry is a bug.

import { InvariantError } from '../../../base/invariant.ts'
import { isActive, type TaskRecord, type TaskState } from '../records.ts'
import { recommend, type Arrival, type Goal, type SchedulerState } from '../state.ts'
import { erredToReleased } from './erred.ts'
import { memoryToReleased } from './memory.ts'
import { processingToMemory, processingToReleased } from './processing.ts'
import { releasedToErred, releasedToForgotten, releasedToMemory, releasedToWaiting } from './released.ts'
import { place, queuedToReleased, waitingToReleased } from './waiting.ts'

type Move = (state: SchedulerState, task: TaskRecord) => void
type Arrive = (state: SchedulerState, task: TaskRecord, arrival: Arrival) => void
type Entry<To extends TaskState> = (To extends 'memory' ? Arrive : Move) | 'via released' | 'never'
type Table = { readonly [From in TaskState]: { readonly [To in Exclude<TaskState, From>]: Entry<To> } }

const VIA = 'via released'
const NEVER = 'never'

const TABLE: Table = {
  released: {
    waiting: releasedToWaiting,
    'no-worker': NEVER,
    queued: NEVER,
    processing: NEVER,
    memory: releasedToMemory,
    erred: releasedToErred,
    forgotten: releasedToForgotten,
  },
  waiting: {
    released: waitingToReleased,
    'no-worker': place,
    queued: place,
    processing: place,
    memory: VIA,
    erred: VIA,
    forgotten: VIA,
  },
  'no-worker': {
    released: queuedToReleased,
    waiting: VIA,
    queued: place,
    processing: place,
    memory: VIA,
    erred: VIA,
    forgotten: VIA,
  },
  queued: {
    released: queuedToReleased,
    waiting: VIA,
    'no-worker': place,
    processing: place,
    memory: VIA,
    erred: VIA,
    forgotten: VIA,
  },
  processing: {
    released: processingToReleased,
    waiting: VIA,
    'no-worker': NEVER,
    queued: NEVER,
    memory: processingToMemory,
    erred: VIA,
    forgotten: VIA,
  },
  memory: {
    released: memoryToReleased,
    waiting: VIA,
    'no-worker': NEVER,
    queued: NEVER,
    processing: NEVER,
    erred: NEVER,
    forgotten: VIA,
  },
  erred: {
    released: erredToReleased,
    waiting: VIA,
    'no-worker': NEVER,
    queued: NEVER,
    processing: NEVER,
    memory: VIA,
    forgotten: VIA,
  },
  forgotten: {
    released: NEVER,
    waiting: NEVER,
    'no-worker': NEVER,
    queued: NEVER,
    processing: NEVER,
    memory: NEVER,
    erred: NEVER,
  },
}

/** Recommendations that one step may follow per task known; more means that two transitions feed each other. */
const ROUNDS_MAX = 50

/** Moves a task, now. `arrival` says what came, for the ways into memory. */
export function transition(
  state: SchedulerState,
  task: TaskRecord,
  goal: TaskState,
  arrival: Arrival | null = null,
): void {
  if (task.state === goal) return
  const entry = entryOf(task.state, goal)
  if (entry === NEVER) throw transitionError(state, task, goal)
  if (entry !== VIA) return entry(state, task, arrival as Arrival)
  const failure = task.failure
  move(state, task, 'released')
  if (goal === 'erred') task.failure = failure
  move(state, task, goal, arrival)
}

function move(state: SchedulerState, task: TaskRecord, goal: TaskState, arrival: Arrival | null = null): void {
  const entry = entryOf(task.state, goal)
  if (entry === NEVER || entry === VIA) throw transitionError(state, task, goal)
  entry(state, task, arrival as Arrival)
}

function entryOf(from: TaskState, to: TaskState): Arrive | 'via released' | 'never' {
  return (TABLE[from] as Readonly<Record<TaskState, Arrive | 'via released' | 'never'>>)[to]
}

/** Follows recommendations until there are none. */
export function settleAll(state: SchedulerState): void {
  const { todo } = state
  if (todo.tasks.length === 0) return
  // Taken now: while tasks are forgotten, their number falls.
  const allowed = ROUNDS_MAX * (state.tasks.size + todo.tasks.length + 1000)
  let done = 0
  try {
    while (done < todo.tasks.length) {
      const task = todo.tasks[done] as TaskRecord
      const goal = todo.goals[done] as Goal
      done++
      if (done > allowed) throw transitionError(state, task, goal)
      follow(state, task, goal === 'settled' ? restingGoal(task) : goal)
    }
  } finally {
    // After a bug in one transition the others still have to be made, by the next step.
    todo.tasks.splice(0, done)
    todo.goals.splice(0, done)
  }
}

function follow(state: SchedulerState, task: TaskRecord, goal: TaskState | null): void {
  if (goal === null || task.state === 'forgotten' || task.state === goal) return
  if (goal === 'processing' && (!isActive(task.state) || task.waitingOn > 0)) return
  if (goal === 'erred' && !isActive(task.state) && task.state !== 'released') return
  transition(state, task, goal)
  if (goal === 'released') recommend(state, task, 'settled')
}

/** Where the needs of others put a task; null = where it is. */
function restingGoal(task: TaskRecord): TaskState | null {
  switch (task.state) {
    case 'released':
      if (task.isNeeded) return 'waiting'
      return task.hasDependents ? null : 'forgotten'
    case 'waiting':
      if (!task.isNeeded) return 'released'
      return task.waitingOn === 0 ? 'processing' : null
    case 'no-worker':
    case 'queued':
    case 'processing':
    case 'memory':
      return task.isNeeded ? null : 'released'
    case 'erred':
      return task.isNeeded || task.hasDependents ? null : 'forgotten'
    case 'forgotten':
      return null
  }
}

function transitionError(state: SchedulerState, task: TaskRecord, goal: Goal): InvariantError {
  const story = state.story
    .of(task.key)
    .slice(-20)
    .map((entry) => entry.text)
  return new InvariantError(
    `task ${task.key} cannot go from ${task.state} to ${goal} (${state.cause}); before: ${story.join('; ') || 'nothing'}`,
  )
}
