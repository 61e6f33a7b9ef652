// How full workers are, and how full they will be: for choosing where data goes. Values are counted as the books have
// them now, process memory as last told.

import type { MemoryMeasure } from '../../base/memory-measure.ts'
import { expectedUse } from './memory-room.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** Without pauses a worker is full when its limit is. */
const FULL = 1
/** What lies on disk takes no memory: there only a single value counts, which must not fill a worker while it comes. */
const LARGEST_SPILLED = 0.25

export function memoryOf({ nbytes, memory }: WorkerRecord, measure: MemoryMeasure): number {
  const managed = Math.max(0, nbytes - memory.spilled)
  switch (measure) {
    case 'process':
      return memory.process
    case 'optimistic':
      return managed + memory.unmanaged
    case 'managed':
    case 'managedInMemory':
      return managed
    case 'managedTotal':
      return nbytes
  }
}

export class Ledger {
  readonly #state: SchedulerState
  readonly #measure: MemoryMeasure
  /** What is ordered to come and to go. */
  readonly #ordered: Map<WorkerRecord, number>

  constructor(state: SchedulerState, measure: MemoryMeasure) {
    this.#state = state
    this.#measure = measure
    this.#ordered = new Map(state.copies.incoming)
    for (const [task, removals] of state.copies.removals)
      for (const worker of removals.keys()) if (worker.replicas.has(task)) this.add(worker, -task.nbytes)
  }

  /** Bytes, by the measure, once everything that is ordered has been done. */
  of(worker: WorkerRecord): number {
    return memoryOf(worker, this.#measure) + (this.#ordered.get(worker) ?? 0)
  }

  add(worker: WorkerRecord, nbytes: number): void {
    this.#ordered.set(worker, (this.#ordered.get(worker) ?? 0) + nbytes)
  }

  /** The running worker with the least memory that has room for a copy. `among`: null for any. */
  roomiest(
    task: TaskRecord,
    among: Iterable<WorkerRecord> | null,
    room: (state: SchedulerState, worker: WorkerRecord, nbytes: number) => boolean = hasRoomFor,
  ): WorkerRecord | undefined {
    const { orders, removals } = this.#state.copies
    const coming = orders.get(task)
    const going = removals.get(task)
    let best: WorkerRecord | undefined
    for (const worker of among ?? this.#state.byLoad) {
      if (!worker.isRunning || worker.replicas.has(task) || coming?.has(worker) === true || going?.has(worker) === true)
        continue
      if (!room(this.#state, worker, task.nbytes)) continue
      if (best === undefined || this.#compare(worker, best) < 0) best = worker
    }
    return best
  }

  #compare(a: WorkerRecord, b: WorkerRecord): number {
    return this.of(a) - this.of(b) || expectedUse(this.#state, a) - expectedUse(this.#state, b)
  }
}

/** It would not pause with that many bytes more. */
export function hasRoomFor(state: SchedulerState, worker: WorkerRecord, nbytes: number): boolean {
  const limit = worker.info.memoryLimit
  if (limit === 0) return true
  return !worker.crowded && expectedUse(state, worker) + nbytes <= Math.min(FULL, state.options.pauseFraction) * limit
}

/** It may have to spill for it. */
export function hasRoomOnDisk(_state: SchedulerState, worker: WorkerRecord, nbytes: number): boolean {
  const limit = worker.info.memoryLimit
  return limit === 0 || (!worker.crowded && nbytes <= Math.max(limit - worker.memory.process, LARGEST_SPILLED * limit))
}
