// One end of a simulated connection: the interface of rpc/connection.ts (an ordered stream of messages each way, requests
// with answers and chunks on top) over a lane of the simulated network. Messages pass through the real encoding.
//
// C1. What one end says in one moment leaves as one batch and arrives in order, after everything said before.
// C2. A request ends exactly once: answer, error, timeout, or COMM_CLOSED.

import { deferred, type Deferred } from '../base/deferred.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { Envelope } from '../rpc/envelope.ts'
import { fromWireError, toWireError } from '../rpc/remote-error.ts'
import type { SimProcess } from './sim-process.ts'

export interface RequestOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly body?: AsyncIterable<Uint8Array>
  readonly onAnswer?: (answer: never) => void
  readonly onChunk?: (chunk: Uint8Array) => void | Promise<void>
}

/** What a served request can do besides returning its answer. */
export interface Served {
  readonly connection: SimConnection
  readonly body: AsyncIterable<Uint8Array>
  readonly signal: AbortSignal
  answerFirst(answer: object): Promise<void>
  sendChunk(bytes: Uint8Array): Promise<void>
}

type Handler = (question: never, served: Served) => object | Promise<object>

interface Asked {
  readonly op: string
  readonly result: Deferred<unknown>
  readonly options: RequestOptions
  answer: unknown
  /** Chunks are handled one after the other. */
  handled: Promise<void>
  stopTimer: () => void
}

/** What the network does for an end. */
export interface Wire {
  emit(from: SimConnection, envelope: Envelope, raw?: Uint8Array): void
  close(from: SimConnection): void
}

const REQUEST_TIMEOUT_MS = 30_000

export class SimConnection {
  readonly process: SimProcess
  readonly peer: SimProcess
  readonly peerAddress: string
  /** What a comm tells of its other end. */
  readonly comm = { peer: { clusterId: 'sim' } }
  readonly #wire: Wire
  readonly #handlers = new Map<string, Handler>()
  readonly #asked = new Map<number, Asked>()
  readonly #bodies = new Map<number, Body>()
  readonly #serving = new Map<number, AbortController>()
  #lastAsked = 0
  #onMessages: ((batch: readonly never[]) => void) | null = null
  #early: unknown[] = []
  #onClose: ((reason: Error | null) => void)[] = []
  #closedBy: { readonly reason: Error | null } | null = null

  constructor(process: SimProcess, peer: SimProcess, peerAddress: string, wire: Wire) {
    this.process = process
    this.peer = peer
    this.peerAddress = peerAddress
    this.#wire = wire
  }

  get closed(): boolean {
    return this.#closedBy !== null
  }

  send(message: object): void {
    if (!this.closed) this.#wire.emit(this, ['batch', [message]])
  }

  /** What is said leaves with its moment (C1), which takes no time. */
  flush(): void {}

  onMessages<Message>(handler: (batch: readonly Message[]) => void): void {
    this.#onMessages = handler as (batch: readonly never[]) => void
    const early = this.#early
    this.#early = []
    if (early.length > 0) handler(early as Message[])
  }

  handle<Question extends object>(
    op: string,
    handler: (question: Question, served: Served) => object | Promise<object>,
  ): void {
    this.#handlers.set(op, handler as unknown as Handler)
  }

