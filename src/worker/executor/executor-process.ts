// One executor process as its worker sees it: the pipes, what it was handed, and its end. It decides nothing: which run
// goes where, and what a death means, is the pool's business (process-pool.ts).
//
// X1. Messages handed over in one turn of the loop are written as one buffer.
// X2. The end is told once, after the process was reaped, all that it started was killed (native/process-family.ts), and
//     everything it had written was read; bounded, since a child that cannot be killed may hold a pipe open.

import type { ChildProcess } from 'node:child_process'
import type { Duplex, Readable } from 'node:stream'
import type { FunctionId, RunId, TaskKey } from '../../base/ids.ts'
import { RingLog } from '../../base/ring-log.ts'
import type { Outbox } from '../../native/outbox.ts'
import { killFamily, killKnown } from '../../native/process-family.ts'
import { type ProcessMemory, ProcessTreeReader } from '../../native/process-memory.ts'
import type { ExecutorStart, ExecutorToWorker, WorkerToExecutor } from '../../protocol/worker-executor.ts'
import { MessageParser, MessageWriter } from '../../runner/pipe-framing.ts'
import type { ExecutorSample } from './executor-pool.ts'
import type { Launched } from './launch.ts'
import { OutputLog, type OutputStream } from './output-log.ts'
import { type PoolRun, placedInRam } from './pool-run.ts'

/** Why the worker itself ended an executor. */
export type KillCause =
  | { readonly kind: 'cancel' | 'timeout'; readonly runId: RunId }
  | { readonly kind: 'out-of-memory'; readonly advice: string }
  | { readonly kind: 'crashed' | 'replaced' | 'closing' | 'protocol' | 'start-timeout' }

export interface ExecutorEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Set when the process could not be started at all. */
  readonly spawnError: Error | null
}

export interface ExecutorProcessEvents {
  onMessage(executor: ExecutorProcess, message: ExecutorToWorker): void
  onEnd(executor: ExecutorProcess, end: ExecutorEnd): void
  onLine(executor: ExecutorProcess, stream: OutputStream, text: string, run: RunId | null): void
  /** Ends processes that carry the mark of an executor that is dead. Resolves when there are none; never rejects. */
  endStrays(mark: string): Promise<void>
}

/** After the exit, how long to wait for pipes that someone else may hold. */
const DRAIN_MS = 500
const REMEMBERED_KEYS = 256
const CURVE_SAMPLES = 32

export class ExecutorProcess {
  readonly pid: number
  readonly slot: number
  readonly concurrency: number
  readonly heapBytes: number
  /** What it was handed and has not finished, in order; without io the first is what it runs. */
  readonly outstanding = new Map<RunId, PoolRun>()
  readonly knownFunctions = new Set<FunctionId>()
  /** Inputs of runs, with their bytes, that are or may become mapped. */
  readonly mapped = new Map<RunId, Map<TaskKey, number>>()
  readonly output: OutputLog
  /** Its private memory over time, for reports. */
  readonly curve = new RingLog<{ readonly atMs: number; readonly bytes: number }>(CURVE_SAMPLES)
  state: 'starting' | 'ready' | 'draining' | 'ended' = 'starting'
  killCause: KillCause | null = null
  /** A task left something running behind: a death now blames nobody. */
  hasLeftovers = false
  handedOver = 0
  /** A result waits for its place: no new work (the brake). */
  placing = false
  /** Its first run takes so long that nothing is to wait behind it. */
  stalled: RunId | null = null
  /** Its last collection; `afterRuns`: how many runs it had been handed by then. */
  collection = { running: false, endedMs: -Infinity, tookMs: 0, afterRuns: 0 }
  onPong: (() => void) | null = null
  lastSample: ExecutorSample | null = null
  idleMemory: ProcessMemory | null = null
  dataCapBytes = 0
  readonly #child: ChildProcess
  readonly #mark: string
  /** Null when there were no descriptors left to start it with. */
  readonly #toExecutor: Duplex | null
  readonly #events: ExecutorProcessEvents
  readonly #keys = new Map<RunId, TaskKey>()
  readonly #memory: ProcessTreeReader
  readonly #writer = new MessageWriter<WorkerToExecutor>()
  #unsent: WorkerToExecutor[] = []
  #flushScheduled = false
  #ended = false

  constructor(
    { child, mark }: Launched,
    options: { slot: number; concurrency: number; heapBytes: number },
    events: ExecutorProcessEvents,
  ) {
    this.#child = child
    this.#mark = mark
    this.#toExecutor = ((child.stdio as ChildProcess['stdio'] | undefined)?.[3] as Duplex | null | undefined) ?? null
    this.#events = events
    this.pid = child.pid ?? -1
    this.slot = options.slot
    this.concurrency = options.concurrency
    this.heapBytes = options.heapBytes
    this.#memory = new ProcessTreeReader(this.pid)
    this.output = new OutputLog((stream, text, run) => events.onLine(this, stream, text, run))
    this.#listen()
  }

