// The pool of executor processes: what their messages and deaths mean for each run, and how a run is stopped. Which run goes
// where is in dispatcher.ts, starting and replacing processes in seats.ts, one process in executor-process.ts, what is said
// about a death in death-certificate.ts. The worker's state machine decides what runs at all.
//
// P1. Only the run that the status page names at a death is blamed for it. All others of that executor are returned.
//     What a run that has ended still waits for in its executor's outbox is heard before anything is decided about it.
// P2. A place that was given is either in the result of its run, or given back, exactly once.

import { timerMs } from '../../base/clock.ts'
import type { FunctionId, RunId, TaskKey } from '../../base/ids.ts'
import type { PlimsollError } from '../../errors/plimsoll-error.ts'
import { decodeError, encodeError } from '../../values/error.ts'
import type { StatusPage, SlotState } from '../../native/status-page.ts'
import type { ExecutorInfo } from '../../protocol/scheduler-client.ts'
import type { ExecutorToWorker, RunEnd } from '../../protocol/worker-executor.ts'
import { Collections } from './collections.ts'
import {
  type Certificate,
  deathCertificate,
  type DeathScene,
  lostCertificate,
  type Neighbour,
  refusalCertificate,
  timeoutCertificate,
} from './death-certificate.ts'
import {
  type ExecutorPool,
  type ExecutorPoolEvents,
  type ExecutorPoolOptions,
  type ExecutorSample,
  type PlaceAnswer,
  type RunRequest,
  type RunResult,
  growthOf,
} from './executor-pool.ts'
import type { ExecutorEnd, ExecutorProcess, KillCause } from './executor-process.ts'
import { Dispatcher } from './dispatcher.ts'
import { IoSuspicion } from './io-suspicion.ts'
import type { OutputStream } from './output-log.ts'
import { type PoolRun, newPoolRun, placeFailed } from './pool-run.ts'
import { Seats, type SeatsEvents } from './seats.ts'
import { TaskDurations } from './task-durations.ts'

export function createProcessPool(options: ExecutorPoolOptions, events: ExecutorPoolEvents): ExecutorPool {
  return new ProcessPool(options, events)
}

class ProcessPool implements ExecutorPool, SeatsEvents {
  readonly #options: ExecutorPoolOptions
  readonly #events: ExecutorPoolEvents
  readonly #seats: Seats
  readonly #runs = new Map<RunId, PoolRun>()
  readonly #durations = new TaskDurations()
  readonly #suspicion: IoSuspicion
  readonly #dispatcher: Dispatcher
  readonly #collections: Collections
  #closed = false

