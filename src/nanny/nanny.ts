// The nanny: keeps one worker process running, and leaves nothing of it behind. This is the shell around the pure core
// (core.ts decides everything): it performs effects and tells results as events. It holds the lock of the worker's
// directories, so that they outlive the process; reads its status page after a death; ends its executors before the next start.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { partLogger } from '../base/part-logger.ts'
import { systemClock, timerMs } from '../base/clock.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import { type RunId, type WorkerId, workerId } from '../base/ids.ts'
import { assertNever } from '../base/invariant.ts'
import { formatBytes } from '../base/units.ts'
import { type Config, loadConfig } from '../config/index.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { killMarked } from '../native/process-family.ts'
import { readStatusFile } from '../native/status-page.ts'
import {
  STATUS_PAGE_FILE,
  type SchedulerToNanny,
  type WorkerStartOptions,
  type WorkerToNanny,
} from '../protocol/nanny.ts'
import { type ClaimedDirectories, claimDirectories } from '../store/directories.ts'
import { WorkerChild, type WorkerExit, workerCommand } from './child.ts'
import {
  createNannyState,
  isLeaving,
  type NannyEffect,
  type NannyEvent,
  type NannyState,
  stepNanny,
  type TimerName,
} from './core.ts'
import { workerEnvironment } from './env.ts'
import { endGroups } from './groups.ts'
import { MemoryGuard } from './memory-guard.ts'
import { SchedulerLink } from './scheduler-link.ts'

type OwnedByNanny =
  | 'workerId'
  | 'incarnation'
  | 'localDirectory'
  | 'memoryDirectory'
  | 'nannyPid'
  | 'restarts'
  | 'processPeak'
  | 'spilledTotal'

/** What a worker is started with; the nanny adds identity and directories. */
export interface NannyOptions extends Omit<WorkerStartOptions, OwnedByNanny> {
  /** Where the worker's directory is made; default: the system's temporary directory. */
  readonly localBase?: string
  /** RAM file system; default: /dev/shm where there is one. */
  readonly memoryBase?: string | null
  /** Environment variables of the worker process; they win over everything else. */
  readonly env?: Readonly<Record<string, string>>
}

export interface NannyHooks {
  /** The worker started, ended, or is being started again. */
  onChange?(): void
  /** What is run as the worker process; default: the worker's own entry. */
  readonly workerMain?: string
  /** The scheduler is there, so the worker will be wanted: its process starts while the nanny registers. */
  readonly prefork?: boolean
}

type EventBody<E> = E extends NannyEvent ? Omit<E, 'now'> : never

/** Starts and restarts one worker process, and cleans up after it. */
export class Nanny {
  readonly workerId: WorkerId = workerId(`worker-${randomBytes(6).toString('hex')}`)
  readonly name: string
  readonly #options: NannyOptions
  readonly #hooks: NannyHooks
  readonly #config: Config
  readonly #state: NannyState
  readonly #link: SchedulerLink
  readonly #guard: MemoryGuard
  readonly #log = partLogger('nanny')
  readonly #started: Deferred<string> = deferred()
  readonly #closed: Deferred<string> = deferred()
  readonly #timers = new Map<TimerName, () => void>()
  readonly #events: NannyEvent[] = []
  #draining = false
  #directories: ClaimedDirectories | null = null
  #child: WorkerChild | null = null
  /** The first process, before the worker is asked for: it waits for its options. */
  #preforked: WorkerChild | null = null
  #localHost = '127.0.0.1'
  #groups: readonly number[] = []
  /** In the environment of all that its executors started; empty before there are any. */
  #mark = ''
  #peaks = { processPeak: 0, spilledTotal: 0 }
  /** Why the scheduler refused the nanny, with its code. */
  #refusal: Error | null = null
  #failed = false

