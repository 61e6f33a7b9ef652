// What a simulated worker serves to peers and clients: the rules of worker/peer-server.ts over simulated connections and
// files. Values are taken in by the real BlobIntake.

import type { WorkerRequests, ServedValue } from '../protocol/worker-worker.ts'
import type { Pin, Store, StoredValue } from '../store/store.ts'
import { BlobIntake } from '../worker/blob-intake.ts'
import type { Served, SimConnection } from './sim-connection.ts'
import type { ProcessFs } from './sim-disk.ts'

export interface SimPeerServerParts {
  readonly store: Store
  readonly fs: ProcessFs
  readonly machine: string
  readonly servesMax: number
  readonly inlineLimit: number
  isPaused(): boolean
  onScattered(value: StoredValue): void
}

type Question<Op extends keyof WorkerRequests> = WorkerRequests[Op][0]
type Answer<Op extends keyof WorkerRequests> = WorkerRequests[Op][1]

const CHUNK_BYTES = 4096

export class SimPeerServer {
  readonly #parts: SimPeerServerParts
  readonly #named = new Map<number, { readonly pin: Pin; readonly connection: SimConnection }>()
  #isOpen = false
  #serving = 0

  constructor(parts: SimPeerServerParts) {
    this.#parts = parts
  }

  /** Nothing is served before the scheduler has said what of it counts. */
  open(): void {
    this.#isOpen = true
  }

  get isIdle(): boolean {
    return this.#serving === 0 && this.#named.size === 0
  }

  accept(connection: SimConnection): void {
    connection.handle<Question<'get-data'>>('get-data', (question, served) => this.#getData(question, served))
    connection.handle<Question<'release-pins'>>('release-pins', ({ pins }) => {
      for (const pin of pins) this.#release(pin)
      return {}
    })
    connection.handle<Question<'check-values'>>('check-values', async ({ keys }) => {
      await Promise.all(keys.map((key) => this.#parts.store.check(key)))
      return {}
    })
    connection.handle<Question<'put-data'>>('put-data', (question, served) => this.#putData(question, served))
    connection.onClose(() => {
      for (const [id, named] of this.#named) if (named.connection === connection) this.#release(id)
    })
  }

  #release(id: number): void {
    this.#named.get(id)?.pin.release()
    this.#named.delete(id)
  }

  async #getData({ keys }: Question<'get-data'>, served: Served): Promise<Answer<'get-data'>> {
    const isNear = served.connection.peer.machine === this.#parts.machine
    const limit = this.#parts.isPaused() ? 1 : isNear ? 2 * this.#parts.servesMax : this.#parts.servesMax
    if (!this.#isOpen || this.#serving >= limit) return { values: keys.map((key) => ({ key, via: 'busy' })) }
    this.#serving++
    const streamed: Pin[] = []
    try {
      const values: ServedValue[] = []
      for (const key of keys) values.push(await this.#serveOne(key, isNear, served, streamed))
      if (streamed.length === 0) return { values }
      await served.answerFirst({ values })
      for (const pin of streamed) await this.#stream(pin, served)
      return { values }
    } finally {
      this.#serving--
      for (const pin of streamed) pin.release()
    }
  }

  async #serveOne(
    key: Question<'get-data'>['keys'][number],
    isNear: boolean,
    { connection }: Served,
    streamed: Pin[],
  ): Promise<ServedValue> {
    const pin = this.#parts.store.pin(key)
    if (pin === undefined) return { key, via: 'missing' }
    const { source, runId } = pin
    const nbytes = source.via === 'inline' ? source.bytes.length : source.nbytes
    if (nbytes <= this.#parts.inlineLimit) {
      const bytes = await this.#readSmall(pin)
      return bytes === null ? { key, via: 'missing' } : { key, via: 'inline', runId, bytes }
    }
    if (isNear && source.via === 'file' && source.offset === 0 && !connection.closed) {
      this.#named.set(pin.id, { pin, connection })
      const type = this.#parts.store.get(key)?.type ?? ''
      return { key, via: 'file', runId, path: source.path, offset: 0, nbytes, tier: source.tier, pin: pin.id, type }
    }
    streamed.push(pin)
    return { key, via: 'stream', runId, nbytes }
  }

  /** A copy: the answer is written after the pin is gone. */
  async #readSmall(pin: Pin): Promise<Uint8Array | null> {
    const { source, key } = pin
    try {
      if (source.via === 'inline') return Uint8Array.from(source.bytes)
      return await this.#parts.fs.read(source.path, source.offset, source.nbytes)
    } catch {
      void this.#parts.store.check(key)
      return null
    } finally {
      pin.release()
    }
  }

  async #stream({ source, key }: Pin, served: Served): Promise<void> {
    if (source.via === 'inline') return served.sendChunk(Uint8Array.from(source.bytes))
    for (let at = 0; at < source.nbytes; at += CHUNK_BYTES) {
      if (served.signal.aborted) throw served.signal.reason
      try {
        const length = Math.min(CHUNK_BYTES, source.nbytes - at)
        const piece = await this.#parts.fs.read(source.path, source.offset + at, length)
        if (piece.length < length) throw new Error(`${source.path} ends too early`)
        await served.sendChunk(piece)
      } catch (error) {
        void this.#parts.store.check(key)
        throw error
      }
    }
  }

  async #putData(question: Question<'put-data'>, { body }: Served): Promise<Answer<'put-data'>> {
    const { store, inlineLimit } = this.#parts
    const intake = new BlobIntake(store, question, { fetched: false, durable: true, inlineLimit })
    try {
      for await (const chunk of body) await intake.write(chunk)
      const value = await intake.finish()
      this.#parts.onScattered({ ...value, type: question.type })
      return { nbytes: value.nbytes }
    } finally {
      await intake.cancel()
    }
  }
}
