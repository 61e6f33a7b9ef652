// A heap of running workers that are moved when their load changes: the best worker for a task without inputs is at the
// top, whatever the number of workers. Positions are kept on the records, one slot per heap.

import type { WorkerRecord } from './records.ts'

/** By tasks per thread: the least loaded worker is full exactly when all are (queueing.ts). */
export function compareLoad(a: WorkerRecord, b: WorkerRecord): number {
  if (a.crowded !== b.crowded) return a.crowded ? 1 : -1
  return a.load * b.nthreads - b.load * a.nthreads || compareSpare(a, b)
}

/** By the time at which a new task would start. */
export function compareStart(a: WorkerRecord, b: WorkerRecord): number {
  if (a.crowded !== b.crowded) return a.crowded ? 1 : -1
  return a.occupancyUs * b.nthreads - b.occupancyUs * a.nthreads || compareSpare(a, b)
}

/** The tie-break of every choice: fewer stored and expected bytes, then round robin. */
export function compareSpare(a: WorkerRecord, b: WorkerRecord): number {
  return a.nbytes + a.expectedBytes - b.nbytes - b.expectedBytes || a.lastAssigned - b.lastAssigned
}

export class WorkerHeap {
  readonly #slot: 0 | 1
  readonly #compare: (a: WorkerRecord, b: WorkerRecord) => number
  readonly #heap: WorkerRecord[] = []

  constructor(slot: 0 | 1, compare: (a: WorkerRecord, b: WorkerRecord) => number) {
    this.#slot = slot
    this.#compare = compare
  }

  get size(): number {
    return this.#heap.length
  }

  get best(): WorkerRecord | undefined {
    return this.#heap[0]
  }

  /** The best one and some that are near it, at most `count`. */
  top(count: number): WorkerRecord[] {
    return this.#heap.slice(0, count)
  }

  /** Up to `count` members in heap order from `start` on, around the end. */
  slice(start: number, count: number): WorkerRecord[] {
    const size = this.#heap.length
    const taken: WorkerRecord[] = []
    for (let n = 0; n < Math.min(count, size); n++) taken.push(this.#heap[(start + n) % size] as WorkerRecord)
    return taken
  }

  has(worker: WorkerRecord): boolean {
    return worker.positions[this.#slot] >= 0
  }

  add(worker: WorkerRecord): void {
    if (this.has(worker)) return
    this.#heap.push(worker)
    this.#siftUp(worker, this.#heap.length - 1)
  }

  delete(worker: WorkerRecord): void {
    const position = worker.positions[this.#slot]
    if (position < 0) return
    worker.positions[this.#slot] = -1
    const last = this.#heap.pop()
    if (last === undefined || last === worker) return
    this.#place(last, position)
    this.moved(last)
  }

  /** Its load changed. */
  moved(worker: WorkerRecord): void {
    const position = worker.positions[this.#slot]
    if (position < 0) return
    if (this.#siftUp(worker, position) === position) this.#siftDown(worker, position)
  }

  [Symbol.iterator](): IterableIterator<WorkerRecord> {
    return this.#heap.values()
  }

  #place(worker: WorkerRecord, position: number): void {
    this.#heap[position] = worker
    worker.positions[this.#slot] = position
  }

  #siftUp(worker: WorkerRecord, start: number): number {
    let position = start
    while (position > 0) {
      const above = this.#heap[(position - 1) >> 1] as WorkerRecord
      if (this.#compare(worker, above) >= 0) break
      this.#place(above, position)
      position = (position - 1) >> 1
    }
    this.#place(worker, position)
    return position
  }

  #siftDown(worker: WorkerRecord, start: number): void {
    const heap = this.#heap
    let position = start
    for (;;) {
      let child = 2 * position + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && this.#compare(heap[child + 1] as WorkerRecord, heap[child] as WorkerRecord) < 0)
        child++
      const below = heap[child] as WorkerRecord
      if (this.#compare(below, worker) >= 0) break
      this.#place(below, position)
      position = child
    }
    this.#place(worker, position)
  }
}
