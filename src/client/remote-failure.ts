import type { TaskKey } from '../base/ids.ts'
import { decodeError } from '../values/error.ts'

/** The outcome of a task that erred. A failed input may fail a hundred thousand dependents, so bytes become an Error on demand. */
export class RemoteFailure {
  readonly status = 'error'
  readonly #key: TaskKey
  readonly #worker: string | null
  #bytes: Uint8Array | null
  #error: Error | null = null

  constructor(key: TaskKey, bytes: Uint8Array, worker: string | null) {
    this.#key = key
    this.#worker = worker
    this.#bytes = bytes
  }

  /** The error as the task threw it, with `plimsoll: { key, worker }` attached; the same object each time. */
  get error(): Error {
    if (this.#error === null) {
      this.#error = decodeError(this.#bytes ?? new Uint8Array(0))
      this.#bytes = null
      attachOrigin(this.#error, this.#key, this.#worker)
    }
    return this.#error
  }
}

function attachOrigin(error: Error, key: TaskKey, worker: string | null): void {
  if ('plimsoll' in error || !Object.isExtensible(error)) return
  Object.defineProperty(error, 'plimsoll', {
    value: { key, worker },
    enumerable: false,
    configurable: true,
    writable: true,
  })
}
