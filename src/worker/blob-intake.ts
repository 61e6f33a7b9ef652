// Takes in one blob whose bytes arrive in chunks, from a peer or from a client: small ones end up inline, larger ones in a
// granted place of the store. Nothing is readable before header, length and every checksum were found right.

import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { SumAside } from '../native/sum-aside.ts'
import type { PlaceWriter } from '../store/place-writer.ts'
import type { Place, Store, StoredValue } from '../store/store.ts'
import { BlobVerifier, corruptArrival, type ExpectedBlob } from './blob-verifier.ts'

export interface IntakeOptions {
  /** A replica of what a peer holds, or a value of this worker's own. */
  readonly fetched: boolean
  /** In a file before it counts as stored. */
  readonly durable: boolean
  readonly inlineLimit: number
  /** Sums what goes into a place; without it this thread does. */
  readonly sumAside?: SumAside | undefined
}

type Target =
  | { readonly kind: 'inline'; readonly bytes: Buffer }
  | { readonly kind: 'place'; readonly place: Place; readonly writer: PlaceWriter }

/** Write chunks one after the other, then `finish`; or `cancel`, at any time. */
export class BlobIntake {
  readonly #store: Store
  readonly #expected: ExpectedBlob
  readonly #options: IntakeOptions
  readonly #verifier: BlobVerifier
  #target: Target | null = null
  #received = 0
  #cancelled = false

  constructor(store: Store, expected: ExpectedBlob, options: IntakeOptions) {
    this.#store = store
    this.#expected = expected
    this.#options = options
    this.#verifier = new BlobVerifier(expected)
  }

  get missingBytes(): number {
    return this.#expected.nbytes - this.#received
  }

  /**
   * Waits for room if it must; the sender waits with it.
   * @throws STORE_FULL, or BLOB_CORRUPT when the bytes are not the blob that was announced.
   */
  async write(chunk: Uint8Array): Promise<void> {
    if (chunk.length > this.missingBytes) throw corruptArrival(this.#expected, 'more bytes came than were announced')
    const target = this.#target
    if (target?.kind === 'place') {
      await this.#writeWhileSumming(target.writer, chunk)
    } else {
      // No room is asked for before the header was found right.
      this.#verifier.update(chunk)
      const opened = target ?? (await this.#open())
      if (opened.kind === 'inline') opened.bytes.set(chunk, this.#received)
      else await opened.writer.write(chunk)
    }
    this.#received += chunk.length
  }

  /** One thread writes while another sums: what fails its check is never accepted. The chunk is free when both are done. */
  async #writeWhileSumming(writer: PlaceWriter, chunk: Uint8Array): Promise<void> {
    const { sumAside } = this.#options
    const writing = writer.write(chunk)
    // It may fail first.
    writing.catch(() => {})
    try {
      if (sumAside === undefined) this.#verifier.update(chunk)
      else await this.#verifier.updateAside(chunk, sumAside)
    } catch (error) {
      await writing.catch(() => {})
      throw error
    }
    await writing
  }

  /** @throws BLOB_CORRUPT, STORE_FULL, or TASK_CANCELLED when the key was freed meanwhile. */
  async finish(): Promise<StoredValue> {
    const { key, runId } = this.#expected
    const target = this.#target
    if (target === null || this.missingBytes > 0) {
      throw corruptArrival(this.#expected, `only ${this.#received} of ${this.#expected.nbytes} bytes came`)
    }
    const header = this.#verifier.finish()
    const entry = { key, runId, type: header.type, fetched: this.#options.fetched }
    this.#target = null
    if (target.kind === 'inline') {
      return this.#store.putInline(entry, target.bytes, { durable: this.#options.durable })
    }
    try {
      await target.writer.close()
    } catch (error) {
      this.#store.cancelPlace(target.place)
      throw error
    }
    return this.#store.accept(target.place, entry)
  }

  /** Gives the place back; does nothing after `finish`. */
  async cancel(): Promise<void> {
    this.#cancelled = true
    const target = this.#target
    this.#target = null
    if (target?.kind !== 'place') return
    await target.writer.close().catch(() => {})
    this.#store.cancelPlace(target.place)
  }

  async #open(): Promise<Target> {
    const { nbytes } = this.#expected
    if (nbytes <= this.#options.inlineLimit) {
      const inline: Target = { kind: 'inline', bytes: Buffer.alloc(nbytes) }
      this.#target = inline
      return inline
    }
    const place = await this.#store.requestPlace(nbytes)
    try {
      this.#throwIfCancelled()
      const writer = await this.#store.openPlace(place)
      const target: Target = { kind: 'place', place, writer }
      this.#target = target
      if (this.#cancelled) await this.cancel()
      this.#throwIfCancelled()
      return target
    } catch (error) {
      this.#store.cancelPlace(place)
      throw error
    }
  }

  /** `cancel` found nothing to give back while the place was asked for and opened. */
  #throwIfCancelled(): void {
    const { key } = this.#expected
    if (this.#cancelled) throw new PlimsollError('TASK_CANCELLED', `${key} is not wanted any more`, { key })
  }
}
