import type { FilePart } from '../comm/comm.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { ChunkReceiver, ChunkSender } from './chunk-stream.ts'
import type { Envelope } from './envelope.ts'

/** What a handler of requests is given besides the question. */
export interface ServedContext<C> {
  readonly connection: C
  /** The raw bytes after the question. May be left unread, or in the middle. A chunk's memory is used again when the
   * next one is asked for. */
  readonly body: AsyncIterable<Uint8Array>
  /** Sends the answer before the chunks; what the handler returns is ignored then. */
  answerFirst(answer: unknown): Promise<void>
  /** Resolves when the next chunk may follow; rejects when the asker is gone. The bytes must not change afterwards, but
   * those of a chunk of at least CHUNK_BYTES are free when this resolves. */
  sendChunk(bytes: Uint8Array): Promise<void>
  /** Where that is possible (`takesFiles`): sends part of a file in RAM, at most CHUNK_BYTES, as a chunk. The file may be
   * closed when this has settled; rejects when the asker is gone, and when the file could not be read. */
  sendFile(part: FilePart): Promise<void>
  readonly takesFiles: boolean
  /** Aborted when the asker cancels or the connection closes. */
  readonly signal: AbortSignal
}

/** What a served request needs of its connection. */
export interface ServingSide<C> {
  readonly connection: C
  emit(envelope: Envelope, raw?: Uint8Array): void
  readonly takesFiles: boolean
  emitFile(envelope: Envelope, part: FilePart): Promise<void>
  drained(): Promise<void>
  giveBack(chunk: Uint8Array): void
}

/** One request on the server's side. Streams and the abort signal are made when they are first asked for. */
export class ServedRequest<C> implements ServedContext<C> {
  readonly #id: number
  readonly #side: ServingSide<C>
  #body: ChunkReceiver | null = null
  #bodyEnded: boolean
  #sender: ChunkSender | null = null
  #abort: AbortController | null = null
  #over: Error | null = null
  #answered = false

  constructor(id: number, side: ServingSide<C>, hasBody: boolean) {
    this.#id = id
    this.#side = side
    this.#bodyEnded = !hasBody
  }

  get connection(): C {
    return this.#side.connection
  }

  get body(): AsyncIterable<Uint8Array> {
    return this.#receiver()
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#over !== null) this.#abort.abort(this.#over)
    return this.#abort.signal
  }

  /** The answer was sent by `answerFirst`. */
  get answered(): boolean {
    return this.#answered
  }

  answerFirst(answer: unknown): Promise<void> {
    if (this.#over !== null) return Promise.reject(this.#over)
    this.#answered = true
    this.#side.emit(['answer', this.#id, answer, true])
    return this.#side.drained()
  }

  sendChunk(bytes: Uint8Array): Promise<void> {
    if (this.#over !== null) return Promise.reject(this.#over)
    return this.#chunkSender().send(bytes)
  }

  get takesFiles(): boolean {
    return this.#side.takesFiles
  }

  sendFile(part: FilePart): Promise<void> {
    if (this.#over !== null) return Promise.reject(this.#over)
    return this.#chunkSender().sendFile(part, () => this.#side.emitFile(['chunk', this.#id], part))
  }

  granted(bytes: number): void {
    this.#sender?.grant(bytes)
  }

  bodyChunk(bytes: Uint8Array): void {
    if (!this.#bodyEnded) this.#receiver().push(bytes)
  }

  bodyEnd(): void {
    this.#bodyEnded = true
    this.#body?.end()
  }

  /** The asker cancelled, or the connection closed. */
  end(reason: Error = new PlimsollError('COMM_CLOSED', 'the asker cancelled the request')): void {
    this.#over = reason
    this.#sender?.stop(reason)
    this.#body?.fail(reason)
    this.#abort?.abort(reason)
  }

  #chunkSender(): ChunkSender {
    this.#sender ??= new ChunkSender(
      (piece) => this.#side.emit(['chunk', this.#id], piece),
      () => this.#side.drained(),
    )
    return this.#sender
  }

  #receiver(): ChunkReceiver {
    if (this.#body === null) {
      const side = this.#side
      this.#body = new ChunkReceiver(
        (bytes) => side.emit(['body-credit', this.#id, bytes]),
        (chunk) => side.giveBack(chunk),
      )
      if (this.#over !== null) this.#body.fail(this.#over)
      else if (this.#bodyEnded) this.#body.end()
    }
    return this.#body
  }
}
