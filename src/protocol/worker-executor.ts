// The wire between a worker and one of its executor processes: length-prefixed msgpack over two pipes, one each way.
// Both ends are always of the same build. What both also share is the status page (native/status-page.ts).

import type { FunctionId, RunId, TaskKey } from '../base/ids.ts'
import type { TaskFailureKind } from './tasks.ts'

/** Where the bytes of an input are. */
export type InputSource =
  | { readonly via: 'inline'; readonly bytes: Uint8Array }
  | {
      readonly via: 'file'
      readonly path: string
      readonly offset: number
      readonly nbytes: number
      readonly tier: 'memory' | 'disk'
      /** Modification time in nanoseconds as recorded when it was stored; a file that says otherwise is read with its
       * checksums. Null in a file that several blobs share. */
      readonly mtimeNs: string | null
      /** The reader must check the checksums in any case: the blob is on disk, was adopted, or shares its file. */
      readonly verify: boolean
    }

export interface ExecutorInput {
  readonly key: TaskKey
  readonly source: InputSource
}

/** A file that a result is to be written to; the worker renames it into place. */
export interface ResultPlace {
  readonly id: number
  readonly tier: 'memory' | 'disk'
  readonly path: string
  readonly nbytes: number
}

/** First message to an executor. */
export interface ExecutorStart {
  readonly op: 'start'
  /** Runs at a time: 1, or more in an io executor, which then names no run in its slot. */
  readonly concurrency: number
  readonly slot: number
  readonly statusPage: string
  readonly parentPid: number
  readonly workerAddress: string
  readonly inlineLimit: number
  readonly mapThreshold: number
  /** Share of the worker's memory limit, bytes; 0 = no limit. */
  readonly shareBytes: number
}

export interface ExecutorRun {
  readonly op: 'run'
  readonly runId: RunId
  /** Counts the runs handed to this executor, from 1. */
  readonly sequence: number
  readonly key: TaskKey
  readonly name: string
  readonly fn: FunctionId
  /** Present when this executor does not know the function. */
  readonly fnBytes?: Uint8Array
  readonly args: Uint8Array
  readonly inputs: readonly ExecutorInput[]
  /** The `memory:` option, 0 = none given. */
  readonly memory: number
  readonly attempt: number
  readonly clusterId: string
  readonly generation: number
}

export type WorkerToExecutor =
  | ExecutorStart
  | ExecutorRun
  /** Abort the signal of this run if it is running. */
  | { readonly op: 'cancel'; readonly runId: RunId }
  /** These runs were taken back: they must not start. Carries the new epoch of the status page. */
  | { readonly op: 'withdraw'; readonly runIds: readonly RunId[]; readonly epoch: number }
  /** Answer to `place-request`: write there, or (null) drop the result and say `dropped`. */
  | { readonly op: 'place'; readonly runId: RunId; readonly place: ResultPlace | null }
  /** Full garbage collection, between tasks. */
  | { readonly op: 'collect' }
  | { readonly op: 'forget-functions'; readonly ids: readonly FunctionId[] }
  | { readonly op: 'ping' }

export interface RunEnd {
  readonly runId: RunId
  /** From the first input to the encoded result, without waiting for a place and writing. */
  readonly durationMs: number
  /** Inputs whose mappings live on after the task. */
  readonly stillMapped: readonly TaskKey[]
  /** By how much heap and external memory grew during the task (mapped inputs not counted), bytes, never negative. */
  readonly grownBytes: number
}

export type ExecutorToWorker =
  | { readonly op: 'ready'; readonly pid: number }
  | (RunEnd & { readonly op: 'finished'; readonly type: string; readonly blob: Uint8Array })
  | (RunEnd & { readonly op: 'written'; readonly type: string; readonly place: number })
  | (RunEnd & { readonly op: 'erred'; readonly kind: TaskFailureKind; readonly error: Uint8Array })
  /** The answer to `place: null`. */
  | (RunEnd & { readonly op: 'dropped' })
  | (RunEnd & { readonly op: 'input-bad'; readonly key: TaskKey; readonly reason: string })
  /** The run was not called, and none can be: the process has no descriptors left, say. */
  | (RunEnd & { readonly op: 'unfit'; readonly reason: string })
  /** A result above the inline limit waits. `failed` names the place that could not take it before. */
  | {
      readonly op: 'place-request'
      readonly runId: RunId
      readonly nbytes: number
      readonly failed?: { readonly place: number; readonly code: string }
    }
  /** Something threw outside of any call (a timer, a floating promise): the process is not to be trusted any more. */
  | { readonly op: 'crashed'; readonly runId: RunId | null; readonly error: Uint8Array }
  /** The last mapping of this input of that run is gone. */
  | { readonly op: 'unmapped'; readonly entries: readonly { readonly runId: RunId; readonly key: TaskKey }[] }
  | { readonly op: 'collected'; readonly durationMs: number }
  /** A task left something behind that keeps running: no further run is started here. */
  | { readonly op: 'retire'; readonly reason: string }
  | { readonly op: 'pong' }
