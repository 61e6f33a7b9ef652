// Outcomes other than a value. A failed input may fail a hundred thousand dependents, and a released map cancels as many
// futures that nobody looks at, so the Error is made when it is first asked for.

import type { TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { decodeError } from '../values/error.ts'

/** The outcome of a task that failed, or whose input did. */
export class RemoteFailure {
  readonly status = 'error'
  readonly #key: TaskKey
  readonly #worker: string | null
  readonly #bytes: Uint8Array
  #error: Error | null = null

  constructor(key: TaskKey, bytes: Uint8Array, worker: string | null) {
    this.#key = key
    this.#worker = worker
    this.#bytes = bytes
  }

  /** The error as the task threw it, with `plimsoll: { key, worker }` attached; the same object each time. */
  get error(): Error {
    this.#error ??= attachOrigin(decodeError(this.#bytes), this.#key, this.#worker)
    return this.#error
  }
}

/** The outcome of a key that was cancelled, or that is lost for good. */
export class GivenUp {
  readonly status: 'cancelled' | 'lost'
  readonly reason: string
  readonly #key: TaskKey
  #error: PlimsollError | null = null

  constructor(key: TaskKey, reason: string, code: 'TASK_CANCELLED' | 'DATA_LOST') {
    this.status = code === 'DATA_LOST' ? 'lost' : 'cancelled'
    this.reason = reason
    this.#key = key
  }

  get error(): PlimsollError {
    this.#error ??= this.#makeError()
    return this.#error
  }

  #makeError(): PlimsollError {
    const fields = { key: this.#key, reason: this.reason }
    if (this.status === 'cancelled') {
      return new PlimsollError('TASK_CANCELLED', `"${this.#key}" was cancelled: ${this.reason}.`, fields)
    }
    const message = `The value of "${this.#key}" is lost: ${this.reason}. It has no recipe to compute it again from; scatter it again.`
    return new PlimsollError('DATA_LOST', message, fields)
  }
}

function attachOrigin(error: Error, key: TaskKey, worker: string | null): Error {
  if ('plimsoll' in error || !Object.isExtensible(error)) return error
  const value = { key, worker }
  return Object.defineProperty(error, 'plimsoll', { value, enumerable: false, configurable: true, writable: true })
}
