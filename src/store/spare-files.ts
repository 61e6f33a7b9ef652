// Files of the memory tier whose values are gone, kept for a moment for values that are about to arrive: writing into pages
// that are there costs a third of what new ones cost.
//
// W1. Only a file that this process alone wrote, that nobody outside of the worker was told of, and that nobody maps any
//     more is written to again: pages that were sent may still lie in the queue of a socket (comm/file-on-the-way.ts F3),
//     and a name that was given away may have been linked.
// W2. Spare files count as held memory until they are unlinked. They are the first to go when anybody waits for room, and go
//     by themselves after `KEPT_MS`.
// W3. Together they take a small part of what values may take.

import type { StoreContext } from './context.ts'
import { pageRounded } from './file-ops.ts'

/** Smaller ones gain less than it costs to look after them. */
export const SPARE_BYTES_MIN = 4 * 2 ** 20
const SPARE_FRACTION = 1 / 16
const SPARE_BYTES_MAX = 512 * 2 ** 20
/** Long enough for the next of several values that are fetched one after the other. */
const KEPT_MS = 3000

interface SpareFile {
  readonly path: string
  readonly nbytes: number
  readonly sinceMs: number
}

export class SpareFiles {
  readonly #context: StoreContext
  readonly #unlink: (path: string) => Promise<boolean>
  /** The oldest first. */
  #files: SpareFile[] = []
  #readyBytes = 0
  #leavingBytes = 0
  #pageBytes = 0
  #limitBytes = 0
  #cancelTimer: (() => void) | null = null

  /** `unlink`: true when there is no such file any more. */
  constructor(context: StoreContext, unlink: (path: string) => Promise<boolean>) {
    this.#context = context
    this.#unlink = unlink
  }

  /** W3. Of this much for values, a part; none before this is said, and none from then on when it is 0. */
  keepPartOf(target: number): void {
    this.#limitBytes = Math.min(SPARE_BYTES_MAX, SPARE_FRACTION * target)
    if (target === 0) this.dropAll()
  }

  /** Kept for the next value. */
  get readyBytes(): number {
    return this.#readyBytes
  }

  /** On their way out. */
  get leavingBytes(): number {
    return this.#leavingBytes
  }

  get pageBytes(): number {
    return this.#pageBytes
  }

  get paths(): Iterable<string> {
    return this.#files.map((file) => file.path)
  }

  wants(nbytes: number): boolean {
    return nbytes >= SPARE_BYTES_MIN && nbytes <= this.#limitBytes
  }

  /** A file of which W1 is true. */
  add(path: string, nbytes: number): void {
    this.#files.push({ path, nbytes, sinceMs: this.#context.clock.now() })
    this.#readyBytes += nbytes
    this.#pageBytes += pageRounded(nbytes)
    while (this.#readyBytes > this.#limitBytes) this.#dropOldest()
    this.#watch()
  }

  /** The one that fits best, which is the caller's from now on; null when there is none worth it. */
  take(nbytes: number): string | null {
    if (nbytes < SPARE_BYTES_MIN) return null
    let best: SpareFile | null = null
    for (const file of this.#files) if (best === null || fitsBetter(file, best, nbytes)) best = file
    if (best === null) return null
    const taken = best
    this.#files = this.#files.filter((file) => file !== taken)
    this.#readyBytes -= taken.nbytes
    this.#pageBytes -= pageRounded(taken.nbytes)
    return taken.path
  }

  /** W2: somebody waits for room, or the store ends. */
  dropAll(): void {
    while (this.#files.length > 0) this.#dropOldest()
    this.#cancelTimer?.()
    this.#cancelTimer = null
  }

  #dropOldest(): void {
    const file = this.#files.shift() as SpareFile
    this.#readyBytes -= file.nbytes
    this.#leavingBytes += file.nbytes
    const dropping = this.#unlink(file.path).then(() => {
      this.#leavingBytes -= file.nbytes
      this.#pageBytes -= pageRounded(file.nbytes)
      this.#context.changed()
    })
    this.#context.track(dropping)
  }

  #watch(): void {
    const oldest = this.#files[0]
    if (oldest === undefined || this.#cancelTimer !== null) return
    const { clock } = this.#context
    this.#cancelTimer = clock.after(Math.max(0, oldest.sinceMs + KEPT_MS - clock.now()), () => {
      this.#cancelTimer = null
      const nowMs = clock.now()
      while (this.#files[0] !== undefined && this.#files[0].sinceMs + KEPT_MS <= nowMs) this.#dropOldest()
      this.#watch()
    })
  }
}

/** The smallest that is large enough, else the largest. */
function fitsBetter(file: SpareFile, best: SpareFile, nbytes: number): boolean {
  if (best.nbytes < nbytes) return file.nbytes > best.nbytes
  return file.nbytes >= nbytes && file.nbytes < best.nbytes
}
