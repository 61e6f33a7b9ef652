// One simulated worker process: the production core with its driver, run desk, performer, store, memory manager and peer
// client, wired as worker/worker.ts does it, over a simulated network, disk and executors.

import type { WorkerId } from '../base/ids.ts'
import { Prng } from '../base/prng.ts'
import type { WorkerStartOptions } from '../protocol/nanny.ts'
import type { RegisterWorkerAnswer, SchedulerToWorker } from '../protocol/scheduler-worker.ts'
import type { ConnectionPool } from '../rpc/connection-pool.ts'
import type { StoreIdentity } from '../store/store.ts'
import { TieredStore } from '../store/tiered-store.ts'
import { checkInvariants } from '../worker/core/validate.ts'
import { createState, statusOf, wantsReplica, type WorkerState } from '../worker/core/state.ts'
import { CoreDriver, type EventBody } from '../worker/core-driver.ts'
import { heartbeat } from '../worker/heartbeat.ts'
import { isAnyStarted, memoryMeasured } from '../worker/memory/admission-look.ts'
import { MemoryManager } from '../worker/memory/memory-manager.ts'
import { PeerClient, type PeerConnection } from '../worker/peer-client.ts'
import { Performer } from '../worker/perform.ts'
import { registration } from '../worker/registration.ts'
import { RunDesk } from '../worker/run-desk.ts'
import { DISK_MOUNT, MEMORY_MOUNT, ProcessFs, type SimDisk } from './sim-disk.ts'
import { brief, type SimNetwork } from './sim-network.ts'
import { SimPeerServer } from './sim-peer-server.ts'
import { SimPool } from './sim-pool.ts'
import type { SimProcess } from './sim-process.ts'
import { SimWorkerLink } from './sim-worker-link.ts'
import type { TaskBook } from './task-book.ts'

export interface WorkerProfile {
  readonly nthreads: number
  /** Bytes; 0 = no limit. */
  readonly memoryLimit: number
  readonly inlineLimit: number
  readonly maxSpill: number
  readonly resources: Readonly<Record<string, number>>
  readonly monitorMs: number
  readonly validate: boolean
}

export interface SimWorkerParts {
  readonly process: SimProcess
  readonly network: SimNetwork
  readonly disk: SimDisk
  readonly book: TaskBook
  readonly profile: WorkerProfile
  readonly workerId: WorkerId
  readonly name: string
  readonly address: string
  readonly schedulerAddress: string
  readonly incarnation: number
  onStarted(): void
  /** It ends by its own decision; its process is over when its promise has settled. */
  onClosing(reason: string): void
  onClosed(): void
}

const SERVES_MAX = 3
const CANCEL_GRACE_MS = 50
const TRANSFER_FRACTION = 0.2
const MESSAGE_BYTES = 20_000

export class SimWorker {
  readonly parts: SimWorkerParts
  readonly store: TieredStore
  readonly pool: SimPool
  readonly desk: RunDesk
  readonly link: SimWorkerLink
  readonly driver: CoreDriver
  readonly server: SimPeerServer
  readonly #peers: PeerClient
  readonly #performer: Performer
  readonly #memory: MemoryManager
  #identity: StoreIdentity = { clusterId: '', generation: 0 }
  #emptied: Promise<void> = Promise.resolve()
  #closing = false

