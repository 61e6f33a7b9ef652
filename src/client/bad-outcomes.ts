// Outcomes other than a value. A failed input may fail a hundred thousand dependents, and a released map cancels as many
// futures that nobody looks at, so the Error is made when it is first asked for.

import type { TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { SchedulerToClient } from '../protocol/scheduler-client.ts'
import { decodeError } from '../values/error.ts'

type TaskErred = Extract<SchedulerToClient, { op: 'task-erred' }>

/** The outcome of a task that failed, or whose input did. */
export class RemoteFailure {
  readonly status = 'error'
  /** Until the error was made of it: it is held once. */
  #told: TaskErred | null
  #error: Error | null = null

  constructor(told: TaskErred) {
    this.#told = told
  }

  /** The error as the task threw it, with `plimsoll: { key, worker, attempts, workers }` attached; the same object each time. */
  get error(): Error {
    const told = this.#told
    if (told !== null) {
      this.#error = attachOrigin(decodeError(told.error), told)
      this.#told = null
    }
    return this.#error as Error
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

function attachOrigin(error: Error, told: TaskErred): Error {
  if ('plimsoll' in error || !Object.isExtensible(error)) return error
  const worker = told.worker ?? null
  const { attempts, workers } = told.history ?? { attempts: 1, workers: worker === null ? [] : [worker] }
  // Our own words about an attempt; what the user's task threw stays as it is.
  if (attempts > 1 && error instanceof PlimsollError)
    error.message += ` It was tried ${attempts} times, on ${workers.join(', ')}.`
  const value = { key: told.origin ?? told.key, worker, attempts, workers }
  return Object.defineProperty(error, 'plimsoll', { value, enumerable: false, configurable: true, writable: true })
}
