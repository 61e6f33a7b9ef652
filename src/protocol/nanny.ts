// Nanny and scheduler (one connection), nanny and its worker process (Node's IPC channel, JSON).

import type { RunId, WorkerId } from '../base/ids.ts'

/**
 * Name of the status page that a worker process makes in its memory directory (in its local one when it has no other).
 * Its nanny reads it when the process is dead, to name the runs that were inside of an executor.
 */
export const STATUS_PAGE_FILE = 'status'

/** Stream messages, nanny to scheduler. */
export type NannyToScheduler =
  /** The process is dead and reaped, with all its executors. `running` are the runs that its status page named. */
  | {
      readonly op: 'worker-exited'
      readonly workerId: WorkerId
      readonly incarnation: number
      readonly code: number | null
      readonly signal: string | null
      readonly running: readonly RunId[]
      /** A new process follows. */
      readonly restarting: boolean
    }
  /** The nanny gives the worker up, and says why. */
  | { readonly op: 'worker-gone'; readonly workerId: WorkerId; readonly reason: string }
  /** Something worth remembering. */
  | {
      readonly op: 'log-event'
      readonly workerId: WorkerId
      readonly topic: string
      readonly fields: Readonly<Record<string, unknown>>
    }

/** Stream messages, scheduler to nanny. */
export type SchedulerToNanny =
  | { readonly op: 'close'; readonly reason: string }
  /** Kill the worker and start it again with empty directories. */
  | { readonly op: 'restart-worker'; readonly generation: number }
  /**
   * Kill the worker and start it again; what is in its directories stays. Counted as a death like others (it is silent),
   * unless somebody asked for it.
   */
  | { readonly op: 'kill-worker'; readonly reason: string; readonly asked?: true }

export interface NannyRequests {
  'register-nanny': [
    { readonly workerId: WorkerId; readonly pid: number; readonly host: string },
    { readonly schedulerId: string },
  ]
  /** Its answer shows that what was said before has arrived. */
  'heartbeat-nanny': [Record<string, never>, Record<string, never>]
  /** The worker's lifetime is over: gives it no more work and copies what only it has to others. Answered when both are done. */
  'retire-worker': [
    Record<string, never>,
    {
      /** Its address; empty when nobody could take its values, and it works on. */
      readonly retired: readonly string[]
    },
  ]
}

/** Worker process to nanny. */
export type WorkerToNanny =
  | { readonly op: 'started'; readonly address: string; readonly pid: number }
  | { readonly op: 'start-failed'; readonly message: string; readonly code: string }
  /** What to end when the worker dies: process-group leaders, and who has this in its environment (native/process-family.ts). */
  | { readonly op: 'executors'; readonly pids: readonly number[]; readonly mark: string }
  /** For reports that outlive the process. */
  | { readonly op: 'peaks'; readonly processPeak: number; readonly spilledTotal: number }
  /** The worker ends by its own decision: do not start it again. */
  | { readonly op: 'closing'; readonly reason: string }

/** Nanny to worker process. */
export type NannyToWorker =
  /** First message: the worker starts when it has this. */
  { readonly op: 'start'; readonly options: WorkerStartOptions } | { readonly op: 'close'; readonly reason: string }

/** As text, since it travels as JSON. */
export interface CapturedFactory {
  /** The captured function, base64. */
  readonly fn: string
  /** Its options as encoded arguments, base64. */
  readonly args: string
}

/** Paths of PEM files. */
export interface TlsFiles {
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
}

/** Everything a worker process needs to start; resolved by its nanny, the CLI or LocalCluster: the worker guesses nothing. */
export interface WorkerStartOptions {
  readonly schedulerAddress: string
  /** Shared secret of the cluster, hex; null only with `tls` alone. Never on a command line. */
  readonly token: string | null
  readonly tls: TlsFiles | null
  readonly insecurePlaintext: boolean
  readonly workerId: WorkerId
  readonly incarnation: number
  readonly name: string
  readonly nthreads: number
  /** Bytes; 0 = no limit. */
  readonly memoryLimit: number
  /** The worker's own directories, made and locked by whoever started it. */
  readonly localDirectory: string
  /** In a RAM file system; null when there is none, then the memory tier lives in the local directory. */
  readonly memoryDirectory: string | null
  /** Interface to listen on, and port (0 = any). */
  readonly host: string
  readonly port: number
  /** Where to serve HTTP; null: nowhere. */
  readonly http: { readonly host: string; readonly port: number } | null
  readonly resources: Readonly<Record<string, number>>
  readonly nannyPid: number | null
  readonly restarts: number
  /** Carried over restarts, for reports. */
  readonly processPeak: number
  readonly spilledTotal: number
  readonly executor: 'process' | 'inline'
  /** Give up when no scheduler was reached for this long; null = never. */
  readonly deathTimeoutMs: number | null
  /** The user's container for values instead of the tiers: a captured function that makes it, and the options it gets. */
  readonly data?: CapturedFactory | null
  /** Overrides of the configuration, by dotted key (config/). */
  readonly config: Readonly<Record<string, unknown>>
}
