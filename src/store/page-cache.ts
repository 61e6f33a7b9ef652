// Bounds what the kernel's cache keeps of the files of one disk tier: beyond the bound, the file that nobody has read for the
// longest time is written back and dropped from the cache, so that its pages are used for the next one. Only worth it where
// memory that was never used is dear (native/free-pages.ts): elsewhere the cache of the kernel is a second memory tier that costs
// nothing, and is left alone.
//
// C1. Files count from their arrival in this process, or from the first time they are read, until they are given up or dropped.
//     Being read makes a file the youngest and counts it again: reading brings its pages back.
// C2. No more than two files are dropped at a time, one with the small thread pool, each with a permit to read: writing back
//     takes as long as the disk does, and a thread of the pool meanwhile. Piece by piece, so that neither the end of a large
//     value nor the store's has to wait for all of it.
// C3. Whatever fails does no harm: the pages stay, and are the kernel's. The file is not tried again before it is read again.

import type { StoreContext } from './context.ts'
import { LruList, type LruNode } from './lru.ts'

const DROPS_MAX = 2
/** A multiple of whatever the cache may keep as one. */
const PIECE_BYTES = 64 * 2 ** 20

export interface CachedFile extends LruNode<CachedFile> {
  readonly path: string
  /** Given up: its pages go with it. */
  readonly gone: boolean
}

export class PageCache {
  readonly #context: StoreContext
  readonly #dropsMax: number
  readonly #files = new LruList<CachedFile>()
  #boundBytes = Infinity
  #drops = 0

  constructor(context: StoreContext) {
    this.#context = context
    this.#dropsMax = Math.min(DROPS_MAX, context.permits.writes.limit)
  }

  get boundBytes(): number {
    return this.#boundBytes
  }

  /** Those that are counted, the next to be dropped first. */
  get files(): Iterable<CachedFile> {
    return this.#files
  }

  /** Their sum. */
  get bytes(): number {
    return this.#files.bytes
  }

  /** From now on; Infinity: no file is counted any more. */
  bound(bytes: number): void {
    this.#boundBytes = bytes
    if (bytes === Infinity) for (const file of this.#files) this.#files.remove(file)
    this.#dropOldest()
  }

  /** The file has arrived whole, or was read. */
  keep(file: CachedFile): void {
    if (this.#boundBytes === Infinity || file.gone) return
    this.#files.pushNewest(file)
    this.#dropOldest()
  }

  release(file: CachedFile): void {
    this.#files.remove(file)
  }

  #dropOldest(): void {
    while (this.#files.bytes > this.#boundBytes && this.#drops < this.#dropsMax) {
      const file = this.#files.oldest as CachedFile
      this.#files.remove(file)
      this.#drops++
      this.#context.track(
        this.#drop(file).finally(() => {
          this.#drops--
          this.#dropOldest()
        }),
      )
    }
  }

  async #drop(file: CachedFile): Promise<void> {
    const { fs, permits } = this.#context
    try {
      for (let at = 0; at < file.nbytes; at += PIECE_BYTES) {
        await permits.reads.use(async () => {
          if (!file.gone && this.#boundBytes < Infinity) await fs.dropFromCache(file.path, at, PIECE_BYTES)
        })
      }
    } catch {
      // See C3.
    }
  }
}
