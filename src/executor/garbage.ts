// Memory between tasks. Nothing makes V8 collect while an executor is idle, so it would keep the garbage of its last task,
// often more than 100 MiB; and mapped blobs are given back only by a collection. Who asks for one for the sake of mapped
// blobs, and how often, is decided in the worker.
//
// A large result is garbage as soon as it is written, and would stay until the next one makes V8 collect: then both count. It
// was mostly made a moment ago, so a collection of the young generation gives it back.

import { getHeapStatistics } from 'node:v8'
import type { Libc } from '../native/libc.ts'

/** An executor that grew by more than this part of its share since its last collection collects before the next task. */
const GROWTH_FRACTION = 0.25
/** A young collection takes a millisecond or two: worth it for results of this size. */
const LARGE_RESULT_BYTES = 8 * 2 ** 20

export interface GarbageOptions {
  readonly collect: (generation: 'young' | 'all') => void
  readonly libc: Libc | null
  /** 0: no limit, and no collections for the sake of growth. */
  readonly shareBytes: number
  /** Maps count as external memory for V8, but are not this process's own. */
  mappedBytes(): number
}

export class Garbage {
  readonly #options: GarbageOptions
  /** Heap taken from the system and external memory after the last collection, bytes. */
  #baseline: number
  #held = 0
  #used = 0
  #writtenBytes = 0

  constructor(options: GarbageOptions) {
    this.#options = options
    this.#baseline = this.#measure()
  }

  /** Heap in use and external memory at the end of the last task or collection, bytes, without mapped blobs. */
  get used(): number {
    return this.#used
  }

  /** Measures: once per task, since three questions to V8 were a sixteenth of the cost of a trivial one. */
  taskEnds(): void {
    this.#held = this.#measure()
  }

  /** Collects if the heap grew too much since the last time. */
  afterTask(): void {
    const { shareBytes } = this.#options
    if (shareBytes > 0 && this.#held - this.#baseline > GROWTH_FRACTION * shareBytes) this.collect()
  }

  /** Of a result; its memory can be given back once nothing on the stack holds it any more: `dropWritten`. */
  written(nbytes: number): void {
    this.#writtenBytes += nbytes
  }

  dropWritten(): void {
    if (this.#writtenBytes >= LARGE_RESULT_BYTES) this.#options.collect('young')
    this.#writtenBytes = 0
  }

  /** Returns how long it took, milliseconds. Maps end a moment later, when the loop turns. */
  collect(): number {
    const start = performance.now()
    this.#options.collect('all')
    // Buffers are freed by a thread of the engine, which the next collection waits for.
    this.#options.collect('young')
    this.#options.libc?.mallocTrim()
    // What survives is held by modules of the user: measured from here on.
    this.#baseline = this.#measure()
    this.#held = this.#baseline
    return performance.now() - start
  }

  #measure(): number {
    const heap = getHeapStatistics()
    const foreign = heap.external_memory - this.#options.mappedBytes()
    this.#used = heap.used_heap_size + foreign
    return heap.total_heap_size + foreign
  }
}
