// One worker: a small supervisor around the pure core (core/). This file wires core, store, executors, peers and scheduler
// together, and is their life from start to close; each of them is in a file of its own.
//
// L1. Nothing is registered before the executors are warm and the store is open, nothing served before the registration was
//     answered and acted on.
// L2. Whatever throws out of the core ends this worker with `restart`: its state cannot be trusted, its blobs can.
// L3. `closed` resolves exactly once, when executors, connections and store are closed.

import { partLogger } from '../base/part-logger.ts'
import { systemClock } from '../base/clock.ts'
import { deferred } from '../base/deferred.ts'
import type { TaskKey } from '../base/ids.ts'
import { Prng } from '../base/prng.ts'
import { formatBytes } from '../base/units.ts'
import { connect, formatAddress, isLoopback, type Listener, listen, parseAddress } from '../comm/index.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { HttpServer } from '../http/index.ts'
import { collectOwn } from './memory/collect-own.ts'
import { ProcessMemoryReader } from '../native/process-memory.ts'
import { sumAside } from '../native/sum-aside.ts'
import type { WorkerStartOptions } from '../protocol/nanny.ts'
import type { MemoryMeasures, StoryEntry, WorkerStatus } from '../protocol/scheduler-client.ts'
import type { RegisterWorkerAnswer } from '../protocol/scheduler-worker.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection, ConnectionPool } from '../rpc/index.ts'
import type { Store, StoreEvents, StoreIdentity } from '../store/store.ts'
import { ContainerStore } from '../store/container-store.ts'
import { TieredStore } from '../store/tiered-store.ts'
import { createState, statusOf, wantsReplica, type WorkerState } from './core/state.ts'
import { story } from './core/story.ts'
import { CoreDriver, type EventBody } from './core-driver.ts'
import { createInlinePool, createProcessPool, type ExecutorPool, type ExecutorPoolEvents } from './executor/index.ts'
import { heartbeat } from './heartbeat.ts'
import { isAnyStarted, memoryMeasured, tierBytesOf } from './memory/admission-look.ts'
import { MemoryManager, type ProcessSample } from './memory/memory-manager.ts'
import { type OpenContainer, openCaptured } from './open-container.ts'
import { admissionSettings, resolveSettings, type WorkerSettings } from './options.ts'
import { PeerClient, type PeerConnection } from './peer-client.ts'
import { PeerServer } from './peer-server.ts'
import { Performer } from './perform.ts'
import { registration } from './registration.ts'
import { RunDesk } from './run-desk.ts'
import { SchedulerLink } from './scheduler-link.ts'

export interface WorkerHooks {
  /** Makes the user's container for values; without it `data` of the options counts, and without both the tiers. */
  readonly openContainer?: OpenContainer
  /** Leaders of the executors' process groups, whenever they change. */
  onExecutors?(pids: readonly number[]): void
  /** For reports that outlive the process, now and then. */
  onPeaks?(processPeak: number, spilledTotal: number): void
}

/** Why a worker ended. `restart`: not by its own or the scheduler's will. */
export interface WorkerEnd {
  readonly reason: string
  readonly restart: boolean
}

/** A dead peer refuses at once; a silent one is given this long. */
const PEER_CONNECT_MS = 2000
const PEAKS_EVERY_MS = 1000
const WARN_OF_DISK_EVERY_MS = 10_000
/** One queue of a pipelined executor holds at most this much of a worker's shutdown. */
const CLOSE_STEP_MS = 10_000
/** So many failures in a row of one executor are more than bad luck. */
const START_FAILURES_ERROR = 3

const TASK_LOGS = { stdout: partLogger('task', 'stdout'), stderr: partLogger('task', 'stderr') }

