// Least-recently-used order by hand: a doubly linked list through the members themselves. A Map that deletes its first key
// scans its tombstones each time: 2.5 s for 200,000 steps, against 0.2 s for links.

/** A member of at most one list; the links belong to the list. */
export interface LruNode<T extends LruNode<T>> {
  readonly nbytes: number
  lru: LruList<T> | null
  older: T | null
  newer: T | null
}

/** Members from the least to the most recently used, with the sum of their sizes. */
export class LruList<T extends LruNode<T>> {
  #oldest: T | null = null
  #newest: T | null = null
  #size = 0
  #bytes = 0

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#bytes
  }

  get oldest(): T | null {
    return this.#oldest
  }

  /** Puts `node` at the recent end, taking it out of whatever list it was in. */
  pushNewest(node: T): void {
    node.lru?.remove(node)
    node.lru = this
    node.older = this.#newest
    if (this.#newest === null) this.#oldest = node
    else this.#newest.newer = node
    this.#newest = node
    this.#size++
    this.#bytes += node.nbytes
  }

  /** Puts `node` at the old end: it is the next to go. */
  pushOldest(node: T): void {
    node.lru?.remove(node)
    node.lru = this
    node.newer = this.#oldest
    if (this.#oldest === null) this.#newest = node
    else this.#oldest.older = node
    this.#oldest = node
    this.#size++
    this.#bytes += node.nbytes
  }

  /** Does nothing when `node` is not in this list. */
  remove(node: T): void {
    if (node.lru !== this) return
    if (node.older === null) this.#oldest = node.newer
    else node.older.newer = node.newer
    if (node.newer === null) this.#newest = node.older
    else node.newer.older = node.older
    node.lru = null
    node.older = null
    node.newer = null
    this.#size--
    this.#bytes -= node.nbytes
  }

  /** From the oldest; the member just handed out may be removed meanwhile, others may not. */
  *[Symbol.iterator](): IterableIterator<T> {
    let node = this.#oldest
    while (node !== null) {
      const next: T | null = node.newer
      yield node
      node = next
    }
  }
}
