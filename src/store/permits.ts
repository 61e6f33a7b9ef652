/** A counting semaphore: at most `limit` holders at a time, the others wait in order. Bounds file work (S3). */
export class Permits {
  readonly limit: number
  #free: number
  readonly #waiting: (() => void)[] = []
  #next = 0

  constructor(limit: number) {
    this.limit = limit
    this.#free = limit
  }

  /** Runs `work` when its turn comes; the permit goes on when it settles. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      this.#pass()
    }
  }

  #pass(): void {
    const next = this.#waiting[this.#next]
    if (next === undefined) {
      this.#free++
      return
    }
    this.#next++
    if (this.#next > 1024 && this.#next * 2 > this.#waiting.length) {
      this.#waiting.splice(0, this.#next)
      this.#next = 0
    }
    next()
  }
}
