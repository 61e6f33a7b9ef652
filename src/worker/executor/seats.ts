// The processes of a pool: one seat per thread, each with the executor that sits in it now, and up to two seats for io
// executors, made when they are needed. Starts them, starts them again when they die, and frees what they had.
//
// C1. A dead executor is followed by the next one at once; after a pause that doubles when it died before it got a run.
// C2. A slot of the status page and its outbox belong to one process at a time, and are read before they are cleared.
// C3. After `close` no process that an executor started is left, and none is started.
// C4. The page is found by executors that start later, too, when somebody has cleared away its file meanwhile (a system that
//     removes what a user left in /dev/shm when the last session of that user ends, say).

import { closeSync, existsSync, openSync } from 'node:fs'
import { timerMs } from '../../base/clock.ts'
import { type Deferred, deferred } from '../../base/deferred.ts'
import { PlimsollError, toError } from '../../errors/plimsoll-error.ts'
import { loadLibc } from '../../native/libc.ts'
import { readProcessMemory } from '../../native/process-memory.ts'
import { type SlotState, StatusPage } from '../../native/status-page.ts'
import type { ExecutorPoolOptions } from './executor-pool.ts'
import { type ExecutorEnd, ExecutorProcess, type ExecutorProcessEvents } from './executor-process.ts'
import { type Launched, executorShare, launchExecutor } from './launch.ts'
import { StraySearch } from './stray-search.ts'

export interface Seat {
  readonly io: boolean
  heapBytes: number
  executor: ExecutorProcess | null
  /** Executors that died here before they got a run, in a row. */
  failures: number
  stopTimer: (() => void) | null
}

export interface SeatsEvents extends Pick<ExecutorProcessEvents, 'onMessage' | 'onLine'> {
  onReady(executor: ExecutorProcess): void
  /** What the page said of it last is in `slot`. Called before its successor starts. */
  onEnd(executor: ExecutorProcess, end: ExecutorEnd, slot: SlotState): void
  onExecutorsChanged(pids: readonly number[]): void
  onStartFailing(reason: string, failures: number): void
}

export const MAX_IO_SEATS = 2
/** io executors that are drained keep their slot while their successors run. */
const SPARE_SLOTS = 16
const BACKOFF_MS = 100
const MAX_BACKOFF_MS = 10_000
/** The first start of a pool fails for good after this many deaths in one seat. */
const MAX_FIRST_FAILURES = 3
const CLOSE_TIMEOUT_MS = 5000
/** Private memory that Node takes later without the task's doing: thread stacks, compiled code. */
const CAP_SLACK_BYTES = 64 * 2 ** 20
const STDERR_LINES = 12

export class Seats implements ExecutorProcessEvents {
  readonly seats: Seat[]
  readonly page: StatusPage
  readonly shareBytes: number
  readonly #options: ExecutorPoolOptions
  readonly #events: SeatsEvents
  readonly #live = new Map<ExecutorProcess, Seat>()
  readonly #freeSlots: number[]
  readonly #strays = new StraySearch()
  /** C4. */
  readonly #pageFd: number
  #starting: Deferred<void> | null = null
  #closing: Deferred<void> | null = null

  constructor(options: ExecutorPoolOptions, events: SeatsEvents) {
    this.#options = options
    this.#events = events
    this.shareBytes = executorShare(options.memoryLimit, options.nthreads)
    this.seats = Array.from({ length: options.nthreads }, () => newSeat(false, this.shareBytes))
    const slots = options.nthreads + MAX_IO_SEATS + SPARE_SLOTS
    this.page = openOrCreate(options.statusPagePath, slots)
    this.#pageFd = openSync(options.statusPagePath, 'r')
    this.#freeSlots = Array.from({ length: slots }, (_, index) => slots - 1 - index)
  }

  /** Every process that is not reaped yet. */
  get executors(): Iterable<ExecutorProcess> {
    return this.#live.keys()
  }

