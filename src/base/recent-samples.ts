/** Functions beyond this many: the ones unseen for longest are forgotten. */
const MAX_NAMES = 4096

/** The last values measured for one function. */
export class Samples {
  readonly #values: Float64Array
  count = 0

  constructor(capacity: number) {
    this.#values = new Float64Array(capacity)
  }

  add(value: number): void {
    this.#values[this.count++ % this.#values.length] = value
  }

  /** The largest but `above` others: for a few of them less work than to sort. */
  largestBut(above: number): number {
    const largest = new Float64Array(above + 1).fill(Number.NEGATIVE_INFINITY)
    const length = Math.min(this.count, this.#values.length)
    for (let n = 0; n < length; n++) {
      const value = this.#values[n] as number
      let at = above
      if (value <= (largest[at] as number)) continue
      for (; at > 0 && (largest[at - 1] as number) < value; at--) largest[at] = largest[at - 1] as number
      largest[at] = value
    }
    return largest[above] as number
  }

  /** In rising order. */
  sorted(): Float64Array {
    return this.#values.slice(0, Math.min(this.count, this.#values.length)).sort()
  }
}

/** The last values measured for each function, by its name; bounded in both. */
export class RecentSamples<S extends Samples> {
  readonly #names = new Map<string, S>()
  readonly #create: () => S

  constructor(create: () => S) {
    this.#create = create
  }

  of(name: string): S | undefined {
    return this.#names.get(name)
  }

  add(name: string, value: number): S {
    let samples = this.#names.get(name)
    if (samples === undefined) {
      samples = this.#create()
      this.#names.set(name, samples)
      if (this.#names.size > MAX_NAMES) this.#forgetOldest()
    }
    samples.add(value)
    return samples
  }

  #forgetOldest(): void {
    for (const name of this.#names.keys()) {
      this.#names.delete(name)
      return
    }
  }
}
