// Which peer is asked for which keys, and when. It moves no bytes (worker/peer-client.ts does) and sets no limit on
// memory beyond the bytes on their way; results are reported with `ReplicaReceived` and `TransferEnded`.
//
// G1. A peer has at most one open transfer.
// G2. The most urgent key decides which peer comes next; then same host first, then the one with most to give, then the dice.
// G3. One request asks for at most `messageBytesLimit`, unless its first key alone is larger; open requests together for at
//     most `incomingBytesLimit`, unless nothing is on its way: then the most urgent key goes whatever its size.
// G4. A peer that was busy or could not be reached is left alone until its `PeerRetryDue`.
// G5. Nothing starts while the worker is paused or retiring.

import type { ReplicaOrder } from './effects.ts'
import type { EventOf } from './events.ts'
import { NOT_PENALISED, sweepPeer } from './holders.ts'
import { comparePriority } from './ready-queue.ts'
import { type LocalTask, type Peer, statusOf, type Transfer, type WorkerState } from './state.ts'
import { transition } from './transitions/transition.ts'
import type { Turn } from './turn.ts'

/** A busy peer is asked again after this long. */
export const BUSY_RETRY_MS = 150
/** The pause after a failed connection doubles up to this. */
const UNREACHABLE_RETRY_MAX_MS = 5000
/** Many small transfers at once are harmless; the count limit holds from here on. */
const COUNT_LIMIT_FROM_BYTES = 10_000_000
/** Timers may fire a little early. */
const TIMER_SLACK_MS = 5
/** What a key of unknown size counts as. */
const UNKNOWN_BYTES = 1024

/** Starts every fetch that may start now. */
export function startFetches(turn: Turn): void {
  const state = turn.state
  turn.fetchesMayStart = false
  if (statusOf(state) !== 'running' || isThrottled(state)) return
  const candidates = [...state.peers.values()].filter(mayBeAsked)
  while (candidates.length > 0 && !isThrottled(state)) {
    const index = bestIndex(state, candidates)
    const peer = candidates[index] as Peer
    candidates.splice(index, 1)
    const tasks = takeTasks(state, peer)
    if (tasks.length > 0) openTransfer(turn, peer, tasks)
    for (let i = candidates.length - 1; i >= 0; i--) if (!mayBeAsked(candidates[i] as Peer)) candidates.splice(i, 1)
  }
}

function mayBeAsked(peer: Peer): boolean {
  return peer.needed.size > 0 && peer.transfer === null && peer.retryAt === NOT_PENALISED
}

function isThrottled(state: WorkerState): boolean {
  const { incomingBytesLimit, incomingCountLimit } = state.settings
  if (state.transfers.size === 0) return false
  return (
    state.incomingBytes >= incomingBytesLimit ||
    (state.transfers.size >= incomingCountLimit && state.incomingBytes >= COUNT_LIMIT_FROM_BYTES)
  )
}

/** G2. */
function bestIndex(state: WorkerState, candidates: readonly Peer[]): number {
  let best: number[] = []
  for (let i = 0; i < candidates.length; i++) {
    const order = best.length === 0 ? -1 : comparePeers(candidates[i] as Peer, candidates[best[0] as number] as Peer)
    if (order < 0) best = [i]
    else if (order === 0) best.push(i)
  }
  return best.length === 1 ? (best[0] as number) : (state.prng.pick(best) as number)
}

function comparePeers(a: Peer, b: Peer): number {
  const byPriority = comparePriority((a.needed.peek() as LocalTask).priority, (b.needed.peek() as LocalTask).priority)
  return byPriority || Number(b.sameHost) - Number(a.sameHost) || b.needed.size - a.needed.size
}

/** G3: the keys of one request, most urgent first; they stay in `fetch` until the transfer is opened. */
function takeTasks(state: WorkerState, peer: Peer): LocalTask[] {
  const { incomingBytesLimit, messageBytesLimit } = state.settings
  const tasks: LocalTask[] = []
  let bytes = 0
  for (let task = peer.needed.peek(); task !== undefined; task = peer.needed.peek()) {
    const size = sizeOf(task)
    const fits = state.incomingBytes + bytes + size <= incomingBytesLimit
    const first = tasks.length === 0
    if (first ? !fits && state.transfers.size > 0 : !fits || bytes + size > messageBytesLimit) break
    peer.needed.pop()
    tasks.push(task)
    bytes += size
  }
  return tasks
}

function sizeOf(task: LocalTask): number {
  return task.nbytes > 0 ? task.nbytes : UNKNOWN_BYTES
}

function openTransfer(turn: Turn, peer: Peer, tasks: readonly LocalTask[]): void {
  const state = turn.state
  const transfer: Transfer = { id: state.nextTransferId++, peer, keys: new Map(), wanted: 0, aborted: false }
  const keys: ReplicaOrder[] = []
  state.transfers.set(transfer.id, transfer)
  peer.transfer = transfer
  for (const task of tasks) {
    const nbytes = sizeOf(task)
    transfer.keys.set(task.key, { runId: task.runId, nbytes })
    state.flying.set(task.key, transfer)
    state.incomingBytes += nbytes
    const order = { key: task.key, runId: task.runId, nbytes: task.nbytes }
    keys.push(task.suspect ? { ...order, suspect: true as const } : order)
    task.suspect = false
    transition(turn, task, 'flight')
  }
  turn.emit({ kind: 'GatherFromPeer', transferId: transfer.id, peer: peer.id, address: peer.address, keys })
}

/** Leaves a peer alone for a while (G4). */
export function penalise(turn: Turn, peer: Peer, reason: 'busy' | 'unreachable'): void {
  let delayMs = BUSY_RETRY_MS
  if (reason === 'unreachable') {
    delayMs = Math.min(UNREACHABLE_RETRY_MAX_MS, BUSY_RETRY_MS * 2 ** peer.failures)
    peer.failures = Math.min(peer.failures + 1, 16)
  }
  peer.retryAt = turn.now + delayMs
  turn.emit({ kind: 'SetTimer', delayMs, event: { kind: 'PeerRetryDue', peer: peer.id } })
}

/** The penalty of a peer is over, unless a later one has begun: that has its own timer. */
export function peerRetryDue(turn: Turn, event: EventOf<'PeerRetryDue'>): void {
  const peer = turn.state.peers.get(event.peer)
  if (peer === undefined || peer.retryAt > turn.now + TIMER_SLACK_MS) return
  peer.retryAt = NOT_PENALISED
  turn.fetchesMayStart = true
  sweepPeer(turn.state, peer)
}
