// What the runs of each function needed lately: private memory at their highest, bytes of result, time. By name, as all
// statistics of functions are: a function that is captured anew for every task has a new id each time.

import { RecentSamples, Samples } from '../../base/recent-samples.ts'

const SAMPLES = 64
const QUANTILE = 0.95
/** Sorting the samples after every run would cost as much as starting one. */
const SORT_EVERY = 8
const DURATIONS = 16

/** Bytes that a run is expected to need. */
export interface MemoryNeed {
  /** Private memory of its executor above what that has when idle. */
  readonly peakBytes: number
  /** What it leaves in the store. */
  readonly resultBytes: number
}

/** A high quantile of the last samples, looked up often and exact now and then: never lower than it was in between. */
class HighQuantile {
  readonly #samples = new Samples(SAMPLES)
  value = 0

  add(sample: number): void {
    const samples = this.#samples
    samples.add(sample)
    if (sample <= this.value && samples.count > SAMPLES / 4 && samples.count % SORT_EVERY !== 0) return
    const sorted = samples.sorted()
    this.value = sorted[Math.ceil(QUANTILE * sorted.length) - 1] as number
  }
}

class Learned extends Samples implements MemoryNeed {
  readonly peak = new HighQuantile()
  readonly result = new HighQuantile()

  constructor() {
    super(DURATIONS)
  }

  get peakBytes(): number {
    return this.peak.value
  }

  get resultBytes(): number {
    return this.result.value
  }
}

export class FunctionNeeds {
  readonly #recent = new RecentSamples(() => new Learned())

  /** Undefined before its first run has ended. */
  of(name: string): MemoryNeed | undefined {
    return this.#recent.of(name)
  }

  notePeak(name: string, peakBytes: number, durationMs: number): void {
    this.#recent.add(name, durationMs).peak.add(peakBytes)
  }

  noteResult(name: string, nbytes: number): void {
    this.#recent.of(name)?.result.add(nbytes)
  }

  /** Milliseconds; 0 while unknown. */
  medianMs(name: string): number {
    const sorted = this.#recent.of(name)?.sorted()
    return sorted?.[sorted.length >> 1] ?? 0
  }
}
