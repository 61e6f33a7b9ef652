// When a client makes V8 look for futures that the program has dropped. V8 sees small objects and not the gigabytes that they
// keep on workers: left to itself, a busy program that had dropped ten thousand futures released none of them in 25 s, and
// an idle one never collects at all. Pure: told what is held and what happened, it answers whether to collect now; the
// shell (collector.ts) keeps the clock and does it.
//
// G1. Collections take at most PART of the time, measured by what the last one cost.
// G2. Growth: what is held grew by GROWTH.first to GROWTH.most of the cluster's memory since the least that it was after the
//     last collection; by more while nothing comes of it, and by GROWTH.first again after a time of quiet.
// G3. Pressure: while the scheduler says that memory is short, every PRESSED_MS.first to PRESSED_MS.most, further apart while
//     nothing comes of it, and at once when it starts to say so, unless the last one was less than PRESSED_MS.first ago; not
//     for the sake of less than SMALL of the cluster's memory.
// G4. Quiet: nothing was submitted or heard for IDLE_MS.first; then further and further apart, as long as anything is held.
// G5. Something came of a collection when less is held at any time after it, by SMALL of the cluster's memory. Finalizers run
//     in the turns that follow, so each one counts as fruitless until that is seen. What the program released itself counts
//     as well: who lets go of values may also drop some.

/** What the futures of a client keep on the cluster. */
export interface Holdings {
  readonly keys: number
  /** Sizes of their values, and OVERHEAD_BYTES for each. */
  readonly bytes: number
}

/** What a key costs the scheduler, whatever the size of its value. */
export const OVERHEAD_BYTES = 1024

const PART = 0.05
const GROWTH = { first: 0.1, most: 1 } as const
const SMALL = 0.01
/** In place of the cluster's memory, when its workers have no limit. */
const UNKNOWN_LIMIT_BYTES = 2 ** 31
const PRESSED_MS = { first: 1000, most: 4000 } as const
const IDLE_MS = { first: 1000, most: 30_000 } as const

export class CollectionPolicy {
  #limitBytes = UNKNOWN_LIMIT_BYTES
  #pressed = false
  #pressedPauseMs: number = PRESSED_MS.first
  #pressedDueMs = 0
  #growth: number = GROWTH.first
  #idlePauseMs: number = IDLE_MS.first
  #idleDueMs = 0
  #lastMs: number
  /** Held when the last collection was over, and the least since. */
  #afterBytes = 0
  #leastBytes = 0

  constructor(nowMs: number) {
    this.#lastMs = nowMs
  }

  /** `limitBytes`: sum over the workers; 0 when they have none. */
  noteCluster(nowMs: number, limitBytes: number, pressed: boolean): void {
    this.#limitBytes = limitBytes > 0 ? limitBytes : UNKNOWN_LIMIT_BYTES
    if (pressed && !this.#pressed) this.#pressedDueMs = Math.max(nowMs, this.#lastMs + PRESSED_MS.first)
    this.#pressed = pressed
  }

  /** Something was submitted or heard. */
  noteActivity(nowMs: number): void {
    this.#idlePauseMs = IDLE_MS.first
    this.#idleDueMs = nowMs + IDLE_MS.first
  }

  /** What is held, looked at whenever it may have become less (G5). */
  noteHeld(held: Holdings): void {
    this.#leastBytes = Math.min(this.#leastBytes, held.bytes)
    if (this.#afterBytes - this.#leastBytes < SMALL * this.#limitBytes) return
    this.#growth = GROWTH.first
    this.#pressedPauseMs = PRESSED_MS.first
    this.#pressedDueMs = Math.min(this.#pressedDueMs, this.#lastMs + PRESSED_MS.first)
  }

  /** `costMs`: what a collection takes, by the last one or by estimate. `quiet`: nothing has happened since it was asked last. */
  isDue(nowMs: number, held: Holdings, costMs: number, quiet: boolean): boolean {
    this.noteHeld(held)
    if (held.keys === 0 || costMs > PART * (nowMs - this.#lastMs)) return false
    if (held.bytes - this.#leastBytes >= this.#growth * this.#limitBytes) return true
    if (this.#pressed && nowMs >= this.#pressedDueMs && held.bytes >= SMALL * this.#limitBytes) return true
    return quiet && nowMs >= this.#idleDueMs
  }

  /** One is over; what it found is released in the turns that follow. */
  noteCollection(nowMs: number, held: Holdings): void {
    this.#growth = nowMs >= this.#idleDueMs ? GROWTH.first : Math.min(GROWTH.most, 2 * this.#growth)
    this.#pressedPauseMs = Math.min(PRESSED_MS.most, 2 * this.#pressedPauseMs)
    this.#pressedDueMs = nowMs + this.#pressedPauseMs
    this.#idlePauseMs = Math.min(IDLE_MS.most, 2 * this.#idlePauseMs)
    this.#idleDueMs = nowMs + this.#idlePauseMs
    this.#lastMs = nowMs
    this.#afterBytes = held.bytes
    this.#leastBytes = held.bytes
  }
}
