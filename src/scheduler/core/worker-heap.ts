// A heap of running workers that are moved when their load changes: the best worker for a task without inputs is at the
// top, whatever the number of workers. Positions are kept on the records, one slot per heap.

import type { WorkerRecord } from './records.ts'

/** By tasks per thread: the least loaded worker is full exactly when all are (queueing.ts). */
export function loadKey({ load, nthreads }: WorkerRecord): number {
  return load / nthreads
}

/** By the time at which a new task would start. */
export function startKey({ occupancyUs, nthreads }: WorkerRecord): number {
  return occupancyUs / nthreads
}

/** The tie-break of every choice: fewer stored and expected bytes, then round robin. */
export function compareSpare(a: WorkerRecord, b: WorkerRecord): number {
  return a.nbytes + a.expectedBytes - b.nbytes - b.expectedBytes || a.lastAssigned - b.lastAssigned
}

/** Numbers by which a member is compared, the most significant first: crowded, its key, its bytes, its last assignment. */
const KEYS = 4

/**
 * What members are compared by is copied side by side when they are moved: with thousands of workers the records are not in
 * the processor's cache, and every level of a sift would wait for two of them.
 */
export class WorkerHeap {
  readonly #slot: 0 | 1
  readonly #keyOf: (worker: WorkerRecord) => number
  readonly #heap: WorkerRecord[] = []
  /** Of the member at each position. */
  #keys = new Float64Array(16 * KEYS)
  /** Of the member that is being moved. */
  readonly #moving = new Float64Array(KEYS)

  constructor(slot: 0 | 1, keyOf: (worker: WorkerRecord) => number) {
    this.#slot = slot
    this.#keyOf = keyOf
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
    const position = this.#heap.length
    this.#heap.push(worker)
    if (this.#heap.length * KEYS > this.#keys.length) this.#grow()
    this.#read(worker)
    this.#siftUp(worker, position)
  }

  delete(worker: WorkerRecord): void {
    const position = worker.positions[this.#slot]
    if (position < 0) return
    worker.positions[this.#slot] = -1
    const last = this.#heap.pop()
    if (last === undefined || last === worker) return
    last.positions[this.#slot] = position
    this.moved(last)
  }

  /** Something changed that it is compared by. */
  moved(worker: WorkerRecord): void {
    const position = worker.positions[this.#slot]
    if (position < 0) return
    this.#read(worker)
    if (this.#siftUp(worker, position) === position) this.#siftDown(worker, position)
  }

  [Symbol.iterator](): IterableIterator<WorkerRecord> {
    return this.#heap.values()
  }

  #grow(): void {
    const keys = new Float64Array(this.#keys.length * 2)
    keys.set(this.#keys)
    this.#keys = keys
  }

  #read(worker: WorkerRecord): void {
    const moving = this.#moving
    moving[0] = worker.crowded ? 1 : 0
    moving[1] = this.#keyOf(worker)
    moving[2] = worker.nbytes + worker.expectedBytes
    moving[3] = worker.lastAssigned
  }

  /** Puts the member that is being moved where it now belongs. */
  #place(worker: WorkerRecord, position: number): void {
    this.#heap[position] = worker
    worker.positions[this.#slot] = position
    copyKeys(this.#moving, 0, this.#keys, position * KEYS)
  }

  #shift(from: number, to: number): void {
    const worker = this.#heap[from] as WorkerRecord
    this.#heap[to] = worker
    worker.positions[this.#slot] = to
    copyKeys(this.#keys, from * KEYS, this.#keys, to * KEYS)
  }

  #siftUp(worker: WorkerRecord, start: number): number {
    let position = start
    while (position > 0) {
      const above = (position - 1) >> 1
      if (!isBefore(this.#moving, 0, this.#keys, above * KEYS)) break
      this.#shift(above, position)
      position = above
    }
    this.#place(worker, position)
    return position
  }

  #siftDown(worker: WorkerRecord, start: number): void {
    const size = this.#heap.length
    const keys = this.#keys
    let position = start
    for (;;) {
      let child = 2 * position + 1
      if (child >= size) break
      if (child + 1 < size && isBefore(keys, (child + 1) * KEYS, keys, child * KEYS)) child++
      if (!isBefore(keys, child * KEYS, this.#moving, 0)) break
      this.#shift(child, position)
      position = child
    }
    this.#place(worker, position)
  }
}

function isBefore(some: Float64Array, at: number, others: Float64Array, otherAt: number): boolean {
  for (let n = 0; n < KEYS; n++) {
    const one = some[at + n] as number
    const other = others[otherAt + n] as number
    if (one !== other) return one < other
  }
  return false
}

function copyKeys(from: Float64Array, at: number, to: Float64Array, toAt: number): void {
  for (let n = 0; n < KEYS; n++) to[toAt + n] = from[at + n] as number
}
