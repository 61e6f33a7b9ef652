// Orders about computing: given, taken back, cancelled, forgotten.

import type { TaskKey } from '../../../base/ids.ts'
import type { RunName } from '../../../protocol/scheduler-worker.ts'
import { ATTACHED_BYTES_MAX, type InputWire } from '../../../protocol/tasks.ts'
import type { MessageOf } from '../events.ts'
import { addHolders, forgetHolders } from '../holders.ts'
import { withMember } from '../lazy-set.ts'
import { comparePriority } from '../ready-queue.ts'
import { isBlocked, isParked, type LocalTask, obtainTask, type Run, statusOf, type WorkerState } from '../state.ts'
import { dropAssignment } from '../transitions/enter.ts'
import { settle, transition } from '../transitions/transition.ts'
import type { Turn } from '../turn.ts'
import { armHandBack } from './hand-back-timer.ts'

/** A run id names one assignment: the same again changes nothing, an older one is void, a newer one replaces what is here. */
export function computeTask(turn: Turn, message: MessageOf<'compute-task'>): void {
  const state = turn.state
  const task = obtainTask(state, message.key)
  if (message.runId > state.lastRun) state.lastRun = message.runId
  if (message.fnBytes !== undefined) state.functions.set(message.fn, message.fnBytes)
  if (task.assignment !== null) {
    if (task.assignment.runId >= message.runId) return
    abandonAssignment(turn, task)
  } else if (task.state === 'memory' && task.runId >= message.runId) {
    if (task.runId === message.runId) sendFinished(turn, task, 0)
    return
  } else if (task.state === 'error' && task.runId >= message.runId) {
    return
  }
  assign(turn, task, message)
}

function assign(turn: Turn, task: LocalTask, message: MessageOf<'compute-task'>): void {
  const state = turn.state
  const { runId, name, fn, args, options, attempt } = message
  const fnBytes = state.functions.get(fn)
  if (fnBytes === undefined) {
    reportUnknownFunction(turn, message)
    if (task.state === 'released') turn.recommend(task, 'missing')
    return
  }
  const inputs = message.inputs.map((input) => obtainInput(turn, task, message, input))
  let missingInputs = 0
  for (const input of inputs) if (input.state !== 'memory') missingInputs++
  task.priority = message.priority
  if (task.state === 'fetch' || task.state === 'flight' || task.state === 'missing') {
    transitionToAssigned(turn, task)
  }
  task.assignment = {
    runId,
    name,
    fn,
    fnBytes,
    args,
    options,
    attempt,
    reserve: message.reserve ?? null,
    inputs,
    missingInputs,
    returns: 0,
    attach: false,
    heldUntil: 0,
  }
  transition(turn, task, 'waiting')
  forgetHolders(state, task)
  if (statusOf(state) !== 'running') armHandBack(turn)
}

/** What was to be fetched is to be computed: it leaves its transfer, and waits for its end (W2). */
function transitionToAssigned(turn: Turn, task: LocalTask): void {
  task.acquire = false
  transition(turn, task, 'released')
}

/** Links an input to the task that needs it, and learns who has it. */
function obtainInput(turn: Turn, task: LocalTask, message: MessageOf<'compute-task'>, wire: InputWire): LocalTask {
  const input = obtainTask(turn.state, wire.key)
  input.dependents = withMember(input.dependents, task)
  if (input.state === 'memory' && input.runId < wire.runId) {
    // A copy of a value that has been made anew since: the scheduler does not count it any more.
    turn.sendReleased(input.key, input.runId)
    transition(turn, input, 'released')
  }
  if (input.state === 'memory' || input.assignment !== null) return input
  wantInput(turn, input, wire)
  raisePriority(turn, input, message.priority)
  return input
}

/** What the scheduler says of an input is newer than what was known. */
export function wantInput(turn: Turn, input: LocalTask, wire: InputWire): void {
  if (input.state === 'flight' && input.runId !== wire.runId) transition(turn, input, 'released')
  input.runId = wire.runId
  input.nbytes = wire.nbytes
  addHolders(turn, input, wire.holders)
  if (input.state === 'missing' && input.holders.size > 0) turn.recommend(input, 'fetch')
}

/** An input is as urgent as the most urgent task that waits for it. */
function raisePriority(turn: Turn, input: LocalTask, priority: LocalTask['priority']): void {
  if (comparePriority(priority, input.priority) >= 0) return
  input.priority = priority
  if (input.state !== 'fetch' || isParked(turn.state, input.key)) return
  for (const peer of input.holders) {
    peer.needed.delete(input)
    peer.needed.add(input)
  }
}

function reportUnknownFunction(turn: Turn, message: MessageOf<'compute-task'>): void {
  const { key, runId, fn } = message
  const text = `worker was asked to run ${key} with function ${fn}, whose code it was not sent`
  turn.emit({ kind: 'ReportFailure', key, runId, failure: 'system', code: 'INTERNAL', message: text })
}

