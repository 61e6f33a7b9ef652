// A set that hands out its smallest member: a binary heap with lazy deletion. Used for priority queues of tasks, where
// members leave from the middle as often as from the top.

interface Entry<T, P> {
  readonly item: T
  readonly priority: P
  readonly order: number
  removed: boolean
}

/** Members keep the priority they had when added; ties leave in order of insertion. */
export class HeapSet<T, P> {
  #heap: Entry<T, P>[] = []
  readonly #entries = new Map<T, Entry<T, P>>()
  readonly #priorityOf: (item: T) => P
  readonly #compare: (a: P, b: P) => number
  #order = 0

  constructor(priorityOf: (item: T) => P, compare: (a: P, b: P) => number) {
    this.#priorityOf = priorityOf
    this.#compare = compare
  }

  get size(): number {
    return this.#entries.size
  }

  has(item: T): boolean {
    return this.#entries.has(item)
  }

  add(item: T): void {
    if (this.#entries.has(item)) return
    const entry = { item, priority: this.#priorityOf(item), order: this.#order++, removed: false }
    this.#entries.set(item, entry)
    this.#heap.push(entry)
    this.#siftUp(this.#heap.length - 1)
  }

  delete(item: T): boolean {
    const entry = this.#entries.get(item)
    if (entry === undefined) return false
    entry.removed = true
    this.#entries.delete(item)
    if (this.#heap.length > 64 && this.#heap.length > 2 * this.#entries.size) this.#rebuild()
    return true
  }

  peek(): T | undefined {
    this.#dropRemoved()
    return this.#heap[0]?.item
  }

  pop(): T | undefined {
    this.#dropRemoved()
    const top = this.#heap[0]
    if (top === undefined) return undefined
    this.#entries.delete(top.item)
    this.#removeTop()
    return top.item
  }

  /** The `count` smallest members in order, without removing them. */
  peekMany(count: number): T[] {
    const taken: T[] = []
    while (taken.length < count) {
      const item = this.pop()
      if (item === undefined) break
      taken.push(item)
    }
    for (const item of taken) this.add(item)
    return taken
  }

  clear(): void {
    this.#heap = []
    this.#entries.clear()
  }

  /** Members in no particular order. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#entries.keys()
  }

  #less(a: Entry<T, P>, b: Entry<T, P>): boolean {
    const byPriority = this.#compare(a.priority, b.priority)
    return byPriority < 0 || (byPriority === 0 && a.order < b.order)
  }

  #dropRemoved(): void {
    while (this.#heap[0]?.removed === true) this.#removeTop()
  }

  #removeTop(): void {
    const last = this.#heap.pop()
    if (last === undefined || this.#heap.length === 0) return
    this.#heap[0] = last
    this.#siftDown(0)
  }

  #rebuild(): void {
    this.#heap = this.#heap.filter((entry) => !entry.removed)
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#siftDown(i)
  }

  #siftUp(start: number): void {
    const heap = this.#heap
    const entry = heap[start] as Entry<T, P>
    let index = start
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent] as Entry<T, P>
      if (!this.#less(entry, above)) break
      heap[index] = above
      index = parent
    }
    heap[index] = entry
  }

  #siftDown(start: number): void {
    const heap = this.#heap
    const entry = heap[start] as Entry<T, P>
    let index = start
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && this.#less(heap[child + 1] as Entry<T, P>, heap[child] as Entry<T, P>)) child++
      const below = heap[child] as Entry<T, P>
      if (!this.#less(below, entry)) break
      heap[index] = below
      index = child
    }
    heap[index] = entry
  }
}
