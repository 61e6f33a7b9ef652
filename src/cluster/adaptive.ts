// When an adaptive cluster grows and shrinks: pure decisions from what the scheduler recommends.
//
// V1. It grows at once. A worker goes when the scheduler could do without it so many times in a row (`waitCount`).
// V2. While workers come or go no other decision is made: whoever asks waits for the one in hand.

export interface AdaptiveOptions {
  /** Workers there are at least, and at most. */
  readonly minimum: number
  readonly maximum: number
  /** How often the scheduler is asked, milliseconds. */
  readonly intervalMs: number
  /** V1. */
  readonly waitCount: number
  /** In what time the work that is there should be done, milliseconds. */
  readonly targetDurationMs: number
}

export interface Recommendation {
  readonly target: number
  /** Workers (ids) that could go. */
  readonly close: readonly string[]
}

export type Adaptation =
  | { readonly kind: 'same' }
  | { readonly kind: 'up'; readonly n: number }
  | { readonly kind: 'down'; readonly workers: readonly string[] }

const SAME: Adaptation = { kind: 'same' }

export class AdaptiveDecision {
  readonly #waitCount: number
  /** How often in a row each worker could have gone. */
  #idle = new Map<string, number>()

  constructor(waitCount: number) {
    this.#waitCount = waitCount
  }

  /** `workers`: ids of those there are. */
  next(workers: readonly string[], { target, close }: Recommendation): Adaptation {
    if (target > workers.length) {
      this.#idle.clear()
      return { kind: 'up', n: target }
    }
    const before = this.#idle
    this.#idle = new Map(
      close.filter((id) => workers.includes(id)).map((id) => [id, (before.get(id) ?? 0) + 1] as const),
    )
    const leaving = [...this.#idle].flatMap(([id, count]) => (count >= this.#waitCount ? [id] : []))
    for (const id of leaving) this.#idle.delete(id)
    return leaving.length === 0 ? SAME : { kind: 'down', workers: leaving }
  }
}
