import type { RunId, TaskKey, WorkerId } from '../../base/ids.ts'
import type { SchedulerToWorker } from '../../protocol/scheduler-worker.ts'
import type { TaskFailureKind } from '../../protocol/tasks.ts'

/** A value as the store describes it. */
export interface StoredEntry {
  readonly key: TaskKey
  readonly runId: RunId
  readonly nbytes: number
  readonly type: string
  readonly durable: boolean
  /** A copy that may be dropped for room. */
  readonly fetched?: boolean
}

export type ReplicaName = Pick<StoredEntry, 'key' | 'runId'>

/** How a transfer ended; keys that had not arrived by then are looked for elsewhere. */
export type TransferOutcome =
  | 'done' // the peer answered everything; what did not arrive it does not have
  | 'busy' // not now
  | 'unreachable' // no connection, or it broke
  | 'aborted' // on our own wish

/** What happened, told to the core by the shell. `now`: milliseconds of one monotonic clock. */
export type WorkerEvent = { readonly now: number } & (
  | { readonly kind: 'MessagesReceived'; readonly messages: readonly SchedulerToWorker[] }
  /** Values found in the directories of an earlier process, before the first registration. */
  | { readonly kind: 'ValuesAdopted'; readonly values: readonly StoredEntry[] }
  | {
      readonly kind: 'Registered'
      readonly generation: number
      readonly drop: readonly TaskKey[]
      readonly cancel: readonly RunId[]
    }
  /** The scheduler is another one, or the generation is: nothing held or running counts any more. */
  | { readonly kind: 'ClusterChanged'; readonly generation: number }
  /** The executor is done and its result waits to be stored. `depth`: see `CoreSettings`. */
  | {
      readonly kind: 'RunFinished'
      readonly runId: RunId
      readonly durationMs: number
      readonly depth: number
      /** Private memory it took at its highest, bytes; absent when that cannot be told. */
      readonly peakBytes?: number
    }
  | {
      readonly kind: 'ValueStored'
      readonly runId: RunId
      readonly nbytes: number
      readonly type: string
      readonly durable: boolean
      readonly onDisk?: boolean
    }
  | { readonly kind: 'ValueRefused'; readonly runId: RunId; readonly error: Uint8Array }
  | {
      readonly kind: 'RunErred'
      readonly runId: RunId
      readonly failure: TaskFailureKind
      readonly error: Uint8Array
      readonly durationMs: number
      /** Out of memory: what it had taken, at least; absent when that cannot be told. */
      readonly peakBytes?: number
    }
  /** It was never started; nobody is blamed. */
  | { readonly kind: 'RunReturned'; readonly runId: RunId; readonly reason: string }
  /** These were to be withdrawn, but have started or ended. */
  | { readonly kind: 'RunsKept'; readonly runIds: readonly RunId[] }
  | { readonly kind: 'RunCancelled'; readonly runId: RunId }
  /** The run ended because this input could not be read. */
  | {
      readonly kind: 'InputBad'
      readonly runId: RunId
      readonly key: TaskKey
      /** Whose value it was; null when there was none to read. */
      readonly valueRunId: RunId | null
      readonly reason: string
    }
  | { readonly kind: 'ReplicaReceived'; readonly transferId: number; readonly value: StoredEntry }
  /** The store will never have room for this one; the transfer goes on or ends by itself. */
  | { readonly kind: 'ReplicaRefused'; readonly transferId: number; readonly key: TaskKey; readonly reason: string }
  | { readonly kind: 'TransferEnded'; readonly transferId: number; readonly outcome: TransferOutcome }
  /** A client stored a value here (scatter). */
  | { readonly kind: 'ValueScattered'; readonly value: StoredEntry }
  /** Dropped by the store for room, or found damaged (`unreadable`). */
  | {
      readonly kind: 'ReplicasLost'
      readonly values: readonly ReplicaName[]
      readonly reason: string
      readonly unreadable?: true
    }
  /** These were there and will not be dropped for room from now on. */
  | { readonly kind: 'ReplicasKept'; readonly values: readonly ReplicaName[] }
  | { readonly kind: 'ValuesDurable'; readonly values: readonly ReplicaName[] }
  | { readonly kind: 'MemoryPaused' }
  | { readonly kind: 'MemoryResumed' }
  /** The pause for memory does not end by itself: one task may start, alone; the pause goes on with its start. */
  | { readonly kind: 'MemoryProbed' }
  /** A look at memory, bytes: the answer to what admission has to know (admission.ts). */
  | {
      readonly kind: 'MemoryMeasured'
      /** Private memory, but for what executors with a run took since they started, and one that is about to get one. */
      readonly idleBytes: number
      /** Stored values in the memory tier. */
      readonly tierBytes: number
      /** What the executors of these runs took since they started, with the places of their results. */
      readonly grown: readonly { readonly runId: RunId; readonly bytes: number }[]
    }
  | { readonly kind: 'RoomMade'; readonly tierBytes: number }
  | { readonly kind: 'MissingDue' }
  | { readonly kind: 'HandBackDue' }
  | { readonly kind: 'PeerRetryDue'; readonly peer: WorkerId }
)

export type EventOf<Kind extends WorkerEvent['kind']> = Extract<WorkerEvent, { readonly kind: Kind }>

export type MessageOf<Op extends SchedulerToWorker['op']> = Extract<SchedulerToWorker, { readonly op: Op }>
