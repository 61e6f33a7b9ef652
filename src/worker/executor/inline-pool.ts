// Runs tasks in this very process, for unit tests and debugging: the same events, the same blobs (values are encoded and
// decoded for every task), and none of the protection. Nothing can be killed here, so cancellation and timeouts are wishes
// told by the signal; a promise that ignores them is abandoned after the grace. Inputs are never mapped.

import { timerMs } from '../../base/clock.ts'
import type { FunctionId, RunId } from '../../base/ids.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import { writeBlob } from '../../runner/blob-writer.ts'
import { FunctionCache } from '../../runner/function-cache.ts'
import { InputReader } from '../../runner/input-reader.ts'
import { Contexts, RunContext } from '../../runner/run-context.ts'
import { type Outcome, type TaskFunction, erred, prepare, produce, thrownBy } from '../../runner/run-task.ts'
import { encodeError } from '../../values/error.ts'
import { timeoutCertificate } from './death-certificate.ts'
import type { ExecutorPool, ExecutorPoolEvents, ExecutorPoolOptions, PlaceAnswer, RunRequest } from './executor-pool.ts'
import { type PoolRun, newPoolRun, placeFailed } from './pool-run.ts'
import { TaskDurations } from './task-durations.ts'

export type InlinePoolOptions = Pick<ExecutorPoolOptions, 'nthreads' | 'inlineLimit' | 'cancelGraceMs'> &
  Partial<ExecutorPoolOptions>

export function createInlinePool(options: InlinePoolOptions, events: ExecutorPoolEvents): ExecutorPool {
  return new InlinePool(options, events)
}

interface InlineRun extends PoolRun {
  readonly context: RunContext
  started: boolean
}

type Large = Extract<Outcome, { kind: 'large' }>

class InlinePool implements ExecutorPool {
  readonly statusPage = null
  readonly pids: readonly number[] = []
  readonly #options: InlinePoolOptions
  readonly #events: ExecutorPoolEvents
  readonly #runs = new Map<RunId, InlineRun>()
  readonly #functions = new FunctionCache()
  readonly #durations = new TaskDurations()
  readonly #contexts = new Contexts(Number.MAX_SAFE_INTEGER)
  readonly #reader = new InputReader({ libc: null, mapThreshold: Infinity, onUnmapped: () => {} })
  #queue: InlineRun[] = []
  #running = 0
  #turnScheduled = false
  #closed = false

  constructor(options: InlinePoolOptions, events: ExecutorPoolEvents) {
    this.#options = options
    this.#events = events
  }

  async start(): Promise<void> {}