  constructor(options: ExecutorPoolOptions, events: ExecutorPoolEvents) {
    this.#options = options
    this.#events = events
    this.#seats = new Seats(options, this)
    this.#suspicion = new IoSuspicion(options.ioConcurrency)
    this.#collections = new Collections({
      memoryLimit: options.memoryLimit,
      executors: () => this.#seats.executors,
      hoardBytes:
        options.executorRecycle === undefined
          ? Number.POSITIVE_INFINITY
          : options.executorRecycle * this.#seats.shareBytes,
      replace: (executor) => this.#seats.replace(executor),
    })
    this.#dispatcher = new Dispatcher({
      seats: this.#seats,
      durations: this.#durations,
      suspicion: this.#suspicion,
      memoryLimit: options.memoryLimit,
      mapThreshold: options.mapThreshold,
      onFirst: (_, run) => this.#armTimeout(run),
    })
  }

  start(): Promise<void> {
    return this.#seats.start()
  }

  get statusPage(): StatusPage {
    return this.#seats.page
  }

  get pids(): readonly number[] {
    return this.#seats.pids
  }

  get infos(): readonly ExecutorInfo[] {
    return [...this.#seats.executors].map((executor) => {
      const run = executor.outstanding.get(this.statusPage.read(executor.slot).runId as RunId)
      return run === undefined ? { pid: executor.pid } : { pid: executor.pid, task: run.request.key }
    })
  }

  sample(): readonly ExecutorSample[] {
    const now = performance.now()
    const samples: ExecutorSample[] = []
    for (const executor of this.#seats.executors) {
      const runs = this.#runningIn(executor)
      const reservedBytes = runs.reduce((sum, run) => sum + run.request.memory.reservedBytes, 0)
      const only = executor.concurrency === 1 ? (runs[0] ?? null) : null
      const sample = executor.sample(now, { reservedBytes, only })
      if (sample === null) continue
      samples.push(sample)
      if (only !== null) only.peakBytes = Math.max(only.peakBytes, growthOf(sample))
    }
    return samples
  }

  /** Without io, only one of those that it was handed has started. */
  #runningIn(executor: ExecutorProcess): PoolRun[] {
    if (executor.concurrency > 1) return [...executor.outstanding.values()]
    const { runId } = this.statusPage.read(executor.slot)
    const run = runId === null ? undefined : executor.outstanding.get(runId)
    return run === undefined ? [] : [run]
  }

  depthFor(name: string): number {
    return this.#durations.depth(name)
  }

  run(request: RunRequest): void {
    const run = newPoolRun(request)
    this.#runs.set(request.runId, run)
    this.#dispatcher.add(run)
  }

  cancel(runId: RunId, force: boolean): void {
    const holder = this.#runs.get(runId)?.executor ?? null
    if (holder !== null) this.#seats.hearHeldBack(holder)
    const run = this.#runs.get(runId)
    if (run === undefined || (run.cancelled && !force)) return
    run.cancelled = true
    const executor = run.executor
    if (executor === null) {
      this.#dispatcher.remove(run)
      this.#later(run, () => this.#endCancelled(run, []))
    } else if (executor.concurrency > 1) this.#stopIo(run, executor, force)
    else if (this.#dispatcher.takeBack(executor, [run]).length > 0) this.#later(run, () => this.#endCancelled(run, []))
    else this.#stopRunning(run, executor, force)
  }

  withdraw(runIds: readonly RunId[]): readonly RunId[] {
    const handedOver = new Map<ExecutorProcess, PoolRun[]>()
    const taken: PoolRun[] = []
    for (const runId of runIds) {
      const run = this.#runs.get(runId)
      if (run === undefined || run.cancelled || (run.executor !== null && run.executor.concurrency > 1)) continue
      if (run.executor === null) {
        this.#dispatcher.remove(run)
        taken.push(run)
      } else if (handedOver.has(run.executor)) handedOver.get(run.executor)?.push(run)
      else handedOver.set(run.executor, [run])
    }
    for (const [executor, runs] of handedOver) taken.push(...this.#dispatcher.takeBack(executor, runs))
    const gone = new Set(taken.map((run) => run.request.runId))
    for (const run of taken) this.#later(run, () => this.#returned(run, 'it was withdrawn'))
    return runIds.filter((runId) => !gone.has(runId))
  }

  hasStarted(runId: RunId): boolean {
    const run = this.#runs.get(runId)
    if (run === undefined || run.executor === null) return false
    return run.executor.concurrency > 1 || this.statusPage.started(run.executor.slot) >= run.sequence
  }

  collect(): void {
    this.#collections.request()
  }

  killForMemory(pid: number, advice: string): boolean {
    for (const executor of this.#seats.executors) {
      if (executor.pid !== pid || executor.killCause !== null) continue
      executor.kill({ kind: 'out-of-memory', advice })
      return true
    }
    return false
  }

  recycleIdle(): number {
    let count = 0
    for (const executor of this.#seats.executors) {
      if (executor.state !== 'ready' || executor.outstanding.size > 0) continue
      this.#seats.replace(executor)
      count++
    }
    return count
  }

  trim(): Promise<void> {
    return this.#collections.trim()
  }

  recycleHoarders(): number {
    return this.#collections.recycleHoarders()
  }

  forgetFunctions(ids: readonly FunctionId[]): void {
    for (const executor of this.#seats.executors) {
      for (const id of ids) executor.knownFunctions.delete(id)
      executor.send({ op: 'forget-functions', ids })
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#dispatcher.close()
    this.#collections.close()
    for (const run of this.#runs.values()) run.stopTimer?.()
    this.#runs.clear()
    await this.#seats.close()
  }

  #dispatch(): void {
    if (!this.#closed) this.#dispatcher.dispatch()
  }

  #becameFirst(executor: ExecutorProcess): void {
    executor.stalled = null
    for (const first of executor.outstanding.values()) {
      this.#armTimeout(first)
      return
    }
  }

  // Stopping a run.

  #stopRunning(run: PoolRun, executor: ExecutorProcess, force: boolean): void {
    const { runId } = run.request
    this.statusPage.setCancel(executor.slot, runId)
    const cause: KillCause = { kind: run.timedOut ? 'timeout' : 'cancel', runId }
    if (force) return executor.kill(cause)
    executor.send({ op: 'cancel', runId })
    if (executor.placing) executor.send({ op: 'place', runId, place: null })
    this.#setTimer(run, this.#options.cancelGraceMs, () => executor.kill(cause))
  }

  /** A promise cannot be killed: after the grace it is abandoned, and its executor replaced when the others are done. */
  #stopIo(run: PoolRun, executor: ExecutorProcess, force: boolean): void {
    const { runId } = run.request
    executor.send({ op: 'cancel', runId })
    const abandon = (): void => {
      if (!this.#runs.has(runId)) return
      this.#end(run)
      if (run.cancelled) this.#events.onCancelled({ runId, stillMapped: this.#stillMapped(executor, runId) })
      else this.#erred(run, timeoutCertificate(run), 0)
      this.#drainIo(executor)
    }
    if (force) this.#later(run, abandon)
    else this.#setTimer(run, this.#options.cancelGraceMs, abandon)
  }

  #drainIo(executor: ExecutorProcess): void {
    this.#seats.drain(executor)
    if (executor.outstanding.size === 0) executor.kill({ kind: 'replaced' })
    else {
      // One that does not even answer is blocked: what else it runs cannot go on either.
      const timer = setTimeout(() => executor.kill({ kind: 'replaced' }), timerMs(this.#options.cancelGraceMs))
      timer.unref()
      executor.onPong = () => clearTimeout(timer)
      executor.send({ op: 'ping' })
    }
    this.#dispatch()
  }

  #armTimeout(run: PoolRun): void {
    const { timeoutMs } = run.request.options
    if (timeoutMs !== undefined && run.stopTimer === null && !run.cancelled)
      this.#setTimer(run, timeoutMs, () => this.#timeIsUp(run, timeoutMs))
  }

  #timeIsUp(run: PoolRun, timeoutMs: number): void {
    const executor = run.executor
    if (executor === null) return
    const { runId } = run.request
    this.#seats.hearHeldBack(executor)
    if (!this.#runs.has(runId)) return
    if (executor.concurrency === 1 && this.statusPage.started(executor.slot) < run.sequence) {
      this.#setTimer(run, timeoutMs, () => this.#timeIsUp(run, timeoutMs))
      return
    }
    run.timedOut = true
    if (executor.concurrency > 1) this.#stopIo(run, executor, false)
    else executor.kill({ kind: 'timeout', runId })
  }

  #setTimer(run: PoolRun, delayMs: number, callback: () => void): void {
    run.stopTimer?.()
    const timer = setTimeout(() => {
      run.stopTimer = null
      callback()
    }, timerMs(delayMs))
    run.stopTimer = () => {
      clearTimeout(timer)
      run.stopTimer = null
    }
  }

  /** E3: not from inside of the call. */
  #later(run: PoolRun, callback: () => void): void {
    run.stopTimer?.()
    process.nextTick(() => {
      if (this.#runs.get(run.request.runId) === run) callback()
      this.#dispatch()
    })
  }

  // What executors say.

  onReady(): void {
    this.#dispatch()
  }

  onLine(executor: ExecutorProcess, stream: OutputStream, text: string, run: RunId | null): void {
    this.#events.onLog({ key: executor.keyOf(run), stream, text })
  }

  onExecutorsChanged(pids: readonly number[]): void {
    this.#events.onExecutorsChanged(pids)
  }

  onStartFailing(reason: string, failures: number): void {
    this.#events.onStartFailing?.(reason, failures)
  }

  onMessage(executor: ExecutorProcess, message: ExecutorToWorker): void {
    if (this.#closed) return
    switch (message.op) {
      case 'finished':
        return this.#onResult(executor, message, message.type, () => ({ via: 'inline', blob: message.blob }))
      case 'written':
        return this.#onResult(executor, message, message.type, (run) => ({ via: 'place', place: usePlace(run) }))
      case 'erred':
      case 'input-bad':
      case 'dropped':
        return this.#onOtherEnd(executor, message)
      case 'unfit':
        return this.#onUnfit(executor, message)
      case 'place-request':
        return this.#onPlaceRequest(executor, message)
      case 'crashed':
        return this.#onCrashed(executor, message)
      case 'unmapped':
        for (const entry of message.entries) this.#onUnmapped(executor, entry.runId, entry.key)
        return
      case 'collected':
        this.#collections.ended(executor, message.durationMs)
        return
      case 'retire':
        executor.hasLeftovers = true
        return this.#replace(executor)
      case 'pong':
        return executor.onPong?.()
      case 'ready':
        return
    }
  }

  #onResult(executor: ExecutorProcess, end: RunEnd, type: string, resultOf: (run: PoolRun) => RunResult): void {
    const run = this.#runEnded(executor, end)
    if (run === null) return
    const { runId, durationMs, stillMapped, grownBytes } = end
    this.#durations.note(run.request.name, durationMs)
    this.#suspicion.clear(run)
    if (run.cancelled) this.#endCancelled(run, stillMapped)
    else {
      const result = resultOf(run)
      this.#end(run)
      const events = this.#events
      const peakBytes = Math.max(grownBytes, run.peakBytes)
      if (executor.concurrency > 1) events.onFinished({ runId, result, type, durationMs, stillMapped })
      else events.onFinished({ runId, result, type, durationMs, stillMapped, peakBytes })
    }
    this.#goOn(executor)
  }

  #onOtherEnd(
    executor: ExecutorProcess,
    message: Extract<ExecutorToWorker, { op: 'erred' | 'input-bad' | 'dropped' }>,
  ): void {
    const run = this.#runEnded(executor, message)
    if (run === null) return
    const { runId, durationMs, stillMapped } = message
    if (run.cancelled) this.#endCancelled(run, stillMapped)
    else {
      this.#end(run)
      if (message.op === 'input-bad')
        this.#events.onInputBad({ runId, key: message.key, reason: message.reason, stillMapped })
      else if (message.op === 'dropped') {
        this.#events.onErred({ runId, kind: 'store-full', error: encodeError(run.placeError), durationMs, stillMapped })
      } else if (run.timedOut) this.#erred(run, timeoutCertificate(run), durationMs, stillMapped)
      else if (message.kind === 'out-of-memory') {
        const refusal = { error: decodeError(message.error), grownBytes: message.grownBytes }
        const certificate = refusalCertificate(run, executor, refusal, this.#sceneOf(executor))
        this.#erred(run, certificate, durationMs, stillMapped)
      } else this.#events.onErred({ runId, kind: message.kind, error: message.error, durationMs, stillMapped })
    }
    this.#goOn(executor)
  }

  /** What ran there before has left it so: another process can do what this one cannot. */
  #onUnfit(executor: ExecutorProcess, message: Extract<ExecutorToWorker, { op: 'unfit' }>): void {
    const run = this.#runEnded(executor, message)
    if (run?.cancelled === true) this.#endCancelled(run, message.stillMapped)
    else if (run !== null) this.#returned(run, `its executor could not read its inputs: ${message.reason}`)
    if (executor.concurrency > 1) this.#drainIo(executor)
    else this.#replace(executor)
  }

  /** It ran nothing when it was heard last: what waits there goes to others. */
  #replace(executor: ExecutorProcess): void {
    this.#dispatcher.putBack(this.#dispatcher.takeBack(executor, [...executor.outstanding.values()]))
    this.#seats.replace(executor)
    this.#dispatch()
  }

  /** Null for a run that was taken back or abandoned before: its result is void. */
  #runEnded(executor: ExecutorProcess, { runId, stillMapped }: RunEnd): PoolRun | null {
    executor.placing = false
    const maps = executor.mapped.get(runId)
    if (maps !== undefined) {
      for (const key of maps.keys()) if (!stillMapped.includes(key)) maps.delete(key)
      if (maps.size === 0) executor.mapped.delete(runId)
    }
    return executor.outstanding.get(runId) ?? null
  }

  #goOn(executor: ExecutorProcess): void {
    if (executor.concurrency === 1) this.#becameFirst(executor)
    else if (executor.state === 'draining' && executor.outstanding.size === 0) executor.kill({ kind: 'replaced' })
    this.#dispatch()
  }

  #onPlaceRequest(executor: ExecutorProcess, message: Extract<ExecutorToWorker, { op: 'place-request' }>): void {
    const { runId, nbytes, failed } = message
    const run = executor.outstanding.get(runId)
    if (run === undefined || run.cancelled) {
      if (run !== undefined) this.#giveBack(run)
      return executor.send({ op: 'place', runId, place: null })
    }
    const hopeless = failed === undefined ? null : placeFailed(run, failed.code)
    if (hopeless !== null) return this.#noPlace(executor, run, hopeless)
    // Waiting for a place is not the task's time.
    run.stopTimer?.()
    executor.placing = true
    const failedPlace = failed === undefined ? null : run.place
    run.place = null
    const request =
      failed === undefined || failedPlace === null
        ? { runId, nbytes }
        : { runId, nbytes, failed: { place: failedPlace, code: failed.code } }
    this.#events.onPlaceRequest(request, (answer) => this.#onPlaceAnswer(executor, run, answer))
  }

  #onPlaceAnswer(executor: ExecutorProcess, run: PoolRun, answer: PlaceAnswer): void {
    const { runId } = run.request
    const current = !run.cancelled && executor.outstanding.get(runId) === run && executor.state !== 'ended'
    if (!current) {
      if ('place' in answer) this.#events.onPlaceUnused?.(answer.place)
      return
    }
    if ('error' in answer) return this.#noPlace(executor, run, answer.error)
    run.place = answer.place
    executor.send({ op: 'place', runId, place: answer.place })
  }

  #noPlace(executor: ExecutorProcess, run: PoolRun, error: PlimsollError): void {
    run.placeError = error
    this.#giveBack(run)
    executor.send({ op: 'place', runId: run.request.runId, place: null })
  }

  /** It is not to be trusted with anything any more. */
  #onCrashed(executor: ExecutorProcess, message: Extract<ExecutorToWorker, { op: 'crashed' }>): void {
    const run = message.runId === null ? undefined : executor.outstanding.get(message.runId)
    if (run !== undefined && !executor.hasLeftovers) {
      executor.mapped.delete(run.request.runId)
      if (run.cancelled) this.#endCancelled(run, [])
      else {
        this.#end(run)
        this.#events.onErred({
          runId: run.request.runId,
          kind: 'crashed',
          error: message.error,
          durationMs: 0,
          stillMapped: [],
        })
      }
    }
    executor.kill({ kind: 'crashed' })
  }

  #onUnmapped(executor: ExecutorProcess, runId: RunId, key: TaskKey): void {
    const maps = executor.mapped.get(runId)
    if (maps === undefined || !maps.delete(key)) return
    if (maps.size === 0) executor.mapped.delete(runId)
    this.#events.onUnmapped({ runId, key })
  }

  // The end of an executor.

  onEnd(executor: ExecutorProcess, end: ExecutorEnd, slot: SlotState): void {
    if (this.#closed) return
    const runs = [...executor.outstanding.values()]
    const blamed = executor.concurrency === 1 && slot.phase !== 'idle' ? slot.runId : null
    const mapped = [...executor.mapped].filter(([runId]) => !executor.outstanding.has(runId))
    for (const run of runs) this.#lostWith(run, executor, end, run.request.runId === blamed, runs.length)
    for (const [runId, keys] of mapped) for (const key of keys.keys()) this.#events.onUnmapped({ runId, key })
    executor.mapped.clear()
    this.#dispatch()
  }

  #lostWith(run: PoolRun, executor: ExecutorProcess, end: ExecutorEnd, named: boolean, together: number): void {
    const { runId } = run.request
    const cause = executor.killCause
    this.#end(run)
    if (run.cancelled) return this.#events.onCancelled({ runId, stillMapped: [] })
    if (cause?.kind === 'timeout' && cause.runId === runId)
      return this.#erred(run, timeoutCertificate(run), run.request.options.timeoutMs ?? 0)
    const ownDoing = cause === null || cause.kind === 'out-of-memory'
    const io = executor.concurrency > 1
    if (ownDoing && !executor.hasLeftovers && (named || (io && together === 1))) {
      return this.#erred(run, deathCertificate(run, executor, end, this.#sceneOf(executor)), 0)
    }
    if (io && run.request.options.idempotent === false) return this.#erred(run, lostCertificate(run), 0)
    if (io && (ownDoing || cause.kind === 'crashed')) this.#suspicion.note(run)
    this.#events.onReturned({ runId, reason: returnReason(executor, end) })
  }

  #sceneOf(dead: ExecutorProcess): DeathScene {
    const neighbours: Neighbour[] = []
    for (const executor of this.#seats.executors) {
      if (executor === dead) continue
      const grownBytes = executor.lastSample === null ? 0 : growthOf(executor.lastSample)
      for (const { request } of this.#runningIn(executor))
        neighbours.push({ key: request.key, function: request.name, grownBytes })
    }
    return { memoryLimit: this.#options.memoryLimit, neighbours }
  }

  // The end of a run.

  #endCancelled(run: PoolRun, stillMapped: readonly TaskKey[]): void {
    this.#end(run)
    this.#events.onCancelled({ runId: run.request.runId, stillMapped })
  }

  #returned(run: PoolRun, reason: string): void {
    this.#end(run)
    this.#events.onReturned({ runId: run.request.runId, reason })
  }

  #erred(run: PoolRun, certificate: Certificate, durationMs: number, stillMapped: readonly TaskKey[] = []): void {
    const { kind, error, peakBytes } = certificate
    const erred = { runId: run.request.runId, kind, error: encodeError(error), durationMs, stillMapped }
    this.#events.onErred(peakBytes === undefined ? erred : { ...erred, peakBytes })
  }

  #stillMapped(executor: ExecutorProcess, runId: RunId): TaskKey[] {
    return [...(executor.mapped.get(runId)?.keys() ?? [])]
  }

  #end(run: PoolRun): void {
    const { runId } = run.request
    run.stopTimer?.()
    this.#runs.delete(runId)
    run.executor?.outstanding.delete(runId)
    if (run.place !== null) this.#giveBack(run)
  }

  #giveBack(run: PoolRun): void {
    const place = run.place
    run.place = null
    if (place !== null) this.#events.onPlaceUnused?.(place)
  }
}

function usePlace(run: PoolRun): NonNullable<PoolRun['place']> {
  const place = run.place
  if (place === null) throw new Error(`run ${run.request.runId} was written to a place that it was not given`)
  run.place = null
  return place
}

function returnReason(executor: ExecutorProcess, end: ExecutorEnd): string {
  const how = end.signal ?? `exit code ${end.code}`
  return executor.killCause === null
    ? `its executor ${executor.pid} died (${how}) while it waited`
    : `its executor ${executor.pid} was replaced (${executor.killCause.kind})`
}
