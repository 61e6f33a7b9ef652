import type { Clock } from '../base/clock.ts'
import { timerId, type Timer } from './core/events.ts'

/** The timers that the core has set, by id: setting one again moves it. */
export class Timers {
  readonly #clock: Clock
  readonly #onFired: (timer: Timer) => void
  readonly #cancels = new Map<string, () => void>()

  constructor(clock: Clock, onFired: (timer: Timer) => void) {
    this.#clock = clock
    this.#onFired = onFired
  }

  set(timer: Timer, delayMs: number): void {
    this.clear(timer)
    const id = timerId(timer)
    const fired = (): void => {
      this.#cancels.delete(id)
      this.#onFired(timer)
    }
    this.#cancels.set(id, this.#clock.after(delayMs, fired))
  }

  clear(timer: Timer): void {
    const id = timerId(timer)
    this.#cancels.get(id)?.()
    this.#cancels.delete(id)
  }

  clearAll(): void {
    for (const cancel of this.#cancels.values()) cancel()
    this.#cancels.clear()
  }
}
