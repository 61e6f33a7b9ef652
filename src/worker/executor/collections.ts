// When executors are asked for a full collection, which is what gives the memory of freed blobs back that they had mapped.
// A collection costs from 4 ms to half a second, by the size of the heap, so it is rationed; how much memory is worth one,
// and that it is wanted at all, comes from the store.
//
// G1. An executor that runs something is interrupted for many bytes only, and for 5 % of its time at most.
// G2. One that is idle, or whose result waits for a place (for this very memory, maybe), may spend half of its time.
// G3. What was asked for and could not be done at once is done when its time has come, if it is still worth it.
// G4. An idle executor that holds much even after a collection is replaced when the worker needs the memory: modules that its
//     tasks loaded hold it, and nothing but its end gives it back.

import { growthOf } from './executor-pool.ts'
import type { ExecutorProcess } from './executor-process.ts'

const MIN_DEAD_BYTES = 64 * 2 ** 20
const MIN_DEAD_FRACTION = 0.05
const BUSY_TIME_FRACTION = 0.05
const IDLE_TIME_FRACTION = 0.5
/** Longer than any collection takes that somebody waits for. */
const TRIM_MS = 5000
/** G4: less than this is not worth the start of a process. */
const MIN_HOARD_BYTES = 32 * 2 ** 20

export interface CollectionsOptions {
  /** Bytes; 0 = no limit. */
  readonly memoryLimit: number
  readonly executors: () => Iterable<ExecutorProcess>
  /** G4: growth since its start above which an idle executor hoards, bytes; Infinity = never. */
  readonly hoardBytes: number
  replace(executor: ExecutorProcess): void
}

export class Collections {
  readonly #options: CollectionsOptions
  #stopTimer: (() => void) | null = null
  /** Who waits for these executors to have collected. */
  readonly #trims = new Set<{ readonly left: Set<ExecutorProcess>; readonly done: () => void }>()

  constructor(options: CollectionsOptions) {
    this.#options = options
  }

  request(): void {
    this.close()
    const now = performance.now()
    let next = Infinity
    for (const executor of this.#options.executors()) {
      if (executor.state !== 'ready' || executor.collection.running || executor.deadMappedBytes === 0) continue
      const dueMs = this.#dueMs(executor)
      if (dueMs > now) next = Math.min(next, dueMs)
      else this.#collect(executor, now)
    }
    if (next === Infinity) return
    const timer = setTimeout(() => this.request(), next - now)
    timer.unref()
    this.#stopTimer = () => clearTimeout(timer)
  }

  /** Goes by the last sample of each. Returns how many were replaced; others may be after their collection. */
  recycleHoarders(): number {
    const minimum = Math.max(MIN_HOARD_BYTES, this.#options.hoardBytes)
    let replaced = 0
    for (const executor of this.#options.executors()) {
      if (executor.state !== 'ready' || executor.outstanding.size > 0 || executor.collection.running) continue
      if (executor.lastSample === null || growthOf(executor.lastSample) <= minimum) continue
      if (executor.collection.afterRuns < executor.handedOver) this.#collect(executor, performance.now())
      else {
        this.#options.replace(executor)
        replaced++
      }
    }
    return replaced
  }

  ended(executor: ExecutorProcess, tookMs: number): void {
    executor.collection = { ...executor.collection, running: false, endedMs: performance.now(), tookMs }
    for (const trim of this.#trims) if (trim.left.delete(executor) && trim.left.size === 0) trim.done()
  }

  /** All of them at once, whatever it costs; the promise is for those that run nothing now. */
  trim(): Promise<void> {
    const left = new Set<ExecutorProcess>()
    for (const executor of this.#options.executors()) {
      if (executor.state !== 'ready') continue
      if (executor.outstanding.size === 0) left.add(executor)
      if (!executor.collection.running) this.#collect(executor, performance.now())
    }
    if (left.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const trim = { left, done: (): void => done() }
      // One that died meanwhile has given back everything.
      const timer = setTimeout(() => done(), TRIM_MS)
      const done = (): void => {
        clearTimeout(timer)
        this.#trims.delete(trim)
        resolve()
      }
      this.#trims.add(trim)
    })
  }

  close(): void {
    this.#stopTimer?.()
    this.#stopTimer = null
  }

  #collect(executor: ExecutorProcess, now: number): void {
    executor.collection = { running: true, endedMs: now, tookMs: 0, afterRuns: executor.handedOver }
    executor.send({ op: 'collect' })
  }

  /** When it may collect, as things are now; looked at again then, since it may be idle by that time. */
  #dueMs(executor: ExecutorProcess): number {
    const { endedMs, tookMs } = executor.collection
    const waitMs = (fraction: number): number => tookMs * (1 / fraction - 1)
    const idleDueMs = endedMs + waitMs(IDLE_TIME_FRACTION)
    const idle = executor.outstanding.size === 0 || executor.placing
    if (idle || idleDueMs > performance.now()) return idleDueMs
    const worthIt = executor.deadMappedBytes > Math.max(MIN_DEAD_BYTES, MIN_DEAD_FRACTION * this.#options.memoryLimit)
    return worthIt ? endedMs + waitMs(BUSY_TIME_FRACTION) : Infinity
  }
}
