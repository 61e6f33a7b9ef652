// io tasks share a process, so a death does not tell which of them caused it. Those that were in it run in smaller company
// the next time, in the end alone; one that dies alone is blamed.

import type { TaskKey } from '../../base/ids.ts'
import type { PoolRun } from './pool-run.ts'

/** How many may run together after so many deaths. */
const COMPANY = [Infinity, 4, 1]
const MAX_KEYS = 4096

export class IoSuspicion {
  readonly #deaths = new Map<TaskKey, number>()
  readonly #concurrency: number

  constructor(concurrency: number) {
    this.#concurrency = concurrency
  }

  note(run: PoolRun): void {
    const { key } = run.request
    this.#deaths.set(key, (this.#deaths.get(key) ?? 0) + 1)
    if (this.#deaths.size <= MAX_KEYS) return
    for (const oldest of this.#deaths.keys()) {
      this.#deaths.delete(oldest)
      return
    }
  }

  clear(run: PoolRun): void {
    this.#deaths.delete(run.request.key)
  }

  /** How many runs an executor may have, with this one, when these are in it already. */
  capacity(run: PoolRun, others: Iterable<PoolRun>): number {
    let capacity = Math.min(this.#concurrency, this.#company(run))
    if (this.#deaths.size > 0) for (const other of others) capacity = Math.min(capacity, this.#company(other))
    return capacity
  }

  #company(run: PoolRun): number {
    const deaths = this.#deaths.get(run.request.key) ?? 0
    return COMPANY[Math.min(deaths, COMPANY.length - 1)] as number
  }
}
