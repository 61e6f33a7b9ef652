// How much a file system still takes, asked rarely and corrected by what was promised since. The answer errs on the low
// side: promised bytes that were already written when the question was asked are subtracted twice until the next one.

import type { Clock } from '../base/clock.ts'
import type { StoreFs } from './store-fs.ts'

const SAMPLE_MS = 250

export class FreeSpace {
  readonly #fs: StoreFs
  readonly #path: string
  readonly #clock: Clock
  readonly #outstanding: () => number
  #free = 0
  #sampledMs = -Infinity
  #chargedSince = 0
  #forgotten = false
  #refreshing: Promise<void> | null = null

  /** `outstanding`: bytes promised and possibly not written yet. */
  constructor(fs: StoreFs, path: string, clock: Clock, outstanding: () => number) {
    this.#fs = fs
    this.#path = path
    this.#clock = clock
    this.#outstanding = outstanding
  }

  get stale(): boolean {
    return this.#clock.now() - this.#sampledMs >= SAMPLE_MS
  }

  get free(): number {
    return Math.max(0, this.#free - this.#chargedSince)
  }

  /** Bytes were promised since the last sample. */
  charge(bytes: number): void {
    this.#chargedSince += bytes
  }

  /** The next look asks the file system again: something was freed, or a write failed. */
  forget(): void {
    this.#sampledMs = -Infinity
    this.#forgotten = true
  }

  /** Asks the file system unless somebody does already. A file system that cannot answer counts as full. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#sample().finally(() => {
      this.#refreshing = null
    })
    return this.#refreshing
  }

  async #sample(): Promise<void> {
    this.#forgotten = false
    const chargedBefore = this.#chargedSince
    const outstanding = this.#outstanding()
    let free: number
    try {
      free = await this.#fs.freeBytes(this.#path)
    } catch {
      free = 0
    }
    this.#free = free - outstanding
    this.#chargedSince -= chargedBefore
    this.#sampledMs = this.#forgotten ? -Infinity : this.#clock.now()
  }
}
