// When the worker's own process collects its garbage. What small values leave in it when they go (their slabs, messages that
// carried them) is freed by V8 only when V8 sees a reason, and V8 knows of no limit: a process of 60 MiB was seen at 170, for
// minutes, since a worker that is paused makes no more garbage and so never collects.
//
// G1. Only while memory is short (memory-manager.ts says so), and only for what is worth it: the part of the process that is no
//     value has grown by `WORTH_FRACTION` of the limit since the last collection. What a collection leaves is no garbage.
// G2. Within `BUSY_TIME_FRACTION` of the time, since nothing else happens meanwhile; with nothing running, half of it.
// G3. Above `pause` the heap is compacted as well: records of values live long, and lie between garbage, so that a heap of
//     60 MiB takes 90. That takes two to three times as long, so it is done once for as much growth, too.

const WORTH_FRACTION = 1 / 32
const BUSY_TIME_FRACTION = 0.1
const IDLE_TIME_FRACTION = 0.5

export type OwnCollection = 'collect' | 'compact'

export interface OwnShortage {
  readonly isIdle: boolean
  /** Memory is above `pause`, or the worker is paused (G3). */
  readonly isPressing: boolean
}

export class OwnGarbage {
  readonly #worthBytes: number
  /** The smallest that the process was, without values, since its last collection. */
  #baseBytes = Infinity
  /** The same since it was last compacted. */
  #compactBytes = Infinity
  #endedAt = Number.NEGATIVE_INFINITY
  #tookMs = 0

  constructor(limit: number) {
    this.#worthBytes = WORTH_FRACTION * limit
  }

  /** To be told at every look: `otherBytes` is private memory of this process that is no value. */
  due(now: number, otherBytes: number, { isIdle, isPressing }: OwnShortage): OwnCollection | null {
    this.#baseBytes = Math.min(this.#baseBytes, otherBytes)
    this.#compactBytes = Math.min(this.#compactBytes, otherBytes)
    const compacts = isPressing && otherBytes - this.#compactBytes >= this.#worthBytes
    if (!compacts && otherBytes - this.#baseBytes < this.#worthBytes) return null
    const restMs = this.#tookMs * (1 / (isIdle ? IDLE_TIME_FRACTION : BUSY_TIME_FRACTION) - 1)
    if (now - this.#endedAt < restMs) return null
    return compacts ? 'compact' : 'collect'
  }

  /** A collection ended, and left this much. */
  collected(now: number, tookMs: number, otherBytes: number, how: OwnCollection): void {
    this.#endedAt = now
    this.#tookMs = tookMs
    this.#baseBytes = otherBytes
    if (how === 'compact') this.#compactBytes = otherBytes
  }
}
