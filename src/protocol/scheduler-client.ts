// The wire between a client (or a probe) and the scheduler: one stream each way, and requests with answers.

import type { ClientId, FunctionId, RunId, TaskKey, WorkerId } from '../base/ids.ts'
import type { MemoryMeasure } from '../base/memory-measure.ts'
import type { Holder, TaskGroupWire } from './tasks.ts'

/** Stream messages, client to scheduler. */
export type ClientToScheduler =
  | {
      readonly op: 'update-graph'
      readonly groups: readonly TaskGroupWire[]
      /** Functions that this client has not sent before in its life. */
      readonly functions: readonly { readonly id: FunctionId; readonly bytes: Uint8Array }[]
      /** Keys of these groups that the client wants to hold (others are intermediate). */
      readonly wanted: readonly TaskKey[]
    }
  | { readonly op: 'client-desires-keys'; readonly keys: readonly TaskKey[] }
  | { readonly op: 'client-releases-keys'; readonly keys: readonly TaskKey[] }
  /** The client waits for these values, not only for their being there: small ones are to come along with the news. */
  | { readonly op: 'client-awaits-values'; readonly keys: readonly TaskKey[] }
  | {
      readonly op: 'cancel-keys'
      readonly keys: readonly TaskKey[]
      readonly force: boolean
      readonly reason: string
      /** Counts the cancels of this client from 1; the answer is a `cancelled-keys` with this number. */
      readonly cancel: number
    }
  /** Scattered data has arrived at these workers under the run id given by `scatter-place`. */
  | {
      readonly op: 'update-data'
      readonly entries: readonly {
        readonly key: TaskKey
        readonly runId: RunId
        readonly nbytes: number
        readonly type: string
        readonly workers: readonly WorkerId[]
      }[]
    }
  /** A gather did not find (or could not decode) a key at these workers. */
  | {
      readonly op: 'report-missing'
      readonly key: TaskKey
      readonly runId: RunId
      readonly workers: readonly WorkerId[]
    }
  /** The pseudo-client `fire-and-forget` wants the key until it is done. */
  | { readonly op: 'fire-and-forget'; readonly keys: readonly TaskKey[] }
  /** Follows what was said again after a reconnect: how all its keys stand is to be told, and what it has missed. */
  | { readonly op: 'report-keys' }
  | { readonly op: 'close-client' }

/** Stream messages, scheduler to client. */
export type SchedulerToClient =
  | {
      readonly op: 'key-in-memory'
      readonly key: TaskKey
      readonly nbytes: number
      readonly type: string
      /** The value itself, when it is small (ATTACHED_BYTES_MAX) and somebody awaits it. Passed through, never kept. */
      readonly blob?: Uint8Array
    }
  | {
      readonly op: 'task-erred'
      readonly key: TaskKey
      readonly error: Uint8Array
      /** The task that failed, when that is an input of `key`, however deep. */
      readonly origin?: TaskKey
      /** Address of the worker it failed on; absent when it never reached one. */
      readonly worker?: string
      /** Present when it failed more than once. */
      readonly history?: { readonly attempts: number; readonly workers: readonly string[] }
    }
  /** The value is gone and is being made again: the future waits once more. */
  | { readonly op: 'lost-data'; readonly key: TaskKey }
  /** Does not name the keys that the client itself named in `cancel-keys`. */
  | {
      readonly op: 'cancelled-keys'
      /** Which `cancel-keys` of this client did it; answers it also when no other key was concerned. */
      readonly cancel?: number
      readonly keys: readonly TaskKey[]
      readonly reason: string
      readonly code: 'TASK_CANCELLED' | 'DATA_LOST'
    }
  | { readonly op: 'task-retried'; readonly keys: readonly TaskKey[] }
  /** All futures of older generations are cancelled. */
  | { readonly op: 'restart'; readonly generation: number }
  /** At registration, after a reconnect and when it changes: the sum of the workers' memory limits (0: they have none), and whether memory is short. */
  | { readonly op: 'cluster-memory'; readonly limitBytes: number; readonly isShort: boolean }
  | { readonly op: 'scheduler-closing'; readonly reason: string }
  /** The last word: the scheduler cannot read what the client said, and has forgotten the client. */
  | { readonly op: 'client-refused'; readonly reason: string }

/** Largest structure of a dataset, without the values of its futures. */
export const DATASET_BYTES_MAX = 2 ** 20