  constructor(options: NannyOptions, hooks: NannyHooks = {}) {
    this.#options = options
    this.#hooks = hooks
    this.name = options.name
    this.#config = loadConfig({ overrides: options.config, env: {}, files: [] })
    this.#state = createNannyState(this.workerId, {
      restartLimit: this.#config.get('nanny.restart-limit'),
      restartWindowMs: this.#config.get('nanny.restart-window'),
      startTimeoutMs: this.#config.get('nanny.start-timeout'),
      deathTimeoutMs: options.deathTimeoutMs,
      lifetimeMs: drawLifetime(this.#config),
      lifetimeRestart: this.#config.get('worker.lifetime.restart'),
    })
    const { schedulerAddress, token, tls, insecurePlaintext, host } = options
    this.#link = new SchedulerLink(
      {
        address: schedulerAddress,
        credentials: { token, tls, insecurePlaintext },
        workerId: this.workerId,
        host,
        connectTimeoutMs: this.#config.get('comm.timeouts.connect'),
      },
      {
        onConnected: (localHost) => {
          this.#localHost = localHost
          this.#put({ kind: 'SchedulerConnected' })
        },
        onLost: () => this.#put({ kind: 'SchedulerLost' }),
        onRefused: (error) => this.#onRefused(error),
        onMessage: (message) => this.#onSchedulerMessage(message),
      },
    )
    this.#guard = this.#createGuard()
  }

  /** Address of the worker process that runs now; null while there is none. */
  get workerAddress(): string | null {
    return this.#state.phase.kind === 'running' ? this.#state.phase.address : null
  }

  get workerPid(): number | null {
    return this.#child?.alive === true ? this.#child.pid : null
  }

  /** Of the current or last worker process; 0 before the first. */
  get incarnation(): number {
    return this.#state.incarnation
  }

  /** The worker is on its way out and no other follows. */
  get leaving(): boolean {
    return isLeaving(this.#state)
  }

  /** How often the worker was started again after a death. */
  get restarts(): number {
    return this.#state.restarts
  }

  /** Whether the worker was given up, rather than ended because somebody asked. */
  get failed(): boolean {
    return this.#failed
  }

  /** Resolves with the reason when the worker is gone for good and everything of it is removed. Never rejects. */
  get closed(): Promise<string> {
    return this.#closed.promise
  }

  /**
   * Resolves when the worker is ready.
   * @throws PlimsollError WORKER_START_FAILED with the reason, or what kept the nanny from its scheduler.
   */
  async start(): Promise<void> {
    if (this.#hooks.prefork === true && this.#state.phase.kind === 'idle') this.#preforked = this.#createChild()
    await this.#claimOrEnd()
    this.#put({ kind: 'StartAsked' })
    this.#link.start()
    this.#guard.start()
    await this.#started.promise
  }

  /** Ends the worker and removes its directories: asks it first, or kills it at once with `force`. Always ends. */
  async close(reason = 'the nanny was closed', options: { readonly force?: boolean } = {}): Promise<void> {
    this.#put({ kind: 'CloseAsked', reason, force: options.force === true })
    await this.#closed.promise
  }

  #createGuard(): MemoryGuard {
    const { memoryLimit, executor } = this.#options
    const terminate = this.#config.get('worker.memory.terminate')
    const off = terminate === false || memoryLimit === 0 || executor === 'inline'
    const terminateBytes = off ? Number.POSITIVE_INFINITY : terminate * memoryLimit
    return new MemoryGuard({
      clock: systemClock,
      intervalMs: this.#config.get('worker.memory.monitor-interval'),
      terminateBytes,
      // A worker that starts or ends is not judged, so it need not be measured.
      pid: () => (this.#state.phase.kind === 'running' ? this.workerPid : null),
      onExceeded: (privateBytes) => {
        const sizes = { privateBytes: formatBytes(privateBytes), terminate: formatBytes(terminateBytes) }
        this.#log.error(
          'worker {name} has {privateBytes} of private memory, above {terminate} (terminate): it is killed',
          {
            name: this.name,
            ...sizes,
          },
        )
        this.#put({ kind: 'MemoryExceeded', privateBytes, terminateBytes })
      },
    })
  }

  async #claimOrEnd(): Promise<void> {
    try {
      await this.#claim()
    } catch (error) {
      this.#preforked?.signal('SIGKILL')
      throw error
    }
  }

  async #claim(): Promise<void> {
    const { localBase, memoryBase, memoryLimit } = this.#options
    this.#directories = await claimDirectories({
      workerId: this.workerId,
      memoryLimit,
      ...(localBase === undefined ? {} : { localBase }),
      ...(memoryBase === undefined ? {} : { memoryBase }),
    })
    for (const warning of this.#directories.warnings) this.#log.warn('{warning}', { warning })
  }

  /** Events are taken one after the other: an effect may cause the next one while the first is still performed. */
  #put(body: EventBody<NannyEvent>): void {
    this.#events.push({ ...body, now: systemClock.now() })
    if (this.#draining) return
    this.#draining = true
    try {
      for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
        const before = this.#state.phase.kind
        for (const effect of stepNanny(this.#state, event)) this.#perform(effect)
        if (this.#state.phase.kind !== before) this.#hooks.onChange?.()
      }
    } finally {
      this.#draining = false
    }
  }

  #perform(effect: NannyEffect): void {
    switch (effect.kind) {
      case 'SpawnWorker':
        return this.#spawn(effect.incarnation, effect.restarts)
      case 'AskWorkerToClose':
        return this.#child?.send({ op: 'close', reason: effect.reason })
      case 'SignalWorker':
        return this.#child?.signal(effect.signal)
      case 'ReapGroups':
        return void this.#reapGroups()
      case 'PurgeDirectories':
        return void this.#purgeDirectories()
      case 'SetTimer':
        return this.#setTimer(effect.name, effect.serial, effect.delayMs)
      case 'ClearTimer':
        return this.#clearTimer(effect.name)
      case 'TellScheduler':
        return this.#link.tell(effect.message)
      case 'ReportStarted':
        this.#log.info('worker {name} ({id}) runs at {address}', {
          name: this.name,
          id: this.workerId,
          address: effect.address,
        })
        return this.#started.resolve(effect.address)
      case 'RetireWorker':
        return void this.#retire(effect.timeoutMs)
      case 'Finish':
        return void this.#finish(effect.reason, effect.failed)
      default:
        return assertNever(effect, 'effect of the nanny')
    }
  }

  #spawn(incarnation: number, restarts: number): void {
    if (restarts > 0)
      this.#log.warn('worker {name} is started again (restart {restarts})', { name: this.name, restarts })
    this.#child = this.#preforked ?? this.#createChild()
    this.#groups = []
    this.#child.send({ op: 'start', options: this.#startOptions(incarnation, restarts) })
  }

  #createChild(): WorkerChild {
    const { env } = this.#options
    const variables = workerEnvironment(this.#config, env === undefined ? {} : { env })
    const child = new WorkerChild(workerCommand(this.#options, variables, this.#hooks.workerMain), {
      onMessage: (message) => {
        if (child !== this.#child) return
        this.#preforked = null
        this.#onWorkerMessage(message)
      },
      onExit: (exit) => {
        const wasPreforked = child === this.#preforked
        if (wasPreforked) this.#preforked = null
        if (child !== this.#child) return
        // It may have died before it was anybody's worker, noticed only now: another one is to show what is wrong.
        const { phase, incarnation, restarts } = this.#state
        if (wasPreforked && phase.kind === 'starting') this.#spawn(incarnation, restarts)
        else this.#onExit(exit)
      },
    })
    return child
  }

  #onExit(exit: WorkerExit): void {
    const { code, signal } = exit
    this.#log.info('worker {name} ended: code {code}, signal {signal}', { name: this.name, code, signal })
    this.#put({ kind: 'WorkerExited', ...exit, running: this.#runsOfTheDead() })
  }

  #startOptions(incarnation: number, restarts: number): WorkerStartOptions {
    const { localBase: _local, memoryBase: _memory, env: _env, ...options } = this.#options
    return {
      ...options,
      ...this.#peaks,
      workerId: this.workerId,
      incarnation,
      restarts,
      nannyPid: process.pid,
      host: options.host === '' ? this.#localHost : options.host,
      localDirectory: this.#claimed().local,
      memoryDirectory: this.#claimed().memory,
      config: this.#childConfig(),
    }
  }

  /** A worker's stderr is a pipe to here: what it looks like in the end, only this process knows. */
  #childConfig(): Readonly<Record<string, unknown>> {
    if (this.#config.get('logging.format') !== 'auto') return this.#options.config
    return { ...this.#options.config, 'logging.format': process.stderr.isTTY ? 'human' : 'json' }
  }

  #onWorkerMessage(message: WorkerToNanny): void {
    switch (message.op) {
      case 'started':
        return this.#put({ kind: 'WorkerStarted', address: message.address })
      case 'start-failed':
        return this.#put({ kind: 'WorkerStartFailed', message: message.message })
      case 'closing':
        return this.#put({ kind: 'WorkerClosing', reason: message.reason })
      case 'executors':
        this.#groups = message.pids
        this.#mark = message.mark
        return
      case 'peaks':
        this.#peaks = { processPeak: message.processPeak, spilledTotal: message.spilledTotal }
        return
      default:
        return this.#ignore(message)
    }
  }

  #onSchedulerMessage(message: SchedulerToNanny): void {
    switch (message.op) {
      case 'close':
        return this.#put({ kind: 'CloseAsked', reason: message.reason, force: false })
      case 'restart-worker':
        return this.#put({ kind: 'RestartAsked', generation: message.generation })
      case 'kill-worker':
        return this.#put({ kind: 'KillAsked', reason: message.reason, blameless: message.asked === true })
      default:
        return this.#ignore(message)
    }
  }

  /** From a newer version, perhaps: not worth a worker's life. */
  #ignore(message: never): void {
    this.#log.warn('a message is ignored that this version does not know: {message}', { message })
  }

  #onRefused(error: Error): void {
    this.#refusal = error
    // Before the first start whoever waits for it is told.
    if (this.#started.settled)
      this.#log.error('the scheduler at {address} refuses this worker: {error}', {
        address: this.#options.schedulerAddress,
        error,
      })
    this.#put({ kind: 'SchedulerRefused', message: error.message })
  }

  /**
   * The runs that executors were inside of when the worker died, or had just ended: a task that ends its worker may return
   * before that is dead. Of io tasks the one that began last. The scheduler knows which of them it has heard the end of.
   */
  #runsOfTheDead(): RunId[] {
    const { local, memory } = this.#claimed()
    const slots = readStatusFile(join(memory ?? local, STATUS_PAGE_FILE))
    return slots.flatMap(({ runId, phase, lastRun }) => [
      ...(runId === null || phase === 'idle' ? [] : [runId]),
      ...(lastRun === null ? [] : [lastRun]),
    ])
  }

  async #retire(timeoutMs: number): Promise<void> {
    this.#log.info('the lifetime of worker {name} is over: its values are moved to others', { name: this.name })
    const retired = await this.#link.retire(timeoutMs)
    if (!retired) this.#log.warn('worker {name} ends with values that nobody else has', { name: this.name })
    this.#put({ kind: 'WorkerRetired', retired })
  }

  async #reapGroups(): Promise<void> {
    const groups = await endGroups(this.#groups)
    const strays = this.#mark === '' ? [] : await killMarked([this.#mark])
    const left = [...groups, ...strays]
    if (left.length > 0) this.#log.error('processes {left} of worker {name} cannot be ended', { left, name: this.name })
    this.#groups = []
    this.#mark = ''
    this.#put({ kind: 'GroupsGone' })
  }

  /** Gives the directories up and takes new ones of the same name: nothing of the old generation can be adopted. */
  async #purgeDirectories(): Promise<void> {
    try {
      await this.#claimed().release({ remove: true })
      await this.#claim()
    } catch (error) {
      this.#put({
        kind: 'CloseAsked',
        reason: `the directories cannot be emptied: ${toError(error).message}`,
        force: true,
      })
    }
    this.#put({ kind: 'DirectoriesPurged' })
  }

  #setTimer(name: TimerName, serial: number, delayMs: number): void {
    this.#clearTimer(name)
    const timer = setTimeout(() => this.#put({ kind: 'TimerDue', name, serial }), timerMs(delayMs))
    this.#timers.set(name, () => clearTimeout(timer))
  }

  #clearTimer(name: TimerName): void {
    this.#timers.get(name)?.()
    this.#timers.delete(name)
  }

  async #finish(reason: string, failed: boolean): Promise<void> {
    this.#failed = failed
    this.#preforked?.signal('SIGKILL')
    this.#guard.stop()
    // Before the first start whoever waits for it is told.
    if (failed && this.#started.settled)
      this.#log.error('worker {name} is given up: {reason}', { name: this.name, reason })
    try {
      await this.#link.close()
      await this.#directories?.release({ remove: true })
    } catch (error) {
      this.#log.warn('worker {name} was not cleaned up completely: {error}', { name: this.name, error })
    }
    this.#started.reject(this.#startError(reason))
    this.#closed.resolve(reason)
  }

  #startError(reason: string): Error {
    if (this.#refusal !== null) return this.#refusal
    return new PlimsollError('WORKER_START_FAILED', reason, { worker: this.name, workerId: this.workerId })
  }

  #claimed(): ClaimedDirectories {
    if (this.#directories === null) throw new PlimsollError('INTERNAL', 'the nanny has no directories')
    return this.#directories
  }
}

/** Workers that start together do not end together. */
function drawLifetime(config: Config): number | null {
  const duration = config.get('worker.lifetime.duration')
  if (duration === null) return null
  const stagger = config.get('worker.lifetime.stagger')
  return timerMs(Math.max(0, duration + stagger * (2 * Math.random() - 1)))
}
