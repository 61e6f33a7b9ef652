import { parseAddress } from '../comm/index.ts'
import type { WorkerStartOptions } from '../protocol/nanny.ts'
import type { RegisterWorker } from '../protocol/scheduler-worker.ts'
import type { StoreIdentity } from '../store/store.ts'
import { inventory } from './core/inventory.ts'
import { statusOf, type WorkerState } from './core/state.ts'

/** What a worker tells the scheduler at each registration: itself, and what it has. */
export function registration(
  start: WorkerStartOptions,
  address: string,
  dashboard: string | null,
  held: StoreIdentity | null,
  state: WorkerState,
): RegisterWorker {
  const { workerId, incarnation, name, nannyPid, nthreads, memoryLimit, resources, localDirectory } = start
  return {
    workerId,
    incarnation,
    name,
    address,
    pid: process.pid,
    nannyPid,
    host: parseAddress(address).host,
    nthreads,
    memoryLimit,
    resources,
    dashboard,
    localDirectory,
    memoryDirectory: start.memoryDirectory ?? localDirectory,
    nodeVersion: process.version,
    status: statusOf(state),
    restarts: start.restarts,
    clusterId: held?.clusterId ?? null,
    generation: held?.generation ?? 0,
    inventory: inventory(state),
  }
}
