// What a task is on the wire. Args and function are opaque bytes everywhere but in clients and executors.

import type { FunctionId, RunId, TaskKey, WorkerId } from '../base/ids.ts'

/** How a task wants to be run. Absent fields mean the default. */
export interface TaskOptionsWire {
  /** How often an error thrown by the task is answered by another attempt (default 0). */
  readonly retries?: number
  /** Larger runs earlier (default 0). */
  readonly priority?: number
  /** Names, hosts or addresses of the workers that may run it. */
  readonly workers?: readonly string[]
  /** `workers` is a wish, not a condition. */
  readonly allowOtherWorkers?: boolean
  /** Abstract counters matched against what workers offer. */
  readonly resources?: Readonly<Record<string, number>>
  /** Bytes the task is expected to need at its peak. */
  readonly memory?: number
  readonly timeoutMs?: number
  /** Mostly awaits; runs beside others in an io executor. */
  readonly io?: boolean
  /** `false`: never runs again once it was started. */
  readonly idempotent?: boolean
}

/** One task of a group: key, encoded arguments (values/args.ts), keys it depends on. */
export type TaskRow = readonly [key: TaskKey, args: Uint8Array, dependencies: readonly TaskKey[]]

/** Tasks that share function, name and options: a whole `map` ships them once. */
export interface TaskGroupWire {
  readonly fn: FunctionId
  /** The function's name: prefix of the keys, the unit of statistics and progress. */
  readonly name: string
  readonly options: TaskOptionsWire
  readonly tasks: readonly TaskRow[]
}

/** A worker that holds a replica, as told to whoever has to fetch from it. */
export interface Holder {
  readonly id: WorkerId
  readonly address: string
}

/** An input of a task as the worker learns of it. */
export interface InputWire {
  readonly key: TaskKey
  readonly runId: RunId
  readonly nbytes: number
  readonly holders: readonly Holder[]
}

/** A copy to be kept. `durable`: in a file, since its value could not be computed again. */
export interface ReplicaWire extends InputWire {
  readonly durable?: true
}

/** A blob up to this size may ride along with the news of it; larger ones are fetched from the worker. Bytes. */
export const ATTACHED_BYTES_MAX = 1024

/** What an executor's death or a task's own error means for its next attempt. */
export type TaskFailureKind =
  | 'user' // the function threw: `retries` decides
  | 'out-of-memory' // own budget: `scheduler.allowed-oom-failures`
  | 'crashed' // the executor died while it ran: `scheduler.allowed-failures`
  | 'timeout' // ran longer than its `timeout`: `retries` decides
  | 'store-full' // no place for its result: may run elsewhere
  | 'system' // this worker could not run it at all (unknown function, undecodable args): not retried
