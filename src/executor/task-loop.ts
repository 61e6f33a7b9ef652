// Runs the tasks of one executor process, in order of arrival. The pipes (main.ts), what one attempt consists of
// (runner/run-task.ts) and every decision about other executors (the worker's pool) are elsewhere.
//
// T1. One task at a time (an io executor: `concurrency`). A task whose result waits for a place still counts as running:
//     that is the brake.
// T2. The status page names the run before any of its code is called, and until its result is with the worker (in the pipe,
//     or in the outbox that the worker maps as well), so that whoever reads the page after a death blames the right one. An
//     io executor names none.
// T3. A value is encoded one turn of the event loop after its function returned: a promise that the task left rejected is
//     reported in between, and fails that task and no other.
// T4. A run is not started while the page's epoch is ahead of the last `withdraw` message (status-page.ts P4).
// T5. Nothing runs any more once something was thrown outside of a task's call, or a task left something running.
// T6. A result is held back only for a short run of the same function that starts right after it, and no longer than
//     `HOLD_MS`: then results are written together. The worker looks for it if that run turns out to be long.
// T7. An end is told after the collection that it is worth: to its worker it means that the memory is free, and another
//     executor would be given the same memory while this one still holds it.

import type { RunId, TaskKey } from '../base/ids.ts'
import { isThenable } from '../base/thenable.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { StatusPage } from '../native/status-page.ts'
import type { ExecutorRun, ExecutorStart, ExecutorToWorker, ResultPlace } from '../protocol/worker-executor.ts'
import { writeBlob } from '../runner/blob-writer.ts'
import type { FunctionCache } from '../runner/function-cache.ts'
import { InputReader } from '../runner/input-reader.ts'
import { type Outcome, type TaskFunction, erred, prepare, produce, thrownBy } from '../runner/run-task.ts'
import { Contexts, RunContext } from '../runner/run-context.ts'
import { encodeError } from '../values/error.ts'
import { Garbage, type GarbageOptions } from './garbage.ts'
import { Leftovers } from './leftovers.ts'
import type { Sender } from './sender.ts'

export interface TaskLoopOptions {
  readonly start: ExecutorStart
  readonly page: StatusPage
  readonly functions: FunctionCache
  readonly libc: GarbageOptions['libc']
  readonly sender: Sender
  readonly collectGarbage: (generation: 'young' | 'all') => void
}

type Large = Extract<Outcome, { kind: 'large' }>

type Ended =
  | { readonly kind: 'returned'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly outcome: Outcome }

interface Running {
  readonly run: ExecutorRun
  readonly context: RunContext
  readonly startedAt: number
  readonly usedBefore: number
  /** Inputs that are mapped now. */
  readonly mapped: TaskKey[]
  durationMs: number
  state: { readonly kind: 'calling' } | Ended | { readonly kind: 'placing'; readonly result: Large }
}

/** Results are held back for each other that long: some tens of trivial runs, and nothing that anybody would notice. */
const HOLD_MS = 0.25
/** A function whose last run took longer is not short. */
const SHORT_MS = 0.1
/** Short runs between two looks at the pipe from the worker. */
const BURST = 8
/** What is still there after all of these was left behind. */
const LEFTOVER_DELAYS_MS = [1, 1, 2, 4, 8, 16]

export class TaskLoop {
  readonly #options: TaskLoopOptions
  readonly #reader: InputReader
  readonly #garbage: Garbage
  readonly #contexts: Contexts
  /** Made with the first task, when everything of our own is there. */
  #leftovers: Leftovers | null = null
  readonly #running = new Map<RunId, Running>()
  #queue: ExecutorRun[] = []
  #unmapped: { runId: RunId; key: TaskKey }[] = []
  #epoch: number
  #state: 'open' | 'checking' | 'stopped' = 'open'
  #turnsScheduled = 0
  #collectAsked = false