  constructor(parts: SimWorkerParts) {
    this.parts = parts
    const { process, network, disk, book, profile } = parts
    const fs = new ProcessFs(process, disk)
    const dispatch = (event: EventBody): void => this.#dispatch(event)
    this.store = this.#createStore(fs, dispatch)
    this.desk = new RunDesk({
      store: this.store,
      clock: process,
      pool: () => this.pool,
      identity: () => this.#identity,
      dispatch,
    })
    const { nthreads, inlineLimit, memoryLimit } = profile
    this.pool = new SimPool(
      process,
      fs,
      book,
      { nthreads, inlineLimit, memoryLimit, cancelGraceMs: CANCEL_GRACE_MS },
      { ...this.desk.poolEvents, onExecutorsChanged: () => {}, onLog: () => {} },
    )
    this.#peers = this.#createPeers(dispatch)
    this.server = new SimPeerServer({
      store: this.store,
      fs,
      machine: process.machine,
      servesMax: SERVES_MAX,
      inlineLimit,
      isPaused: () => this.state !== null && statusOf(this.state) !== 'running',
      onScattered: (value) => dispatch({ kind: 'ValueScattered', value }),
    })
    this.link = new SimWorkerLink(process, network, parts.schedulerAddress, {
      registration: () => registration(this.#startOptions(), parts.address, null, this.store.identity, this.#live),
      onRegistered: (answer) => this.#onRegistered(answer),
      onMessages: (messages: readonly SchedulerToWorker[]) => dispatch({ kind: 'MessagesReceived', messages }),
      heartbeat: () => this.#heartbeat(),
      onUp: () => parts.onStarted(),
      onRefused: (error) => this.close(`refused: ${error.message}`),
    })
    this.#memory = this.#createMemory()
    this.#performer = new Performer({
      store: this.store,
      desk: this.desk,
      peers: this.#peers,
      pool: () => this.pool,
      send: (message) => this.link.send(message),
      setTimer: (delayMs, event) => this.driver.setTimer(delayMs, event),
      dispatch,
      tierBytes: () => this.store.totals.managed,
      wipe: (generation) => this.#wipe(generation),
      close: (reason) => this.close(reason),
    })
    this.driver = new CoreDriver(
      process,
      (effect) => {
        if (process.world.lines !== null && effect.kind !== 'SendToScheduler')
          process.world.note(`${process.name} does ${brief(effect)}`)
        process.world.touchPromises()
        if (effect.kind === 'Execute') this.#checkAdmission()
        this.#performer.perform(effect)
      },
      (error) => process.world.fail(`the core of ${process.name} failed: ${error.stack ?? error.message}`),
    )
  }

  get state(): WorkerState | null {
    return this.driver.state
  }

  get #live(): WorkerState {
    return this.driver.state as WorkerState
  }

  get isClosing(): boolean {
    return this.#closing
  }

  /** Nothing runs, moves or waits here. */
  get isIdle(): boolean {
    const { state } = this
    if (state === null || !this.link.up) return false
    return this.pool.isIdle && this.server.isIdle && state.runs.size === 0 && state.transfers.size === 0
  }

  /** Adopts what the directories hold, then registers; not when it was asked to close before it began. */
  start(): void {
    if (this.#closing) return
    this.store.open().then(
      (adopted) => {
        const { process, network, address } = this.parts
        network.listen(address, process, (connection) => this.server.accept(connection))
        this.driver.start(this.#createState())
        if (adopted.length > 0) this.#dispatch({ kind: 'ValuesAdopted', values: adopted })
        this.#memory.start()
        this.link.start()
      },
      (error: unknown) =>
        this.parts.process.world.fail(`${this.parts.process.name} could not open its store: ${String(error)}`),
    )
  }

  /** In good order: what it has is deleted, and its process ends. */
  close(reason: string): void {
    if (this.#closing) return
    this.#closing = true
    this.parts.onClosing(reason)
    void this.#close()
  }

  checkInvariants(): void {
    if (this.state !== null) checkInvariants(this.state)
  }

  async #close(): Promise<void> {
    const { network, address } = this.parts
    this.#memory.stop()
    this.driver.stop()
    this.link.send({ op: 'worker-status-change', status: 'closing' })
    this.#peers.abortAll()
    this.link.close()
    network.stopListening(address)
    await this.pool.close()
    this.desk.close()
    await this.store.close({ keep: false })
    this.parts.onClosed()
  }

  #dispatch(event: EventBody): void {
    this.parts.process.world.touchPromises()
    this.driver.dispatch(event)
  }

  /** Beside others nothing starts for which memory is not planned. */
  #checkAdmission(): void {
    const { running, settings, admission } = this.#live
    const { pauseBytes } = settings.memory ?? { pauseBytes: Infinity }
    if (running < 2 || admission.inUseBytes <= pauseBytes) return
    const { world, name } = this.parts.process
    world.fail(`${name} has started one of ${running} runs with ${admission.inUseBytes} bytes planned of ${pauseBytes}`)
  }

  #createStore(fs: ProcessFs, dispatch: (event: EventBody) => void): TieredStore {
    const { process, profile, workerId, incarnation } = this.parts
    return new TieredStore(
      {
        localDirectory: `${DISK_MOUNT}/${workerId}`,
        memoryDirectory: `${MEMORY_MOUNT}/${workerId}`,
        incarnation,
        memoryLimit: profile.memoryLimit,
        target: 0.6 * profile.memoryLimit,
        maxSpill: profile.maxSpill,
        inlineLimit: profile.inlineLimit,
        threadPool: 4,
        bootId: 'boot',
        fs,
        clock: process,
        defer: process.defer,
      },
      {
        onDurable: (values) => dispatch({ kind: 'ValuesDurable', values }),
        onEvicted: (values) => dispatch({ kind: 'ReplicasLost', values, reason: 'dropped for room' }),
        onLost: (value, reason) => dispatch({ kind: 'ReplicasLost', values: [value], reason, unreadable: true }),
        onSpillFailing: () => {},
        onDeadMappings: () => this.pool.collect(),
      },
    )
  }

  #createPeers(dispatch: (event: EventBody) => void): PeerClient {
    const { process, network, profile } = this.parts
    // What PeerClient needs of a pool: a connection for the time of one use.
    const pool = {
      use: async <T>(address: string, fn: (connection: PeerConnection) => Promise<T>): Promise<T> => {
        const connection = await network.connect(process, address, 'worker')
        try {
          return await fn(connection as unknown as PeerConnection)
        } finally {
          connection.abort()
        }
      },
    }
    return new PeerClient({
      store: this.store,
      pool: pool as unknown as ConnectionPool<PeerConnection>,
      clock: process,
      linksSameHost: true,
      inlineLimit: profile.inlineLimit,
      isWanted: (transferId, order) =>
        this.state !== null && wantsReplica(this.state, transferId, order.key, order.runId),
      onReceived: (transferId, value) => dispatch({ kind: 'ReplicaReceived', transferId, value }),
      onRefused: (transferId, { key }, reason) => dispatch({ kind: 'ReplicaRefused', transferId, key, reason }),
      onEnded: (transferId, outcome) => dispatch({ kind: 'TransferEnded', transferId, outcome }),
    })
  }

  #createMemory(): MemoryManager {
    const { process, profile } = this.parts
    const { memoryLimit } = profile
    const rung = (fraction: number): number => (memoryLimit === 0 ? Infinity : fraction * memoryLimit)
    return new MemoryManager(
      {
        clock: process,
        limit: memoryLimit,
        rungs: { target: rung(0.6), spill: rung(0.7), pause: rung(0.8), resume: rung(0.75), killTask: rung(0.9) },
        intervalMs: profile.monitorMs,
        recentToOldMs: 30_000,
        readProcesses: () => ({ privateBytes: this.pool.privateBytes, ownBytes: 0, executors: this.pool.sample() }),
        counted: () => {
          const { managed, disk } = this.store.totals
          // Rounded up to pages, the small files of a simulation would all count the same.
          return { managed, spilled: disk, tierBytes: managed, inlineBytes: 0 }
        },
        // A simulated process has no garbage.
        collectOwn: () => {},
        makeRoom: (bytes) => this.store.makeRoom(bytes),
        allow: (bytes, atMost) => this.store.allow(bytes, atMost),
        onPause: () => this.#dispatch({ kind: 'MemoryPaused' }),
        onResume: () => this.#dispatch({ kind: 'MemoryResumed' }),
        onProbe: () => this.#dispatch({ kind: 'MemoryProbed' }),
        onMeasured: (look) => this.#dispatch(memoryMeasured(look, this.store.totals.managed)),
        killExecutor: (pid, advice) => void this.pool.killForMemory(pid, advice),
        running: () => this.state?.running ?? 0,
        isAnyStarted: () => isAnyStarted(this.state, this.pool),
        deadMapped: () => this.store.totals.deadMapped + this.store.totals.deadMappedDisk,
        collect: () => this.pool.collect(),
        relieve: () => {
          this.pool.collect()
          this.pool.recycleIdle()
        },
        recycleHoarders: () => {},
        onUnmanagedHigh: () => {},
      },
      0,
    )
  }

  #createState(): WorkerState {
    const { workerId, address, profile, process } = this.parts
    return createState({
      workerId,
      address,
      nthreads: profile.nthreads,
      memory:
        profile.memoryLimit === 0
          ? null
          : {
              limitBytes: profile.memoryLimit,
              pauseBytes: 0.8 * profile.memoryLimit,
              canSpill: true,
              divertsResults: true,
            },
      resources: profile.resources,
      incomingBytesLimit: profile.memoryLimit === 0 ? Infinity : TRANSFER_FRACTION * profile.memoryLimit,
      messageBytesLimit: MESSAGE_BYTES,
      incomingCountLimit: 4,
      logLength: 2000,
      seed: new Prng(process.prng.int(2 ** 31)).int(2 ** 31),
      validate: profile.validate,
    })
  }

  #startOptions(): WorkerStartOptions {
    const { workerId, name, incarnation, profile, schedulerAddress } = this.parts
    return {
      schedulerAddress,
      token: null,
      tls: null,
      insecurePlaintext: false,
      workerId,
      incarnation,
      name,
      nthreads: profile.nthreads,
      memoryLimit: profile.memoryLimit,
      localDirectory: `${DISK_MOUNT}/${workerId}`,
      memoryDirectory: `${MEMORY_MOUNT}/${workerId}`,
      host: '',
      port: 0,
      http: null,
      resources: profile.resources,
      nannyPid: null,
      restarts: 0,
      processPeak: 0,
      spilledTotal: 0,
      executor: 'process',
      deathTimeoutMs: null,
      config: {},
    }
  }

  async #onRegistered({ schedulerId: clusterId, generation, drop, cancel }: RegisterWorkerAnswer): Promise<void> {
    const held = this.store.identity
    const isOther = held !== null && (held.clusterId !== clusterId || held.generation !== generation)
    this.#identity = { clusterId, generation }
    if (isOther) this.#dispatch({ kind: 'ClusterChanged', generation })
    else this.#dispatch({ kind: 'Registered', generation, drop, cancel })
    await this.#emptied
    await this.store.setIdentity(clusterId, generation)
    this.server.open()
  }

  #heartbeat(): ReturnType<typeof heartbeat> {
    return heartbeat({
      state: this.#live,
      memory: this.#memory,
      pool: this.pool,
      peers: this.#peers,
      spilledTotal: this.store.totals.spilledTotal,
      now: this.parts.process.now(),
    })
  }

  #wipe(generation: number): void {
    const { clusterId } = this.#identity
    this.#identity = { clusterId, generation }
    this.#emptied = this.store.wipe().then(() => this.store.setIdentity(clusterId, generation))
    this.driver.hold(this.#emptied)
  }
}
