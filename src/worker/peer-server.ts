// Serves values to peers and clients, and stores what clients scatter (protocol/worker-worker.ts has the vocabulary).
//
// V1. Nothing is served before the scheduler has said what of it counts (`open`); until then every answer is `busy`.
// V2. At most `servesMax` requests at a time are served (twice as many on the same host, one while paused); others: `busy`.
// V3. A value stays pinned until its last byte is sent; a file that was named stays pinned until the reader says so, its
//     connection closes, or `PIN_MS` have passed.
// V4. A slow reader holds a window of chunks, not the value: files are read as the reader takes them. One that takes nothing
//     for `STALL_MS` is cut off.
// V5. A scattered value is acknowledged when it is in a file.

import { open } from 'node:fs/promises'
import { partLogger } from '../base/part-logger.ts'
import type { Clock } from '../base/clock.ts'
import type { TaskKey } from '../base/ids.ts'
import { CHUNK_BYTES, type Comm } from '../comm/index.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { isShortage } from '../errors/shortage.ts'
import { hostToken, sameHost } from '../native/host-token.ts'
import type { SumAside } from '../native/sum-aside.ts'
import type { ServedValue, WorkerRequests } from '../protocol/worker-worker.ts'
import { Connection, type ServeContext } from '../rpc/index.ts'
import type { Pin, Store, StoredValue } from '../store/store.ts'
import { BlobIntake } from './blob-intake.ts'
import { readInPieces } from './file-pieces.ts'
import { GrantedPlaces } from './granted-places.ts'

export interface PeerServerParts {
  readonly store: Store
  readonly clock: Clock
  readonly servesMax: number
  readonly linksSameHost: boolean
  readonly inlineLimit: number
  /** Sums large pieces of what arrives; this thread does when absent. */
  readonly sumAside?: SumAside
  /** The memory tier is in a RAM file system. */
  readonly isMemoryInRam: boolean
  isPaused(): boolean
  onScattered(value: StoredValue): void
  trimMemory(): Promise<WorkerRequests['trim-memory'][1]>
}

type PeerConnection = Connection<never, never, WorkerRequests, object>
type Question<Op extends keyof WorkerRequests> = WorkerRequests[Op][0]

const PIN_MS = 120_000
const STALL_MS = 60_000
/** Values that travel in the answer itself add up to at most this; the rest is streamed. */
const INLINE_ANSWER_BYTES = 16 * 2 ** 20

interface NamedFile {
  readonly pin: Pin
  readonly connection: PeerConnection
  readonly cancelTimer: () => void
}

interface Streamed {
  readonly pin: Pin
  readonly nbytes: number
}

export class PeerServer {
  readonly #parts: PeerServerParts
  readonly #log = partLogger('worker')
  readonly #connections = new Set<PeerConnection>()
  readonly #named = new Map<number, NamedFile>()
  readonly #places: GrantedPlaces
  #isOpen = false
  #serving = 0
  #servedBytes = 0

  constructor(parts: PeerServerParts) {
    this.#parts = parts
    this.#places = new GrantedPlaces(parts.store, parts.clock)
  }

  /** V1: from now on values are served. */
  open(): void {
    this.#isOpen = true
  }

  /** Bytes sent to others by this process, for reports. */
  get servedBytes(): number {
    return this.#servedBytes
  }

