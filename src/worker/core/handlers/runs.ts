// What executors and the store report about runs.

import type { RunId } from '../../../base/ids.ts'
import type { EventOf } from '../events.ts'
import { freeSlot } from '../execute.ts'
import type { LocalTask, Run, WorkerState } from '../state.ts'
import { dropAssignment } from '../transitions/enter.ts'
import { forgetValue } from '../transitions/leave.ts'
import { transition } from '../transitions/transition.ts'
import type { Turn } from '../turn.ts'
import { giveToThief, handBack, sendFinished, unblock } from './assignments.ts'

/** An executor that keeps dying before it starts a task says something about this worker, not about the task. */
const RETURNS_MAX = 5
/** How much more than what it had when it died a function is expected to need. */
const SHORTAGE_FACTOR = 2

export function runFinished(turn: Turn, event: EventOf<'RunFinished'>): void {
  const state = turn.state
  const run = state.runs.get(event.runId)
  if (run === undefined) {
    turn.emit({ kind: 'DropResult', runId: event.runId })
    return
  }
  if (run.phase === 'storing') return
  noteDepth(state, run.name, event.depth)
  if (event.peakBytes !== undefined) state.admission.needs.notePeak(run, event.peakBytes, event.durationMs)
  if (run.fate !== 'keep') {
    turn.emit({ kind: 'DropResult', runId: event.runId })
    endRun(turn, event.runId)
    return
  }
  freeSlot(state, run)
  state.admission.holdResult(run)
  run.phase = 'storing'
  run.durationMs = event.durationMs
  turn.emit({ kind: 'StoreResult', runId: event.runId })
}

function noteDepth(state: WorkerState, name: string, depth: number): void {
  if (depth > 1) state.depths.set(name, depth)
  else state.depths.delete(name)
}

export function valueStored(turn: Turn, event: EventOf<'ValueStored'>): void {
  const { runId, nbytes, type, durable } = event
  const { runs, admission } = turn.state
  const run = runs.get(runId)
  if (run === undefined) return
  admission.needs.noteResult(run, nbytes)
  if (event.onDisk !== true) admission.stored(nbytes)
  const task = endRun(turn, runId)
  if (task === null) {
    turn.free(run.key, runId)
    return
  }
  task.value = { nbytes, type, durable, loose: false }
  task.runId = runId
  task.nbytes = nbytes
  sendFinished(turn, task, run.durationMs)
  transition(turn, task, 'memory')
}

export function valueRefused(turn: Turn, event: EventOf<'ValueRefused'>): void {
  const durationMs = turn.state.runs.get(event.runId)?.durationMs ?? 0
  failRun(turn, event.runId, 'store-full', event.error, durationMs)
}

export function runErred(turn: Turn, event: EventOf<'RunErred'>): void {
  const { runId, failure, error, durationMs, peakBytes } = event
  if (peakBytes !== undefined) noteShortage(turn.state, runId, peakBytes)
  failRun(turn, runId, failure, error, durationMs, peakBytes)
}

/** It would have taken more: other runs of its function are expected to. */
function noteShortage(state: WorkerState, runId: RunId, peakBytes: number): void {
  const run = state.runs.get(runId)
  if (run !== undefined) state.admission.needs.noteShortage(run, SHORTAGE_FACTOR * peakBytes)
}

function failRun(
  turn: Turn,
  runId: RunId,
  kind: EventOf<'RunErred'>['failure'],
  error: Uint8Array,
  durationMs: number,
  peakBytes?: number,
): void {
  const task = endRun(turn, runId)
  if (task === null) return
  const message = { op: 'task-erred', key: task.key, runId, kind, error, durationMs } as const
  turn.send(peakBytes === undefined ? message : { ...message, peakBytes })
  task.runId = runId
  transition(turn, task, 'error')
}

