// Copies of values: wanted, received, dropped, and who is said to have them.

import type { EventOf, MessageOf, StoredEntry } from '../events.ts'
import { penalise } from '../gather.ts'
import { forgetHolders, forgetPeer, removeHolder, replaceHolders, sweepPeer } from '../holders.ts'
import { type LocalTask, NO_RUN, obtainTask, type Transfer } from '../state.ts'
import { askForHolders, dropAssignment, MISSING_RETRY_MAX_MS } from '../transitions/enter.ts'
import { forgetValue } from '../transitions/leave.ts'
import { transition } from '../transitions/transition.ts'
import type { Turn } from '../turn.ts'
import { abandonAssignment, handBack, unblock, wantInput } from './assignments.ts'

export function acquireReplicas(turn: Turn, message: MessageOf<'acquire-replicas'>): void {
  for (const wire of message.inputs) {
    const task = obtainTask(turn.state, wire.key)
    if (task.assignment !== null) continue
    task.durable = wire.durable === true
    if (task.state === 'memory' && task.runId >= wire.runId) {
      keep(turn, task)
      continue
    }
    if (task.state === 'memory') {
      turn.sendReleased(task.key, task.runId)
      transition(turn, task, 'released')
    }
    task.acquire = true
    wantInput(turn, task, wire)
    if (task.state === 'error') turn.recommend(task, 'released')
    else if (task.state === 'released') turn.recommend(task, 'fetch')
  }
}

function keep(turn: Turn, { key, durable }: LocalTask): void {
  turn.emit(durable ? { kind: 'KeepReplicas', keys: [key], durable } : { kind: 'KeepReplicas', keys: [key] })
}

/** Only the store knows whether the copy is still there. */
export function replicasKept(turn: Turn, event: EventOf<'ReplicasKept'>): void {
  for (const { key, runId } of event.values) {
    const task = turn.state.tasks.get(key)
    if (task === undefined || task.value === null || task.runId !== runId) continue
    task.value.loose = false
    turn.sendKept(key, runId, task.value.durable)
  }
}

/** What a task here still needs stays. The scheduler is told what became of each: it may have crossed the copy off already. */
export function removeReplicas(turn: Turn, message: MessageOf<'remove-replicas'>): void {
  for (const key of message.keys) {
    const task = turn.state.tasks.get(key)
    if (task === undefined || task.assignment !== null) {
      turn.sendReleased(key, NO_RUN)
      continue
    }
    task.acquire = false
    if (task.state !== 'memory') {
      turn.sendReleased(key, task.runId)
      if (task.dependents.size === 0) turn.recommend(task, 'released')
    } else if (task.dependents.size > 0) {
      turn.sendAddKey(key, task.runId, task.value?.durable === true)
    } else {
      turn.sendReleased(key, task.runId)
      turn.recommend(task, 'released')
    }
  }
}

export function refreshWhoHas(turn: Turn, message: MessageOf<'refresh-who-has'>): void {
  const self = turn.state.settings.workerId
  for (const answer of message.keys) {
    const task = turn.state.tasks.get(answer.key)
    if (task === undefined || (task.state !== 'fetch' && task.state !== 'missing' && task.state !== 'flight')) continue
    const elsewhere = answer.holders.some((holder) => holder.id !== self)
    if (elsewhere) {
      replaceHolders(turn, task, answer.holders)
      wantInput(turn, task, answer)
    } else if (answer.holders.length > 0) {
      // The scheduler counts a copy here that is not here.
      turn.sendReleased(answer.key, answer.runId)
    } else if (task.state !== 'flight') {
      giveUp(turn, task, 'the scheduler knows no holder')
    }
  }
}

/** A copy that the scheduler asked for will not come. */
function endAcquisition(turn: Turn, task: LocalTask): void {
  if (task.acquire) turn.sendReleased(task.key, task.runId)
  task.acquire = false
}

/** Nobody has it: what waits for it is the scheduler's to place again. */
function giveUp(turn: Turn, task: LocalTask, why: string): void {
  forgetHolders(turn.state, task)
  endAcquisition(turn, task)
  for (const dependent of task.dependents) {
    if (dependent.state === 'waiting') handBack(turn, dependent, `input ${task.key} is lost: ${why}`)
  }
  turn.recommend(task, 'released')
}

export function removeWorker(turn: Turn, message: MessageOf<'remove-worker'>): void {
  const peer = turn.state.peers.get(message.id)
  if (peer === undefined) return
  const transfer = peer.transfer
  if (transfer !== null && !transfer.aborted) {
    transfer.aborted = true
    turn.emit({ kind: 'AbortTransfer', transferId: transfer.id })
  }
  forgetPeer(turn, peer)
}

export function missingDue(turn: Turn, _event: EventOf<'MissingDue'>): void {
  const state = turn.state
  const lastMs = state.missingTimerMs
  state.missingTimerMs = null
  if (state.missing.size === 0 || lastMs === null) return
  for (const task of state.missing) askForHolders(turn, task)
  const delayMs = Math.min(2 * lastMs, MISSING_RETRY_MAX_MS)
  state.missingTimerMs = delayMs
  turn.emit({ kind: 'SetTimer', delayMs, event: { kind: 'MissingDue' } })
}

