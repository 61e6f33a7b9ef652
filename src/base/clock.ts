/** Time as the program sees it. Pure cores take `now` from events; shells read it here, tests put a virtual one in. */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start, with fractions. */
  now(): number
  /** Calls back once after `delayMs`; the result cancels. Never keeps the process alive. */
  after(delayMs: number, callback: () => void): () => void
}

/** The longest that Node's timers can wait, 24.8 days: what is set for longer fires at once. */
export const TIMER_MS_MAX = 2 ** 31 - 1

/** A delay as Node's timers can have it. Nothing here waits for longer than that. */
export function timerMs(delayMs: number): number {
  return Math.min(delayMs, TIMER_MS_MAX)
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, timerMs(delayMs))
    timer.unref()
    return () => clearTimeout(timer)
  },
}

interface VirtualTimer {
  readonly dueMs: number
  readonly order: number
  readonly callback: () => void
}

/** A clock that moves only when a test says so. Timers run in order of due time, then of creation. */
export class VirtualClock implements Clock {
  #now = 0
  #order = 0
  readonly #timers = new Set<VirtualTimer>()

  now(): number {
    return this.#now
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { dueMs: this.#now + Math.max(0, delayMs), order: this.#order++, callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Moves time forward and runs every timer that falls due, also those set on the way. */
  advance(byMs: number): void {
    const end = this.#now + byMs
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.dueMs)
      next.callback()
    }
    this.#now = end
  }

  #next(end: number): VirtualTimer | undefined {
    let best: VirtualTimer | undefined
    for (const timer of this.#timers) {
      if (timer.dueMs > end) continue
      if (best === undefined || timer.dueMs < best.dueMs || (timer.dueMs === best.dueMs && timer.order < best.order))
        best = timer
    }
    return best
  }
}
