// Questions that the core answers by effects, at once or later, and what it answered to those with a ticket: a client whose
// connection broke asks them again, and they must not be carried out twice.
//
// A1. A question with a ticket is passed to the core once, over all connections of its client; whoever asks again gets
//     what the first one got, or will get.
// A2. Answers with a ticket are kept until the client says that it has them, or is forgotten.
// A3. A question whose asker takes it back, or is gone for good, is abandoned. A client that may come back is not gone.

import type { ClientId } from '../base/ids.ts'
import { deferred, type Deferred } from '../base/deferred.ts'
import type { PlimsollError } from '../errors/plimsoll-error.ts'
import type { Ticket } from '../protocol/scheduler-client.ts'
import type { ServeContext } from '../rpc/index.ts'
import type { RequestNumber } from './core/events.ts'

/** Who waits for an answer. */
interface Asker {
  readonly context: ServeContext
  readonly over: Deferred<never>
}

interface Pending {
  /** null: its connection broke, and it may come back. */
  asker: Asker | null
  readonly ticketed: Ticketed | null
}

interface Ticketed {
  readonly request: RequestNumber
  outcome: { readonly answer: object } | { readonly error: PlimsollError } | null
}

export class PendingAnswers {
  #counter = 0
  readonly #pending = new Map<RequestNumber, Pending>()
  readonly #tickets = new Map<ClientId, Map<number, Ticketed>>()
  readonly #onAbandoned: (request: RequestNumber) => void

  constructor(onAbandoned: (request: RequestNumber) => void) {
    this.#onAbandoned = onAbandoned
  }

  /**
   * Passes the question on under a fresh number. The answer leaves when the core gives it, before any message that the
   * same step sends on this connection; the promise only ends the request.
   */
  ask<Answer>(context: ServeContext, pass: (request: RequestNumber) => void): Promise<Answer> {
    return this.#pass(++this.#counter, null, context, pass)
  }

  /** As `ask`, once per ticket (A1); without a registered client or a ticket there is nothing to recognise. */
  askOnce<Answer>(
    client: ClientId | null,
    { ticket, settled }: Ticket,
    context: ServeContext,
    pass: (request: RequestNumber) => void,
  ): Promise<Answer> {
    if (client === null || ticket === undefined) return this.ask(context, pass)
    const tickets = this.#ticketsOf(client)
    for (const old of tickets.keys()) if (settled !== undefined && old < settled) tickets.delete(old)
    const known = tickets.get(ticket)
    if (known === undefined) {
      const ticketed: Ticketed = { request: ++this.#counter, outcome: null }
      tickets.set(ticket, ticketed)
      return this.#pass(ticketed.request, ticketed, context, pass)
    }
    if (known.outcome !== null) {
      if ('error' in known.outcome) return Promise.reject(known.outcome.error)
      return Promise.resolve(known.outcome.answer as Answer)
    }
    return this.#join(known.request, context)
  }

  answer(request: RequestNumber, answer: object): void {
    const pending = this.#take(request)
    if (pending === undefined) return
    if (pending.ticketed !== null) pending.ticketed.outcome = { answer }
    // Rejects when the asker is gone: then nobody is left to be told.
    pending.asker?.context.answerFirst(answer).catch(() => {})
    pending.asker?.over.resolve(undefined as never)
  }

  refuse(request: RequestNumber, error: PlimsollError): void {
    const pending = this.#take(request)
    if (pending === undefined) return
    if (pending.ticketed !== null) pending.ticketed.outcome = { error }
    pending.asker?.over.reject(error)
  }

  /** The client is gone for good (A3). */
  forget(client: ClientId): void {
    const tickets = this.#tickets.get(client)
    this.#tickets.delete(client)
    for (const { request } of tickets?.values() ?? []) this.#abandon(request)
  }

  #pass<Answer>(
    request: RequestNumber,
    ticketed: Ticketed | null,
    context: ServeContext,
    pass: (request: RequestNumber) => void,
  ): Promise<Answer> {
    const over = deferred<never>()
    this.#pending.set(request, { asker: { context, over }, ticketed })
    pass(request)
    if (this.#pending.has(request)) this.#watch(request, context)
    return over.promise
  }

  /** In the place of the asker whose connection broke. */
  #join<Answer>(request: RequestNumber, context: ServeContext): Promise<Answer> {
    const over = deferred<never>()
    const pending = this.#pending.get(request)
    pending?.asker?.over.resolve(undefined as never)
    if (pending !== undefined) pending.asker = { context, over }
    this.#watch(request, context)
    return over.promise
  }

  #watch(request: RequestNumber, context: ServeContext): void {
    context.signal.addEventListener('abort', () => this.#askerGone(request, context))
  }

  #askerGone(request: RequestNumber, context: ServeContext): void {
    const pending = this.#pending.get(request)
    if (pending?.asker?.context !== context) return
    pending.asker.over.resolve(undefined as never)
    pending.asker = null
    if (pending.ticketed === null || !context.connection.closed) this.#abandon(request)
  }

  #abandon(request: RequestNumber): void {
    if (this.#pending.delete(request)) this.#onAbandoned(request)
  }

  #take(request: RequestNumber): Pending | undefined {
    const pending = this.#pending.get(request)
    this.#pending.delete(request)
    return pending
  }

  #ticketsOf(client: ClientId): Map<number, Ticketed> {
    let tickets = this.#tickets.get(client)
    if (tickets === undefined) {
      tickets = new Map()
      this.#tickets.set(client, tickets)
    }
    return tickets
  }
}
