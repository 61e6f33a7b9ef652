/** Counts asynchronous work under way and tells when there is none. Work that rejects is a bug and ends the process. */
export class WorkTracker {
  #running = 0
  #waiting: (() => void)[] = []

  get running(): number {
    return this.#running
  }

  track(work: Promise<unknown>): void {
    this.#running++
    work.then(
      () => this.#end(),
      (error: unknown) => {
        this.#end()
        queueMicrotask(() => {
          throw error
        })
      },
    )
  }

  /** Resolves when nothing runs; at once when nothing does. */
  none(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve))
  }

  #end(): void {
    this.#running--
    if (this.#running > 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
