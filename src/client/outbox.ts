// What a client tells the scheduler, in the order the user said it. Sending is synchronous except behind a barrier: a
// value that is still on its way to a worker, which a later message may refer to.
//
// O1. Deliveries run in the order they were posted, whatever waits in between.
// O2. A barrier opens when its work ends, well or badly; its own delivery runs first and knows how it ended.

interface Entry {
  ready: boolean
  readonly deliver: () => void
}

export class Outbox {
  readonly #entries: Entry[] = []
  #idleWaiters: (() => void)[] = []

  /** Nothing waits: what is posted now is delivered at once. */
  get idle(): boolean {
    return this.#entries.length === 0
  }

  post(deliver: () => void): void {
    if (this.idle) deliver()
    else this.#entries.push({ ready: true, deliver })
  }

  /** Holds everything posted later back until `work` has settled; then `deliver` runs, then the rest. */
  barrier(work: Promise<void>, deliver: () => void): void {
    const entry: Entry = { ready: false, deliver }
    this.#entries.push(entry)
    const open = () => {
      entry.ready = true
      this.#drain()
    }
    work.then(open, open)
  }

  /** Resolves when everything posted so far was delivered. */
  delivered(): Promise<void> {
    return this.idle ? Promise.resolve() : new Promise((resolve) => this.post(resolve))
  }

  /** Resolves when nothing waits any more. */
  async whenIdle(): Promise<void> {
    if (!this.idle) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve))
  }

  #drain(): void {
    for (let head = this.#entries[0]; head?.ready === true; head = this.#entries[0]) {
      // Removed after its delivery, so that what the delivery posts still goes behind the others (O1).
      try {
        head.deliver()
      } finally {
        this.#entries.shift()
      }
    }
    if (!this.idle) return
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const resolve of waiters) resolve()
  }
}
