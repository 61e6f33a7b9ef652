// How long the runs of each function took lately, and what follows for how many of them one executor is handed at a time.

interface Recent {
  readonly samples: Float64Array
  count: number
  median: number
}

const SAMPLES = 16
/** Functions beyond this many: the ones unseen for longest are forgotten. */
const MAX_NAMES = 4096
/** Above it a second run in the pipe gains nothing and can only wait. */
const PIPELINED_BELOW_MS = 5
/** Work that one executor should have at hand: some round trips through the pipe. */
const TARGET_MS = 2
const MAX_DEPTH = 16

export class TaskDurations {
  readonly #names = new Map<string, Recent>()

  note(name: string, durationMs: number): void {
    let recent = this.#names.get(name)
    if (recent === undefined) {
      recent = { samples: new Float64Array(SAMPLES), count: 0, median: durationMs }
      this.#names.set(name, recent)
      if (this.#names.size > MAX_NAMES) this.#forgetOldest()
    }
    recent.samples[recent.count % SAMPLES] = durationMs
    recent.count++
    if (recent.count < SAMPLES || recent.count % 4 === 0) recent.median = medianOf(recent)
  }

  /** Milliseconds; undefined before the first run. */
  median(name: string): number | undefined {
    return this.#names.get(name)?.median
  }

  depth(name: string): number {
    const median = this.median(name)
    if (median === undefined || median >= PIPELINED_BELOW_MS) return 1
    return Math.max(2, Math.min(MAX_DEPTH, Math.floor(TARGET_MS / median)))
  }

  #forgetOldest(): void {
    for (const name of this.#names.keys()) {
      this.#names.delete(name)
      return
    }
  }
}

function medianOf(recent: Recent): number {
  const sorted = recent.samples.slice(0, Math.min(recent.count, SAMPLES)).sort()
  return sorted[sorted.length >> 1] as number
}
