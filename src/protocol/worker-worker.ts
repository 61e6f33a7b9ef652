// What a worker serves to peers and to clients on its own listener: reading values, and storing scattered ones.
//
// A value travels in one of three ways: `inline` (its blob bytes are in the answer), `file` (same host: the answer names
// a file that stays pinned until `release-pins`, or until the connection closes; a peer links it, a client reads it), or
// `stream` (the blob's bytes follow as chunks of this request, in the order of the answer, each value complete before the next).

import type { RunId, TaskKey } from '../base/ids.ts'

export type ServedValue =
  | { readonly key: TaskKey; readonly via: 'inline'; readonly runId: RunId; readonly bytes: Uint8Array }
  | {
      readonly key: TaskKey
      readonly via: 'file'
      readonly runId: RunId
      readonly path: string
      readonly offset: number
      readonly nbytes: number
      readonly tier: 'memory' | 'disk'
      readonly pin: number
      /** Type name of the value, for people. */
      readonly type?: string
      /** Change time of the file when its owner knew it to be whole; absent when it does not. */
      readonly mtimeNs?: string
    }
  | { readonly key: TaskKey; readonly via: 'stream'; readonly runId: RunId; readonly nbytes: number }
  | { readonly key: TaskKey; readonly via: 'missing' }
  /** Not now (paused, or too many readers): ask again a little later, or elsewhere. */
  | { readonly key: TaskKey; readonly via: 'busy' }

/** Requests that a worker answers on its listener: name -> [question, answer]. */
export interface WorkerRequests {
  'get-data': [
    {
      readonly keys: readonly TaskKey[]
      /** The asker's host token (boot id + namespaces + uid): equal to the worker's own, files may be named. */
      readonly hostToken: string | null
    },
    { readonly values: readonly ServedValue[] },
  ]
  'release-pins': [{ readonly pins: readonly number[] }, Record<string, never>]
  /** What came of these values was damaged: the worker checks its copies, and drops and reports those that are bad. */
  'check-values': [{ readonly keys: readonly TaskKey[] }, Record<string, never>]
  /** The blob's bytes follow the question as chunks. Answered when the value is in a file (durable). */
  'put-data': [
    { readonly key: TaskKey; readonly runId: RunId; readonly nbytes: number; readonly type: string },
    { readonly nbytes: number },
  ]
  /** A client of the same host (tokens as for `get-data`) asks for a file to write a blob of this size to; null: stream it. */
  'grant-place': [
    { readonly nbytes: number; readonly hostToken: string | null },
    { readonly place: { readonly id: number; readonly path: string } | null },
  ]
  /** The blob is in the granted file, whole. A place that is not taken ends with its connection. */
  'put-place': [
    { readonly place: number; readonly key: TaskKey; readonly runId: RunId; readonly type: string },
    { readonly nbytes: number },
  ]
  /** The granted file could not be written. */
  'cancel-place': [{ readonly place: number }, Record<string, never>]
  /** Collect garbage and give freed memory back to the system, in the worker and in executors that run nothing. */
  'trim-memory': [
    Record<string, never>,
    {
      /** Private memory of the worker's processes before and after, bytes. */
      readonly beforeBytes: number
      readonly afterBytes: number
    },
  ]
  ping: [Record<string, never>, Record<string, never>]
}
