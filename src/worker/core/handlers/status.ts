// Running, paused, retiring; first contact; the end.

import type { EventOf, MessageOf } from '../events.ts'
import { forgetHolders } from '../holders.ts'
import { type LocalTask, statusOf, type WorkerState } from '../state.ts'
import { dropAssignment } from '../transitions/enter.ts'
import { forgetValue } from '../transitions/leave.ts'
import { transition } from '../transitions/transition.ts'
import type { Turn } from '../turn.ts'
import { abandonAssignment, handBack, recall } from './assignments.ts'
import { armHandBack } from './hand-back-timer.ts'

export function setStatus(turn: Turn, message: MessageOf<'set-status'>): void {
  changeStatus(turn, (state) => {
    state.requested = message.status
  })
}

export function memoryPaused(turn: Turn, _event: EventOf<'MemoryPaused'>): void {
  changeStatus(turn, (state) => {
    state.memoryPaused = true
    state.probing = false
  })
}

export function memoryResumed(turn: Turn, _event: EventOf<'MemoryResumed'>): void {
  changeStatus(turn, (state) => {
    state.memoryPaused = false
    state.probing = false
  })
}

export function memoryProbed(turn: Turn, _event: EventOf<'MemoryProbed'>): void {
  if (!turn.state.memoryPaused) return
  changeStatus(turn, (state) => {
    state.memoryPaused = false
    state.probing = true
  })
}

export function memoryMeasured(turn: Turn, event: EventOf<'MemoryMeasured'>): void {
  turn.state.admission.measured(event, turn.state.runs)
}

export function roomMade(turn: Turn, event: EventOf<'RoomMade'>): void {
  turn.state.admission.roomMade(event)
}

function changeStatus(turn: Turn, change: (state: WorkerState) => void): void {
  const before = statusOf(turn.state)
  change(turn.state)
  const status = statusOf(turn.state)
  if (status === before) return
  turn.send({ op: 'worker-status-change', status })
  if (status === 'running') {
    turn.fetchesMayStart = true
    return
  }
  for (const run of turn.state.runs.values()) recall(turn, run, 'pause')
  armHandBack(turn)
}

/** A paused worker strands nothing: what has not started and has no open fetch is the scheduler's again. */
export function handBackDue(turn: Turn, _event: EventOf<'HandBackDue'>): void {
  const state = turn.state
  state.handBackTimer = false
  const status = statusOf(state)
  if (status === 'running') return
  const reason = status === 'retiring' ? 'the worker is retiring' : 'the worker is paused'
  let isHolding = false
  for (const task of [...state.ready, ...state.resources, ...state.waiting]) {
    if (status === 'paused' && isHeld(turn, task)) isHolding = true
    else if (!hasOpenFetch(task)) handBack(turn, task, reason)
  }
  if (isHolding || state.waiting.size > 0) armHandBack(turn)
}

/** It came from a worker that paused: workers that pause in turn do not pass it around. */
function isHeld(turn: Turn, task: LocalTask): boolean {
  return task.assignment !== null && task.assignment.heldUntil > turn.now
}

function hasOpenFetch(task: LocalTask): boolean {
  return task.assignment?.inputs.some((input) => input.state === 'flight') === true
}

export function registered(turn: Turn, event: EventOf<'Registered'>): void {
  const state = turn.state
  state.generation = event.generation
  for (const key of event.drop) {
    const task = state.tasks.get(key)
    if (task?.state === 'memory') turn.recommend(task, 'released')
  }
  for (const runId of event.cancel) {
    const run = state.runs.get(runId)
    const task = run === undefined ? findAssigned(state, runId) : state.tasks.get(run.key)
    if (task?.assignment?.runId === runId) abandonAssignment(turn, task)
  }
  forgetFunctions(turn)
}

/** Which functions are of no use any more may have been said to nobody; the scheduler sends the others again when it has to. */
function forgetFunctions(turn: Turn): void {
  const { functions, tasks } = turn.state
  const used = new Set([...tasks.values()].map((task) => task.assignment?.fn))
  const ids = [...functions.keys()].filter((id) => !used.has(id))
  for (const id of ids) functions.delete(id)
  if (ids.length > 0) turn.emit({ kind: 'ForgetFunctions', ids })
}

function findAssigned(state: WorkerState, runId: EventOf<'RunCancelled'>['runId']): LocalTask | undefined {
  for (const task of [...state.ready, ...state.resources, ...state.waiting])
    if (task.assignment?.runId === runId) return task
  return undefined
}

export function wipe(turn: Turn, message: MessageOf<'wipe'>): void {
  dropEverything(turn, message.generation)
}

export function clusterChanged(turn: Turn, event: EventOf<'ClusterChanged'>): void {
  dropEverything(turn, event.generation)
}

/** Nothing of before counts any more. Runs and transfers end by themselves, at once, and leave nothing. */
function dropEverything(turn: Turn, generation: number): void {
  const state = turn.state
  for (const run of state.runs.values()) {
    if (run.phase === 'running') turn.emit({ kind: 'CancelExecution', runId: run.runId, force: true })
    if (run.fate === 'keep') run.fate = 'cancel'
  }
  for (const transfer of state.transfers.values()) {
    if (transfer.aborted) continue
    transfer.aborted = true
    turn.emit({ kind: 'AbortTransfer', transferId: transfer.id })
  }
  for (const task of state.tasks.values()) {
    dropAssignment(turn, task)
    forgetHolders(state, task)
    forgetValue(state, task)
    task.acquire = false
  }
  for (const task of state.tasks.values()) if (task.state !== 'released') transition(turn, task, 'released')
  state.generation = generation
  turn.emit({ kind: 'WipeStore', generation })
}

export function close(turn: Turn, message: MessageOf<'close'>): void {
  turn.emit({ kind: 'CloseWorker', reason: message.reason })
}
