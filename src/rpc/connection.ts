// One comm as a program uses it: an ordered stream of messages each way, batched per turn of the event loop, and
// requests with answers on top (envelope.ts has the vocabulary). Treats all ops alike; the types say what may be sent.
//
// R1. Everything sent on a connection arrives in the order it was sent: stream messages, questions, answers and chunks.
// R2. A request ends exactly once: answer, error, timeout, cancel or COMM_CLOSED. Late words about it are ignored.
// R3. What a handler throws answers its request; what a handler of stream messages throws ends the connection.
// R4. Bytes nobody takes are bounded: `maxBufferedBytes` here, the credit of each stream of chunks.

import type { Comm, FilePart } from '../comm/comm.ts'
import { FRAMES_MAX, LOW_WATER_BYTES, MESSAGE_BYTES_MAX } from '../comm/limits.ts'
import { assertNever, invariant } from '../base/invariant.ts'
import { formatBytes, formatDurationMs } from '../base/units.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { AskedRequest, type AskingSide, type RequestOptions } from './asked-request.ts'
import { ChunkSender } from './chunk-stream.ts'
import { decodeEnvelopes, encodeEnvelopes, type Envelope, malformed } from './envelope.ts'
import { rpcLogger } from './logger.ts'
import { fromWireError, toWireError } from './remote-error.ts'
import { type ServedContext, ServedRequest, type ServingSide } from './served-request.ts'

/** A table of requests: name -> [question, answer]. */
export interface RequestMap {
  [op: string]: [question: object, answer: object]
}

type QuestionOf<Table, Op extends keyof Table> = Table[Op] extends readonly [infer Question, unknown] ? Question : never
type AnswerOf<Table, Op extends keyof Table> = Table[Op] extends readonly [unknown, infer Answer] ? Answer : never

/** What a handler of requests is given besides the question. */
export type ServeContext = ServedContext<Connection>

export interface ConnectionOptions {
  /** More than this not taken by the peer ends the connection; default 1 GiB. Bulk goes in chunks, which wait. */
  readonly maxBufferedBytes?: number
  /** Batches are split so that the messages of the comm stay below this; default 128 MiB. */
  readonly maxMessageBytes?: number
  /** Default 30 s. */
  readonly requestTimeoutMs?: number
}

type StreamHandler = (batch: readonly unknown[]) => void
type RequestHandler = (question: unknown, context: ServeContext) => unknown

const REQUEST_TIMEOUT_MS = 30_000
const BUFFERED_BYTES_MAX = 1024 * 1024 * 1024
/** So many leave at once: the peer begins while the next ones are made, and one encode or decode stays below a millisecond. */
const BATCH_LENGTH_MAX = 256
/** Messages that wait for `onMessages`; a peer that streams to somebody who never listens is wrong. */
const EARLY_LENGTH_MAX = 100_000

/** `In` and `Out`: stream messages. `Serves`: requests answered here. `Asks`: requests the peer answers. */
export class Connection<In = unknown, Out = unknown, Serves = object, Asks = object> {
  readonly comm: Comm
  readonly #maxBufferedBytes: number
  readonly #maxMessageBytes: number
  readonly #requestTimeoutMs: number
  #envelopes: Envelope[] = []
  #raw: Uint8Array[] = []
  #rawBytes = 0
  /** The messages of the last envelope, when that is a batch. */
  #batch: unknown[] | null = null
  #flushDue = false
  readonly #flushNow = (): void => this.flush()
  #onMessages: StreamHandler | null = null
  #early: unknown[] = []
  readonly #handlers = new Map<string, RequestHandler>()
  readonly #asked = new Map<number, AskedRequest>()
  #lastAsked = 0
  readonly #serving = new Map<number, ServedRequest<Connection>>()
  #closing = false
  readonly #askingSide: AskingSide
  readonly #servingSide: ServingSide<Connection>

