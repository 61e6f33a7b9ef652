// Which run goes into which executor, and back out again. What their messages and deaths mean is the pool's business
// (process-pool.ts), which asks for a dispatch whenever an executor may take more.
//
// D1. Runs of one queue leave it in order. Ordinary ones, those that need a larger heap, and io do not wait for one another.
// D2. An executor whose result waits for a place, or whose first run is slow, is given nothing.
// D3. What was handed over and has not started can be taken back at any time; what has started, never.

import type { RunId, TaskKey } from '../../base/ids.ts'
import type { ExecutorProcess } from './executor-process.ts'
import type { IoSuspicion } from './io-suspicion.ts'
import type { PoolRun } from './pool-run.ts'
import type { Seats } from './seats.ts'
import type { TaskDurations } from './task-durations.ts'

/** A first run that is still the first after this long is slow: nothing is to wait behind it. */
const STALL_CHECK_MS = 20

export interface DispatcherOptions {
  readonly seats: Seats
  readonly durations: TaskDurations
  readonly suspicion: IoSuspicion
  readonly memoryLimit: number
  readonly mapThreshold: number
  /** This run is the next one to start in its executor. */
  readonly onFirst: (executor: ExecutorProcess, run: PoolRun) => void
}

export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #seats: Seats
  readonly #ordinary: PoolRun[] = []
  readonly #big: PoolRun[] = []
  readonly #io: PoolRun[] = []
  readonly #queues: readonly PoolRun[][] = [this.#ordinary, this.#big, this.#io]
  #stopStallCheck: (() => void) | null = null

  constructor(options: DispatcherOptions) {
    this.#options = options
    this.#seats = options.seats
  }

  add(run: PoolRun): void {
    this.#queueOf(run).push(run)
    this.dispatch()
  }

  /** Runs that were handed over before, and go first now. */
  putBack(runs: readonly PoolRun[]): void {
    for (const run of runs.toReversed()) this.#queueOf(run).unshift(run)
  }

  remove(run: PoolRun): void {
    const queue = this.#queueOf(run)
    const index = queue.indexOf(run)
    if (index >= 0) queue.splice(index, 1)
  }

  dispatch(): void {
    for (const queue of this.#queues) {
      for (let run = queue[0]; run !== undefined; run = queue[0]) {
        const executor = queue === this.#io ? this.#pickIo(run) : this.#pick(run)
        if (executor === null) break
        queue.shift()
        this.#handOver(executor, run)
      }
    }
  }

  close(): void {
    this.#stopStallCheck?.()
    for (const queue of this.#queues) queue.length = 0
  }

  #queueOf(run: PoolRun): PoolRun[] {
    if (run.request.options.io === true) return this.#io
    return this.#heapNeed(run) > 0 ? this.#big : this.#ordinary
  }

  #pick(run: PoolRun): ExecutorProcess | null {
    const need = this.#heapNeed(run)
    let best: ExecutorProcess | null = null
    let fits = false
    for (const { io, heapBytes, executor } of this.#seats.seats) {
      if (io || heapBytes < need) continue
      fits = true
      if (executor === null || executor.state !== 'ready') continue
      const size = executor.outstanding.size
      if (size === 0) return executor
      if (executor.placing || executor.stalled !== null || size >= this.#depthIn(executor, run)) continue
      if (best === null || size < best.outstanding.size) best = executor
    }
    if (!fits) this.#enlarge(need)
    return best
  }

  #depthIn(executor: ExecutorProcess, run: PoolRun): number {
    let depth = this.#options.durations.depth(run.request.name)
    for (const other of executor.outstanding.values()) {
      if (depth === 1) break
      if (other.request.name !== run.request.name)
        depth = Math.min(depth, this.#options.durations.depth(other.request.name))
    }
    return depth
  }

  /** Heap that the run needs beyond the usual share, in whole shares, so that a need that varies replaces no executor again; 0 when the share does. */
  #heapNeed(run: PoolRun): number {
    const { heapBytes } = run.request.memory
    const { shareBytes } = this.#seats
    if (shareBytes === 0 || heapBytes <= shareBytes) return 0
    return Math.min(Math.ceil(heapBytes / shareBytes) * shareBytes, Math.max(this.#options.memoryLimit, shareBytes))
  }

  /** No executor may have this much heap: one that is idle makes room for one that may. */
  #enlarge(heapBytes: number): void {
    for (const { io, executor } of this.#seats.seats) {
      if (io || executor?.state !== 'ready' || executor.outstanding.size > 0) continue
      this.#seats.replace(executor, heapBytes)
      return
    }
  }

  #pickIo(run: PoolRun): ExecutorProcess | null {
    let best: ExecutorProcess | null = null
    let opening = false
    for (const { io, executor } of this.#seats.seats) {
      if (!io) continue
      if (executor?.state !== 'ready') opening = true
      else if (executor.outstanding.size < this.#options.suspicion.capacity(run, executor.outstanding.values())) {
        if (best === null || executor.outstanding.size < best.outstanding.size) best = executor
      }
    }
    if (best === null && !opening) this.#seats.openIoSeat()
    return best
  }

  #handOver(executor: ExecutorProcess, run: PoolRun): void {
    const { request } = run
    run.executor = executor
    run.sequence = ++executor.handedOver
    executor.outstanding.set(request.runId, run)
    executor.remember(request.runId, request.key)
    this.#expectMaps(executor, run)
    const message = {
      op: 'run',
      runId: request.runId,
      sequence: run.sequence,
      key: request.key,
      name: request.name,
      fn: request.fn,
      args: request.args,
      inputs: request.inputs,
      memory: request.options.memory ?? 0,
      attempt: request.attempt,
      clusterId: request.clusterId,
      generation: request.generation,
    } as const
    const { knownFunctions } = executor
    // Parts added in the middle of a frequent message would cost more than all the rest of it.
    if (knownFunctions.has(request.fn)) executor.send(message)
    else {
      knownFunctions.add(request.fn)
      executor.send({ ...message, fnBytes: request.fnBytes })
    }
    if (executor.concurrency > 1 || executor.outstanding.size === 1) this.#options.onFirst(executor, run)
    else this.#watchStalls()
  }

  #expectMaps(executor: ExecutorProcess, run: PoolRun): void {
    let maps: Map<TaskKey, number> | null = null
    for (const { key, source } of run.request.inputs) {
      if (source.via !== 'file' || source.nbytes < this.#options.mapThreshold) continue
      maps ??= new Map()
      maps.set(key, source.nbytes)
    }
    if (maps === null) return
    executor.mapped.set(run.request.runId, maps)
    this.#seats.capMemory(executor)
  }

  /** Takes back those that have not started (P4 of the status page); they are in nobody's hands then. */
  takeBack(executor: ExecutorProcess, runs: readonly PoolRun[]): PoolRun[] {
    const epoch = this.#seats.page.raiseEpoch(executor.slot)
    const started = this.#seats.page.started(executor.slot)
    const taken = runs.filter((run) => run.sequence > started)
    executor.send({ op: 'withdraw', runIds: taken.map((run) => run.request.runId), epoch })
    for (const run of taken) {
      executor.outstanding.delete(run.request.runId)
      executor.mapped.delete(run.request.runId)
      run.executor = null
    }
    return taken
  }

  #watchStalls(): void {
    if (this.#stopStallCheck !== null) return
    const seen = new Map<ExecutorProcess, RunId>()
    const timer = setInterval(() => {
      if (!this.#checkStalls(seen)) this.#stopStallCheck?.()
    }, STALL_CHECK_MS)
    timer.unref()
    this.#stopStallCheck = () => {
      clearInterval(timer)
      this.#stopStallCheck = null
    }
  }

  /** False when nothing waits behind anything any more. */
  #checkStalls(seen: Map<ExecutorProcess, RunId>): boolean {
    let waiting = false
    for (const executor of this.#seats.executors) {
      if (executor.concurrency > 1 || executor.outstanding.size < 2 || executor.state !== 'ready') continue
      this.#seats.hearHeldBack(executor)
      if (executor.outstanding.size < 2) continue
      waiting = true
      const [first, ...others] = executor.outstanding.values()
      const runId = (first as PoolRun).request.runId
      if (seen.get(executor) !== runId) seen.set(executor, runId)
      else {
        executor.stalled = runId
        this.putBack(this.takeBack(executor, others))
      }
    }
    this.dispatch()
    return waiting
  }
}