/** Counts as arrived whatever becomes of it: it takes no more room on the way. */
function arrive(turn: Turn, transfer: Transfer, key: LocalTask['key']): void {
  const state = turn.state
  const order = transfer.keys.get(key)
  if (order === undefined) return
  transfer.keys.delete(key)
  state.flying.delete(key)
  state.incomingBytes -= order.nbytes
  turn.fetchesMayStart = true
}

export function replicaReceived(turn: Turn, event: EventOf<'ReplicaReceived'>): void {
  const { key, runId } = event.value
  const transfer = turn.state.transfers.get(event.transferId)
  if (transfer === undefined) {
    turn.free(key, runId)
    return
  }
  arrive(turn, transfer, key)
  const task = turn.state.tasks.get(key)
  if (task?.state === 'flight' && task.transfer === transfer && task.runId === runId) {
    if (task.acquire) keep(turn, task)
    hold(turn, task, event.value)
    turn.sendAddKey(key, runId, event.value.durable)
  } else {
    if (task?.state !== 'memory' || task.runId !== runId) turn.free(key, runId)
    resume(turn, key)
  }
}

/** No room for an input, ever: what needs it fails here and may run elsewhere. */
export function replicaRefused(turn: Turn, event: EventOf<'ReplicaRefused'>): void {
  const transfer = turn.state.transfers.get(event.transferId)
  if (transfer === undefined) return
  arrive(turn, transfer, event.key)
  const task = turn.state.tasks.get(event.key)
  if (task?.state !== 'flight' || task.transfer !== transfer) {
    resume(turn, event.key)
    return
  }
  endAcquisition(turn, task)
  for (const dependent of task.dependents) {
    if (dependent.state !== 'waiting' || dependent.assignment === null) continue
    const { runId } = dependent.assignment
    turn.emit({
      kind: 'ReportFailure',
      key: dependent.key,
      runId,
      failure: 'store-full',
      code: 'STORE_FULL',
      message: `no room for ${event.key}, an input of ${dependent.key}: ${event.reason}`,
    })
    abandonAssignment(turn, dependent)
  }
  turn.recommend(task, 'released')
}

export function transferEnded(turn: Turn, event: EventOf<'TransferEnded'>): void {
  const state = turn.state
  const transfer = state.transfers.get(event.transferId)
  if (transfer === undefined) return
  const { peer } = transfer
  const left = [...transfer.keys.keys()]
  for (const key of left) arrive(turn, transfer, key)
  state.transfers.delete(transfer.id)
  peer.transfer = null
  turn.fetchesMayStart = true
  if (event.outcome !== 'unreachable') peer.failures = 0
  if (event.outcome === 'unreachable') {
    penalise(turn, peer, 'unreachable')
    forgetPeer(turn, peer)
  } else if (event.outcome === 'busy') {
    penalise(turn, peer, 'busy')
  }
  for (const key of left) resume(turn, key, event.outcome === 'done' ? transfer : undefined)
  sweepPeer(state, peer)
}

/** The key has no open transfer any more: on with whatever its task is up to. */
function resume(turn: Turn, key: LocalTask['key'], notAt?: Transfer): void {
  const state = turn.state
  const task = state.tasks.get(key)
  if (task === undefined) return
  if (notAt !== undefined && task.state === 'flight') removeHolder(state, task, notAt.peer)
  if (task.state === 'flight') {
    turn.recommend(task, task.holders.size > 0 ? 'fetch' : 'missing')
    if (task.holders.size > 0 && [...task.holders].every((holder) => holder.retryAt > turn.now))
      askForHolders(turn, task)
  }
  unblock(turn, state, key)
}

/** Values of the directories count from now on; the scheduler decides about them when the worker registers. */
export function valuesAdopted(turn: Turn, event: EventOf<'ValuesAdopted'>): void {
  for (const value of event.values) hold(turn, obtainTask(turn.state, value.key), value)
}

/** The client tells the scheduler, not we: it alone knows when all copies have arrived. */
export function valueScattered(turn: Turn, event: EventOf<'ValueScattered'>): void {
  const task = obtainTask(turn.state, event.value.key)
  const { runId } = event.value
  const newest = task.assignment?.runId ?? (task.state === 'memory' ? task.runId : null)
  if (newest !== null && newest >= runId) {
    if (newest > runId) turn.free(task.key, runId)
    return
  }
  dropAssignment(turn, task)
  // The store has replaced the bytes of an older run: there is nothing to free.
  forgetValue(turn.state, task)
  if (task.state === 'memory') transition(turn, task, 'released')
  hold(turn, task, event.value)
  // Its client may die before it has said so.
  turn.sendScattered(task.key, runId)
}

function hold(turn: Turn, task: LocalTask, value: StoredEntry): void {
  const { runId, nbytes, type, durable, fetched = false } = value
  task.value = { nbytes, type, durable, loose: fetched }
  task.runId = runId
  task.nbytes = nbytes
  transition(turn, task, 'memory')
}