/** Nobody is blamed. What was asked back goes where it was asked for, or waits here for the end of the pause. */
export function runReturned(turn: Turn, event: EventOf<'RunReturned'>): void {
  const recalled = turn.state.runs.get(event.runId)?.recall ?? 'none'
  const task = endRun(turn, event.runId)
  if (task === null || task.assignment === null) return
  if (recalled === 'steal') return giveToThief(turn, task)
  if (recalled === 'none') task.assignment.returns++
  if (task.assignment.returns > RETURNS_MAX)
    handBack(turn, task, `executors gave it back ${RETURNS_MAX + 1} times: ${event.reason}`)
  else transition(turn, task, 'waiting')
}

export function runsKept(turn: Turn, event: EventOf<'RunsKept'>): void {
  for (const runId of event.runIds) {
    const run = turn.state.runs.get(runId)
    if (run === undefined) continue
    if (run.recall === 'steal' && run.fate === 'keep') turn.sendStealAnswer({ key: run.key, runId }, false)
    run.recall = 'none'
  }
}

/** Nobody here asked for it, or `endRun` would have dealt with it. */
export function runCancelled(turn: Turn, event: EventOf<'RunCancelled'>): void {
  const task = endRun(turn, event.runId)
  if (task !== null) handBack(turn, task, 'its executor was ended')
}

/** A replica that cannot be read is lost; the task waits for another one, nobody is blamed. */
export function inputBad(turn: Turn, event: EventOf<'InputBad'>): void {
  const stolen = turn.state.runs.get(event.runId)?.recall === 'steal'
  const task = endRun(turn, event.runId)
  const input = turn.state.tasks.get(event.key)
  if (input?.state === 'memory' && (event.valueRunId === null || input.runId === event.valueRunId)) {
    turn.sendUnreadable(input.key, input.runId, event.reason)
    input.suspect = event.valueRunId !== null
    transition(turn, input, 'released')
  }
  if (task === null || task.assignment === null) return
  if (stolen) return giveToThief(turn, task)
  task.assignment.returns++
  if (task.assignment.returns > RETURNS_MAX)
    handBack(turn, task, `input ${event.key} could not be read: ${event.reason}`)
  else transition(turn, task, 'waiting')
}

export function valuesDurable(turn: Turn, event: EventOf<'ValuesDurable'>): void {
  for (const { key, runId } of event.values) {
    const task = turn.state.tasks.get(key)
    if (task?.value === null || task?.runId !== runId || task.value.durable) continue
    task.value.durable = true
    turn.sendDurable(key, runId)
  }
}

/** Dropped for room, or damaged: the bytes are gone already. */
export function replicasLost(turn: Turn, event: EventOf<'ReplicasLost'>): void {
  for (const { key, runId } of event.values) {
    const task = turn.state.tasks.get(key)
    if (task?.state !== 'memory' || task.runId !== runId) continue
    forgetValue(turn.state, task)
    if (event.unreadable === true) turn.sendUnreadable(key, runId, event.reason)
    else turn.sendReleased(key, runId)
    transition(turn, task, 'released')
  }
}

/** Takes the run out. The task, if it still waits for this very run; null when its end concerns nobody any more. */
function endRun(turn: Turn, runId: RunId): LocalTask | null {
  const state = turn.state
  const run = state.runs.get(runId)
  if (run === undefined) return null
  state.runs.delete(runId)
  freeSlot(state, run)
  state.admission.release(run)
  if (run.fate === 'discard') {
    countDown(state, run)
    unblock(turn, state, run.key)
    return null
  }
  const task = state.tasks.get(run.key)
  if (task === undefined || task.run !== run) return null
  if (run.fate === 'keep') return task
  turn.send({ op: 'task-cancelled', key: task.key, runId })
  dropAssignment(turn, task)
  transition(turn, task, 'released')
  return null
}

function countDown(state: WorkerState, run: Run): void {
  const left = (state.discarded.get(run.key) ?? 0) - 1
  if (left > 0) state.discarded.set(run.key, left)
  else state.discarded.delete(run.key)
  if (run.phase === 'storing') state.discardedStoring.delete(run.key)
}
