// The two ends of one stream of raw bytes inside a request: credit on the sending side, a bounded queue on the receiving
// side (envelope.ts describes the exchange).

import type { FilePart } from '../comm/comm.ts'
import { CHUNK_BYTES } from '../comm/limits.ts'
import { STREAM_WINDOW_BYTES, malformed } from './envelope.ts'

/** Credit is returned in steps of this size: a message per chunk would cost more than it saves. */
const CREDIT_STEP_BYTES = STREAM_WINDOW_BYTES / 4

export class ChunkSender {
  #creditBytes = STREAM_WINDOW_BYTES
  #stopped: Error | null = null
  #wake: (() => void)[] = []
  readonly #emit: (piece: Uint8Array) => void
  readonly #drained: () => Promise<void>

  constructor(emit: (piece: Uint8Array) => void, drained: () => Promise<void>) {
    this.#emit = emit
    this.#drained = drained
  }

  /** Sends bytes in pieces (none for no bytes); resolves when the next may follow, rejects with the reason once the stream was stopped. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
      await this.#credit()
      const piece = bytes.length <= CHUNK_BYTES ? bytes : bytes.subarray(offset, offset + CHUNK_BYTES)
      this.#creditBytes -= piece.length
      this.#emit(piece)
      await this.#drained()
    }
    if (this.#stopped !== null) throw this.#stopped
  }

  /** The same for part of a file, of at most CHUNK_BYTES. */
  async sendFile(part: FilePart, emit: () => Promise<void>): Promise<void> {
    await this.#credit()
    this.#creditBytes -= part.length
    await emit()
    if (this.#stopped !== null) throw this.#stopped
  }

  async #credit(): Promise<void> {
    while (this.#creditBytes <= 0 && this.#stopped === null)
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    if (this.#stopped !== null) throw this.#stopped
  }

  grant(bytes: number): void {
    this.#creditBytes += bytes
    this.#wakeAll()
  }

  stop(reason: Error): void {
    this.#stopped ??= reason
    this.#wakeAll()
  }

  #wakeAll(): void {
    const wake = this.#wake
    this.#wake = []
    for (const resolve of wake) resolve()
  }
}

type Ending = { readonly kind: 'end' } | { readonly kind: 'failed'; readonly reason: Error }

/**
 * Chunks for one consumer; each is its consumer's until the next is asked for. Leaving the loop early drops what is left and
 * lets the sender run dry.
 */
export class ChunkReceiver implements AsyncIterable<Uint8Array> {
  readonly #queue: Uint8Array[] = []
  #queuedBytes = 0
  #owedBytes = 0
  #ending: Ending | null = null
  #abandoned = false
  #waiting: ((result: IteratorResult<Uint8Array>) => void) | null = null
  #failWaiting: ((reason: Error) => void) | null = null
  readonly #grant: (bytes: number) => void
  readonly #giveBack: (chunk: Uint8Array) => void
  /** What the consumer looks at now. */
  #current: Uint8Array | null = null

  constructor(grant: (bytes: number) => void, giveBack: (chunk: Uint8Array) => void) {
    this.#grant = grant
    this.#giveBack = giveBack
  }

  /** True when the consumer has taken everything that came. */
  get idle(): boolean {
    return this.#queue.length === 0
  }

  /** @throws PlimsollError PROTOCOL_ERROR when the sender ignores its credit. */
  push(chunk: Uint8Array): void {
    if (this.#ending !== null) return
    if (this.#abandoned) return this.#consumed(chunk)
    if (this.#waiting !== null) {
      this.#consumed(chunk)
      this.#current = chunk
      return this.#settle({ done: false, value: chunk })
    }
    this.#queue.push(chunk)
    this.#queuedBytes += chunk.length
    if (this.#queuedBytes > STREAM_WINDOW_BYTES + CHUNK_BYTES)
      throw malformed('chunks beyond the credit of their stream')
  }

  end(): void {
    this.#ending ??= { kind: 'end' }
    this.#settle({ done: true, value: undefined })
  }

  fail(reason: Error): void {
    this.#ending ??= { kind: 'failed', reason }
    this.#queue.length = 0
    this.#queuedBytes = 0
    const fail = this.#failWaiting
    this.#waiting = null
    this.#failWaiting = null
    fail?.(reason)
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () => this.#next(),
      return: () => {
        this.#abandon()
        return Promise.resolve({ done: true, value: undefined })
      },
    }
  }

  #next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#current !== null) this.#giveBack(this.#current)
    this.#current = null
    const chunk = this.#queue.shift()
    if (chunk !== undefined) {
      this.#current = chunk
      this.#queuedBytes -= chunk.length
      this.#consumed(chunk)
      return Promise.resolve({ done: false, value: chunk })
    }
    if (this.#abandoned || this.#ending?.kind === 'end') return Promise.resolve({ done: true, value: undefined })
    if (this.#ending?.kind === 'failed') return Promise.reject(this.#ending.reason)
    return new Promise((resolve, reject) => {
      this.#waiting = resolve
      this.#failWaiting = reject
    })
  }

  #abandon(): void {
    this.#abandoned = true
    for (const chunk of this.#queue.splice(0)) this.#consumed(chunk)
    this.#queuedBytes = 0
  }

  #settle(result: IteratorResult<Uint8Array>): void {
    const waiting = this.#waiting
    this.#waiting = null
    this.#failWaiting = null
    waiting?.(result)
  }

  #consumed(chunk: Uint8Array): void {
    this.#owedBytes += chunk.length
    if (this.#owedBytes < CREDIT_STEP_BYTES) return
    this.#grant(this.#owedBytes)
    this.#owedBytes = 0
  }
}
