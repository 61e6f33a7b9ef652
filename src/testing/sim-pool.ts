// The executors of one simulated worker, behind the interface of worker/executor/executor-pool.ts: a number of slots, each
// running one task at a time. A run reads its inputs where the store put them, takes its time, and ends as the task book
// says: with a value (written to a granted place when it is large), thrown, crashed, or out of memory.

import { type FunctionId, type RunId, runId, type TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { InputSource } from '../protocol/worker-executor.ts'
import { blobToBytes, encodedBlobBytes, layoutBlob } from '../values/blob.ts'
import { decodeBlob } from '../values/decode.ts'
import { encodeValue } from '../values/encode.ts'
import { encodeError } from '../values/error.ts'
import type {
  ExecutorPool,
  ExecutorSample,
  ExecutorPoolEvents,
  PlaceAnswer,
  ResultPlace,
  RunRequest,
} from '../worker/executor/index.ts'
import { timeoutCertificate } from '../worker/executor/death-certificate.ts'
import { newPoolRun, placedInRam, placeFailed, type PoolRun } from '../worker/executor/pool-run.ts'
import { TaskDurations } from '../worker/executor/task-durations.ts'
import type { ProcessFs } from './sim-disk.ts'
import type { SimProcess } from './sim-process.ts'
import type { SimTask, SimValue, TaskBook } from './task-book.ts'

export interface SimPoolOptions {
  readonly nthreads: number
  readonly inlineLimit: number
  readonly memoryLimit: number
  readonly cancelGraceMs: number
}

interface SimRun extends PoolRun {
  readonly io: boolean
  started: boolean
  /** Private memory it takes now. */
  grownBytes: number
  stillMapped: TaskKey[]
}

/** Read faster than this, an executor starts. */
const START_MS = 0.05
const UNMAPPED_MS = 400
const MAPPED_CHANCE = 0.3
/** Share of the memory limit that a growing task takes at most. */
const GROWTH_MAX = 0.5
/** io tasks at a time. */
const IO_MAX = 64
/** A task that may take less than its timeout is not hit by it. */
const SLACK_MS = 0.5

export class SimPool implements ExecutorPool {
  readonly statusPage = null
  readonly lastSamples = []
  readonly pids: readonly number[] = []
  readonly #process: SimProcess
  readonly #fs: ProcessFs
  readonly #book: TaskBook
  readonly #options: SimPoolOptions
  readonly #events: ExecutorPoolEvents
  readonly #durations = new TaskDurations()
  readonly #runs = new Map<RunId, SimRun>()
  #queue: SimRun[] = []
  #running = 0
  #runningIo = 0
  /** What stays taken although nothing runs. */
  #hoardedBytes = 0
  #inExecutors = false
  #mapped: { readonly runId: RunId; readonly key: TaskKey }[] = []

  constructor(process: SimProcess, fs: ProcessFs, book: TaskBook, options: SimPoolOptions, events: ExecutorPoolEvents) {
    this.#process = process
    this.#fs = fs
    this.#book = book
    this.#options = options
    this.#events = events
  }

  async start(): Promise<void> {}

  get infos(): readonly { readonly pid: number }[] {
    return Array.from({ length: this.#options.nthreads }, (_, index) => ({ pid: index + 1 }))
  }

  /** Runs whose function has begun: what a status page would name. */
  get runningIds(): RunId[] {
    return [...this.#runs.values()].filter((run) => run.started).map((run) => run.request.runId)
  }

  get isIdle(): boolean {
    return this.#runs.size === 0
  }

  get privateBytes(): number {
    let bytes = this.#hoardedBytes
    for (const run of this.#runs.values()) bytes += run.grownBytes
    return bytes
  }

  /** Memory that is not given back before that time; in idle executors it comes back when they are replaced. */
  hoard(bytes: number, forMs: number, inExecutors: boolean): void {
    this.#hoardedBytes = bytes
    this.#inExecutors = inExecutors
    if (forMs !== Infinity)
      this.#process.after(forMs, () => {
        this.#hoardedBytes = 0
      })
  }

  run(request: RunRequest): void {
    const run: SimRun = {
      ...newPoolRun(request),
      io: request.options.io === true,
      started: false,
      grownBytes: 0,
      stillMapped: [],
    }
    this.#runs.set(request.runId, run)
    this.#queue.push(run)
    this.#process.defer(() => this.#startNext())
  }

  cancel(runId: RunId, force: boolean): void {
    const run = this.#runs.get(runId)
    if (run === undefined || (run.cancelled && !force)) return
    run.cancelled = true
    run.stopTimer?.()
    const waitMs = run.started && !force ? this.#options.cancelGraceMs * this.#process.prng.next() : 0
    run.stopTimer = this.#process.after(waitMs, () => {
      this.#end(run, () => this.#events.onCancelled({ runId, stillMapped: [] }))
    })
  }

  /** What waits for a slot comes back. */
  withdraw(runIds: readonly RunId[]): readonly RunId[] {
    const kept: RunId[] = []
    for (const runId of runIds) {
      const run = this.#runs.get(runId)
      if (run === undefined || run.started || run.cancelled) kept.push(runId)
      else this.#withdraw(run)
    }
    return kept
  }

  #withdraw(run: SimRun): void {
    const { runId } = run.request
    this.#queue = this.#queue.filter((each) => each !== run)
    this.#process.defer(() => this.#end(run, () => this.#events.onReturned({ runId, reason: 'it was withdrawn' })))
  }

  hasStarted(runId: RunId): boolean {
    return this.#runs.get(runId)?.started === true
  }

  collect(): void {
    const mapped = this.#mapped
    this.#mapped = []
    this.#process.after(1, () => {
      for (const entry of mapped) this.#events.onUnmapped(entry)
    })
  }

  /** Slots are named by what runs in them. */
  killForMemory(pid: number, advice: string): boolean {
    const run = this.#runs.get(runId(pid))
    if (run?.started !== true) return false
    this.#process.defer(() => this.#outOfMemory(run, advice, 0))
    return true
  }

  trim(): Promise<void> {
    return Promise.resolve()
  }

  recycleHoarders(): number {
    return 0
  }

  recycleIdle(): number {
    if (this.#running + this.#runningIo > 0 || this.#hoardedBytes === 0 || !this.#inExecutors) return 0
    this.#hoardedBytes = 0
    return this.#options.nthreads
  }

  depthFor(name: string): number {
    return this.#durations.depth(name)
  }

  forgetFunctions(_ids: readonly FunctionId[]): void {}

  sample(): readonly ExecutorSample[] {
    const running = [...this.#runs.values()].filter((run) => run.started)
    return running.map(({ request, grownBytes, place }) => ({
      pid: request.runId,
      privateBytes: grownBytes,
      vmDataBytes: grownBytes,
      baselineBytes: 0,
      reservedBytes: request.memory.reservedBytes,
      runId: request.runId,
      placeBytes: placedInRam(place),
      dying: false,
    }))
  }

  async close(): Promise<void> {
    for (const run of this.#runs.values()) run.stopTimer?.()
    this.#queue = []
    this.#runs.clear()
  }

  #startNext(): void {
    const held: SimRun[] = []
    for (let run = this.#queue.shift(); run !== undefined; run = this.#queue.shift()) {
      if (!this.#isLive(run)) continue
      if (run.io ? this.#runningIo >= IO_MAX : this.#running >= this.#options.nthreads) held.push(run)
      else this.#start(run)
    }
    this.#queue = held
  }

  #start(run: SimRun): void {
    if (run.io) this.#runningIo++
    else this.#running++
    run.started = true
    this.#book.noteStarted(run.request)
    const { timeoutMs } = run.request.options
    if (timeoutMs !== undefined && !run.cancelled)
      run.stopTimer = this.#process.after(timeoutMs + SLACK_MS, () => {
        const { kind, error } = timeoutCertificate(run)
        this.#erred(run, kind as 'timeout', error, timeoutMs)
      })
    void this.#work(run)
  }

  #isLive(run: SimRun): boolean {
    return this.#runs.get(run.request.runId) === run
  }

  async #work(run: SimRun): Promise<void> {
    const task = this.#book.get(Buffer.from(run.request.args).toString())
    if (task === undefined) {
      return this.#erred(run, 'system', new PlimsollError('INTERNAL', `no such task: ${run.request.key}`), 0)
    }
    await this.#process.pause(START_MS)
    const values = await this.#readInputs(run)
    if (values === null || !this.#isLive(run)) return
    if (this.#options.memoryLimit > 0)
      run.grownBytes = Math.floor(this.#process.prng.next() ** 4 * GROWTH_MAX * this.#options.memoryLimit)
    const durationMs = task.durationMs * (0.5 + this.#process.prng.next())
    await this.#process.pause(durationMs)
    if (!this.#isLive(run) || run.cancelled) return
    if (this.#book.strikes(task)) this.#strike(run, task, durationMs)
    else this.#finish(run, task, values, durationMs)
  }

  /** Null when one is bad, which was told. */
  async #readInputs(run: SimRun): Promise<SimValue[] | null> {
    const values: SimValue[] = []
    for (const { key, source } of run.request.inputs) {
      try {
        const { header, value } = decodeBlob(await this.#bytesOf(source))
        if (header.meta.key !== key) throw new Error(`it is a value of ${header.meta.key}`)
        values.push(value as SimValue)
      } catch (error) {
        const { runId } = run.request
        this.#end(run, () => this.#events.onInputBad({ runId, key, reason: String(error), stillMapped: [] }))
        return null
      }
      if (source.via === 'file' && this.#process.prng.next() < MAPPED_CHANCE) run.stillMapped.push(key)
    }
    return values
  }

  #bytesOf(source: InputSource): Promise<Uint8Array> | Uint8Array {
    return source.via === 'inline' ? source.bytes : this.#fs.read(source.path, source.offset, source.nbytes)
  }

  #strike(run: SimRun, task: SimTask, durationMs: number): void {
    switch (task.trouble.kind) {
      case 'throws':
        return this.#erred(run, 'user', new RangeError(`${task.key} fails`), durationMs)
      case 'crashes':
        this.#book.noteDeath(task.key)
        this.#giveBackSome()
        return this.#erred(run, 'crashed', new PlimsollError('TASK_CRASHED', `${task.key} crashed`), durationMs)
      case 'out-of-memory':
        return this.#outOfMemory(run, 'it took too much', durationMs)
      case 'none':
    }
  }

  #outOfMemory(run: SimRun, why: string, durationMs: number): void {
    if (!this.#isLive(run) || run.cancelled) return
    const { key } = run.request
    this.#book.noteOutOfMemory(key)
    this.#giveBackSome()
    this.#erred(run, 'out-of-memory', new PlimsollError('TASK_OUT_OF_MEMORY', `${key}: ${why}`, { key }), durationMs)
  }

  /** Runs that waited in the pipe of an executor that died. */
  #giveBackSome(): void {
    for (const run of this.#queue) {
      if (run.cancelled || this.#process.prng.next() < 0.5) continue
      const { runId } = run.request
      this.#queue = this.#queue.filter((each) => each !== run)
      this.#end(run, () => this.#events.onReturned({ runId, reason: 'its executor died' }))
    }
  }

  #erred(
    run: SimRun,
    kind: 'user' | 'crashed' | 'out-of-memory' | 'system' | 'store-full' | 'timeout',
    error: Error,
    durationMs: number,
  ): void {
    const { runId } = run.request
    const stillMapped = kind === 'user' ? this.#keepMapped(run) : []
    this.#end(run, () => this.#events.onErred({ runId, kind, error: encodeError(error), durationMs, stillMapped }))
  }

  #finish(run: SimRun, task: SimTask, inputs: readonly SimValue[], durationMs: number): void {
    const { runId, key, clusterId, generation, name } = run.request
    const meta = { clusterId, generation, key, runId }
    const value = encodeValue(this.#book.make(task, runId, inputs))
    const nbytes = encodedBlobBytes(meta, value)
    this.#durations.note(name, durationMs)
    if (nbytes > this.#options.inlineLimit) {
      const { parts } = layoutBlob(meta, value)
      return this.#askForPlace(run, { nbytes, type: value.type, parts, durationMs }, null)
    }
    const blob = blobToBytes(meta, value)
    const stillMapped = this.#keepMapped(run)
    this.#end(run, () =>
      this.#events.onFinished({
        runId,
        result: { via: 'inline', blob },
        type: value.type,
        durationMs,
        stillMapped,
      }),
    )
  }

  #askForPlace(
    run: SimRun,
    result: LargeResult,
    failed: { readonly place: ResultPlace; readonly code: string } | null,
  ): void {
    const hopeless = failed === null ? null : placeFailed(run, failed.code)
    if (hopeless !== null) return this.#erred(run, 'store-full', hopeless, result.durationMs)
    const request = { runId: run.request.runId, nbytes: result.nbytes }
    this.#events.onPlaceRequest(failed === null ? request : { ...request, failed }, (answer) => {
      this.#process.after(START_MS, () => this.#onPlace(run, result, answer))
    })
  }

  #onPlace(run: SimRun, result: LargeResult, answer: PlaceAnswer): void {
    if (!this.#isLive(run) || run.cancelled) {
      if ('place' in answer) this.#events.onPlaceUnused?.(answer.place)
      return
    }
    if ('error' in answer) return this.#erred(run, 'store-full', answer.error, result.durationMs)
    run.place = answer.place
    void this.#write(run, result, answer.place)
  }

  async #write(run: SimRun, { parts, durationMs, type, nbytes }: LargeResult, place: ResultPlace): Promise<void> {
    try {
      const file = await this.#fs.create(place.path)
      const bytes = Buffer.concat(parts)
      for (let at = 0; at < bytes.length;) at += await file.write([bytes.subarray(at)], at)
      await file.close()
    } catch (error) {
      if (!this.#isLive(run) || run.cancelled) return
      run.place = null
      const code = (error as { readonly code?: string }).code ?? 'EIO'
      return this.#askForPlace(run, { parts, durationMs, type, nbytes }, { place, code })
    }
    // Its place was given back while it wrote: what it left goes with its process.
    if (!this.#isLive(run)) return this.#fs.unlink(place.path).catch(() => {})
    if (run.cancelled) return
    run.place = null
    const { runId } = run.request
    const stillMapped = this.#keepMapped(run)
    this.#end(run, () =>
      this.#events.onFinished({ runId, result: { via: 'place', place }, type, durationMs, stillMapped }),
    )
  }

  /** Some inputs stay mapped until a collection. */
  #keepMapped(run: SimRun): TaskKey[] {
    const { runId } = run.request
    for (const key of run.stillMapped) {
      const entry = { runId, key }
      this.#mapped.push(entry)
      this.#process.after(UNMAPPED_MS * this.#process.prng.next(), () => {
        if (!this.#mapped.includes(entry)) return
        this.#mapped = this.#mapped.filter((each) => each !== entry)
        this.#events.onUnmapped(entry)
      })
    }
    return run.stillMapped
  }

  #end(run: SimRun, tell: () => void): void {
    if (!this.#isLive(run)) return
    this.#runs.delete(run.request.runId)
    this.#queue = this.#queue.filter((each) => each !== run)
    run.stopTimer?.()
    if (run.started && run.io) this.#runningIo--
    else if (run.started) this.#running--
    if (run.place !== null) this.#events.onPlaceUnused?.(run.place)
    tell()
    this.#process.defer(() => this.#startNext())
  }
}

interface LargeResult {
  readonly nbytes: number
  readonly type: string
  readonly parts: readonly Uint8Array[]
  readonly durationMs: number
}
