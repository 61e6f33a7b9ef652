// Losing workers: a stream, a process, or everything.
//
// L1. A stream is lost: nothing is known about the process, so its tasks stay assigned and its replicas in the books,
//     not fetchable. With a living nanny its word is awaited (worker-grace), without one connection-grace decides.
// L2. The nanny says that the process is dead: its runs are over at once, with blame for those that were executing;
//     replicas that lived in the process are gone, files stay in the books for the next process's inventory.
// L3. Given up by its nanny, or grace over: the worker is forgotten with all it had.

import type { RunId, WorkerId } from '../../../base/ids.ts'
import type { NannyToScheduler } from '../../../protocol/nanny.ts'
import type { EventOf } from '../events.ts'
import { afterWorkerDeath } from '../failures.ts'
import { loseReplica, setLink } from '../losing.ts'
import type { WorkerRecord } from '../records.ts'
import { recommend, settleRunning, type SchedulerState } from '../state.ts'
import { endRun } from '../transitions/processing.ts'
import { settleAll, transition } from '../transitions/table.ts'
import { finishRestarts, isRestarting, noteRestarted } from './restart-answers.ts'

const NONE: ReadonlySet<RunId> = new Set()

export function workerLost(state: SchedulerState, event: EventOf<'WorkerLost'>): void {
  const worker = state.workers.get(event.worker)
  if (worker === undefined || worker.connection !== event.connection || worker.link !== 'live') return
  if (worker.status === 'closing') return removeWorker(state, worker, 'it closed')
  setLink(state, worker, 'lost')
  awaitWorker(state, worker)
}

export function nannyRegistered(state: SchedulerState, event: EventOf<'NannyRegistered'>): void {
  const before = state.nannies.get(event.worker)
  if (before !== undefined && before !== event.connection) {
    state.outbox.push({ kind: 'CloseConnection', connection: before, reason: 'the nanny registered again' })
  }
  state.nannies.set(event.worker, event.connection)
  // The order may have been lost with its connection.
  if (state.restarting.has(event.worker)) tellToRestart(state, event.worker)
}

export function tellToRestart(state: SchedulerState, worker: WorkerId): void {
  const message = { op: 'restart-worker', generation: state.generation } as const
  state.outbox.push({ kind: 'SendToNanny', worker, message })
}

export function nannyLost(state: SchedulerState, event: EventOf<'NannyLost'>): void {
  if (state.nannies.get(event.worker) !== event.connection) return
  state.nannies.delete(event.worker)
  const worker = state.workers.get(event.worker)
  if (worker !== undefined && worker.link !== 'live') awaitWorker(state, worker)
}

export function nannyMessages(state: SchedulerState, event: EventOf<'NannyMessages'>): void {
  if (state.nannies.get(event.worker) !== event.connection) return
  for (const message of event.messages) {
    state.cause = message.op
    if (message.op === 'worker-exited') workerExited(state, message)
    else if (message.op === 'worker-gone') workerGone(state, message)
    else state.outbox.log('warning', message.topic, { worker: event.worker, ...message.fields })
    settleAll(state)
  }
}

export function workerGraceOver(state: SchedulerState, id: WorkerId): void {
  const worker = state.workers.get(id)
  if (worker !== undefined && worker.link !== 'live') removeWorker(state, worker, 'it did not come back in time')
}

/** The process is dead and may follow itself: what it ran is over, what it kept in files waits for its inventory. */
export function endProcess(state: SchedulerState, worker: WorkerRecord, running: ReadonlySet<RunId>): void {
  setLink(state, worker, 'away')
  endRuns(state, worker, running)
  for (const [task, durable] of worker.replicas) if (!durable) loseReplica(state, task, worker)
}

/** Everything that the worker had is lost; its peers forget it. */
export function removeWorker(state: SchedulerState, worker: WorkerRecord, reason: string): void {
  setLink(state, worker, 'lost')
  endRuns(state, worker, NONE)
  logLosses(state, worker, reason)
  for (const task of worker.replicas.keys()) loseReplica(state, task, worker)
  state.workers.delete(worker.id)
  // A restart that waits for it would wait in vain.
  finishRestarts(state, worker.id)
  forgetLabels(state, worker)
  worker.host.workers.delete(worker)
  if (worker.host.workers.size === 0) state.hosts.delete(worker.host.name)
  settleRunning(state, worker)
  tellPeers(state, worker)
  state.outbox.clearTimer({ kind: 'worker-grace', worker: worker.id })
  noteRestarted(state, worker.id, 'removed')
}

