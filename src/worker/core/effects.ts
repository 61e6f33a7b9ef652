import type { FunctionId, RunId, TaskKey, WorkerId } from '../../base/ids.ts'
import type { WorkerToScheduler } from '../../protocol/scheduler-worker.ts'
import type { TaskFailureKind, TaskOptionsWire } from '../../protocol/tasks.ts'
import type { ReplicaName } from './events.ts'

/** Memory of one run, bytes; all 0 in a worker without a limit. */
export interface TaskMemory {
  /** What it may take before it is to blame for a shortage. */
  readonly reservedBytes: number
  /** Heap that its executor has to allow, should that be more than the usual share. */
  readonly heapBytes: number
  /** What it is expected to leave in the store. */
  readonly resultBytes: number
}

/** One execution to start; its inputs are all in the store. */
export interface RunOrder {
  readonly runId: RunId
  readonly key: TaskKey
  readonly name: string
  readonly fn: FunctionId
  readonly fnBytes: Uint8Array
  readonly args: Uint8Array
  readonly inputs: readonly TaskKey[]
  readonly options: TaskOptionsWire
  readonly attempt: number
  readonly memory: TaskMemory
}

/** One key to ask a peer for. */
export interface ReplicaOrder {
  readonly key: TaskKey
  readonly runId: RunId
  readonly nbytes: number
  /** A copy of it could not be read: the peer's file is not to be shared once more, but checked. */
  readonly suspect?: true
}

/** As on the wire, but for values: the core holds none, and has the shell attach one. */
export type WorkerMessage =
  | WorkerToScheduler
  | (Extract<WorkerToScheduler, { readonly op: 'task-finished' }> & { readonly attach: true })

/** What the core wants done; the shell does it and reports with events. */
export type WorkerEffect =
  | { readonly kind: 'SendToScheduler'; readonly messages: readonly WorkerMessage[] }
  /** As `task-erred`, with an error that the shell encodes. */
  | {
      readonly kind: 'ReportFailure'
      readonly key: TaskKey
      readonly runId: RunId
      readonly failure: TaskFailureKind
      readonly code: 'INTERNAL' | 'STORE_FULL'
      readonly message: string
    }
  | { readonly kind: 'Execute'; readonly runs: readonly RunOrder[] }
  | { readonly kind: 'CancelExecution'; readonly runId: RunId; readonly force: boolean }
  /** Take these back from the executors: answered by `RunReturned`, or by `RunsKept` for what has started. */
  | { readonly kind: 'WithdrawExecutions'; readonly runIds: readonly RunId[] }
  /** Put the result of this run into the store: answered by `ValueStored` or `ValueRefused`. */
  | { readonly kind: 'StoreResult'; readonly runId: RunId }
  | { readonly kind: 'DropResult'; readonly runId: RunId }
  | {
      readonly kind: 'GatherFromPeer'
      readonly transferId: number
      readonly peer: WorkerId
      readonly address: string
      readonly keys: readonly ReplicaOrder[]
    }
  | { readonly kind: 'AbortTransfer'; readonly transferId: number }
  /** Nothing happens to a key that the store holds from another run by then. */
  | { readonly kind: 'FreeFromStore'; readonly values: readonly ReplicaName[] }
  /**
   * The scheduler asked for these copies: they may be the last ones, and are not to be dropped for room; `durable`: they are to
   * be in files. Answered by `ReplicasKept` when that is so.
   */
  | { readonly kind: 'KeepReplicas'; readonly keys: readonly TaskKey[]; readonly durable?: true }
  /**
   * Keep this much less in memory than now: answered by `RoomMade` when that is so, or nothing more can leave. Copies among
   * `keep`, what the next task reads, are not to be dropped: they would have to be fetched again.
   */
  | { readonly kind: 'MakeRoom'; readonly bytes: number; readonly keep: readonly TaskKey[] }
  /** Drop everything stored; no later effect may overtake it. */
  | { readonly kind: 'WipeStore'; readonly generation: number }
  | { readonly kind: 'ForgetFunctions'; readonly ids: readonly FunctionId[] }
  /** Comes back as this event. */
  | {
      readonly kind: 'SetTimer'
      readonly delayMs: number
      readonly event:
        | { readonly kind: 'MissingDue' }
        | { readonly kind: 'HandBackDue' }
        | { readonly kind: 'PeerRetryDue'; readonly peer: WorkerId }
    }
  | { readonly kind: 'CloseWorker'; readonly reason: string }
