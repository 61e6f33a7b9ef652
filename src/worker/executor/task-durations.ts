// How long the runs of each function took lately, and what follows for how many of them one executor is handed at a time.

import { RecentSamples, Samples } from '../../base/recent-samples.ts'

const SAMPLES = 16
/** Above it a second run in the pipe gains little and can only wait; no higher than the dispatcher's stall check, which takes it back. */
const PIPELINED_BELOW_MS = 20
/** Work that one executor should have at hand: some round trips through the pipe. */
const TARGET_MS = 2
const MAX_DEPTH = 32

class Durations extends Samples {
  median = 0

  constructor() {
    super(SAMPLES)
  }
}

export class TaskDurations {
  readonly #recent = new RecentSamples(() => new Durations())

  note(name: string, durationMs: number): void {
    const recent = this.#recent.add(name, durationMs)
    if (recent.count < SAMPLES || recent.count % 4 === 0) recent.median = medianOf(recent.sorted())
  }

  /** Milliseconds; undefined before the first run. */
  median(name: string): number | undefined {
    return this.#recent.of(name)?.median
  }

  depth(name: string): number {
    const median = this.median(name)
    if (median === undefined || median >= PIPELINED_BELOW_MS) return 1
    return Math.max(2, Math.min(MAX_DEPTH, Math.floor(TARGET_MS / median)))
  }
}

function medianOf(sorted: Float64Array): number {
  return sorted[sorted.length >> 1] as number
}
