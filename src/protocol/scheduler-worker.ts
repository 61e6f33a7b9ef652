// The wire between a worker and the scheduler: one ordered stream each way. A worker is known by its stable id;
// `incarnation` grows with each start of its process.

import type { FunctionId, RunId, TaskKey, WorkerId } from '../base/ids.ts'
import type { ExecutorInfo, MemoryMeasures, StoryEntry, WorkerStatus } from './scheduler-client.ts'
import type { Holder, InputWire, ReplicaWire, TaskFailureKind, TaskOptionsWire } from './tasks.ts'

/** Smaller runs first, compared element by element: [-user priority, turn of the client, position among its tasks]. */
export type Priority = readonly [user: number, turn: number, order: number]

/** One assignment of a task. */
export interface RunName {
  readonly key: TaskKey
  readonly runId: RunId
}

/** What is reserved for an attempt because earlier ones ran out of memory. */
export interface MemoryReserve {
  readonly bytes: number
  /** Nothing else runs beside it, and its executor may take what the worker has. */
  readonly alone: boolean
}

/** Stream messages, scheduler to worker. */
export type SchedulerToWorker =
  | {
      readonly op: 'compute-task'
      readonly key: TaskKey
      readonly runId: RunId
      readonly name: string
      readonly priority: Priority
      readonly fn: FunctionId
      /** Present when this worker was not sent the function before, or was told to forget it. */
      readonly fnBytes?: Uint8Array
      readonly args: Uint8Array
      readonly inputs: readonly InputWire[]
      readonly options: TaskOptionsWire
      /** 1 for the first. */
      readonly attempt: number
      readonly reserve?: MemoryReserve
    }
  /** Forget these keys whatever they are doing: stored ones are dropped, running ones are cancelled. */
  | { readonly op: 'free-keys'; readonly keys: readonly TaskKey[] }
  /** Drop these values, unless another run of the key is here by now: scattered ones come past this stream. */
  | { readonly op: 'free-runs'; readonly runs: readonly RunName[] }
  /** A client waits for the values of these runs: `task-finished` is to bring them along where they are small. */
  | { readonly op: 'attach-values'; readonly runs: readonly RunName[] }
  /** These tasks were handed back by a paused worker a moment ago: a pause within `forMs` hands none of them back again. */
  | { readonly op: 'hold-runs'; readonly runs: readonly RunName[]; readonly forMs: number }
  /** Give back those of these runs that were not started; each is answered in a `steal-response`, unless it ends first. */
  | { readonly op: 'steal-request'; readonly runs: readonly RunName[] }
  /** End a running task: a flag first, its executor's group after `worker.cancel-grace`, at once with `force`. */
  | { readonly op: 'cancel-task'; readonly key: TaskKey; readonly runId: RunId; readonly force: boolean }
  | { readonly op: 'free-functions'; readonly ids: readonly FunctionId[] }
  /** Answer to `request-refresh-who-has`. A key without holders is unknown or lost now. */
  | {
      readonly op: 'refresh-who-has'
      readonly keys: readonly {
        readonly key: TaskKey
        readonly runId: RunId
        readonly nbytes: number
        readonly holders: readonly Holder[]
      }[]
    }
  /** A peer is gone: forget it as a holder. */
  | { readonly op: 'remove-worker'; readonly id: WorkerId; readonly address: string }
  /** Copy these keys from their holders, behind all inputs of tasks, and keep them: each is answered in `add-keys`. */
  | { readonly op: 'acquire-replicas'; readonly inputs: readonly ReplicaWire[] }
  /** Drop these replicas unless a task here needs them now; each is answered in `release-worker-data` or `add-keys`. */
  | { readonly op: 'remove-replicas'; readonly keys: readonly TaskKey[] }
  | { readonly op: 'set-status'; readonly status: 'running' | 'paused' | 'retiring' }
  /** A new generation: everything stored and running is dropped. */
  | { readonly op: 'wipe'; readonly generation: number }
  /** Close in good order; the nanny does not start it again. */
  | { readonly op: 'close'; readonly reason: string }