  /** Hears results that it holds back, as if they had been written; those that are written as well come twice. */
  hearHeldBack(outbox: Outbox | null): void {
    const bytes = outbox?.peek() ?? null
    if (bytes === null) return
    const messages: ExecutorToWorker[] = []
    new MessageParser<ExecutorToWorker>().push(Buffer.from(bytes.buffer), (message) => messages.push(message))
    for (const message of messages) this.#events.onMessage(this, message)
  }

  begin(start: Omit<ExecutorStart, 'op' | 'slot' | 'concurrency' | 'parentPid'>): void {
    this.send({ op: 'start', slot: this.slot, concurrency: this.concurrency, parentPid: process.pid, ...start })
  }

  send(message: WorkerToExecutor): void {
    if (this.#ended) return
    this.#unsent.push(message)
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    process.nextTick(this.#flush)
  }

  /** The key of a run that it was handed lately. */
  keyOf(run: RunId | null): TaskKey | null {
    return run === null ? null : (this.#keys.get(run) ?? null)
  }

  remember(run: RunId, key: TaskKey): void {
    this.#keys.set(run, key)
    if (this.#keys.size <= REMEMBERED_KEYS) return
    for (const oldest of this.#keys.keys()) {
      this.#keys.delete(oldest)
      return
    }
  }

  get mappedBytes(): number {
    let total = 0
    for (const inputs of this.mapped.values()) for (const nbytes of inputs.values()) total += nbytes
    return total
  }

  /** Bytes of maps that only its garbage collector keeps. */
  get deadMappedBytes(): number {
    let total = 0
    for (const [run, inputs] of this.mapped) {
      if (!this.outstanding.has(run)) for (const nbytes of inputs.values()) total += nbytes
    }
    return total
  }

  /** Its memory now, with all its descendants; the last sample when it is dying (its memory returns later than it says). */
  sample(
    nowMs: number,
    runs: { readonly reservedBytes: number; readonly only: PoolRun | null },
  ): ExecutorSample | null {
    const tree = this.killCause === null ? this.#memory.read(nowMs) : null
    if (tree === null) return this.lastSample === null ? null : { ...this.lastSample, dying: true }
    const { own, privateBytes } = tree
    const baselineBytes =
      this.idleMemory === null ? privateBytes : this.idleMemory.rssAnonBytes + this.idleMemory.swapBytes
    const { vmDataBytes } = own
    const { reservedBytes, only } = runs
    this.lastSample = {
      pid: this.pid,
      privateBytes,
      vmDataBytes,
      baselineBytes,
      reservedBytes,
      runId: only?.request.runId ?? null,
      placeBytes: placedInRam(only?.place ?? null),
      dying: false,
    }
    this.curve.push({ atMs: nowMs, bytes: privateBytes })
    return this.lastSample
  }

  /** Ends the process and all that it started. The first cause given is the one that counts. */
  kill(cause: KillCause): void {
    this.killCause ??= cause
    this.state = 'ended'
    // Once it is reaped its number may be another's.
    if (this.pid > 0 && this.#child.exitCode === null && this.#child.signalCode === null) killFamily(this.pid)
  }

  /** Its group, and what was its descendant at the last sample: of a dead process nobody knows the children. */
  #killBereaved(): void {
    try {
      process.kill(-this.pid, 'SIGKILL')
    } catch {
      // The whole group is gone already.
    }
    killKnown(this.#memory.descendants)
  }

  #listen(): void {
    const child = this.#child
    child.once('error', (error) => this.#finish({ code: null, signal: null, spawnError: error }))
    const toExecutor = this.#toExecutor
    if (toExecutor === null) return
    const fromExecutor = child.stdio[4] as Readable
    const parser = new MessageParser<ExecutorToWorker>()
    fromExecutor.on('data', (chunk: Buffer) => {
      const messages: ExecutorToWorker[] = []
      try {
        parser.push(chunk, (message) => messages.push(message))
      } catch {
        // User code wrote to our descriptor: nothing that follows can be read.
        this.kill({ kind: 'protocol' })
      }
      for (const message of messages) this.#events.onMessage(this, message)
    })
    // A broken pipe is followed by the exit, which says more.
    for (const pipe of [fromExecutor, toExecutor]) pipe.on('error', () => {})
    toExecutor.resume()
    this.output.attach('stdout', child.stdout as Readable)
    this.output.attach('stderr', child.stderr as Readable)
    child.once('exit', (code, signal) => {
      this.#killBereaved()
      const end = { code, signal, spawnError: null }
      const read = new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, DRAIN_MS)
        child.once('close', () => {
          clearTimeout(timer)
          resolve()
        })
      })
      void Promise.all([read, this.#events.endStrays(this.#mark)]).then(() => this.#finish(end))
    })
  }

  #finish(end: ExecutorEnd): void {
    if (this.#ended) return
    this.#ended = true
    this.state = 'ended'
    this.#memory.close()
    this.output.reportDropped()
    if (this.#toExecutor !== null) for (const pipe of this.#child.stdio) pipe?.destroy()
    this.#events.onEnd(this, end)
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    const unsent = this.#unsent
    this.#unsent = []
    const pipe = this.#toExecutor
    if (pipe === null || pipe.destroyed) return
    pipe.write(this.#writer.frame(unsent))
  }
}
