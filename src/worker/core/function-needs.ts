// What the runs of each function needed lately: private memory at their highest, bytes of result, time. By the function
// itself, and by its name for those that were not seen before: a function that is captured anew for every task has a new id
// each time. That a run ran out of memory is held against its own function alone: unnamed ones share a name.

import type { FunctionId } from '../../base/ids.ts'
import { RecentSamples, Samples } from '../../base/recent-samples.ts'

const SAMPLES = 64
const QUANTILE = 0.95
/** Going through the samples after every run would cost a good part of starting one. */
const LOOK_EVERY = 8
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
    if (sample <= this.value && samples.count > SAMPLES / 4 && samples.count % LOOK_EVERY !== 0) return
    const count = Math.min(samples.count, SAMPLES)
    this.value = samples.largestBut(count - Math.ceil(QUANTILE * count))
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

/** What a run is of. */
export interface Origin {
  readonly fn: FunctionId
  readonly name: string
}

export class FunctionNeeds {
  readonly #byFunction = new RecentSamples(() => new Learned())
  readonly #byName = new RecentSamples(() => new Learned())

  /** Undefined before its first run has ended. */
  of({ fn, name }: Origin): MemoryNeed | undefined {
    return this.#byFunction.of(fn) ?? this.#byName.of(name)
  }

  notePeak({ fn, name }: Origin, peakBytes: number, durationMs: number): void {
    this.#byFunction.add(fn, durationMs).peak.add(peakBytes)
    this.#byName.add(name, durationMs).peak.add(peakBytes)
  }

  /** It died for memory: it is expected to need this much. */
  noteShortage({ fn }: Origin, peakBytes: number): void {
    this.#byFunction.add(fn, 0).peak.add(peakBytes)
  }

  noteResult({ fn, name }: Origin, nbytes: number): void {
    this.#byFunction.of(fn)?.result.add(nbytes)
    this.#byName.of(name)?.result.add(nbytes)
  }

  /** Milliseconds; 0 while unknown. */
  medianMs({ name }: Origin): number {
    const sorted = this.#byName.of(name)?.sorted()
    return sorted?.[sorted.length >> 1] ?? 0
  }
}
