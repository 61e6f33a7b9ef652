// The place where one copy of a blob's bytes is. A record switches from one holding to the next when its blob moves; the
// old one lives on until its last reader is done (S1), and only then gives its bytes back.
//
// H1. `pins` readers were handed this holding and did not release it; `mapped` readers are done but still map it.
// H2. A holding is retired once, by the record that leaves it, and handed to nobody afterwards.
// H3. Its bytes stay counted until it is retired, unpinned, and unmapped.

import type { Tier } from './store.ts'

export abstract class Holding {
  abstract readonly tier: Tier
  readonly nbytes: number
  pins = 0
  mapped = 0
  #retired = false

  constructor(nbytes: number) {
    this.nbytes = nbytes
  }

  get retired(): boolean {
    return this.#retired
  }

  get inUse(): boolean {
    return this.pins > 0 || this.mapped > 0
  }

  pin(): void {
    this.pins++
  }

  unpin(stillMapped: boolean): void {
    this.pins--
    if (stillMapped) this.mapped++
    if (this.#retired) this.settle()
  }

  unmap(): void {
    this.mapped--
    if (this.#retired) this.settle()
  }

  /** No record refers to it any more. */
  retire(): void {
    if (this.#retired) return
    this.#retired = true
    this.settle()
  }

  /** Called while retired, whenever a count changed: gives back what can be given back. */
  protected abstract settle(): void
}