/** It is found by address and name, and its limit counts. */
export function noteLabels(state: SchedulerState, worker: WorkerRecord): void {
  const { address, name, memoryLimit } = worker.info
  state.byAddress.set(address, worker)
  if (name !== '') state.byName.set(name, worker)
  state.largestLimit = null
  state.memory.limitBytes += memoryLimit
}

export function forgetLabels(state: SchedulerState, worker: WorkerRecord): void {
  const { address, name, memoryLimit } = worker.info
  if (state.byAddress.get(address) === worker) state.byAddress.delete(address)
  if (state.byName.get(name) === worker) state.byName.delete(name)
  state.largestLimit = null
  state.memory.limitBytes -= memoryLimit
}

export function tellPeers(state: SchedulerState, gone: WorkerRecord): void {
  for (const peer of state.workers.values()) {
    if (peer !== gone) state.outbox.toWorker(peer, { op: 'remove-worker', id: gone.id, address: gone.info.address })
  }
}

/** What goes with the worker, counted before it does. */
function logLosses(state: SchedulerState, worker: WorkerRecord, reason: string): void {
  let recomputed = 0
  const gone: string[] = []
  for (const task of worker.replicas.keys()) {
    if (task.holders.length > 1) continue
    if (!task.hasRecipe) gone.push(task.key)
    else if (task.isNeeded) recomputed++
  }
  const fields = { worker: worker.id, name: worker.info.name, recomputed, lost: gone.length }
  state.outbox.log('info', `worker ${worker.info.address} is removed: ${reason}`, fields)
  if (recomputed > 0)
    state.outbox.log('warning', `${recomputed} values that only ${worker.info.address} had are computed again`, fields)
  if (gone.length > 0) {
    const keys = gone.slice(0, 10).join(', ')
    state.outbox.log(
      'error',
      `${gone.length} scattered values that only ${worker.info.address} had are lost: ${keys}`,
      fields,
    )
  }
}

function workerExited(
  state: SchedulerState,
  message: Extract<NannyToScheduler, { readonly op: 'worker-exited' }>,
): void {
  const worker = state.workers.get(message.workerId)
  if (worker === undefined || worker.info.incarnation !== message.incarnation) return
  if (worker.link === 'live') {
    state.outbox.push({
      kind: 'CloseConnection',
      connection: worker.connection,
      reason: 'its nanny reports the process dead',
    })
  }
  const { code, signal, restarting } = message
  const running: ReadonlySet<RunId> = new Set(message.running)
  // After a restart that was asked for, the death of the old process is no news.
  const level = state.restarting.has(worker.id) || isRestarting(state, worker.id) ? 'info' : 'warning'
  state.outbox.log(level, `worker process of ${worker.info.address} died`, {
    worker: worker.id,
    code,
    signal,
    running: Array.from(worker.processing).filter(({ runId }) => running.has(runId as RunId)).length,
    restarting,
  })
  endProcess(state, worker, running)
  if (restarting) awaitWorker(state, worker)
  else removeWorker(state, worker, 'its process ended and is not started again')
}

function workerGone(state: SchedulerState, message: Extract<NannyToScheduler, { readonly op: 'worker-gone' }>): void {
  const worker = state.workers.get(message.workerId)
  if (worker === undefined) return
  if (worker.link === 'live')
    state.outbox.push({ kind: 'CloseConnection', connection: worker.connection, reason: 'its nanny gave it up' })
  removeWorker(state, worker, message.reason)
}

/** Until its nanny has spoken, it is back, or the grace is over. */
export function awaitWorker(state: SchedulerState, worker: WorkerRecord): void {
  const graceMs = state.nannies.has(worker.id) ? state.options.workerGraceMs : state.options.connectionGraceMs
  state.outbox.setTimer({ kind: 'worker-grace', worker: worker.id }, graceMs)
}

function endRuns(state: SchedulerState, worker: WorkerRecord, running: ReadonlySet<RunId>): void {
  for (const task of worker.processing) {
    const run = task.runId as RunId
    worker.orphanedRuns.set(task.key, run)
    const failure = afterWorkerDeath(state, task, worker, running.has(run))
    endRun(state, task)
    if (failure === null) {
      transition(state, task, 'released')
      recommend(state, task, 'settled')
    } else {
      task.failure = failure
      transition(state, task, 'erred')
    }
  }
}
