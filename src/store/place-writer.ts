// Fills a granted place piece by piece, as chunks arrive from a peer.

import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { StoreContext } from './context.ts'
import { asStoreError, writeFully } from './file-ops.ts'
import type { WritableFile } from './store-fs.ts'
import type { Place } from './store.ts'

type WriterContext = Pick<StoreContext, 'fs' | 'permits'>

/** One writer at a time; await each `write` before the next. A failed one leaves the place to be cancelled. */
export class PlaceWriter {
  readonly #context: WriterContext
  readonly #place: Place
  readonly #file: WritableFile
  #written = 0

  private constructor(context: WriterContext, place: Place, file: WritableFile) {
    this.#context = context
    this.#place = place
    this.#file = file
  }

  /** `spare`: a file to be written to instead of a new one, if that is possible. */
  static async open(context: WriterContext, place: Place, spare: string | null = null): Promise<PlaceWriter> {
    const { fs } = context
    if (spare !== null) {
      try {
        await fs.rename(spare, place.path)
        return new PlaceWriter(context, place, await fs.reopen(place.path, place.nbytes))
      } catch {
        // A new one then; whatever is in the way stands where the spare was, or where it was to be.
        await Promise.allSettled([fs.unlink(spare), fs.unlink(place.path)])
      }
    }
    return new PlaceWriter(context, place, await fs.create(place.path))
  }

  get written(): number {
    return this.#written
  }

  /**
   * Appends one chunk.
   * @throws STORE_FULL when the file system has no room; BLOB_CORRUPT when more arrives than was announced.
   */
  async write(chunk: Uint8Array): Promise<void> {
    const end = this.#written + chunk.byteLength
    if (end > this.#place.nbytes) {
      throw new PlimsollError(
        'BLOB_CORRUPT',
        `More than the ${this.#place.nbytes} bytes announced arrived for ${this.#place.path}.`,
      )
    }
    try {
      await this.#context.permits.writes.use(() => writeFully(this.#file, [chunk], this.#written))
    } catch (error) {
      throw asStoreError(
        error,
        `Writing ${this.#place.path} failed after ${this.#written} of ${this.#place.nbytes} bytes`,
      )
    }
    this.#written = end
  }

  /** To be called in any case, before the place is accepted or cancelled. */
  close(): Promise<void> {
    return this.#file.close()
  }
}