  /** Handlers must be set in the same turn: what the peer sent is delivered right after it. */
  constructor(comm: Comm, options: ConnectionOptions = {}) {
    this.comm = comm
    this.#maxBufferedBytes = options.maxBufferedBytes ?? BUFFERED_BYTES_MAX
    // The other half is room for the raw chunks of the same message.
    this.#maxMessageBytes = options.maxMessageBytes ?? MESSAGE_BYTES_MAX / 2
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS
    this.#askingSide = {
      grant: (id, bytes) => this.#emit(['credit', id, bytes]),
      cancel: (id) => this.#emit(['cancel', id]),
      giveBack: (chunk) => comm.giveBack(chunk),
      settled: (id) => void this.#asked.delete(id),
      timedOut: (op, ms) =>
        new PlimsollError('TIMEOUT', `no answer to "${op}" from ${this.peerAddress} within ${formatDurationMs(ms)}`, {
          op,
          timeoutMs: ms,
        }),
    }
    this.#servingSide = {
      connection: this as unknown as Connection,
      emit: (envelope, raw) => this.#emit(envelope, raw),
      get takesFiles() {
        return comm.takesFiles
      },
      emitFile: (envelope, part) => this.#emitFile(envelope, part),
      drained: () => this.#drained(),
      giveBack: (chunk) => comm.giveBack(chunk),
    }
    comm.onClose((reason) => this.#onClosed(reason))
    queueMicrotask(() => comm.onMessage((frames) => this.#onFrames(frames)))
  }

  get peerAddress(): string {
    return this.comm.peerAddress
  }

  get closed(): boolean {
    return this.comm.closed || this.#closing
  }

  /** Queues a stream message for the batch of this turn. Dropped silently once the connection is closed. */
  send(message: Out): void {
    if (this.closed) return
    if (this.#batch === null) {
      this.#batch = [message]
      this.#envelopes.push(['batch', this.#batch])
      this.#scheduleFlush()
    } else if (this.#batch.push(message) >= BATCH_LENGTH_MAX) {
      this.flush()
    }
  }

  /** Writes what was queued now instead of at the end of the turn. */
  flush(): void {
    this.#flushDue = false
    if (this.#envelopes.length === 0) return
    const envelopes = this.#envelopes
    const raw = this.#raw
    this.#envelopes = []
    this.#raw = []
    this.#rawBytes = 0
    this.#batch = null
    this.#write(envelopes, raw)
  }

  /**
   * Asks the peer. Resolves when the answer and all its chunks were handled.
   * @throws PlimsollError the peer's own error, TIMEOUT, COMM_CLOSED; or the reason of `signal`.
   */
  request<Op extends keyof Asks & string>(
    op: Op,
    question: QuestionOf<Asks, Op>,
    options: RequestOptions<AnswerOf<Asks, Op>> = {},
  ): Promise<AnswerOf<Asks, Op>> {
    if (this.closed) return Promise.reject(this.#closedError(`"${op}" was not sent`))
    if (options.signal?.aborted === true) return Promise.reject(toError(options.signal.reason))
    const id = ++this.#lastAsked
    const asked = new AskedRequest(
      id,
      op,
      this.#askingSide,
      options as RequestOptions,
      options.timeoutMs ?? this.#requestTimeoutMs,
    )
    this.#asked.set(id, asked)
    this.#emit(['request', id, op, question, options.body !== undefined])
    if (options.body !== undefined) {
      const sender = new ChunkSender(
        (piece) => this.#emit(['body', id], piece),
        () => this.#drained(),
      )
      asked.sendBody(options.body, sender, () => this.#emit(['body-end', id]))
    }
    return asked.promise as Promise<AnswerOf<Asks, Op>>
  }

  /** Sets the one handler for stream messages; what came before is delivered now. */
  onMessages(handler: (batch: readonly In[]) => void): void {
    this.#onMessages = handler as StreamHandler
    if (this.#early.length === 0) return
    const early = this.#early
    this.#early = []
    this.#onMessages(early)
  }

  /** Answers requests of this name; one that returns no promise is answered in the same turn. */
  handle<Op extends keyof Serves & string>(
    op: Op,
    handler: (
      question: QuestionOf<Serves, Op>,
      context: ServeContext,
    ) => AnswerOf<Serves, Op> | Promise<AnswerOf<Serves, Op>>,
  ): void {
    invariant(!this.#handlers.has(op), () => `two handlers for "${op}"`)
    this.#handlers.set(op, handler as RequestHandler)
  }

  onClose(handler: (reason: Error | null) => void): void {
    this.comm.onClose(handler)
  }

  /** Sends what is queued, then closes; requests that wait reject with COMM_CLOSED. */
  async close(): Promise<void> {
    this.flush()
    this.#closing = true
    this.#endRequests(this.#closedError('it was closed here'))
    await this.comm.close()
  }

  abort(reason?: Error): void {
    this.comm.abort(reason)
  }

  #emit(envelope: Envelope, raw?: Uint8Array): void {
    if (this.closed) return
    this.#batch = null
    this.#envelopes.push(envelope)
    this.#scheduleFlush()
    if (raw === undefined) return
    this.#raw.push(raw)
    this.#rawBytes += raw.length
    if (this.#rawBytes >= LOW_WATER_BYTES || this.#raw.length >= FRAMES_MAX / 2) this.flush()
  }

  /** A message of its own. */
  #emitFile(envelope: Envelope, part: FilePart): Promise<void> {
    this.flush()
    return this.closed ? Promise.resolve() : this.comm.sendFile([encodeEnvelopes([envelope])], part)
  }

  #scheduleFlush(): void {
    if (this.#flushDue) return
    this.#flushDue = true
    setImmediate(this.#flushNow)
  }

  #write(envelopes: readonly Envelope[], raw: readonly Uint8Array[]): void {
    if (this.comm.closed) return
    let head: Uint8Array
    try {
      head = encodeEnvelopes(envelopes)
    } catch (error) {
      rpcLogger.error('cannot encode a message for {peer}: {reason}', {
        peer: this.peerAddress,
        reason: toError(error).message,
      })
      this.abort(
        new PlimsollError(
          'INTERNAL',
          `cannot encode a message for ${this.peerAddress}: ${toError(error).message}`,
          {},
          { cause: error },
        ),
      )
      return
    }
    if (head.length > this.#maxMessageBytes) {
      this.#writeHalves(envelopes, raw, head.length)
      return
    }
    this.comm.send([head, ...raw])
    if (this.comm.bufferedBytes <= this.#maxBufferedBytes) return
    const buffered = formatBytes(this.comm.bufferedBytes)
    this.abort(
      new PlimsollError('COMM_CLOSED', `${this.peerAddress} does not take its messages: ${buffered} are waiting`, {
        bufferedBytes: this.comm.bufferedBytes,
      }),
    )
  }

  /** Too much for one message: the same envelopes in two. */
  #writeHalves(envelopes: readonly Envelope[], raw: readonly Uint8Array[], bytes: number): void {
    if (envelopes.length === 1) {
      this.#splitOne(envelopes[0] as Envelope, bytes)
      return
    }
    const middle = envelopes.length >> 1
    const first = envelopes.slice(0, middle)
    const firstRaw = first.filter(([kind]) => kind === 'chunk' || kind === 'body').length
    this.#write(first, raw.slice(0, firstRaw))
    this.#write(envelopes.slice(middle), raw.slice(firstRaw))
  }

  /** A batch is halved; a question or an answer fails its request; one message alone cannot be left out. */
  #splitOne(envelope: Envelope, bytes: number): void {
    const size = `of ${formatBytes(bytes)} is too large to send (${formatBytes(this.#maxMessageBytes)} are allowed)`
    if (envelope[0] === 'batch' && envelope[1].length > 1) {
      const middle = envelope[1].length >> 1
      this.#write([['batch', envelope[1].slice(0, middle)]], [])
      this.#write([['batch', envelope[1].slice(middle)]], [])
    } else if (envelope[0] === 'request') {
      this.#asked
        .get(envelope[1])
        ?.failed(new PlimsollError('INVALID_ARGUMENT', `a question "${envelope[2]}" ${size}`, { bytes }))
    } else if (envelope[0] === 'answer') {
      const error = new PlimsollError('INVALID_ARGUMENT', `an answer ${size}`, { bytes })
      this.#write([['error', envelope[1], toWireError(error)]], [])
    } else {
      this.abort(new PlimsollError('INTERNAL', `a message ${size}`, { bytes }))
    }
  }

  #drained(): Promise<void> {
    return this.comm.drained()
  }

  #onFrames(frames: Uint8Array[]): void {
    const envelopes = decodeEnvelopes(frames[0] as Uint8Array)
    let nextRaw = 1
    for (const envelope of envelopes) {
      if (this.closed) return
      if (envelope[0] === 'chunk' || envelope[0] === 'body') {
        const raw = frames[nextRaw++]
        if (raw === undefined) throw malformed('a chunk without bytes')
        if (envelope[0] === 'chunk') this.#asked.get(envelope[1])?.chunk(raw)
        else this.#serving.get(envelope[1])?.bodyChunk(raw)
      } else {
        this.#onEnvelope(envelope)
      }
    }
  }

  #onEnvelope(envelope: Exclude<Envelope, readonly ['chunk' | 'body', ...unknown[]]>): void {
    switch (envelope[0]) {
      case 'batch':
        return this.#onBatch(envelope[1])
      case 'request':
        return this.#onRequest(envelope[1], envelope[2], envelope[3], envelope[4])
      case 'answer':
        return this.#asked.get(envelope[1])?.answered(envelope[2], envelope[3])
      case 'error':
        return this.#asked.get(envelope[1])?.failed(fromWireError(envelope[2]))
      case 'end':
        return this.#asked.get(envelope[1])?.ended()
      case 'body-credit':
        return this.#asked.get(envelope[1])?.granted(envelope[2])
      case 'credit':
        return this.#serving.get(envelope[1])?.granted(envelope[2])
      case 'body-end':
        return this.#serving.get(envelope[1])?.bodyEnd()
      case 'cancel':
        this.#serving.get(envelope[1])?.end()
        this.#serving.delete(envelope[1])
        return
      case 'chunk':
      case 'body':
        return
      default:
        assertNever(envelope)
    }
  }

  #onBatch(messages: readonly unknown[]): void {
    if (this.#onMessages !== null) {
      this.#onMessages(messages)
      return
    }
    for (const message of messages) this.#early.push(message)
    if (this.#early.length > EARLY_LENGTH_MAX)
      throw malformed('stream messages on a connection where nobody expects them')
  }

  #onRequest(id: number, op: string, question: unknown, hasBody: boolean): void {
    const handler = this.#handlers.get(op)
    if (handler === undefined) {
      this.#emit([
        'error',
        id,
        toWireError(
          new PlimsollError('PROTOCOL_ERROR', `unknown request "${op.slice(0, 100)}"`, { op: op.slice(0, 100) }),
        ),
      ])
      return
    }
    if (this.#serving.has(id)) throw malformed(`request ${id} twice`)
    const served = new ServedRequest(id, this.#servingSide, hasBody)
    this.#serving.set(id, served)
    let result: unknown
    try {
      result = handler(question, served)
    } catch (error) {
      this.#failServed(id, op, error)
      return
    }
    if (!(result instanceof Promise)) {
      this.#finishServed(id, served, result)
      return
    }
    result.then(
      (answer: unknown) => this.#finishServed(id, served, answer),
      (error: unknown) => this.#failServed(id, op, error),
    )
  }

  #finishServed(id: number, served: ServedRequest<Connection>, answer: unknown): void {
    if (!this.#serving.delete(id)) return
    this.#emit(served.answered ? ['end', id] : ['answer', id, answer, false])
  }

  #failServed(id: number, op: string, thrown: unknown): void {
    if (!this.#serving.delete(id)) return
    if (!(thrown instanceof PlimsollError))
      rpcLogger.error('the handler of "{op}" failed: {stack}', { op, stack: toError(thrown).stack })
    this.#emit(['error', id, toWireError(thrown)])
  }

  #onClosed(reason: Error | null): void {
    this.#envelopes = []
    this.#raw = []
    this.#endRequests(this.#closedError(reason?.message ?? 'it was closed in good order', reason ?? undefined))
  }

  #endRequests(error: PlimsollError): void {
    for (const asked of this.#asked.values()) asked.failed(error)
    for (const served of this.#serving.values()) served.end(error)
    this.#serving.clear()
  }

  #closedError(what: string, cause?: Error): PlimsollError {
    return new PlimsollError(
      'COMM_CLOSED',
      `the connection to ${this.peerAddress} is closed: ${what}`,
      { peer: this.peerAddress },
      cause && { cause },
    )
  }
}