  accept(comm: Comm): void {
    const connection: PeerConnection = new Connection(comm)
    this.#connections.add(connection)
    connection.handle('ping', () => ({}))
    connection.handle('trim-memory', () => this.#parts.trimMemory())
    connection.handle('get-data', (question, context) => this.#getData(connection, question, context))
    connection.handle('release-pins', ({ pins }) => {
      for (const pin of pins) this.#releaseNamed(pin, connection)
      return {}
    })
    connection.handle('check-values', async ({ keys }) => {
      await Promise.all(keys.map((key) => this.#check(key)))
      return {}
    })
    connection.handle('put-data', (question, context) => this.#putData(question, context))
    connection.handle('grant-place', (question) => this.#grantPlace(connection, question))
    connection.handle('put-place', (question) => this.#putPlace(connection, question))
    connection.handle('cancel-place', ({ place }) => {
      this.#places.cancel(connection, place)
      return {}
    })
    connection.onClose(() => this.#forget(connection))
  }

  async close(): Promise<void> {
    this.#isOpen = false
    await Promise.all([...this.#connections].map((connection) => connection.close()))
  }

  #forget(connection: PeerConnection): void {
    this.#connections.delete(connection)
    this.#places.forget(connection)
    for (const [id, named] of this.#named) if (named.connection === connection) this.#releaseNamed(id, connection)
  }

  #releaseNamed(id: number, connection: PeerConnection): void {
    const named = this.#named.get(id)
    if (named?.connection !== connection) return
    this.#named.delete(id)
    named.cancelTimer()
    named.pin.release()
  }

  async #getData(
    connection: PeerConnection,
    question: Question<'get-data'>,
    context: ServeContext,
  ): Promise<WorkerRequests['get-data'][1]> {
    const isNear = sameHost(question.hostToken, hostToken())
    if (this.#isBusy(isNear)) return { values: question.keys.map((key) => ({ key, via: 'busy' })) }
    this.#serving++
    const streamed: Streamed[] = []
    try {
      const values = await this.#answer(connection, question.keys, isNear && this.#parts.linksSameHost, streamed)
      if (streamed.length === 0) return { values }
      await context.answerFirst({ values })
      for (const { pin, nbytes } of streamed) await this.#stream(pin, nbytes, context)
      return { values }
    } finally {
      this.#serving--
      for (const { pin } of streamed) pin.release()
    }
  }

  /** V1, V2. */
  #isBusy(isNear: boolean): boolean {
    if (!this.#isOpen) return true
    const { servesMax } = this.#parts
    const limit = this.#parts.isPaused() ? 1 : isNear ? 2 * servesMax : servesMax
    return this.#serving >= limit
  }

  async #answer(
    connection: PeerConnection,
    keys: readonly TaskKey[],
    namesFiles: boolean,
    streamed: Streamed[],
  ): Promise<ServedValue[]> {
    const values: ServedValue[] = []
    let inlineBytes = 0
    for (const key of keys) {
      const pin = this.#parts.store.pin(key, 'peer')
      if (pin === undefined) {
        values.push({ key, via: 'missing' })
        continue
      }
      const { source, runId } = pin
      const nbytes = source.via === 'inline' ? source.bytes.length : source.nbytes
      if (nbytes <= this.#parts.inlineLimit && inlineBytes + nbytes <= INLINE_ANSWER_BYTES) {
        const value = await this.#readSmall(pin, nbytes)
        if (value.via === 'inline') inlineBytes += nbytes
        values.push(value)
      } else if (namesFiles && source.via === 'file' && source.offset === 0) {
        this.#name(pin, connection)
        const type = this.#parts.store.get(key)?.type ?? ''
        values.push({
          key,
          via: 'file',
          runId,
          path: source.path,
          offset: 0,
          nbytes,
          tier: source.tier,
          pin: pin.id,
          type,
          ...(source.verify || source.mtimeNs === null ? {} : { mtimeNs: source.mtimeNs }),
        })
      } else {
        streamed.push({ pin, nbytes })
        values.push({ key, via: 'stream', runId, nbytes })
      }
    }
    return values
  }

  /** A copy: the answer is written after the pin is gone. What cannot be read is missing, if it is the file's fault. */
  async #readSmall(pin: Pin, nbytes: number): Promise<ServedValue> {
    const { source, key, runId } = pin
    try {
      if (source.via === 'inline') return { key, via: 'inline', runId, bytes: Uint8Array.from(source.bytes) }
      for await (const bytes of readInPieces(source.path, source.offset, nbytes, nbytes))
        return { key, via: 'inline', runId, bytes }
      return { key, via: 'missing' }
    } catch (error) {
      if (isShortage(error)) return { key, via: 'busy' }
      void this.#check(key)
      return { key, via: 'missing' }
    } finally {
      pin.release()
    }
  }

  /** A value that cannot be read is lost; the store finds out and says so. */
  async #check(key: TaskKey): Promise<void> {
    try {
      await this.#parts.store.check(key)
    } catch (error) {
      this.#log.warn('the stored value of {key} cannot be checked: {error}', { key, error })
    }
  }

  #name(pin: Pin, connection: PeerConnection): void {
    const cancelTimer = this.#parts.clock.after(PIN_MS, () => this.#releaseNamed(pin.id, connection))
    this.#named.set(pin.id, { pin, connection, cancelTimer })
  }

  /** V4. */
  async #stream(pin: Pin, nbytes: number, context: ServeContext): Promise<void> {
    const { source, key } = pin
    if (source.via === 'inline') {
      for (let at = 0; at < nbytes; at += CHUNK_BYTES)
        await this.#sendChunk(Uint8Array.from(source.bytes.subarray(at, at + CHUNK_BYTES)), context)
      return
    }
    try {
      if (source.tier === 'memory' && this.#parts.isMemoryInRam && context.takesFiles) {
        await this.#sendFile(source.path, source.offset, nbytes, context)
        return
      }
      for await (const piece of readInPieces(source.path, source.offset, nbytes, CHUNK_BYTES)) {
        await this.#sendChunk(piece, context)
      }
    } catch (error) {
      if (!context.signal.aborted) void this.#check(key)
      throw error
    }
  }

  async #sendFile(path: string, offset: number, nbytes: number, context: ServeContext): Promise<void> {
    const file = await open(path, 'r')
    try {
      for (let at = 0; at < nbytes; at += CHUNK_BYTES) {
        const length = Math.min(CHUNK_BYTES, nbytes - at)
        await this.#sendWithin(length, context, () => context.sendFile({ fd: file.fd, offset: offset + at, length }))
        // The socket may take several in one go: everybody else has a turn between them.
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
    } finally {
      await file.close()
    }
  }

  #sendChunk(bytes: Uint8Array, context: ServeContext): Promise<void> {
    return this.#sendWithin(bytes.length, context, () => context.sendChunk(bytes))
  }

  /** V4: a chunk, and the end of a reader who does not take it. */
  async #sendWithin(nbytes: number, context: ServeContext, send: () => Promise<void>): Promise<void> {
    const cancelTimer = this.#parts.clock.after(STALL_MS, () => {
      context.connection.abort(new PlimsollError('TIMEOUT', `the reader took nothing for ${STALL_MS / 1000} s`))
    })
    try {
      await send()
      this.#servedBytes += nbytes
    } finally {
      cancelTimer()
    }
  }

  async #putData(question: Question<'put-data'>, context: ServeContext): Promise<WorkerRequests['put-data'][1]> {
    const { store, inlineLimit, sumAside } = this.#parts
    const intake = new BlobIntake(store, question, { fetched: false, durable: true, inlineLimit, sumAside })
    try {
      for await (const chunk of context.body) await intake.write(chunk)
      const value = await intake.finish()
      this.#parts.onScattered({ ...value, type: question.type })
      return { nbytes: value.nbytes }
    } finally {
      await intake.cancel()
    }
  }

  async #grantPlace(
    connection: PeerConnection,
    question: Question<'grant-place'>,
  ): Promise<WorkerRequests['grant-place'][1]> {
    const { linksSameHost, inlineLimit } = this.#parts
    const isNear = linksSameHost && sameHost(question.hostToken, hostToken())
    if (!isNear || question.nbytes <= inlineLimit) return { place: null }
    return { place: await this.#places.grant(connection, question.nbytes) }
  }

  async #putPlace(
    connection: PeerConnection,
    question: Question<'put-place'>,
  ): Promise<WorkerRequests['put-place'][1]> {
    const value = await this.#places.take(connection, question)
    this.#parts.onScattered(value)
    return { nbytes: value.nbytes }
  }
}
