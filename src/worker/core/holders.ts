// Who is said to have what. A hint connects a task and a peer in both directions; peers that nobody needs are forgotten.

import { HeapSet } from '../../base/heap-set.ts'
import type { WorkerId } from '../../base/ids.ts'
import type { Holder } from '../../protocol/tasks.ts'
import { withMember, withoutMember } from './lazy-set.ts'
import { comparePriority } from './ready-queue.ts'
import { isParked, type LocalTask, type Peer, type WorkerState } from './state.ts'
import type { Turn } from './turn.ts'

/** `retryAt` of a peer that may be asked at any time. */
export const NOT_PENALISED = Number.NEGATIVE_INFINITY

/** Adds hints; a task in `fetch` becomes available at the new holders at once. */
export function addHolders(turn: Turn, task: LocalTask, holders: readonly Holder[]): void {
  const state = turn.state
  for (const holder of holders) {
    if (holder.id === state.settings.workerId) continue
    const peer = obtainPeer(state, holder)
    peer.hints.add(task)
    task.holders = withMember(task.holders, peer)
    if (task.state === 'fetch' && !isParked(state, task.key)) {
      peer.needed.add(task)
      turn.fetchesMayStart = true
    }
  }
}

/** The answer of the scheduler replaces what was known. */
export function replaceHolders(turn: Turn, task: LocalTask, holders: readonly Holder[]): void {
  for (const peer of task.holders) {
    if (!holders.some((holder) => holder.id === peer.id)) removeHolder(turn.state, task, peer)
  }
  addHolders(turn, task, holders)
}

export function removeHolder(state: WorkerState, task: LocalTask, peer: Peer): void {
  task.holders = withoutMember(task.holders, peer)
  peer.hints.delete(task)
  peer.needed.delete(task)
  sweepPeer(state, peer)
}

export function forgetHolders(state: WorkerState, task: LocalTask): void {
  for (const peer of task.holders) removeHolder(state, task, peer)
}

/** Every key that was said to be there loses the hint, not only what was asked for. */
export function forgetPeer(turn: Turn, peer: Peer): void {
  for (const task of peer.hints) {
    removeHolder(turn.state, task, peer)
    if (task.state === 'fetch' && task.holders.size === 0) turn.recommend(task, 'missing')
  }
}

/** Drops a peer without hints, transfer or penalty. */
export function sweepPeer(state: WorkerState, peer: Peer): void {
  if (peer.hints.size === 0 && peer.transfer === null && peer.retryAt === NOT_PENALISED) state.peers.delete(peer.id)
}

function obtainPeer(state: WorkerState, holder: Holder): Peer {
  let peer = state.peers.get(holder.id)
  if (peer === undefined) {
    peer = newPeer(state, holder)
    state.peers.set(holder.id, peer)
  } else if (peer.address !== holder.address) {
    // It was started again and listens elsewhere: what failed at the old address says nothing about the new one.
    peer.address = holder.address
    peer.sameHost = hostOf(holder.address) === hostOf(state.settings.address)
    peer.failures = 0
    peer.retryAt = NOT_PENALISED
  }
  return peer
}

function newPeer(state: WorkerState, holder: { readonly id: WorkerId; readonly address: string }): Peer {
  return {
    id: holder.id,
    address: holder.address,
    sameHost: hostOf(holder.address) === hostOf(state.settings.address),
    needed: new HeapSet((task: LocalTask) => task.priority, comparePriority),
    hints: new Set(),
    transfer: null,
    retryAt: NOT_PENALISED,
    failures: 0,
  }
}

/** `tcp://10.0.0.5:8786` -> `10.0.0.5`. */
function hostOf(address: string): string {
  const start = address.indexOf('://')
  const end = address.lastIndexOf(':')
  return address.slice(start < 0 ? 0 : start + 3, end > start ? end : undefined)
}
