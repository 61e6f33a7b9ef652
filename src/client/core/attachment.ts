// When a client that lost its scheduler tries again, and when it gives up. Pure: told what happened and when, it answers
// what to do; the shell (scheduler-link.ts) connects and waits.
//
// A1. Tries follow each other with growing, jittered pauses, until the client was without its scheduler for `graceMs`.
// A2. A refused connection means that the process is gone and the run with it: after REFUSED_MS of refusals nothing more is
//     to be expected. Silence, resets and unreachable networks may pass: they have the whole grace.
// A3. The client counts as back when the scheduler has answered behind everything that was said again. A connection that
//     breaks before that goes on with the old grace: what kills every connection ends the client, not a loop.
// A4. A try waits for an answer for no more than half of what is left of the grace (TRY_MS_MIN at the least). A silent one
//     goes on being silent for a while when the network is back, for its packets are repeated ever more rarely: another has
//     to follow within the grace, however short that is.

import type { Prng } from '../../base/prng.ts'

const PAUSE_MS = { first: 50, most: 2000 } as const
/** Longer than a port is unbound while a listener is replaced. */
const REFUSED_MS = 750
/** One try, with its handshake; a packet may be lost on the way. */
const TRY_MS_MAX = 5000
const TRY_MS_MIN = 100

export interface AttachmentOptions {
  /** How long the client tries, milliseconds. */
  readonly graceMs: number
  readonly prng: Prng
}

export type NextTry =
  | { readonly kind: 'try'; readonly afterMs: number; readonly timeoutMs: number }
  | { readonly kind: 'give-up'; readonly why: string }

export class Attachment {
  readonly graceMs: number
  readonly #prng: Prng
  /** Since when there has been no scheduler to rely on; null: all is well. */
  #lostAtMs: number | null = null
  #refusedSinceMs: number | null = null
  #tries = 0

  constructor({ graceMs, prng }: AttachmentOptions) {
    this.graceMs = graceMs
    this.#prng = prng
  }

  /** Whether the client counts as attached (A3). */
  get settled(): boolean {
    return this.#lostAtMs === null
  }

  /** The connection broke. */
  lost(nowMs: number): NextTry {
    this.#lostAtMs ??= nowMs
    return this.#next(nowMs)
  }

  /** A try failed. */
  failed(nowMs: number, refused: boolean): NextTry {
    if (!refused) this.#refusedSinceMs = null
    else this.#refusedSinceMs ??= nowMs
    if (this.#refusedSinceMs !== null && nowMs - this.#refusedSinceMs >= REFUSED_MS)
      return { kind: 'give-up', why: 'nothing listens there any more' }
    return this.#next(nowMs)
  }

  /** The scheduler took the client back; A3 is not reached yet. */
  reconnected(): void {
    this.#refusedSinceMs = null
  }

  /** A3. Returns how long the client was without its scheduler, milliseconds. */
  confirmed(nowMs: number): number {
    const lostMs = this.#lostAtMs === null ? 0 : nowMs - this.#lostAtMs
    this.#lostAtMs = null
    this.#refusedSinceMs = null
    this.#tries = 0
    return lostMs
  }

  #next(nowMs: number): NextTry {
    const leftMs = (this.#lostAtMs as number) + this.graceMs - nowMs
    if (leftMs <= 0) return { kind: 'give-up', why: `it could not be reached for ${Math.round(this.graceMs)} ms` }
    const pauseMs = Math.min(PAUSE_MS.most, PAUSE_MS.first * 2 ** this.#tries++) * (0.5 + this.#prng.next() / 2)
    const afterMs = Math.min(pauseMs, leftMs)
    return { kind: 'try', afterMs, timeoutMs: Math.max(TRY_MS_MIN, Math.min(TRY_MS_MAX, (leftMs - afterMs) / 2)) }
  }
}
