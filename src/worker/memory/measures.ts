// The five memory measures. process = what the processes hold privately + what the memory tier takes from RAM. managed =
// bytes of blobs in RAM. The rest is unmanaged, split by age: the part that was there during all of the last while is
// old (`unmanaged`), what came on top is recent.
//
// M1. managed + unmanaged + unmanagedRecent = process, in every report, none negative: process memory is sampled, blob bytes
//     are counted, so between two samples they may disagree; then process is taken to be at least managed.

import type { MemoryMeasures } from '../../protocol/scheduler-client.ts'

export interface MemorySample {
  /** Private memory of worker, executors and their children, bytes. */
  readonly privateBytes: number
  /** What the memory tier takes from RAM, in whole pages. */
  readonly tierBytes: number
  readonly managed: number
  /** False: what a container of the user's says it holds, which need not be in RAM. */
  readonly isCounted?: boolean
  readonly spilled: number
}

/** The measures of one moment; `oldUnmanaged` as `UnmanagedWindow` says. */
export function measure(limit: number, sample: MemorySample, oldUnmanaged: number): MemoryMeasures {
  const process = processMemory(sample)
  const { spilled } = sample
  const managed = Math.min(sample.managed, process)
  const unmanaged = Math.min(oldUnmanaged, process - managed)
  return { limit, process, managed, unmanaged, unmanagedRecent: process - managed - unmanaged, spilled }
}

export function processMemory(sample: MemorySample): number {
  const sampled = sample.privateBytes + sample.tierBytes
  return sample.isCounted === false ? sampled : Math.max(sampled, sample.managed)
}

/** The smallest value of the last `windowMs`; values come in order of time. */
export class SlidingMinimum {
  readonly #windowMs: number
  /** Rising values: each is the minimum from its time on until a smaller one came. */
  readonly #candidates: { at: number; value: number }[] = []

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  add(at: number, value: number): void {
    const candidates = this.#candidates
    while (candidates.length > 0 && (candidates.at(-1) as { value: number }).value >= value) candidates.pop()
    candidates.push({ at, value })
    while ((candidates[0] as { at: number }).at < at - this.#windowMs) candidates.shift()
  }

  /** 0 before the first value. */
  get value(): number {
    return this.#candidates[0]?.value ?? 0
  }
}
