import { deferred, type Deferred } from '../base/deferred.ts'
import type { PlimsollError } from '../errors/plimsoll-error.ts'
import type { ServeContext } from '../rpc/index.ts'
import type { RequestNumber } from './core/events.ts'

interface Pending {
  readonly context: ServeContext
  readonly over: Deferred<never>
}

/** Questions that the core answers by effects, at once or later. */
export class PendingAnswers {
  #counter = 0
  readonly #pending = new Map<RequestNumber, Pending>()
  readonly #onAbandoned: (request: RequestNumber) => void

  constructor(onAbandoned: (request: RequestNumber) => void) {
    this.#onAbandoned = onAbandoned
  }

  /**
   * Passes the question on under a fresh number. The answer leaves when the core gives it, before any message that the
   * same step sends on this connection; the promise only ends the request.
   */
  async ask<Answer>(context: ServeContext, pass: (request: RequestNumber) => void): Promise<Answer> {
    const request = ++this.#counter
    const over = deferred<never>()
    this.#pending.set(request, { context, over })
    pass(request)
    if (this.#pending.has(request)) {
      context.signal.addEventListener('abort', () => {
        if (this.#pending.delete(request)) this.#onAbandoned(request)
        over.resolve(undefined as never)
      })
    }
    return over.promise
  }

  answer(request: RequestNumber, answer: object): void {
    const pending = this.#take(request)
    if (pending === undefined) return
    // Rejects when the asker is gone: then nobody is left to be told.
    pending.context.answerFirst(answer).catch(() => {})
    pending.over.resolve(undefined as never)
  }

  refuse(request: RequestNumber, error: PlimsollError): void {
    this.#take(request)?.over.reject(error)
  }

  #take(request: RequestNumber): Pending | undefined {
    const pending = this.#pending.get(request)
    this.#pending.delete(request)
    return pending
  }
}
