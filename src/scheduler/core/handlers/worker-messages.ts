// What a worker says about its tasks. Everything is checked against run ids: a message about another run than the
// present one is stale and changes nothing.

import type { RunId, TaskKey } from '../../../base/ids.ts'
import type { WorkerToScheduler } from '../../../protocol/scheduler-worker.ts'
import type { EventOf } from '../events.ts'
import { afterError } from '../failures.ts'
import { noteShortage } from '../cluster-memory.ts'
import { measure, noteRunning } from '../occupancy.ts'
import type { TaskRecord, WorkerRecord } from '../records.ts'
import { recommend, settleRunning, touch, troubleOf, type SchedulerState } from '../state.ts'
import { resumeScatters } from './scatter.ts'
import { learnRate } from '../transfer-cost.ts'
import { endSteal } from '../steals.ts'
import { endRun } from '../transitions/processing.ts'
import { settleAll, transition } from '../transitions/table.ts'
import {
  addKeys,
  dropUnwanted,
  keysDurable,
  keysScattered,
  refreshWhoHas,
  releaseWorkerData,
} from './replica-messages.ts'

type Message<Op extends WorkerToScheduler['op']> = Extract<WorkerToScheduler, { readonly op: Op }>
type Handlers = {
  readonly [Op in WorkerToScheduler['op']]: (state: SchedulerState, worker: WorkerRecord, message: Message<Op>) => void
}

const HANDLERS: Handlers = {
  'task-finished': taskFinished,
  'task-erred': taskErred,
  reschedule: handedBack,
  'task-cancelled': (state, worker, message) => givenBack(state, worker, message.key, message.runId, true),
  'add-keys': (state, worker, { keys }) => addKeys(state, worker, keys),
  'keys-scattered': (state, worker, { keys }) => keysScattered(state, worker, keys),
  'release-worker-data': (state, worker, { keys }) => releaseWorkerData(state, worker, keys),
  'keys-durable': (state, worker, { keys }) => keysDurable(state, worker, keys),
  'request-refresh-who-has': (state, worker, { keys }) => refreshWhoHas(state, worker, keys),
  'steal-response': stealResponse,
  'worker-status-change': (state, worker, { status }) => {
    // What its last heartbeat said of its memory is history; the next one follows at once.
    if (status === 'running' && worker.status !== 'running') {
      worker.crowded = false
      worker.usedBytes = 0
    }
    worker.status = status
    settleRunning(state, worker)
    if (worker.isRunning) resumeScatters(state)
  },
  'log-event': (state, worker, { topic, fields }) =>
    state.outbox.log('info', topic, { worker: worker.info.address, ...fields }),
}

export function workerMessages(state: SchedulerState, event: EventOf<'WorkerMessages'>): void {
  const worker = state.workers.get(event.worker)
  if (worker === undefined || worker.connection !== event.connection || worker.link !== 'live') return
  for (const message of event.messages) {
    state.cause = message.op
    const handle = HANDLERS[message.op] as (
      state: SchedulerState,
      worker: WorkerRecord,
      message: WorkerToScheduler,
    ) => void
    handle(state, worker, message)
    settleAll(state)
  }
}

export function workerBeat(state: SchedulerState, event: EventOf<'WorkerBeat'>): void {
  const worker = state.workers.get(event.worker)
  if (worker === undefined || worker.connection !== event.connection) return
  const { memory, processPeak, spilledTotal, executors, executing, bandwidth } = event.heartbeat
  worker.lastSeenMs = event.now
  worker.memory = memory
  worker.usedBytes = memory.process
  worker.nbytesTold = worker.nbytes
  worker.processPeak = processPeak
  worker.spilledTotal = spilledTotal
  worker.executors = executors
  worker.crowded = worker.info.memoryLimit > 0 && memory.process > state.options.pauseFraction * worker.info.memoryLimit
  noteShortage(state, worker)
  touch(state, worker)
  worker.started = new Set(executing.map((run) => run.runId))
  for (const { key, runId, runningMs } of executing) {
    const task = currentRun(state, worker, key, runId)
    if (task !== undefined) noteRunning(state, task, runningMs)
  }
  for (const [address, bytesPerSecond] of Object.entries(bandwidth)) learnRate(state, worker, address, bytesPerSecond)
}

/** What was given back goes to the worker that it was asked for, if that may still have it. */
function stealResponse(state: SchedulerState, worker: WorkerRecord, message: Message<'steal-response'>): void {
  for (const { key, runId } of message.kept) {
    const task = currentRun(state, worker, key, runId)
    if (task === undefined) continue
    endSteal(state, task)
    worker.started = new Set(worker.started).add(runId)
  }
  const { destinations, steals } = state.stealing
  for (const { key, runId } of message.taken) {
    const task = currentRun(state, worker, key, runId)
    const thief = task === undefined ? undefined : steals.get(task)?.thief
    givenBack(state, worker, key, runId, false)
    if (task !== undefined && thief !== undefined) destinations.set(task, thief)
  }
  settleAll(state)
  for (const [task, thief] of destinations) if (task.processingOn === thief) state.stealing.moved++
  destinations.clear()
}

function currentRun(state: SchedulerState, worker: WorkerRecord, key: TaskKey, run: RunId): TaskRecord | undefined {
  const task = state.tasks.get(key)
  return task !== undefined && task.processingOn === worker && task.runId === run ? task : undefined
}

function taskFinished(state: SchedulerState, worker: WorkerRecord, message: Message<'task-finished'>): void {
  const { key, runId, nbytes, type, durable, durationMs, blob } = message
  const task = currentRun(state, worker, key, runId)
  if (task === undefined) return dropUnwanted(state, worker, key, runId)
  task.group.prefix.runs++
  measure(state, task, durationMs, nbytes)
  transition(state, task, 'memory', { worker, run: runId, nbytes, type, durable, blob })
}

function taskErred(state: SchedulerState, worker: WorkerRecord, message: Message<'task-erred'>): void {
  const task = currentRun(state, worker, message.key, message.runId)
  if (task === undefined) return
  task.group.prefix.runs++
  endRun(state, task)
  const failure = afterError(state, task, worker, message)
  if (failure === null) {
    transition(state, task, 'released')
    recommend(state, task, 'settled')
  } else {
    task.failure = failure
    transition(state, task, 'erred')
  }
}

function handedBack(state: SchedulerState, worker: WorkerRecord, { key, runId }: Message<'reschedule'>): void {
  const task = currentRun(state, worker, key, runId)
  if (task !== undefined && worker.status === 'paused') troubleOf(task).handedBackMs = state.now
  givenBack(state, worker, key, runId, false)
}

/** The task is the scheduler's again, and nobody is to blame. */
function givenBack(state: SchedulerState, worker: WorkerRecord, key: TaskKey, run: RunId, started: boolean): void {
  const task = currentRun(state, worker, key, run)
  if (task === undefined) return
  if (!started) task.attempts--
  endRun(state, task)
  transition(state, task, 'released')
  recommend(state, task, 'settled')
}
