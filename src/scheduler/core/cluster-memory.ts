// What clients are told of the memory of the cluster: how much there is, and whether it is short. Then they look for futures
// that their programs have dropped: only a client can free what it holds.
//
// P1. A worker is short of memory when it holds values of more than SHORT of the managed bytes above which it spills, when it
//     is crowded, or when it is paused; until it holds less than ENOUGH of them and is neither. Judged at its heartbeats.
// P2. Memory is short while any connected worker is short of it. Every client hears of that when it changes, and of the sum
//     of the limits when it differs by more than TOLD from what was told last.

import type { ClientRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

const SHORT = 0.8
const ENOUGH = 0.7
const TOLD = 0.1

export interface ClusterMemory {
  /** Exactly the connected workers that are short of memory. */
  readonly short: Set<WorkerRecord>
  /** Sum of the limits of all workers; those without one do not count. */
  limitBytes: number
  /** What clients heard last. */
  told: { readonly limitBytes: number; readonly isShort: boolean }
}

/** A worker's heartbeat has been taken in. */
export function noteShortage(state: SchedulerState, worker: WorkerRecord): void {
  const { short } = state.memory
  const part = short.has(worker) ? ENOUGH : SHORT
  const limit = worker.info.memoryLimit * state.options.targetFraction * part
  const isShort = worker.link === 'live' && (worker.crowded || worker.status === 'paused' || isAbove(worker, limit))
  if (isShort) short.add(worker)
  else short.delete(worker)
}

function isAbove(worker: WorkerRecord, limit: number): boolean {
  return worker.info.memoryLimit > 0 && worker.nbytes > limit
}

/** P2; after every step. */
export function tellMemory(state: SchedulerState): void {
  const { short, limitBytes, told } = state.memory
  const isShort = short.size > 0
  if (isShort === told.isShort && Math.abs(limitBytes - told.limitBytes) <= TOLD * told.limitBytes) return
  state.memory.told = { limitBytes, isShort }
  for (const client of state.clients.values()) reportMemory(state, client)
}

export function reportMemory(state: SchedulerState, client: ClientRecord): void {
  state.outbox.toClient(client, { op: 'cluster-memory', ...state.memory.told })
}