export function sendFinished(turn: Turn, task: LocalTask, durationMs: number): void {
  const value = task.value
  if (value === null) return
  const { key, runId } = task
  const { nbytes, type, durable } = value
  const message = { op: 'task-finished', key, runId, nbytes, type, durable, durationMs } as const
  const attach = task.assignment?.attach === true && nbytes <= ATTACHED_BYTES_MAX
  turn.send(attach ? { ...message, attach } : message)
}

/** Of a run that has ended the scheduler knows already; whoever awaits its value has to fetch it. */
export function attachValues(turn: Turn, message: MessageOf<'attach-values'>): void {
  for (const { key, runId } of message.runs) {
    const assignment = turn.state.tasks.get(key)?.assignment
    if (assignment?.runId === runId) assignment.attach = true
  }
}

/** Out of `waiting`, `ready` or `executing`, without a word to the scheduler. */
export function abandonAssignment(turn: Turn, task: LocalTask): void {
  dropAssignment(turn, task)
  transition(turn, task, 'released')
}

/** The task is the scheduler's again, without blame. */
export function handBack(turn: Turn, task: LocalTask, reason: string): void {
  if (task.assignment === null) return
  turn.send({ op: 'reschedule', key: task.key, runId: task.assignment.runId, reason })
  abandonAssignment(turn, task)
}

/** Assigned tasks first: what they wanted as inputs is then wanted by nobody. */
export function freeKeys(turn: Turn, message: MessageOf<'free-keys'>): void {
  free(turn, message.keys)
}

export function freeRuns(turn: Turn, message: MessageOf<'free-runs'>): void {
  const isHere = ({ key, runId }: RunName): boolean => {
    const task = turn.state.tasks.get(key)
    return task !== undefined && task.value !== null && task.runId === runId
  }
  free(
    turn,
    message.runs.filter(isHere).map(({ key }) => key),
  )
}

function free(turn: Turn, keys: readonly TaskKey[]): void {
  const { tasks } = turn.state
  for (const key of keys) {
    const task = tasks.get(key)
    if (task === undefined) continue
    task.acquire = false
    if (task.assignment !== null) abandonAssignment(turn, task)
  }
  settle(turn)
  for (const key of keys) {
    const task = tasks.get(key)
    if (task !== undefined && (task.dependents.size === 0 || task.state === 'memory')) turn.recommend(task, 'released')
  }
}

export function holdRuns(turn: Turn, message: MessageOf<'hold-runs'>): void {
  for (const { key, runId } of message.runs) {
    const assignment = turn.state.tasks.get(key)?.assignment
    if (assignment?.runId === runId) assignment.heldUntil = turn.now + message.forMs
  }
}

/** What waits here goes back at once; what an executor has only if that has not started it. */
export function stealRequest(turn: Turn, message: MessageOf<'steal-request'>): void {
  for (const { key, runId } of message.runs) {
    const task = turn.state.tasks.get(key)
    if (task?.assignment?.runId !== runId) turn.sendStealAnswer({ key, runId }, false)
    else if (task.run === null) giveToThief(turn, task)
    else recall(turn, task.run, 'steal')
  }
}

/** The task is the scheduler's again: it asked for it. */
export function giveToThief(turn: Turn, task: LocalTask): void {
  if (task.assignment === null) return
  turn.sendStealAnswer({ key: task.key, runId: task.assignment.runId }, true)
  abandonAssignment(turn, task)
}

/** Asks for a run back that its executor may not have started. */
export function recall(turn: Turn, run: Run, why: 'pause' | 'steal'): void {
  const { key, runId, phase, fate } = run
  if (phase !== 'running' || fate !== 'keep') {
    if (why === 'steal') turn.sendStealAnswer({ key, runId }, false)
    return
  }
  if (run.recall === 'none') turn.withdraw(runId)
  if (run.recall !== 'steal') run.recall = why
}

export function cancelTask(turn: Turn, message: MessageOf<'cancel-task'>): void {
  const { key, runId, force } = message
  const task = turn.state.tasks.get(key)
  if (task?.assignment?.runId !== runId) {
    if (force && turn.state.runs.get(runId)?.phase === 'running') turn.emit({ kind: 'CancelExecution', runId, force })
    return
  }
  const run = task.run
  if (run === null) {
    turn.send({ op: 'task-cancelled', key, runId })
    abandonAssignment(turn, task)
    return
  }
  if (run.phase === 'running' && (run.fate === 'keep' || force)) turn.emit({ kind: 'CancelExecution', runId, force })
  run.fate = 'cancel'
}

export function freeFunctions(turn: Turn, message: MessageOf<'free-functions'>): void {
  for (const id of message.ids) turn.state.functions.delete(id)
  turn.emit({ kind: 'ForgetFunctions', ids: message.ids })
}

/** A discarded run or a transfer of this key ended: an assignment or a fetch that waited for it may go on (W2, W4). */
export function unblock(turn: Turn, state: WorkerState, key: LocalTask['key']): void {
  const task = state.tasks.get(key)
  if (task?.state === 'waiting') {
    if (task.assignment?.missingInputs === 0 && !isBlocked(state, key)) turn.recommend(task, 'ready')
  } else if (task?.state === 'fetch' && !isParked(state, key)) {
    for (const holder of task.holders) holder.needed.add(task)
    turn.fetchesMayStart = true
  }
}
