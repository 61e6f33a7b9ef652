// What stands behind a LocalCluster, wherever it runs: in this process (in-process-cluster.ts), or in the helper process
// (nanny-cluster.ts there, helper-process.ts here).

import type { HttpAddress } from '../http/index.ts'
import type { CapturedFactory } from '../protocol/nanny.ts'
import type { AdaptiveOptions } from './adaptive.ts'

/** One worker of a local cluster, as last heard of. */
export interface ClusterWorker {
  readonly id: string
  readonly name: string
  /** Null while it is being started again. */
  readonly address: string | null
  readonly pid: number | null
  readonly restarts: number
}

export interface ClusterScheduler {
  readonly id: string
  readonly address: string
  /** Of the process it runs in. */
  readonly pid: number
  /** Where it serves HTTP; null: nowhere. */
  readonly dashboardLink: string | null
}

export interface ClusterBackend {
  /** Resolves when scheduler and workers are ready; on failure nothing is left behind. */
  start(): Promise<ClusterScheduler>
  /** Resolves, if it starts at all, with the scheduler's address as soon as it listens. */
  readonly listening?: Promise<string>
  readonly workers: readonly ClusterWorker[]
  /** Workers that go are emptied first: what only they hold is copied to those that stay. */
  scale(n: number): Promise<void>
  /** Scales by itself from now on, until `scale` is called. */
  adapt(options: AdaptiveOptions): Promise<void>
  /** Ends everything and removes its directories. Always ends, never rejects. */
  close(reason: string, options?: { readonly force?: boolean }): Promise<void>
  /** Resolves with the reason when it ended, asked to or not. Never rejects. */
  readonly closed: Promise<string>
}

/** Everything decided: what LocalCluster's options and the configuration come to. Plain JSON data. */
export interface ClusterPlan {
  readonly nWorkers: number
  readonly nthreads: number
  /** Bytes for each worker, 0 for no limit. */
  readonly memoryLimit: number
  readonly host: string
  readonly schedulerPort: number
  /** Where the scheduler serves HTTP; null: neither it nor the workers do. */
  readonly http: HttpAddress | null
  readonly token: string
  readonly localBase?: string
  readonly memoryBase?: string
  /** Null: values are in the tiers of the workers' stores, or where the program in the same process has them. */
  readonly data: CapturedFactory | null
  readonly env: Readonly<Record<string, string>>
  readonly config: Readonly<Record<string, unknown>>
}
