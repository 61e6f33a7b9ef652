import { TIMER_MS_MAX } from '../base/clock.ts'
import { deferred } from '../base/deferred.ts'
import { toError } from '../errors/plimsoll-error.ts'
import { ChunkReceiver, type ChunkSender } from './chunk-stream.ts'

export interface RequestOptions<Answer = unknown> {
  /** Without any sign of progress (answer, chunk, credit) for this long the request fails. Infinity or 0 = never. */
  readonly timeoutMs?: number
  /** Rejects with the signal's reason and tells the server. */
  readonly signal?: AbortSignal
  /** Raw bytes that follow the question. */
  readonly body?: AsyncIterable<Uint8Array>
  /** Called with the answer as soon as it is there, before the chunks that follow it. */
  readonly onAnswer?: (answer: Answer) => void
  /** Raw bytes that come with the answer, in order; the stream stops while the result is pending, and then their memory
   * is used again: copy what is kept. */
  readonly onChunk?: (chunk: Uint8Array) => void | Promise<void>
}

/** What a request needs of its connection. */
export interface AskingSide {
  grant(id: number, bytes: number): void
  giveBack(chunk: Uint8Array): void
  /** The asker gives up: the server is told, `settled` follows. */
  cancel(id: number): void
  settled(id: number): void
  timedOut(op: string, timeoutMs: number): Error
}

/** One request on the asker's side, from question to last word. */
export class AskedRequest {
  readonly promise: Promise<unknown>
  readonly #id: number
  readonly #op: string
  readonly #side: AskingSide
  readonly #options: RequestOptions
  readonly #result = deferred<unknown>()
  readonly #timer: NodeJS.Timeout | null
  readonly #onAbort: (() => void) | null
  #chunks: ChunkReceiver | null = null
  #chunksHandled: Promise<void> = Promise.resolve()
  #sender: ChunkSender | null = null
  #answer: unknown
  #signsOfLife = 0
  /** The last word has come; chunks may still be with their handler. */
  #over = false

  constructor(id: number, op: string, side: AskingSide, options: RequestOptions, timeoutMs: number) {
    this.#id = id
    this.#op = op
    this.#side = side
    this.#options = options
    this.promise = this.#result.promise
    this.#timer =
      timeoutMs > 0 && timeoutMs <= TIMER_MS_MAX ? setTimeout(() => this.#onTimeout(timeoutMs), timeoutMs) : null
    const { signal } = options
    this.#onAbort = signal === undefined ? null : () => this.giveUp(toError(signal.reason))
    if (this.#onAbort !== null) signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Starts to send the body; a failing body fails the request. */
  sendBody(body: AsyncIterable<Uint8Array>, sender: ChunkSender, onEnd: () => void): void {
    this.#sender = sender
    const pump = async (): Promise<void> => {
      for await (const bytes of body) await sender.send(bytes)
      onEnd()
    }
    pump().catch((error: unknown) => {
      if (!this.#over) this.giveUp(toError(error))
    })
  }

  granted(bytes: number): void {
    this.#progress()
    this.#sender?.grant(bytes)
  }

  answered(answer: unknown, more: boolean): void {
    this.#progress()
    this.#answer = answer
    try {
      this.#options.onAnswer?.(answer)
    } catch (error) {
      this.giveUp(toError(error))
      return
    }
    if (!more) this.ended()
  }

  chunk(bytes: Uint8Array): void {
    this.#progress()
    const { onChunk } = this.#options
    if (this.#chunks === null) {
      const side = this.#side
      this.#chunks = new ChunkReceiver(
        (granted) => {
          // Its sender may have waited for this: only from now on its silence counts.
          if (!this.#over) this.#timer?.refresh()
          side.grant(this.#id, granted)
        },
        (taken) => side.giveBack(taken),
      )
      this.#chunksHandled = consume(this.#chunks, onChunk)
      this.#chunksHandled.catch((error: unknown) => this.giveUp(toError(error)))
    }
    this.#chunks.push(bytes)
  }

  ended(): void {
    this.#release()
    if (this.#chunks === null) return this.#result.resolve(this.#answer)
    this.#chunks.end()
    this.#chunksHandled.then(
      () => this.#result.resolve(this.#answer),
      (error: unknown) => this.#result.reject(error),
    )
  }

  failed(error: Error): void {
    this.#release()
    this.#chunks?.fail(error)
    this.#result.reject(error)
  }

  giveUp(error: Error): void {
    if (this.#result.settled) return
    this.#side.cancel(this.#id)
    this.failed(error)
  }

  /** The answer may have come while this process was busy: what the sockets hold is read before the verdict. */
  #onTimeout(timeoutMs: number): void {
    const before = this.#signsOfLife
    setImmediate(() => {
      if (this.#over) return
      // Chunks that wait for our own consumer are no silence of the peer's.
      const busyHere = this.#chunks !== null && !this.#chunks.idle
      if (busyHere || this.#signsOfLife !== before) this.#timer?.refresh()
      else this.giveUp(this.#side.timedOut(this.#op, timeoutMs))
    })
  }

  #progress(): void {
    this.#signsOfLife++
    this.#timer?.refresh()
  }

  #release(): void {
    this.#over = true
    this.#side.settled(this.#id)
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#onAbort !== null) this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#sender?.stop(new Error('the request is over'))
  }
}

async function consume(chunks: ChunkReceiver, onChunk: RequestOptions['onChunk']): Promise<void> {
  for await (const chunk of chunks) {
    const pending = onChunk?.(chunk)
    if (pending !== undefined) await pending
  }
}