/** The five memory measures, in bytes. managed + unmanaged + unmanagedRecent = process at every sample. */
export interface MemoryMeasures {
  readonly limit: number
  readonly process: number
  readonly managed: number
  /** The part that is older than `worker.memory.recent-to-old-time`. */
  readonly unmanaged: number
  readonly unmanagedRecent: number
  /** On disk. */
  readonly spilled: number
}

export type WorkerStatus = 'running' | 'paused' | 'retiring' | 'closing'

/** As seen by others: `restarting` while its nanny starts its process again, `disconnected` while its connection is missing. */
export type WorkerPresence = WorkerStatus | 'restarting' | 'disconnected'

export interface ExecutorInfo {
  readonly pid: number
  /** Key of the task it runs now. */
  readonly task?: string
}

export interface WorkerInfo {
  readonly id: WorkerId
  readonly name: string
  readonly address: string
  readonly pid: number
  readonly nannyPid: number | null
  readonly host: string
  readonly nthreads: number
  readonly memoryLimit: number
  readonly status: WorkerPresence
  readonly executors: readonly ExecutorInfo[]
  readonly resources: Readonly<Record<string, number>>
  /** Where the worker serves HTTP; null: nowhere. */
  readonly dashboard: string | null
  readonly localDirectory: string
  readonly memoryDirectory: string
  /** How often the nanny had to start this worker again. */
  readonly restarts: number
  /** Highest `process` measure since the worker's first start, bytes. */
  readonly processPeak: number
  /** Bytes written to the disk tier since the worker's first start. */
  readonly spilledTotal: number
  readonly memory: MemoryMeasures
  readonly processing: number
  readonly stored: number
}

export interface SchedulerInfo {
  readonly id: string
  readonly address: string
  readonly pid: number
  readonly dashboard: string | null
  readonly workers: Readonly<Record<string, WorkerInfo>>
  /** Sum over the workers. */
  readonly memory: MemoryMeasures
  readonly clients: number
  readonly tasks: Readonly<Record<string, number>>
}

export interface PrefixCounts {
  readonly released: number
  readonly waiting: number
  readonly 'no-worker': number
  readonly queued: number
  readonly processing: number
  readonly memory: number
  readonly erred: number
  /** How often a run of this prefix finished or failed: more than the number of tasks means recomputation. */
  readonly runs: number
  /** Mean run time, milliseconds; 0 when none finished yet. */
  readonly meanDurationMs: number
  /** Sum of the results in memory or on disk, bytes. */
  readonly nbytes: number
}

export interface StoryEntry {
  /** `scheduler`, or the worker's address. */
  readonly where: string
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly key: string
  readonly text: string
}

/**
 * Numbers a question that must not be carried out twice: asked again after a reconnect, it gets the answer of the first time.
 * Counted over the client's life; below `settled` the client has all answers.
 */
export interface Ticket {
  readonly ticket?: number
  readonly settled?: number
}

/**
 * Requests to the scheduler: name -> [question, answer]. `register-client` comes first on a client's connection, and
 * `reattach-client` on those that follow when it broke.
 */