  constructor(options: TaskLoopOptions) {
    const { start, libc } = options
    this.#options = options
    this.#contexts = new Contexts(start.concurrency)
    this.#epoch = options.page.epoch(start.slot)
    this.#reader = new InputReader({
      libc,
      mapThreshold: start.mapThreshold,
      onUnmapped: (run, key) => this.#onUnmapped(run, key),
    })
    const mappedBytes = (): number => this.#reader.mappedBytes
    this.#garbage = new Garbage({
      collect: options.collectGarbage,
      libc,
      shareBytes: start.shareBytes,
      mappedBytes,
    })
  }

  /** The run that this code belongs to, for tagging output. */
  currentRun(): RunId | null {
    return this.#contexts.current()?.runId ?? null
  }

  add(run: ExecutorRun): void {
    if (run.fnBytes !== undefined) this.#options.functions.learn(run.fn, Uint8Array.from(run.fnBytes))
    this.#queue.push(run)
    this.#schedule()
  }

  withdraw(runIds: readonly RunId[], epoch: number): void {
    const gone = new Set(runIds)
    this.#queue = this.#queue.filter((run) => !gone.has(run.runId))
    this.#epoch = epoch
    this.#schedule()
  }

  cancel(run: RunId): void {
    const running = this.#running.get(run)
    running?.context.abort(
      new PlimsollError('TASK_CANCELLED', `Task ${running.run.key} was cancelled.`, { key: running.run.key }),
    )
  }

  /** Null: the worker knows that there is no room; it has told whoever needs to know. */
  place(run: RunId, place: ResultPlace | null): void {
    const running = this.#running.get(run)
    if (running === undefined || running.state.kind !== 'placing') return
    if (place === null) this.#end(running, () => ({ op: 'dropped', ...this.#runEnd(running) }))
    else this.#write(running, running.state.result, place)
    this.#schedule()
  }

  collect(): void {
    this.#collectAsked = true
    this.#schedule()
  }

  /** Something was thrown where no task's call could catch it. */
  crash(thrown: unknown, origin: string): void {
    const reason = toError(thrown)
    process.stderr.write(`${origin}: ${reason.stack ?? reason.message}\n`)
    const only = this.#options.start.concurrency === 1 ? [...this.#running.values()][0] : undefined
    this.#state = 'stopped'
    this.#options.sender.send({
      op: 'crashed',
      runId: only?.run.runId ?? null,
      error: encodeError(crashError(only?.run, reason, origin)),
    })
  }

  #schedule(turns = 1): void {
    for (; this.#turnsScheduled < turns; this.#turnsScheduled++) setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#turnsScheduled--
    for (const running of this.#running.values()) {
      if (running.state.kind === 'returned' || running.state.kind === 'failed') this.#finish(running, running.state)
    }
    if (this.#running.size === 0) this.#betweenTasks()
    while (this.#state === 'open' && this.#running.size < this.#options.start.concurrency && this.#startNext());
    if (this.#running.size === 0) this.#options.sender.flush()
    if (this.#unmapped.length > 0) {
      const entries = this.#unmapped
      this.#unmapped = []
      this.#options.sender.send({ op: 'unmapped', entries })
    }
  }

  #betweenTasks(): void {
    if (!this.#collectAsked) return this.#garbage.dropWritten()
    this.#collectAsked = false
    this.#options.sender.send({ op: 'collected', durationMs: this.#garbage.collect() })
  }

  /** False when nothing can be started now. */
  #startNext(): boolean {
    const run = this.#queue[0]
    if (run === undefined) return false
    const { page, start, functions } = this.#options
    if (start.concurrency === 1) {
      page.begin(start.slot, run.runId, run.sequence)
      if (page.epoch(start.slot) !== this.#epoch) {
        page.setRun(start.slot, null)
        return false
      }
    } else page.nameLast(start.slot, run.runId)
    this.#queue.shift()
    this.#leftovers ??= new Leftovers()
    const running = this.#newRunning(run)
    this.#running.set(run.runId, running)
    const fn = functions.get(run.fn)
    if (typeof fn === 'function') this.#call(running, fn)
    else
      fn.then(
        (rebuilt) => this.#call(running, rebuilt),
        (error: unknown) => this.#settle(running, { kind: 'failed', outcome: erred('system', error) }),
      )
    return true
  }

  #newRunning(run: ExecutorRun): Running {
    const { page, start } = this.#options
    const context = new RunContext({
      runId: run.runId,
      key: run.key,
      attempt: run.attempt,
      workerAddress: start.workerAddress,
      memory: run.memory > 0 ? run.memory : start.shareBytes,
      isCancelled: () => page.isCancelled(start.slot, run.runId),
    })
    return {
      run,
      context,
      startedAt: performance.now(),
      usedBefore: this.#garbage.used,
      mapped: [],
      durationMs: 0,
      state: { kind: 'calling' },
    }
  }

  #call(running: Running, fn: TaskFunction): void {
    const prepared = prepare(running.run, this.#reader, (key) => running.mapped.push(key))
    if ('outcome' in prepared) return this.#settle(running, { kind: 'failed', outcome: prepared.outcome })
    this.#setPhase('running')
    try {
      const value = this.#contexts.enter(running.context, () => fn(...prepared.args))
      if (!isThenable(value)) return this.#settle(running, { kind: 'returned', value })
      this.#options.sender.flush()
      value.then(
        (settled) => this.#settle(running, { kind: 'returned', value: settled }),
        (error: unknown) => this.#settle(running, { kind: 'failed', outcome: thrownBy(running.run, error) }),
      )
    } catch (error) {
      this.#settle(running, { kind: 'failed', outcome: thrownBy(running.run, error) })
    }
  }

  #settle(running: Running, state: Ended): void {
    if (running.state.kind !== 'calling') return
    running.state = state
    running.durationMs = performance.now() - running.startedAt
    this.#schedule()
  }

  /** One turn after the call (T3). */
  #finish(running: Running, state: Ended): void {
    const { run, startedAt } = running
    if (this.#state === 'stopped') return
    this.#setPhase('encoding')
    const outcome =
      state.kind === 'returned' ? produce(run, state.value, this.#options.start.inlineLimit) : state.outcome
    if (state.kind === 'returned') running.durationMs = performance.now() - startedAt
    if (outcome.kind !== 'large') return this.#end(running, () => this.#message(running, outcome))
    running.state = { kind: 'placing', result: outcome }
    this.#setPhase('placing')
    this.#options.sender.send({ op: 'place-request', runId: run.runId, nbytes: outcome.nbytes })
    // The inputs are not needed any more: a collection now may give their maps back.
    if (this.#collectAsked) this.#betweenTasks()
  }

  #write(running: Running, result: Large, place: ResultPlace): void {
    const { runId } = running.run
    this.#setPhase('writing')
    let code: string | null = null
    try {
      const reserve = (fd: number): void => {
        if (place.tier === 'disk') this.#options.libc?.reserve(fd, result.nbytes)
      }
      if (writeBlob(place.path, result.blob, reserve) !== result.nbytes || place.nbytes !== result.nbytes) code = 'EIO'
    } catch (error) {
      code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    }
    if (code === null) {
      this.#garbage.written(result.nbytes)
      return this.#end(running, () => ({ op: 'written', place: place.id, type: result.type, ...this.#runEnd(running) }))
    }
    this.#setPhase('placing')
    this.#options.sender.send({ op: 'place-request', runId, nbytes: result.nbytes, failed: { place: place.id, code } })
  }

  #end(running: Running, message: () => ExecutorToWorker): void {
    const { sender } = this.#options
    const said = message()
    // T7.
    if (this.#options.start.concurrency === 1) this.#garbage.afterTask()
    if (said.op === 'finished' && this.#isOneOfMany(running)) {
      sender.hold(said, running.startedAt + running.durationMs, HOLD_MS)
      this.#schedule(Math.min(BURST, this.#queue.length))
    } else sender.send(said)
    this.#running.delete(running.run.runId)
    this.#contexts.leave()
    if (this.#options.start.concurrency > 1) return
    this.#options.page.end(this.#options.start.slot, running.run.runId)
    // Its worker replaces this process: whatever it still started would be killed.
    if (said.op === 'unfit') this.#state = 'stopped'
    this.#checkLeftovers()
  }

  /** T6. */
  #isOneOfMany({ run, durationMs }: Running): boolean {
    const next = this.#queue[0]
    return (
      next !== undefined &&
      next.fn === run.fn &&
      durationMs < SHORT_MS &&
      this.#options.start.concurrency === 1 &&
      this.#state === 'open' &&
      !this.#collectAsked
    )
  }

  #message(running: Running, outcome: Exclude<Outcome, Large>): ExecutorToWorker {
    const end = this.#runEnd(running)
    switch (outcome.kind) {
      case 'inline':
        return { op: 'finished', type: outcome.type, blob: outcome.blob, ...end }
      case 'erred':
        return { op: 'erred', kind: outcome.failure, error: outcome.error, ...end }
      case 'input-bad':
        return { op: 'input-bad', key: outcome.key, reason: outcome.reason, ...end }
      case 'unfit':
        return { op: 'unfit', reason: outcome.error.message, ...end }
    }
  }

  #runEnd(running: Running): { runId: RunId; durationMs: number; stillMapped: readonly TaskKey[]; grownBytes: number } {
    this.#garbage.taskEnds()
    const grownBytes = Math.max(0, this.#garbage.used - running.usedBefore)
    return { runId: running.run.runId, durationMs: running.durationMs, stillMapped: running.mapped, grownBytes }
  }

  #onUnmapped(runId: RunId, key: TaskKey): void {
    const mapped = this.#running.get(runId)?.mapped
    if (mapped !== undefined) mapped.splice(mapped.indexOf(key), 1)
    else {
      this.#unmapped.push({ runId, key })
      this.#schedule()
    }
  }

  #checkLeftovers(): void {
    if (this.#state !== 'open' || this.#leftovers?.find() === null) return
    this.#state = 'checking'
    this.#checkAgain(0)
  }

  /** Handles that are about to close get some time to do so. */
  #checkAgain(attempt: number): void {
    setTimeout(() => {
      if (this.#state !== 'checking') return
      const found = this.#leftovers?.find() ?? null
      if (found !== null && attempt + 1 < LEFTOVER_DELAYS_MS.length) return this.#checkAgain(attempt + 1)
      this.#state = found === null ? 'open' : 'stopped'
      if (found !== null) this.#options.sender.send({ op: 'retire', reason: found })
      this.#schedule()
    }, LEFTOVER_DELAYS_MS[attempt]).unref()
  }

  #setPhase(phase: 'running' | 'encoding' | 'placing' | 'writing'): void {
    if (this.#options.start.concurrency === 1) this.#options.page.setPhase(this.#options.start.slot, phase)
  }
}

function crashError(run: ExecutorRun | undefined, reason: Error, origin: string): PlimsollError {
  const what = run === undefined ? 'A task' : `Task ${run.key}`
  const message = `${what} left an error that nothing caught (${origin}): ${reason.message}. Await every promise, and handle 'error' events.`
  const fields = run === undefined ? { origin } : { key: run.key, function: run.name, attempt: run.attempt, origin }
  return new PlimsollError('TASK_CRASHED', message, fields, { cause: reason })
}
