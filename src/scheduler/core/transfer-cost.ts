// What it takes to bring the inputs of a task to a worker. Between workers of one host a value is handed over by a hard
// link, which costs almost nothing but still counts twice against memory: cheap, never free. Elsewhere the speed is the one
// that the worker measured when it last fetched from that peer, else the mean of the cluster, else `scheduler.bandwidth`.

import { isAvailable } from './replicas.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** Bytes per second within one host. */
const NEAR_BANDWIDTH = 8 * 2 ** 30
/** Holders looked at per input. */
const HOLDERS_MAX = 16
/** Peers whose speed a worker remembers. */
const RATES_MAX = 256
/** Weight of the newest report, for a pair and for the cluster. */
const NEWEST_OF_PAIR = 0.5
const NEWEST_OF_CLUSTER = 0.1

/** A worker measured how fast values come from a peer; the one heard of longest ago is forgotten when there are too many. */
export function learnRate(state: SchedulerState, worker: WorkerRecord, address: string, bytesPerSecond: number): void {
  if (bytesPerSecond <= 0) return
  const { rates } = worker
  const before = rates.get(address)
  rates.delete(address)
  rates.set(address, before === undefined ? bytesPerSecond : before + NEWEST_OF_PAIR * (bytesPerSecond - before))
  if (rates.size > RATES_MAX) {
    for (const oldest of rates.keys()) {
      rates.delete(oldest)
      break
    }
  }
  if (state.byAddress.get(address)?.host !== worker.host)
    state.bandwidth += NEWEST_OF_CLUSTER * (bytesPerSecond - state.bandwidth)
}

/** Time from bytes that have to come from other hosts, and from other workers of the same one, at mean speed. */
export function transferTimeUs(state: SchedulerState, farBytes: number, nearBytes: number): number {
  return (farBytes / state.bandwidth + nearBytes / NEAR_BANDWIDTH) * 1e6
}

/** For one worker, from the best holder of each input; what is on its way there already costs nothing more. */
export function transferUs(state: SchedulerState, task: TaskRecord, worker: WorkerRecord): number {
  let us = 0
  for (const input of task.dependencies) {
    if (worker.replicas.has(input) || worker.fetching.has(input) || !isAvailable(input)) continue
    us += fetchUs(state, input, worker)
  }
  return us
}

export function fetchUs(state: SchedulerState, input: TaskRecord, worker: WorkerRecord): number {
  let best = 0
  for (let n = 0; n < Math.min(input.holders.length, HOLDERS_MAX); n++) {
    const holder = input.holders[n] as WorkerRecord
    if (holder.link === 'live') best = Math.max(best, rateBetween(state, worker, holder))
  }
  return best === 0 ? 0 : (Math.max(0, input.nbytes) / best) * 1e6
}

function rateBetween(state: SchedulerState, worker: WorkerRecord, holder: WorkerRecord): number {
  const measured = worker.rates.get(holder.info.address)
  if (measured !== undefined) return measured
  return holder.host === worker.host ? NEAR_BANDWIDTH : state.bandwidth
}