/** A worker of a cluster, in this process. Under a nanny, main.ts is its process's entry. */
export class Worker {
  readonly #settings: WorkerSettings
  readonly #hooks: WorkerHooks
  readonly #log = partLogger('worker')
  readonly #store: Store
  readonly #desk: RunDesk
  readonly #connections: ConnectionPool<PeerConnection>
  readonly #peers: PeerClient
  readonly #server: PeerServer
  readonly #performer: Performer
  readonly #ownMemory = new ProcessMemoryReader(process.pid)
  readonly #driver: CoreDriver
  readonly #closed = deferred<WorkerEnd>()
  /** Settles when the store was emptied for the last time it was ordered to. */
  #emptied: Promise<void> = Promise.resolve()
  #stopTellingPeaks = (): void => {}
  #warnOfDiskAt = Number.NEGATIVE_INFINITY
  #pool: ExecutorPool | null = null
  #listener: Listener | null = null
  #http: HttpServer | null = null
  #link: SchedulerLink | null = null
  #memory: MemoryManager | null = null
  #identity: StoreIdentity = { clusterId: '', generation: 0 }
  #closing = false

  /** @throws PlimsollError CONFIG_INVALID: a bad configuration, or a memory limit too small for the threads. */
  constructor(options: WorkerStartOptions, hooks: WorkerHooks = {}) {
    const settings = resolveSettings(options)
    this.#settings = settings
    this.#hooks = hooks
    this.#store = this.#createStore()
    const dispatch = (event: EventBody): void => this.#driver.dispatch(event)
    const pool = (): ExecutorPool => this.#pool as ExecutorPool
    this.#desk = new RunDesk({
      store: this.#store,
      clock: systemClock,
      pool,
      identity: () => this.#identity,
      dispatch,
    })
    this.#connections = new ConnectionPool({ connect: (address) => this.#connectToPeer(address) })
    this.#peers = new PeerClient({
      store: this.#store,
      pool: this.#connections,
      clock: systemClock,
      linksSameHost: settings.linksSameHost,
      inlineLimit: settings.inlineLimit,
      sumAside,
      isWanted: (transferId, order) =>
        this.#state !== null && wantsReplica(this.#state, transferId, order.key, order.runId),
      onReceived: (transferId, value) => dispatch({ kind: 'ReplicaReceived', transferId, value }),
      onRefused: (transferId, { key }, reason) => dispatch({ kind: 'ReplicaRefused', transferId, key, reason }),
      onEnded: (transferId, outcome) => dispatch({ kind: 'TransferEnded', transferId, outcome }),
    })
    this.#server = new PeerServer({
      store: this.#store,
      clock: systemClock,
      servesMax: settings.servesMax,
      linksSameHost: settings.linksSameHost,
      inlineLimit: settings.inlineLimit,
      sumAside,
      isMemoryInRam: settings.start.memoryDirectory !== null,
      isPaused: () => this.status !== 'running',
      onScattered: (value) => dispatch({ kind: 'ValueScattered', value }),
      trimMemory: () => this.#trimMemory(),
    })
    this.#performer = new Performer({
      store: this.#store,
      desk: this.#desk,
      peers: this.#peers,
      pool,
      send: (message) => this.#link?.send(message),
      setTimer: (delayMs, event) => this.#driver.setTimer(delayMs, event),
      dispatch,
      tierBytes: () => tierBytesOf(this.#store.totals),
      wipe: (generation) => this.#wipe(generation),
      close: (reason) => void this.close(reason),
    })
    this.#driver = new CoreDriver(
      systemClock,
      (effect) => this.#performer.perform(effect),
      (error) => this.#onCoreFailed(error),
    )
  }

  get #state(): WorkerState | null {
    return this.#driver.state
  }

  /** Where peers and clients reach it; empty before `start`. */
  get address(): string {
    return this.#listener?.address ?? ''
  }

  get status(): WorkerStatus {
    if (this.#closing) return 'closing'
    return this.#state === null ? 'running' : statusOf(this.#state)
  }

  /** Highest process memory and bytes spilled since the worker's first start. */
  get peaks(): { readonly processPeak: number; readonly spilledTotal: number } {
    const { processPeak, spilledTotal } = this.#settings.start
    return {
      processPeak: this.#memory?.processPeak ?? processPeak,
      spilledTotal: spilledTotal + this.#store.totals.spilledTotal,
    }
  }

  /** Resolves when everything of the worker is closed. Never rejects. */
  get closed(): Promise<WorkerEnd> {
    return this.#closed.promise
  }

  /**
   * Resolves when the worker is registered and may be given tasks.
   * @throws PlimsollError CONNECT_FAILED, AUTH_FAILED, VERSION_MISMATCH, WORKER_START_FAILED; everything is closed then.
   */
  async start(): Promise<void> {
    try {
      await this.#startParts()
    } catch (error) {
      await this.#end({ reason: `it could not start: ${toError(error).message}`, restart: false })
      throw error
    }
  }

  /** Ends the worker in good order: its executors, its connections, its files. Always resolves. */
  async close(reason = 'the worker was closed'): Promise<void> {
    await this.#end({ reason, restart: false })
  }

  async #startParts(): Promise<void> {
    const adopted = await this.#store.open()
    this.#listener = await this.#listen()
    this.#pool = this.#createPool()
    this.#driver.start(this.#createState(this.#listener.address))
    const memory = this.#createMemory()
    this.#memory = memory
    await Promise.all([this.#pool.start(), this.#serveHttp(memory)])
    if (adopted.length > 0) this.#driver.dispatch({ kind: 'ValuesAdopted', values: adopted })
    this.#memory.start()
    this.#keepTellingPeaks()
    const link = this.#createLink()
    this.#link = link
    await link.start()
    this.#throwIfClosing()
  }

  async #serveHttp(memory: MemoryManager): Promise<void> {
    const { http } = this.#settings.start
    if (http === null) return
    const { HttpServer, workerRoutes } = await import('./http-routes.ts')
    this.#http = await HttpServer.listen({
      ...http,
      routes: workerRoutes({
        address: this.address,
        memory: () => memory.measures(),
        totals: () => this.#store.totals,
        keyCounts: () => this.#store.keyCounts(),
        running: () => this.#state?.running ?? 0,
        status: () => this.status,
      }),
    })
  }

  #throwIfClosing(): void {
    if (this.#closing) throw new PlimsollError('COMM_CLOSED', 'the worker was closed while it started')
  }

  #createStore(): Store {
    const { start, rungs, maxSpill, pageCache, inlineLimit, threadPool } = this.#settings
    const { localDirectory, memoryDirectory, incarnation, memoryLimit } = start
    const { target } = rungs
    const options = { localDirectory, memoryDirectory, incarnation, memoryLimit, target, inlineLimit, threadPool }
    const captured = start.data ?? null
    const open = this.#hooks.openContainer ?? (captured === null ? null : openCaptured(captured))
    if (open === null) {
      if (pageCache < Infinity)
        this.#log.debug('the kernel’s cache keeps {pageCache} of values on disk (worker.memory.page-cache)', {
          pageCache: formatBytes(pageCache),
        })
      return new TieredStore({ ...options, maxSpill, pageCache }, this.#storeEvents)
    }
    const onContainerError = (error: Error, what: string): void =>
      this.#log.warn('the container for values failed ({what}): {error}', { what, error })
    return new ContainerStore({ ...options, open, onContainerError }, this.#storeEvents)
  }

  readonly #storeEvents: StoreEvents = {
    onDurable: (values) => this.#driver.dispatch({ kind: 'ValuesDurable', values }),
    onEvicted: (values) => this.#driver.dispatch({ kind: 'ReplicasLost', values, reason: 'dropped for room' }),
    onLost: (value, reason) => {
      this.#log.warn('the stored value of {key} is lost: {reason}', { key: value.key, reason })
      this.#driver.dispatch({ kind: 'ReplicasLost', values: [value], reason, unreadable: true })
    },
    onSpillFailing: (reason) => this.#onSpillFailing(reason),
    onDeadMappings: () => this.#pool?.collect(),
  }

  /** A disk around its limit fails and recovers with every value that comes and goes. */
  #onSpillFailing(reason: string | null): void {
    const now = systemClock.now()
    if (reason === null) this.#log.info('values can be moved to disk again')
    else if (now >= this.#warnOfDiskAt) {
      this.#warnOfDiskAt = now + WARN_OF_DISK_EVERY_MS
      this.#log.warn('values cannot be moved to disk: {reason}', { reason })
    }
  }

  #createState(address: string): WorkerState {
    const { start, incomingBytesLimit, messageBytesLimit, fetchesMax, logLength, validate } = this.#settings
    return createState({
      workerId: start.workerId,
      address,
      nthreads: start.nthreads,
      memory: admissionSettings(this.#settings, this.#store instanceof TieredStore),
      resources: start.resources,
      incomingBytesLimit,
      messageBytesLimit,
      incomingCountLimit: fetchesMax,
      logLength,
      seed: new Prng(process.pid).int(2 ** 31),
      validate,
    })
  }

  #createPool(): ExecutorPool {
    const { start, inlineLimit, mapThreshold, statusPagePath, cancelGraceMs, executorStartTimeoutMs } = this.#settings
    const { executorRecycle } = this.#settings
    const options = {
      nthreads: start.nthreads,
      memoryLimit: start.memoryLimit,
      inlineLimit,
      mapThreshold,
      statusPagePath,
      cancelGraceMs,
      startTimeoutMs: executorStartTimeoutMs,
      env: {},
      workerAddress: this.address,
      executorCap: this.#settings.executorCap,
      ...(executorRecycle === false ? {} : { executorRecycle }),
      ioConcurrency: this.#settings.ioConcurrency,
    }
    const events: ExecutorPoolEvents = {
      ...this.#desk.poolEvents,
      onExecutorsChanged: (pids) => {
        this.#hooks.onExecutors?.(pids)
        this.#link?.beat()
      },
      onLog: ({ key, stream, text }) => TASK_LOGS[stream].info('{text}', { text, key }),
      onStartFailing: (reason, failures) => this.#logStartFailing(reason, failures),
    }
    return start.executor === 'inline' ? createInlinePool(options, events) : createProcessPool(options, events)
  }

  /** One may be bad luck, or somebody's kill: it is started again. More in a row, and this worker cannot work. */
  #logStartFailing(reason: string, failures: number): void {
    if (failures < START_FAILURES_ERROR) this.#log.warn('an executor is started again: {reason}', { reason })
    else this.#log.error('executors cannot be started ({failures} times in a row): {reason}', { reason, failures })
  }

  #createMemory(): MemoryManager {
    const { start, rungs, monitorIntervalMs, recentToOldMs } = this.#settings
    const pool = this.#pool
    return new MemoryManager(
      {
        clock: systemClock,
        limit: start.memoryLimit,
        rungs: this.#store.canSpill ? rungs : { ...rungs, spill: Number.POSITIVE_INFINITY },
        intervalMs: monitorIntervalMs,
        recentToOldMs,
        readProcesses: () => this.#readProcesses(),
        counted: () => {
          const { managed, inline, disk, memoryTierFileBytes } = this.#store.totals
          pool?.statusPage?.setTierBytes(memoryTierFileBytes)
          return {
            managed,
            spilled: disk,
            tierBytes: memoryTierFileBytes,
            inlineBytes: inline,
            isCounted: this.#store instanceof TieredStore,
          }
        },
        makeRoom: (managedBytes) => this.#store.makeRoom(managedBytes),
        allow: (managedBytes, atMost) => this.#store.allow(managedBytes, atMost),
        onPause: () => this.#onPause(),
        onResume: () => this.#onResume(),
        onProbe: () => this.#probe(),
        onMeasured: (look) => this.#driver.dispatch(memoryMeasured(look, tierBytesOf(this.#store.totals))),
        killExecutor: (pid, advice) => this.#killExecutor(pid, advice),
        running: () => this.#state?.running ?? 0,
        isAnyStarted: () => isAnyStarted(this.#state, this.#pool),
        deadMapped: () => this.#store.totals.deadMapped + this.#store.totals.deadMappedDisk,
        collect: () => pool?.collect(),
        collectOwn,
        relieve: () => this.#relieve(),
        recycleHoarders: () => this.#recycleHoarders(),
        onUnmanagedHigh: (measures) => this.#warnOfUnmanaged(measures),
      },
      start.processPeak,
    )
  }

  #readProcesses(): ProcessSample {
    const own = this.#ownMemory.read()
    const executors = this.#pool?.sample() ?? []
    let privateBytes = own === null ? 0 : own.rssAnonBytes + own.swapBytes
    const ownBytes = this.#settings.start.executor === 'process' ? privateBytes : 0
    for (const sample of executors) privateBytes += sample.privateBytes
    return { privateBytes, ownBytes, executors }
  }

  async #trimMemory(): Promise<{ readonly beforeBytes: number; readonly afterBytes: number }> {
    const beforeBytes = this.#readProcesses().privateBytes
    await this.#pool?.trim()
    collectOwn('compact')
    return { beforeBytes, afterBytes: this.#readProcesses().privateBytes }
  }

  #killExecutor(pid: number, advice: string): void {
    if (this.#pool?.killForMemory(pid, advice) !== true) return
    this.#log.warn('executor {pid} is killed for its memory. {advice}', { pid, advice })
    this.#link?.send({ op: 'log-event', topic: 'task-killed', fields: { pid, memory: this.#memory?.measures() } })
  }

  #onPause(): void {
    const { process, limit } = (this.#memory as MemoryManager).measures()
    const sizes = { process: formatBytes(process), limit: formatBytes(limit) }
    this.#log.info('the worker is paused: {process} of {limit} are in use, above worker.memory.pause', sizes)
    this.#pauseOrResume('MemoryPaused')
  }

  #onResume(): void {
    this.#log.info('the worker takes tasks again')
    this.#pauseOrResume('MemoryResumed')
  }

  /** The scheduler is told the measures that go with it, not only at the next heartbeat. */
  #pauseOrResume(kind: 'MemoryPaused' | 'MemoryResumed' | 'MemoryProbed'): void {
    this.#driver.dispatch({ kind })
    this.#link?.beat()
  }

  #probe(): void {
    this.#log.debug('the worker is still paused with nothing running: it takes one task')
    this.#pauseOrResume('MemoryProbed')
  }

  #relieve(): void {
    this.#pool?.collect()
    const recycled = this.#pool?.recycleIdle() ?? 0
    this.#log.warn(
      'the worker is paused with nothing running; {recycled} idle executors are replaced to get their memory back',
      { recycled },
    )
    this.#link?.send({ op: 'log-event', topic: 'worker-stuck', fields: { recycled, memory: this.#memory?.measures() } })
  }

  #recycleHoarders(): void {
    const recycled = this.#pool?.recycleHoarders() ?? 0
    if (recycled === 0) return
    this.#log.info('{recycled} idle executors are replaced: they kept much of what their tasks had left', { recycled })
  }

  #warnOfUnmanaged({ process, limit, managed }: MemoryMeasures): void {
    const own = this.#readProcesses().ownBytes - this.#store.totals.inline
    this.#log.warn(
      'unmanaged memory is high: {process} of {limit} are in use above worker.memory.spill, and only {managed} of it are stored values. ' +
        'The worker itself has {own} of the rest, and keeps book of {values} values with it, in memory and on disk; what remains ' +
        'belongs to tasks, to what modules they loaded keep, and to processes they started',
      {
        process: formatBytes(process),
        limit: formatBytes(limit),
        managed: formatBytes(managed),
        own: formatBytes(Math.max(0, own)),
        values: this.#state?.tasks.size ?? 0,
      },
    )
  }

  #createLink(): SchedulerLink {
    const { start, credentials, connectTimeoutMs, deathTimeoutMs } = this.#settings
    return new SchedulerLink(
      {
        address: start.schedulerAddress,
        credentials,
        connectTimeoutMs,
        deathTimeoutMs,
        clock: systemClock,
      },
      {
        registration: () =>
          registration(start, this.address, this.#http?.link ?? null, this.#store.identity, this.#state as WorkerState),
        onRegistered: (answer) => this.#onRegistered(answer),
        onMessages: (messages) => this.#driver.dispatch({ kind: 'MessagesReceived', messages }),
        heartbeat: () => heartbeat(this.#heartbeatParts()),
        story: (key) => this.#story(key),
        onGivenUp: (error) => void this.#end({ reason: error.message, restart: false }),
      },
    )
  }

  /** What counts from now on is the scheduler's word: another cluster or generation leaves nothing of what is here. */
  async #onRegistered(answer: RegisterWorkerAnswer): Promise<void> {
    const { schedulerId: clusterId, generation, drop, cancel } = answer
    const held = this.#store.identity
    const isOther = held !== null && (held.clusterId !== clusterId || held.generation !== generation)
    this.#identity = { clusterId, generation }
    if (isOther) this.#driver.dispatch({ kind: 'ClusterChanged', generation })
    else this.#driver.dispatch({ kind: 'Registered', generation, drop, cancel })
    await this.#emptied
    await this.#store.setIdentity(clusterId, generation)
    this.#server.open()
  }

  #heartbeatParts(): Parameters<typeof heartbeat>[0] {
    return {
      state: this.#state as WorkerState,
      memory: this.#memory as MemoryManager,
      pool: this.#pool as ExecutorPool,
      peers: this.#peers,
      spilledTotal: this.peaks.spilledTotal,
      now: systemClock.now(),
    }
  }

  #story(key: TaskKey): StoryEntry[] {
    const lines = this.#state === null ? [] : story(this.#state, key)
    return lines.map(({ at, text }) => ({ where: this.address, at: performance.timeOrigin + at, key, text }))
  }

  async #listen(): Promise<Listener> {
    const { start, credentials } = this.#settings
    const scheduler = parseAddress(start.schedulerAddress)
    const host = start.host === '' ? (isLoopback(scheduler.host) ? '127.0.0.1' : '0.0.0.0') : start.host
    const address =
      scheduler.scheme === 'inproc' ? 'inproc://' : formatAddress({ scheme: scheduler.scheme, host, port: start.port })
    return listen(address, {
      role: 'worker',
      credentials,
      protocolVersion: PROTOCOL_VERSION,
      clusterId: () => this.#identity.clusterId,
      onComm: (comm) => this.#server.accept(comm),
    })
  }

  async #connectToPeer(address: string): Promise<PeerConnection> {
    const { credentials, linksSameHost } = this.#settings
    const comm = await connect(address, {
      role: 'worker',
      credentials,
      protocolVersion: PROTOCOL_VERSION,
      timeoutMs: PEER_CONNECT_MS,
      retry: 'unless-refused',
      transport: linksSameHost ? 'auto' : 'tcp',
    })
    return new Connection(comm)
  }

  #keepTellingPeaks(): void {
    this.#stopTellingPeaks = systemClock.after(PEAKS_EVERY_MS, () => {
      this.#tellPeaks()
      this.#keepTellingPeaks()
    })
  }

  #tellPeaks(): void {
    const { processPeak, spilledTotal } = this.peaks
    this.#hooks.onPeaks?.(processPeak, spilledTotal)
  }

  /** The store is emptied before anything that came after is acted on. */
  #wipe(generation: number): void {
    const { clusterId } = this.#identity
    this.#identity = { clusterId, generation }
    this.#emptied = this.#store.wipe().then(() => this.#store.setIdentity(clusterId, generation))
    this.#driver.hold(this.#emptied)
  }

  /** L2. */
  #onCoreFailed(error: Error): void {
    this.#log.fatal('the worker’s state machine failed: {error}', { error: error.stack })
    void this.#end({ reason: `its state machine failed: ${error.message}`, restart: true })
  }

  async #end(end: WorkerEnd): Promise<void> {
    if (this.#closing) {
      await this.#closed.promise
      return
    }
    this.#closing = true
    this.#log.info('the worker closes: {reason}', { reason: end.reason })
    this.#tellPeaks()
    this.#memory?.stop()
    this.#stopTellingPeaks()
    this.#driver.stop()
    this.#link?.send({ op: 'worker-status-change', status: 'closing' })
    this.#peers.abortAll()
    await this.#closeStep('the scheduler link', this.#link?.close())
    await this.#closeStep('the listener', this.#listener?.close())
    await this.#closeStep('HTTP', this.#http?.close())
    await this.#closeStep('the peer server', this.#server.close())
    await this.#closeStep('the connections to peers', this.#connections.close())
    await this.#closeStep('the executors', this.#pool?.close())
    this.#desk.close()
    await this.#closeStep('the store', this.#store.close({ keep: end.restart }))
    this.#ownMemory.close()
    this.#closed.resolve(end)
  }

  /** One part that hangs or fails does not keep the others open. */
  async #closeStep(what: string, closing: Promise<void> | undefined): Promise<void> {
    if (closing === undefined) return
    let cancel = (): void => {}
    const tooLong = new Promise<void>((_, reject) => {
      cancel = systemClock.after(CLOSE_STEP_MS, () => reject(new PlimsollError('TIMEOUT', `${what} did not close`)))
    })
    try {
      await Promise.race([closing, tooLong])
    } catch (error) {
      this.#log.warn('{what} of the worker did not close: {error}', { what, error })
    } finally {
      cancel()
    }
  }
}