  get infos(): readonly { readonly pid: number; readonly task?: string }[] {
    const running = [...this.#runs.values()].filter((run) => run.started)
    return Array.from({ length: this.#options.nthreads }, (_, index) => {
      const run = running[index]
      return run === undefined ? { pid: process.pid } : { pid: process.pid, task: run.request.key }
    })
  }

  run(request: RunRequest): void {
    const context = new RunContext({
      runId: request.runId,
      key: request.key,
      attempt: request.attempt,
      workerAddress: this.#options.workerAddress ?? '',
      memory: request.options.memory ?? this.#options.memoryLimit ?? 0,
      isCancelled: () => this.#runs.get(request.runId)?.cancelled !== false,
    })
    const run: InlineRun = { ...newPoolRun(request), context, started: false }
    this.#runs.set(request.runId, run)
    this.#functions.learn(request.fn, request.fnBytes)
    this.#queue.push(run)
    this.#schedule()
  }

  cancel(runId: RunId, force: boolean): void {
    const run = this.#runs.get(runId)
    if (run === undefined || (run.cancelled && !force)) return
    run.cancelled = true
    const key = run.request.key
    run.context.abort(new PlimsollError('TASK_CANCELLED', `Task ${key} was cancelled.`, { key }))
    const wait = run.started && !force ? this.#options.cancelGraceMs : 0
    this.#setTimer(run, wait, () => {
      this.#queue = this.#queue.filter((queued) => queued !== run)
      this.#end(run, () => this.#events.onCancelled({ runId, stillMapped: [] }))
    })
  }

  withdraw(runIds: readonly RunId[]): readonly RunId[] {
    return runIds.filter((runId) => {
      const run = this.#runs.get(runId)
      if (run === undefined || run.started || run.cancelled) return true
      this.#queue = this.#queue.filter((queued) => queued !== run)
      this.#setTimer(run, 0, () => this.#end(run, () => this.#events.onReturned({ runId, reason: 'it was withdrawn' })))
      return false
    })
  }

  hasStarted(runId: RunId): boolean {
    return this.#runs.get(runId)?.started === true
  }

  collect(): void {}

  killForMemory(): boolean {
    return false
  }

  trim(): Promise<void> {
    return Promise.resolve()
  }

  recycleHoarders(): number {
    return 0
  }

  recycleIdle(): number {
    return 0
  }

  depthFor(name: string): number {
    return this.#durations.depth(name)
  }

  forgetFunctions(ids: readonly FunctionId[]): void {
    this.#functions.forget(ids)
  }

  sample(): readonly never[] {
    return []
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const run of this.#runs.values()) {
      run.stopTimer?.()
      run.context.abort(new PlimsollError('TASK_CANCELLED', 'The worker is closing.', { key: run.request.key }))
    }
    this.#queue = []
    this.#runs.clear()
  }

  #schedule(): void {
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    setImmediate(() => {
      this.#turnScheduled = false
      while (!this.#closed && this.#running < this.#options.nthreads && this.#queue.length > 0) {
        void this.#attempt(this.#queue.shift() as InlineRun)
      }
    })
  }

  async #attempt(run: InlineRun): Promise<void> {
    const start = performance.now()
    const { timeoutMs } = run.request.options
    run.started = true
    this.#running++
    if (timeoutMs !== undefined && !run.cancelled) this.#setTimer(run, timeoutMs, () => this.#timeIsUp(run, timeoutMs))
    const outcome = await this.#outcomeOf(run)
    const durationMs = performance.now() - start
    if (!this.#runs.has(run.request.runId)) return
    if (run.cancelled)
      return this.#end(run, () => this.#events.onCancelled({ runId: run.request.runId, stillMapped: [] }))
    if (outcome.kind === 'large') this.#askForPlace(run, outcome, durationMs)
    else this.#finish(run, outcome, durationMs)
  }

  async #outcomeOf(run: InlineRun): Promise<Outcome> {
    let fn: TaskFunction
    try {
      fn = await this.#functions.get(run.request.fn)
    } catch (error) {
      return erred('system', error)
    }
    const prepared = prepare(run.request, this.#reader, () => {})
    if ('outcome' in prepared) return prepared.outcome
    try {
      const value = await this.#contexts.enter(run.context, () => fn(...prepared.args))
      return produce(run.request, value, this.#options.inlineLimit)
    } catch (error) {
      return thrownBy(run.request, error)
    }
  }

  #finish(run: InlineRun, outcome: Exclude<Outcome, Large>, durationMs: number): void {
    const { runId, name } = run.request
    const common = { runId, durationMs, stillMapped: [] }
    this.#end(run, () => {
      switch (outcome.kind) {
        case 'inline':
          this.#durations.note(name, durationMs)
          return this.#events.onFinished({
            ...common,
            result: { via: 'inline', blob: outcome.blob },
            type: outcome.type,
          })
        case 'erred':
          return this.#events.onErred({ ...common, kind: outcome.failure, error: outcome.error })
        case 'input-bad':
          return this.#events.onInputBad({ runId, key: outcome.key, reason: outcome.reason, stillMapped: [] })
        case 'unfit':
          // There is no other process to run it in.
          return this.#events.onErred({ ...common, kind: 'system', error: encodeError(outcome.error) })
      }
    })
  }

  #askForPlace(run: InlineRun, result: Large, durationMs: number, failed: { code: string } | null = null): void {
    run.stopTimer?.()
    const hopeless = failed === null ? null : placeFailed(run, failed.code)
    if (hopeless !== null) return this.#noPlace(run, hopeless, durationMs)
    const { runId } = run.request
    const before = run.place
    run.place = null
    const request = { runId, nbytes: result.nbytes }
    this.#events.onPlaceRequest(
      failed === null || before === null ? request : { ...request, failed: { place: before, code: failed.code } },
      (answer) => setImmediate(() => this.#onPlaceAnswer(run, result, durationMs, answer)),
    )
  }

  #onPlaceAnswer(run: InlineRun, result: Large, durationMs: number, answer: PlaceAnswer): void {
    const { runId, name } = run.request
    if (this.#runs.get(runId) !== run || run.cancelled) {
      if ('place' in answer) this.#events.onPlaceUnused?.(answer.place)
      return
    }
    if ('error' in answer) return this.#noPlace(run, answer.error, durationMs)
    const { place } = answer
    run.place = place
    try {
      writeBlob(place.path, result.blob)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
      return this.#askForPlace(run, result, durationMs, { code })
    }
    run.place = null
    this.#durations.note(name, durationMs)
    this.#end(run, () =>
      this.#events.onFinished({
        runId,
        result: { via: 'place', place },
        type: result.type,
        durationMs,
        stillMapped: [],
      }),
    )
  }

  #noPlace(run: InlineRun, refusal: PlimsollError, durationMs: number): void {
    const error = encodeError(refusal)
    const { runId } = run.request
    this.#end(run, () => this.#events.onErred({ runId, kind: 'store-full', error, durationMs, stillMapped: [] }))
  }

  #timeIsUp(run: InlineRun, timeoutMs: number): void {
    const { kind, error } = timeoutCertificate(run)
    run.context.abort(error)
    this.#end(run, () =>
      this.#events.onErred({
        runId: run.request.runId,
        kind,
        error: encodeError(error),
        durationMs: timeoutMs,
        stillMapped: [],
      }),
    )
  }

  /** Ends a run once; whatever it still does is of no interest. */
  #end(run: InlineRun, tell: () => void): void {
    run.stopTimer?.()
    if (!this.#runs.delete(run.request.runId)) return
    if (run.started) this.#running--
    if (run.place !== null) this.#events.onPlaceUnused?.(run.place)
    tell()
    this.#schedule()
  }

  #setTimer(run: InlineRun, delayMs: number, callback: () => void): void {
    run.stopTimer?.()
    const timer = setTimeout(callback, timerMs(delayMs))
    run.stopTimer = () => {
      clearTimeout(timer)
      run.stopTimer = null
    }
  }
}
