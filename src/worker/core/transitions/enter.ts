import { invariant } from '../../../base/invariant.ts'
import type { LocalTask, LocalTaskState } from '../state.ts'
import { ERRED_MAX, isBlocked, isParked, LOWEST_PRIORITY } from '../state.ts'
import { forgetHolders } from '../holders.ts'
import { withoutMember } from '../lazy-set.ts'
import type { Turn } from '../turn.ts'

/** First delay of the repeated question about missing keys; it doubles up to `MISSING_RETRY_MAX_MS`. */
export const MISSING_RETRY_MS = 1000
export const MISSING_RETRY_MAX_MS = 16_000

type Enter = (turn: Turn, task: LocalTask) => void

/** What a state does to the rest of the worker when a task comes into it. */
export const ENTER: { readonly [To in LocalTaskState | 'forgotten']: Enter } = {
  released: enterReleased,
  waiting: enterWaiting,
  ready: (turn, task) => turn.state.ready.add(task),
  constrained: (turn, task) => turn.state.resources.add(task),
  executing: () => {},
  memory: enterMemory,
  error: enterError,
  fetch: enterFetch,
  flight: enterFlight,
  missing: enterMissing,
  forgotten: (turn, task) => {
    forgetHolders(turn.state, task)
    turn.state.tasks.delete(task.key)
  },
}

/** W5: on to wherever it is wanted, or out. */
function enterReleased(turn: Turn, task: LocalTask): void {
  if (task.dependents.size === 0 && !task.acquire) turn.recommend(task, 'forgotten')
  else turn.recommend(task, task.holders.size > 0 ? 'fetch' : 'missing')
}

function enterWaiting(turn: Turn, task: LocalTask): void {
  turn.state.waiting.add(task)
  const assignment = task.assignment
  if (assignment === null) return
  if (assignment.missingInputs === 0) {
    if (!isBlocked(turn.state, task.key)) turn.recommend(task, 'ready')
    return
  }
  for (const input of assignment.inputs) {
    if (input.state === 'error') turn.recommend(input, 'released')
    else if (input.state === 'released') turn.recommend(input, input.holders.size > 0 ? 'fetch' : 'missing')
  }
}

/** The one place where a value begins to count; whoever waited for it may go on. */
function enterMemory(turn: Turn, task: LocalTask): void {
  dropAssignment(turn, task)
  forgetHolders(turn.state, task)
  task.acquire = false
  // Nobody waits for it: the order that came with the assignment is of no use any more, and is an object per value.
  if (task.dependents.size === 0) task.priority = LOWEST_PRIORITY
  turn.state.heldBytes += task.value?.nbytes ?? 0
  for (const dependent of task.dependents) {
    const assignment = dependent.assignment
    if (assignment === null) continue
    assignment.missingInputs--
    if (assignment.missingInputs === 0 && dependent.state === 'waiting' && !isBlocked(turn.state, dependent.key))
      turn.recommend(dependent, 'ready')
  }
}

function enterError(turn: Turn, task: LocalTask): void {
  const erred = turn.state.erred
  dropAssignment(turn, task)
  erred.add(task)
  if (task.dependents.size > 0 || task.acquire) {
    turn.recommend(task, 'released')
    return
  }
  if (erred.size <= ERRED_MAX) return
  for (const oldest of erred) {
    turn.recommend(oldest, 'released')
    break
  }
}

function enterFetch(turn: Turn, task: LocalTask): void {
  if (isParked(turn.state, task.key)) {
    turn.recommend(task, 'flight')
  } else {
    for (const peer of task.holders) peer.needed.add(task)
    turn.fetchesMayStart = true
  }
}

function enterFlight(turn: Turn, task: LocalTask): void {
  const transfer = turn.state.flying.get(task.key)
  invariant(transfer !== undefined, () => `task ${task.key} is in flight without a transfer`)
  task.transfer = transfer
  transfer.wanted++
}

function enterMissing(turn: Turn, task: LocalTask): void {
  const state = turn.state
  state.missing.add(task)
  askForHolders(turn, task)
  if (state.missingTimerMs === null) {
    state.missingTimerMs = MISSING_RETRY_MS
    turn.emit({ kind: 'SetTimer', delayMs: MISSING_RETRY_MS, event: { kind: 'MissingDue' } })
  }
}

/** At most once a second per key; the timer asks again for what stays missing. */
export function askForHolders(turn: Turn, task: LocalTask): void {
  if (task.askedAt !== null && turn.now - task.askedAt < MISSING_RETRY_MS) return
  task.askedAt = turn.now
  turn.sendRefresh(task.key)
}

/** Takes the order to compute a key away from it; inputs that nobody else here wants are released. */
export function dropAssignment(turn: Turn, task: LocalTask): void {
  const assignment = task.assignment
  if (assignment === null) return
  task.assignment = null
  for (const input of assignment.inputs) {
    input.dependents = withoutMember(input.dependents, task)
    if (input.dependents.size > 0 || input.acquire) continue
    if (input.state === 'fetch' || input.state === 'flight' || input.state === 'missing' || input.state === 'released')
      turn.recommend(input, 'released')
  }
}