export interface SchedulerRequests {
  'register-client': [
    {
      readonly clientId: ClientId
      readonly name: string
      readonly pid: number
      readonly nodeVersion: string
      readonly version: string
    },
    {
      readonly schedulerId: string
      readonly generation: number
      readonly nodeVersion: string
      readonly heartbeatMs: number
      /** How long the client is remembered without a connection, milliseconds. */
      readonly graceMs: number
    },
  ]
  /** `heard`: how many stream messages the client has received in its life. */
  'reattach-client': [
    { readonly clientId: ClientId; readonly heard: number },
    {
      readonly generation: number
      readonly heartbeatMs: number
      /** How many of the client's stream messages were carried out: it says the rest again. */
      readonly applied: number
      /** Where the count of `heard` goes on. */
      readonly told: number
    },
  ]
  /** Its answer, like every other, says that all stream messages before the question were carried out. */
  heartbeat: [{ readonly heard: number }, { readonly generation: number }]
  identity: [Record<string, never>, SchedulerInfo]
  'who-has': [{ readonly keys?: readonly TaskKey[] }, { readonly keys: Readonly<Record<string, readonly Holder[]>> }]
  /** For a gather: where each key is now, with run id and size; keys not in memory are absent. No holders: those it has are away. */
  locate: [
    { readonly keys: readonly TaskKey[] },
    {
      readonly found: readonly {
        readonly key: TaskKey
        readonly runId: RunId
        readonly nbytes: number
        readonly holders: readonly Holder[]
      }[]
    },
  ]
  'has-what': [
    { readonly workers?: readonly string[] },
    { readonly workers: Readonly<Record<string, readonly TaskKey[]>> },
  ]
  nbytes: [
    { readonly keys?: readonly TaskKey[]; readonly by: 'key' | 'prefix' },
    { readonly nbytes: Readonly<Record<string, number>> },
  ]
  processing: [
    { readonly workers?: readonly string[] },
    { readonly workers: Readonly<Record<string, readonly TaskKey[]>> },
  ]
  'task-counts': [Record<string, never>, { readonly prefixes: Readonly<Record<string, PrefixCounts>> }]
  memory: [
    Record<string, never>,
    { readonly cluster: MemoryMeasures; readonly workers: Readonly<Record<string, MemoryMeasures>> },
  ]
  story: [{ readonly key: TaskKey }, { readonly entries: readonly StoryEntry[] }]
  retry: [{ readonly keys: readonly TaskKey[] } & Ticket, { readonly retried: readonly TaskKey[] }]
  restart: [
    { readonly timeoutMs: number; readonly waitForWorkers: boolean } & Ticket,
    { readonly generation: number; readonly workers: number },
  ]
  /** Chooses workers for values that a client is about to send, and reserves a run id for each. Waits up to `timeoutMs` for a worker. */
  'scatter-place': [
    {
      readonly entries: readonly { readonly key: TaskKey; readonly nbytes: number; readonly type: string }[]
      readonly workers?: readonly string[]
      /** How many workers get each value: true = all eligible ones. */
      readonly broadcast: boolean | number
      readonly timeoutMs: number
    } & Ticket,
    {
      /** `runId: null`: the key is in memory already (hash scatter), nothing to send. */
      readonly placed: readonly {
        readonly key: TaskKey
        readonly runId: RunId | null
        readonly workers: readonly Holder[]
      }[]
      readonly clusterId: string
      readonly generation: number
    },
  ]
  /** Without `workers` the scheduler chooses: `n` of them, or as many as it can do without. Answers with addresses. */
  'retire-workers': [
    { readonly workers?: readonly string[]; readonly n?: number; readonly closeWorkers: boolean } & Ticket,
    { readonly retired: readonly string[] },
  ]
  /** Pins `keys` under a name, beyond the client's life. `value`: the structure that the futures of these keys are in. */
  'publish-dataset': [
    {
      readonly name: string
      readonly value: Uint8Array
      readonly keys: readonly TaskKey[]
      readonly override: boolean
    } & Ticket,
    Record<string, never>,
  ]
  'get-dataset': [{ readonly name: string }, { readonly value: Uint8Array; readonly keys: readonly TaskKey[] }]
  'unpublish-dataset': [{ readonly name: string } & Ticket, Record<string, never>]
  'list-datasets': [Record<string, never>, { readonly names: readonly string[] }]
  /** By name, host, address or id. Processes are killed and started again; what is in their directories stays. */
  'restart-workers': [
    { readonly workers: readonly string[]; readonly timeoutMs: number } & Ticket,
    { readonly outcomes: Readonly<Record<string, 'ok' | 'removed' | 'timed-out'>> },
  ]
  /** So many copies of each value (left out: one on every worker), among the workers named. Ends when nothing moves any more. */
  replicate: [
    {
      readonly keys: readonly TaskKey[]
      readonly n?: number
      readonly workers?: readonly string[]
      readonly branchingFactor: number
    } & Ticket,
    {
      /** Copies that were made or are kept from now on. */
      readonly copies: number
      /** Values for which no worker had room. */
      readonly incomplete: readonly { readonly key: TaskKey; readonly copies: number; readonly wanted: number }[]
    },
  ]
  rebalance: [
    {
      readonly keys?: readonly TaskKey[]
      readonly workers?: readonly string[]
      readonly measure?: MemoryMeasure
    } & Ticket,
    { readonly moved: number; readonly movedBytes: number; readonly notMoved: readonly TaskKey[] },
  ]
  /** `run-once` says what was ordered; the others whether it runs by itself. */
  'memory-manager': [
    { readonly action: 'start' | 'stop' | 'run-once' | 'ask' } & Ticket,
    { readonly running: boolean; readonly copies: number; readonly removals: number },
  ]
  /** How many workers there should be, and which of them (ids) are of least use if there are more than that. */
  'adaptive-target': [
    { readonly targetDurationMs: number; readonly minimum: number; readonly maximum: number },
    { readonly target: number; readonly close: readonly WorkerId[] },
  ]
  /** Closes the whole cluster; allowed to whoever holds the token. */
  terminate: [Record<string, never>, Record<string, never>]
}
