// From `waiting`, and the way from every runnable state to a worker.

import type { RunId } from '../../../base/ids.ts'
import { failedForInputs } from '../failures.ts'
import { addLoad } from '../occupancy.ts'
import { decide } from '../placement.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import { become, fetchableHolders, nextRun, recommend, troubleOf, type SchedulerState } from '../state.ts'
import type { InputWire } from '../../../protocol/tasks.ts'
import { giveUpActive } from './active.ts'

export function waitingToReleased(state: SchedulerState, task: TaskRecord): void {
  task.waitingOn = 0
  become(state, task, 'released')
  giveUpActive(state, task)
}

/** Finds a place for a runnable task (waiting with all inputs, queued, no-worker): it ends in processing, queued, no-worker or erred. */
export function place(state: SchedulerState, task: TaskRecord): void {
  if (task.state === 'waiting' && task.waitingOn > 0) return
  const decision = decide(state, task)
  if (decision === 'inputs-exceed-limit') {
    task.failure = failedForInputs(state, task)
    recommend(state, task, 'erred')
  } else if (decision === 'queued' || decision === 'no-worker') {
    if (task.state === decision) return
    leavePlace(state, task)
    if (decision === 'queued') state.queue.add(task)
    else state.noWorker.set(task, state.now)
    become(state, task, decision)
  } else {
    leavePlace(state, task)
    assign(state, task, decision)
  }
}

export function queuedToReleased(state: SchedulerState, task: TaskRecord): void {
  leavePlace(state, task)
  become(state, task, 'released')
  giveUpActive(state, task)
}

function leavePlace(state: SchedulerState, task: TaskRecord): void {
  if (task.state === 'queued') state.queue.delete(task)
  if (task.state === 'no-worker') state.noWorker.delete(task)
}

function assign(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): void {
  const { group } = task
  const fn = group.fn as NonNullable<typeof group.fn>
  const run = nextRun(state)
  task.runId = run
  task.attempts++
  if (task.acceptedRunId > 0) (troubleOf(task).reruns ??= new Map()).set(worker.id, run)
  addLoad(state, task, worker)
  become(state, task, 'processing')
  const message = {
    op: 'compute-task',
    key: task.key,
    runId: run,
    name: group.prefix.name,
    priority: [-group.userPriority, task.turn, task.order],
    fn: fn.id,
    args: task.args as Uint8Array,
    inputs: task.dependencies.length === 0 ? NO_INPUTS : task.dependencies.map(inputWire),
    options: group.options,
    attempt: task.attempts,
  } as const
  const reserve = task.trouble?.reserve ?? null
  const order = reserve === null ? message : { ...message, reserve }
  if (worker.functions.has(fn.id)) state.outbox.toWorker(worker, order)
  else {
    worker.functions.add(fn.id)
    state.outbox.toWorker(worker, { ...order, fnBytes: fn.bytes })
  }
  if (task.trouble !== null) holdIfHandedBack(state, task, worker, run)
  if (state.awaited.has(task)) state.outbox.attachValue(worker, task.key, run)
}

/** A task that wanders from one worker that pauses to the next gets nowhere: at most once in this time is it handed back. */
const HAND_BACK_EVERY_MS = 10_000

function holdIfHandedBack(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, runId: RunId): void {
  const forMs = (task.trouble?.handedBackMs ?? Number.NEGATIVE_INFINITY) + HAND_BACK_EVERY_MS - state.now
  if (forMs > 0) state.outbox.toWorker(worker, { op: 'hold-runs', runs: [{ key: task.key, runId }], forMs })
}

const NO_INPUTS: readonly InputWire[] = Object.freeze([])

function inputWire(input: TaskRecord): InputWire {
  return {
    key: input.key,
    runId: input.acceptedRunId as InputWire['runId'],
    nbytes: input.nbytes,
    holders: fetchableHolders(input),
  }
}