/** Stream messages, worker to scheduler. */
export type WorkerToScheduler =
  | {
      readonly op: 'task-finished'
      readonly key: TaskKey
      readonly runId: RunId
      readonly nbytes: number
      /** Type name of the value, for people. */
      readonly type: string
      /** Survives the worker's process: it is in a file. */
      readonly durable: boolean
      readonly durationMs: number
      /** The answer to `attach-values`, at most ATTACHED_BYTES_MAX. */
      readonly blob?: Uint8Array
    }
  | {
      readonly op: 'task-erred'
      readonly key: TaskKey
      readonly runId: RunId
      readonly kind: TaskFailureKind
      /** values/error.ts */
      readonly error: Uint8Array
      readonly durationMs: number
      /** Out of memory: private memory that it had taken, at least, bytes. */
      readonly peakBytes?: number
    }
  /** The task goes back to the scheduler without blame (input lost, paused, executor died before it started). */
  | { readonly op: 'reschedule'; readonly key: TaskKey; readonly runId: RunId; readonly reason: string }
  /** A running task was ended because the scheduler asked for it. */
  | { readonly op: 'task-cancelled'; readonly key: TaskKey; readonly runId: RunId }
  /** Replicas are here: fetched from peers, or kept although they were to be removed. */
  | {
      readonly op: 'add-keys'
      readonly keys: readonly {
        readonly key: TaskKey
        readonly runId: RunId
        readonly durable: boolean
        /**
         * The answer to `acquire-replicas`: it stays until the scheduler says otherwise, while others may be dropped for room.
         * The number is the last run that the worker was assigned by then.
         */
        readonly kept?: RunId
      }[]
    }
  /** Values that a client sent have arrived; it says so itself as well, if it lives. */
  | { readonly op: 'keys-scattered'; readonly keys: readonly { readonly key: TaskKey; readonly runId: RunId }[] }
  /** Replicas are gone from here (corrupt, evicted, removed, never there or never to come). Run 0: of none at all. */
  | {
      readonly op: 'release-worker-data'
      readonly keys: readonly {
        readonly key: TaskKey
        readonly runId: RunId
        /** It was there and could not be read: why. */
        readonly unreadable?: string
      }[]
    }
  /** Values that were only in the process are in a file now. */
  | { readonly op: 'keys-durable'; readonly keys: readonly { readonly key: TaskKey; readonly runId: RunId }[] }
  | { readonly op: 'request-refresh-who-has'; readonly keys: readonly TaskKey[] }
  /** `taken`: runs that were not started and are the scheduler's again; `kept`: runs that go on here, or are unknown. */
  | { readonly op: 'steal-response'; readonly taken: readonly RunName[]; readonly kept: readonly RunName[] }
  | { readonly op: 'worker-status-change'; readonly status: WorkerStatus }
  | { readonly op: 'log-event'; readonly topic: string; readonly fields: Readonly<Record<string, unknown>> }

/** What a worker has, told on first contact, after a reconnect and after a restart (the scheduler answers with what to drop). */
export interface Inventory {
  readonly keys: readonly {
    readonly key: TaskKey
    readonly runId: RunId
    readonly nbytes: number
    readonly type: string
    readonly durable: boolean
    /** A copy that the worker may drop for room at any time. */
    readonly loose?: boolean
  }[]
  /**
   * The last run that was assigned to this process. Assignments come in the order of their runs: those behind it never
   * arrived; those before it did, and may have been started.
   */
  readonly received?: RunId
  /** Assigned and not finished; empty after a restart of the process. */
  readonly tasks: readonly {
    readonly key: TaskKey
    readonly runId: RunId
    readonly state: 'waiting' | 'ready' | 'constrained' | 'executing'
  }[]
}

export interface RegisterWorker {
  readonly workerId: WorkerId
  readonly incarnation: number
  readonly name: string
  readonly address: string
  readonly pid: number
  readonly nannyPid: number | null
  readonly host: string
  readonly nthreads: number
  /** Bytes; 0 = no limit. */
  readonly memoryLimit: number
  readonly resources: Readonly<Record<string, number>>
  /** Where the worker serves HTTP; null: nowhere. */
  readonly dashboard: string | null
  readonly localDirectory: string
  readonly memoryDirectory: string
  readonly nodeVersion: string
  readonly status: WorkerStatus
  /** How often the nanny had to start this worker again. */
  readonly restarts: number
  /** The cluster and generation that the inventory belongs to; null when the directories were empty. */
  readonly clusterId: string | null
  readonly generation: number
  readonly inventory: Inventory
}

export interface RegisterWorkerAnswer {
  readonly schedulerId: string
  readonly generation: number
  readonly heartbeatMs: number
  /** Held by the worker, wanted by nobody: drop before serving anything. */
  readonly drop: readonly TaskKey[]
  /** Runs that are void by now: stop them, discard their results. */
  readonly cancel: readonly RunId[]
}

export interface WorkerHeartbeat {
  readonly memory: MemoryMeasures
  readonly processPeak: number
  readonly spilledTotal: number
  readonly executors: readonly ExecutorInfo[]
  /** Runs that have started. */
  readonly executing: readonly { readonly key: TaskKey; readonly runId: RunId; readonly runningMs: number }[]
  /** Bytes/s seen per peer since the last heartbeat. */
  readonly bandwidth: Readonly<Record<string, number>>
}

/** Requests on the worker's connection, worker to scheduler. `register-worker` comes first. */
export interface SchedulerWorkerRequests {
  'register-worker': [RegisterWorker, RegisterWorkerAnswer]
  'heartbeat-worker': [WorkerHeartbeat, { readonly status: 'ok' | 'missing' }]
}

/** Requests on the worker's connection, scheduler to worker. */
export interface WorkerControlRequests {
  story: [{ readonly key: TaskKey }, { readonly entries: readonly StoryEntry[] }]
  ping: [Record<string, never>, Record<string, never>]
}
