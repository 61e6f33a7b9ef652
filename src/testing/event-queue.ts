/** Something that happens at one moment of virtual time; `run` is null once it was cancelled. */
export interface SimEvent {
  readonly atMs: number
  readonly sequence: number
  readonly label: string
  run: (() => void) | null
}

/** Events in order of time, then of creation: a binary heap. */
export class EventQueue {
  readonly #heap: SimEvent[] = []
  #sequence = 0

  get size(): number {
    return this.#heap.length
  }

  peek(): SimEvent | undefined {
    return this.#heap[0]
  }

  add(atMs: number, label: string, run: () => void): SimEvent {
    const event: SimEvent = { atMs, sequence: this.#sequence++, label, run }
    const heap = this.#heap
    let index = heap.length
    heap.push(event)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(event, heap[parent] as SimEvent)) break
      heap[index] = heap[parent] as SimEvent
      index = parent
    }
    heap[index] = event
    return event
  }

  pop(): SimEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as SimEvent, heap[child] as SimEvent)) child++
      if (!isBefore(heap[child] as SimEvent, last)) break
      heap[index] = heap[child] as SimEvent
      index = child
    }
    heap[index] = last
    return first
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence)
}
