// How much private memory the runs of each function took at their highest, and what is therefore reserved for a run.

import type { PoolRun } from './pool-run.ts'
import { RecentSamples, Samples } from './recent-samples.ts'

const SAMPLES = 64
const QUANTILE = 0.95
/** What any run may take without having asked for it: this part of the worker's limit, or this many times its inputs. */
const FLOOR_FRACTION = 0.05
const FLOOR_INPUTS = 2

export class TaskPeaks {
  readonly #recent = new RecentSamples(() => new Samples(SAMPLES))

  note(name: string, bytes: number): void {
    this.#recent.add(name, bytes)
  }

  /** The 95th percentile of the last runs, bytes; undefined before the first. */
  p95(name: string): number | undefined {
    const sorted = this.#recent.of(name)?.sorted()
    return sorted?.[Math.ceil(QUANTILE * sorted.length) - 1]
  }

  /** Bytes of private memory that this run may take before it is to blame for a shortage. */
  reservation(run: PoolRun, memoryLimit: number): number {
    const { name, options } = run.request
    const floor = Math.max(FLOOR_FRACTION * memoryLimit, FLOOR_INPUTS * run.inputBytes)
    return Math.max(floor, options.memory ?? 0, this.p95(name) ?? 0)
  }
}
