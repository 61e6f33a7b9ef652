/** The last `capacity` entries, oldest first. */
export class RingLog<T> {
  readonly #capacity: number
  readonly #items: T[] = []
  #start = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get size(): number {
    return this.#items.length
  }

  push(item: T): void {
    if (this.#items.length < this.#capacity) {
      this.#items.push(item)
      return
    }
    this.#items[this.#start] = item
    this.#start = (this.#start + 1) % this.#capacity
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (let i = 0; i < this.#items.length; i++) yield this.#items[(this.#start + i) % this.#items.length] as T
  }
}
