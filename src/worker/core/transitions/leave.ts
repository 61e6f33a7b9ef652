import type { LocalTask, LocalTaskState, Run, WorkerState } from '../state.ts'
import type { Turn } from '../turn.ts'

type Leave = (turn: Turn, task: LocalTask) => void

/** Undoes what entering the state did. */
export const LEAVE: { readonly [From in LocalTaskState]: Leave } = {
  released: () => {},
  waiting: (turn, task) => turn.state.waiting.delete(task),
  ready: (turn, task) => turn.state.ready.delete(task),
  constrained: (turn, task) => turn.state.resources.delete(task),
  executing: leaveExecuting,
  memory: leaveMemory,
  error: (turn, task) => turn.state.erred.delete(task),
  fetch: leaveFetch,
  flight: leaveFlight,
  missing: (turn, task) => turn.state.missing.delete(task),
}

/** A run that has not ended is left to itself: cancelled, its result dropped when it comes (state.ts). */
function leaveExecuting(turn: Turn, task: LocalTask): void {
  const run = task.run
  task.run = null
  if (run === null || !turn.state.runs.has(run.runId)) return
  if (run.fate === 'keep' && run.phase === 'running')
    turn.emit({ kind: 'CancelExecution', runId: run.runId, force: false })
  run.fate = 'discard'
  noteDiscarded(turn.state, run)
}

function noteDiscarded(state: WorkerState, run: Run): void {
  state.discarded.set(run.key, (state.discarded.get(run.key) ?? 0) + 1)
  if (run.phase === 'storing') state.discardedStoring.add(run.key)
}

/** Whoever found the value gone has set `value` to null before; otherwise it is freed now. */
function leaveMemory(turn: Turn, task: LocalTask): void {
  if (task.value !== null) {
    turn.free(task.key, task.runId)
    forgetValue(turn.state, task)
  }
  for (const dependent of task.dependents) {
    const assignment = dependent.assignment
    if (assignment === null) continue
    assignment.missingInputs++
    if (dependent.state === 'ready' || dependent.state === 'constrained') turn.recommend(dependent, 'waiting')
  }
}

/** The store does not have it any more: nothing to free. */
export function forgetValue(state: WorkerState, task: LocalTask): void {
  if (task.value === null) return
  state.heldBytes -= task.value.nbytes
  task.value = null
}

function leaveFetch(_turn: Turn, task: LocalTask): void {
  for (const peer of task.holders) peer.needed.delete(task)
}

/** The transfer goes on for its other keys; without any it is aborted. */
function leaveFlight(turn: Turn, task: LocalTask): void {
  const transfer = task.transfer
  task.transfer = null
  if (transfer === null || !turn.state.transfers.has(transfer.id)) return
  transfer.wanted--
  if (transfer.wanted === 0 && transfer.keys.size > 0 && !transfer.aborted) {
    transfer.aborted = true
    turn.emit({ kind: 'AbortTransfer', transferId: transfer.id })
  }
}