  onClose(handler: (reason: Error | null) => void): void {
    if (this.#closedBy !== null) handler(this.#closedBy.reason)
    else this.#onClose.push(handler)
  }

  request<Answer = unknown>(op: string, question: object, options: RequestOptions = {}): Promise<Answer> {
    if (this.closed) return Promise.reject(closedError(this.peerAddress))
    const { signal, body } = options
    if (signal?.aborted === true) return Promise.reject(toError(signal.reason))
    const id = ++this.#lastAsked
    const asked: Asked = {
      op,
      result: deferred<unknown>(),
      options,
      answer: undefined,
      handled: Promise.resolve(),
      stopTimer: () => {},
    }
    this.#asked.set(id, asked)
    this.#watch(id, asked)
    signal?.addEventListener('abort', () => this.#giveUp(id, toError(signal.reason)), { once: true })
    this.#wire.emit(this, ['request', id, op, question, body !== undefined])
    if (body !== undefined) void this.#sendBody(id, body)
    return asked.result.promise as Promise<Answer>
  }

  /** What was sent arrives; then the peer hears of the end. */
  async close(): Promise<void> {
    this.abort()
  }

  abort(reason: Error | null = null): void {
    if (this.closed) return
    this.#wire.close(this)
    this.ended(reason)
  }

  /** The connection is over for this end. */
  ended(reason: Error | null): void {
    if (this.#closedBy !== null) return
    this.#closedBy = { reason }
    for (const id of this.#asked.keys()) this.#finish(id)?.result.reject(closedError(this.peerAddress))
    for (const body of this.#bodies.values()) body.fail(closedError(this.peerAddress))
    for (const serving of this.#serving.values()) serving.abort(closedError(this.peerAddress))
    const handlers = this.#onClose
    this.#onClose = []
    for (const handler of handlers) handler(reason)
  }

  /** What the lane delivers. */
  deliver(envelope: Envelope, raw: Uint8Array | undefined): void {
    if (this.closed) return
    switch (envelope[0]) {
      case 'batch':
        if (this.#onMessages === null) this.#early.push(...envelope[1])
        else this.#onMessages(envelope[1] as readonly never[])
        return
      case 'request':
        return this.#serve(envelope[1], envelope[2], envelope[3], envelope[4])
      case 'answer':
        return this.#answered(envelope[1], envelope[2], envelope[3])
      case 'error':
        return this.#finish(envelope[1])?.result.reject(fromWireError(envelope[2]))
      case 'chunk':
        return this.#chunk(envelope[1], raw as Uint8Array)
      case 'end':
        return this.#end(envelope[1])
      case 'body':
        return this.#bodies.get(envelope[1])?.push(raw as Uint8Array)
      case 'body-end':
        return this.#bodies.get(envelope[1])?.end()
      case 'cancel':
        return this.#serving.get(envelope[1])?.abort(new Error('the asker gave up'))
      default:
    }
  }

  #watch(id: number, asked: Asked): void {
    asked.stopTimer()
    const timeoutMs = asked.options.timeoutMs ?? REQUEST_TIMEOUT_MS
    if (timeoutMs === 0 || timeoutMs === Infinity) return
    asked.stopTimer = this.process.after(timeoutMs, () =>
      this.#giveUp(id, new PlimsollError('TIMEOUT', `no answer to "${asked.op}" from ${this.peerAddress}`)),
    )
  }

  #giveUp(id: number, error: Error): void {
    const asked = this.#finish(id)
    if (asked === undefined) return
    if (!this.closed) this.#wire.emit(this, ['cancel', id])
    asked.result.reject(error)
    this.process.world.touchPromises()
  }

  #finish(id: number): Asked | undefined {
    const asked = this.#asked.get(id)
    if (asked === undefined) return undefined
    this.#asked.delete(id)
    asked.stopTimer()
    return asked
  }

  #answered(id: number, answer: unknown, more: boolean): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    asked.answer = answer
    ;(asked.options.onAnswer as ((answer: unknown) => void) | undefined)?.(answer)
    if (more) this.#watch(id, asked)
    else this.#end(id)
  }

  #chunk(id: number, chunk: Uint8Array): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#watch(id, asked)
    asked.handled = asked.handled.then(() => asked.options.onChunk?.(chunk))
    asked.handled.catch((error: unknown) => this.#giveUp(id, toError(error)))
  }

  #end(id: number): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    asked.handled.then(
      () => this.#finish(id)?.result.resolve(asked.answer),
      () => {},
    )
  }

  async #sendBody(id: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of body) {
      if (this.closed) return
      this.#wire.emit(this, ['body', id], Uint8Array.from(chunk))
    }
    if (!this.closed) this.#wire.emit(this, ['body-end', id])
  }

  #serve(id: number, op: string, question: unknown, hasBody: boolean): void {
    const handler = this.#handlers.get(op)
    if (handler === undefined) {
      const error = toWireError(new PlimsollError('PROTOCOL_ERROR', `${op} is not served here`))
      return this.#wire.emit(this, ['error', id, error])
    }
    const body = new Body()
    if (hasBody) this.#bodies.set(id, body)
    const abort = new AbortController()
    this.#serving.set(id, abort)
    let answered = false
    const served: Served = {
      connection: this,
      body,
      signal: abort.signal,
      answerFirst: async (answer) => {
        answered = true
        this.#say(['answer', id, answer, true])
      },
      sendChunk: async (bytes) => this.#say(['chunk', id], bytes),
    }
    const over = (envelope: Envelope): void => {
      this.#serving.delete(id)
      this.#bodies.delete(id)
      this.#say(envelope)
    }
    const reply = (answer: object): void => over(answered ? ['end', id] : ['answer', id, answer, false])
    const failed = (error: unknown): void => over(['error', id, toWireError(toError(error))])
    try {
      const result = handler(question as never, served)
      if (result instanceof Promise) result.then(reply, failed)
      else reply(result)
    } catch (error) {
      failed(error)
    }
  }

  #say(envelope: Envelope, raw?: Uint8Array): void {
    if (!this.closed) this.#wire.emit(this, envelope, raw)
  }
}

/** Bytes that follow a question, as they arrive. */
class Body implements AsyncIterable<Uint8Array> {
  readonly #chunks: Uint8Array[] = []
  #ended = false
  #failure: Error | null = null
  #wake: (() => void) | null = null

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  fail(error: Error): void {
    this.#failure = error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) yield chunk
      else if (this.#failure !== null) throw this.#failure
      else if (this.#ended) return
      else await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

export function closedError(address: string): PlimsollError {
  return new PlimsollError('COMM_CLOSED', `the connection to ${address} is closed`)
}
