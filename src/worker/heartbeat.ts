import type { WorkerHeartbeat } from '../protocol/scheduler-worker.ts'
import type { WorkerState } from './core/state.ts'
import type { ExecutorPool } from './executor/index.ts'
import type { MemoryManager } from './memory/memory-manager.ts'
import type { PeerClient } from './peer-client.ts'

export interface HeartbeatParts {
  readonly state: WorkerState
  readonly memory: MemoryManager
  readonly pool: ExecutorPool
  readonly peers: PeerClient
  /** Since the worker's first start. */
  readonly spilledTotal: number
  readonly now: number
}

/** What a worker tells its scheduler regularly. */
export function heartbeat({ state, memory, pool, peers, spilledTotal, now }: HeartbeatParts): WorkerHeartbeat {
  const executing: WorkerHeartbeat['executing'][number][] = []
  for (const { key, runId, startedAt, fate, phase } of state.runs.values()) {
    if (fate !== 'discard' && (phase === 'storing' || pool.hasStarted(runId)))
      executing.push({ key, runId, runningMs: now - startedAt })
  }
  return {
    memory: memory.measures(),
    processPeak: memory.processPeak,
    spilledTotal,
    executors: pool.infos,
    executing,
    bandwidth: peers.takeBandwidths(),
  }
}