  get pids(): number[] {
    return [...this.#live.keys()].map((executor) => executor.pid).filter((pid) => pid > 0)
  }

  start(): Promise<void> {
    this.#starting = deferred()
    for (const seat of this.seats) this.#launch(seat)
    return this.#starting.promise
  }

  /** One more io executor, unless there are enough. */
  openIoSeat(): void {
    if (this.seats.filter((seat) => seat.io).length >= MAX_IO_SEATS) return
    const seat = newSeat(true, this.shareBytes)
    this.seats.push(seat)
    this.#launch(seat)
  }

  /** Ends an idle executor so that another takes its seat, with at least this much heap. */
  replace(executor: ExecutorProcess, heapBytes = 0): void {
    const seat = this.#live.get(executor)
    if (seat !== undefined) seat.heapBytes = Math.max(seat.heapBytes, heapBytes)
    executor.kill({ kind: 'replaced' })
  }

  /** Nothing new comes to this io executor; another one takes its seat now. */
  drain(executor: ExecutorProcess): void {
    const seat = this.#live.get(executor)
    if (seat?.executor !== executor || executor.state === 'draining') return
    executor.state = 'draining'
    seat.executor = null
    if (this.#freeSlots.length > 0) this.#launch(seat)
    else executor.kill({ kind: 'replaced' })
  }

  /** Bounds what one task can take, whatever it does: memory at idle, the worker's limit, and what is mapped for it. */
  capMemory(executor: ExecutorProcess): void {
    const { memoryLimit, executorCap } = this.#options
    const idle = executor.idleMemory?.vmDataBytes ?? 0
    if (memoryLimit === 0 || executorCap === false || idle === 0) return
    const cap = idle + CAP_SLACK_BYTES + memoryLimit + executor.mappedBytes
    if (cap === executor.dataCapBytes) return
    try {
      if (loadLibc()?.setDataLimit(executor.pid, cap) === true) executor.dataCapBytes = cap
    } catch {
      // It died, or a lower hard limit was set by the user: then that one holds.
    }
  }

  /** Results that it holds back while it is inside of another run (executor/sender.ts). */
  hearHeldBack(executor: ExecutorProcess): void {
    executor.hearHeldBack(this.page.outbox(executor.slot))
  }

  async close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = deferred()
      this.#starting?.reject(
        new PlimsollError('WORKER_START_FAILED', 'The worker was closed while its executors started.'),
      )
      for (const seat of this.seats) this.#stopTimer(seat)
      for (const executor of this.#live.keys()) executor.kill({ kind: 'closing' })
      if (this.#live.size === 0) this.#closing.resolve()
      const timer = setTimeout(() => this.#closing?.resolve(), CLOSE_TIMEOUT_MS)
      void this.#closing.promise.then(() => {
        clearTimeout(timer)
        this.page.close()
        closeSync(this.#pageFd)
      })
    }
    await this.#closing.promise
  }

  onMessage(executor: ExecutorProcess, message: Parameters<ExecutorProcessEvents['onMessage']>[1]): void {
    if (message.op === 'ready') this.#ready(executor)
    else this.#events.onMessage(executor, message)
  }

  onLine(...line: Parameters<ExecutorProcessEvents['onLine']>): void {
    this.#events.onLine(...line)
  }

  endStrays(mark: string): Promise<void> {
    return this.#strays.end(mark)
  }

  onEnd(executor: ExecutorProcess, end: ExecutorEnd): void {
    const seat = this.#live.get(executor)
    if (seat === undefined) return
    this.hearHeldBack(executor)
    const slot = this.page.read(executor.slot)
    this.page.clear(executor.slot)
    this.#freeSlots.push(executor.slot)
    this.#live.delete(executor)
    const current = seat.executor === executor
    if (current) {
      seat.executor = null
      this.#stopTimer(seat)
    }
    this.#events.onExecutorsChanged(this.pids)
    this.#events.onEnd(executor, end, slot)
    if (this.#closing !== null) {
      if (this.#live.size === 0) this.#closing.resolve()
    } else if (current) this.#again(seat, executor, end)
  }

  #launch(seat: Seat): void {
    const slot = this.#freeSlots.pop()
    if (slot === undefined || this.#closing !== null) return
    this.page.clear(slot)
    let launched: Launched
    try {
      launched = launchExecutor({ heapBytes: seat.heapBytes, env: this.#options.env })
    } catch (error) {
      this.#freeSlots.push(slot)
      return this.#failed(seat, startFailure(null, { code: null, signal: null, spawnError: toError(error) }, 0))
    }
    const concurrency = seat.io ? this.#options.ioConcurrency : 1
    const executor = new ExecutorProcess(launched, { slot, concurrency, heapBytes: seat.heapBytes }, this)
    seat.executor = executor
    this.#live.set(executor, seat)
    executor.begin({
      statusPage: this.#pagePath(),
      workerAddress: this.#options.workerAddress ?? '',
      inlineLimit: this.#options.inlineLimit,
      mapThreshold: this.#options.mapThreshold,
      shareBytes: seat.heapBytes,
    })
    const timer = setTimeout(() => executor.kill({ kind: 'start-timeout' }), timerMs(this.#options.startTimeoutMs))
    seat.stopTimer = () => clearTimeout(timer)
    this.#events.onExecutorsChanged(this.pids)
  }

  #pagePath(): string {
    const { statusPagePath } = this.#options
    const isGone = process.platform === 'linux' && !existsSync(statusPagePath)
    return isGone ? `/proc/${process.pid}/fd/${this.#pageFd}` : statusPagePath
  }

  #ready(executor: ExecutorProcess): void {
    const seat = this.#live.get(executor)
    if (seat === undefined || executor.state !== 'starting') return
    executor.state = 'ready'
    executor.idleMemory = readProcessMemory(executor.pid)
    this.#stopTimer(seat)
    this.capMemory(executor)
    this.#events.onReady(executor)
    if (this.seats.every((each) => each.executor?.state === 'ready')) this.#starting?.resolve()
  }

  /** C1. */
  #again(seat: Seat, executor: ExecutorProcess, end: ExecutorEnd): void {
    if (executor.handedOver === 0 && executor.killCause?.kind !== 'replaced') {
      return this.#failed(seat, startFailure(executor, end, this.#options.startTimeoutMs))
    }
    seat.failures = 0
    this.#launch(seat)
  }

  #failed(seat: Seat, reason: string): void {
    seat.failures++
    if (this.#starting?.settled === false && seat.failures >= MAX_FIRST_FAILURES) {
      this.#starting.reject(new PlimsollError('WORKER_START_FAILED', reason, { failures: seat.failures }))
      return
    }
    this.#events.onStartFailing(reason, seat.failures)
    const timer = setTimeout(() => this.#launch(seat), Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** (seat.failures - 1)))
    seat.stopTimer = () => clearTimeout(timer)
  }

  #stopTimer(seat: Seat): void {
    seat.stopTimer?.()
    seat.stopTimer = null
  }
}

function newSeat(io: boolean, heapBytes: number): Seat {
  return { io, heapBytes, executor: null, failures: 0, stopTimer: null }
}

/** The worker may have made the page already, for its own part of it. */
function openOrCreate(path: string, slots: number): StatusPage {
  try {
    const page = StatusPage.open(path)
    if (page.slots >= slots) {
      // What an earlier process of this worker left in it was read by its nanny.
      for (let slot = 0; slot < page.slots; slot++) page.clear(slot)
      return page
    }
    page.close()
  } catch {
    // Absent, or of another version.
  }
  return StatusPage.create(path, slots)
}

function startFailure(executor: ExecutorProcess | null, end: ExecutorEnd, timeoutMs: number): string {
  if (executor === null || end.spawnError !== null)
    return `An executor process could not be started: ${end.spawnError?.message}.`
  const stderr = executor.output.tail(STDERR_LINES)
  const late = executor.killCause?.kind === 'start-timeout'
  const how = late
    ? `was not ready within ${timeoutMs} ms`
    : `ended before it got a task (${end.signal ?? `exit code ${end.code}`})`
  return `An executor process ${how}.${stderr === '' ? '' : ` Last lines of stderr:\n${stderr}`}`
}
