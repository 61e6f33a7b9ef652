// One simulated nanny: the production core over simulated processes. It starts its worker, tells the scheduler of its
// deaths, restarts it with its directories kept, and removes them when it gives up or is closed.

import type { RunId, WorkerId } from '../base/ids.ts'
import {
  checkNannyInvariants,
  createNannyState,
  type NannyEffect,
  type NannyEvent,
  type NannyState,
  stepNanny,
  type TimerName,
} from '../nanny/core.ts'
import type { NannyToScheduler, SchedulerToNanny } from '../protocol/nanny.ts'
import type { SimConnection } from './sim-connection.ts'
import { DISK_MOUNT, MEMORY_MOUNT, ProcessFs, type SimDisk } from './sim-disk.ts'
import type { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { SimWorker, type SimWorkerParts } from './sim-worker.ts'

export interface SimNannyParts extends Pick<
  SimWorkerParts,
  'network' | 'disk' | 'book' | 'profile' | 'workerId' | 'name' | 'schedulerAddress'
> {
  readonly process: SimProcess
  /** null = never. */
  readonly deathTimeoutMs: number | null
  /** A fresh address for each worker process. */
  nextAddress(): string
}

type Untimed<E> = E extends unknown ? Omit<E, 'now'> : never

const LIMITS = {
  restartLimit: 20,
  restartWindowMs: 60_000,
  startTimeoutMs: 60_000,
  lifetimeMs: null,
  lifetimeRestart: false,
}
const HEARTBEAT_MS = 2000
const BACKOFF_MS = 100
/** A process takes this long to start. */
const SPAWN_MS = 30
const REAP_MS = 5

export class SimNanny {
  readonly parts: SimNannyParts
  readonly state: NannyState
  worker: SimWorker | null = null
  /** Gone for good, with everything of it. */
  finished = false
  readonly #fs: ProcessFs
  readonly #events: NannyEvent[] = []
  readonly #timers = new Map<TimerName, () => void>()
  readonly #pending: NannyToScheduler[] = []
  #connection: SimConnection | null = null
  #draining = false

  constructor(parts: SimNannyParts) {
    this.parts = parts
    this.state = createNannyState(parts.workerId, { ...LIMITS, deathTimeoutMs: parts.deathTimeoutMs })
    this.#fs = new ProcessFs(parts.process, parts.disk)
    parts.process.onKilled(() => this.worker?.parts.process.kill())
  }

  get workerId(): WorkerId {
    return this.parts.workerId
  }

  get #network(): SimNetwork {
    return this.parts.network
  }

  get #disk(): SimDisk {
    return this.parts.disk
  }

  get connection(): SimConnection | null {
    return this.#connection
  }

  start(): void {
    this.#put({ kind: 'StartAsked' })
    this.#connect(0)
  }

  close(reason: string): void {
    this.#put({ kind: 'CloseAsked', reason, force: false })
  }

  /** kill -9 of the worker process. */
  killWorker(): void {
    const { worker } = this
    if (worker === null || !worker.parts.process.alive) return
    const running = worker.pool.runningIds
    for (const runId of running) this.#blame(worker, runId)
    worker.parts.process.kill()
    this.#exited(null, 'SIGKILL', running)
  }

  #blame(worker: SimWorker, runId: RunId): void {
    const run = worker.state?.runs.get(runId)
    if (run !== undefined) this.parts.book.noteDeath(run.key)
  }

  #exited(code: number | null, signal: string | null, running: readonly RunId[]): void {
    this.parts.process.after(REAP_MS * this.parts.process.prng.next(), () =>
      this.#put({ kind: 'WorkerExited', code, signal, running, stderrTail: '' }),
    )
  }

  #put(body: Untimed<NannyEvent>): void {
    if (!this.parts.process.alive) return
    this.#events.push({ ...body, now: this.parts.process.now() })
    if (this.#draining) return
    this.#draining = true
    for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
      for (const effect of stepNanny(this.state, event)) this.#perform(effect)
      const broken = checkNannyInvariants(this.state)
      if (broken.length > 0)
        this.parts.process.world.fail(`${this.parts.process.name} after ${event.kind}: ${broken.join('; ')}`)
    }
    this.#draining = false
  }

  #perform(effect: NannyEffect): void {
    const { process } = this.parts
    process.world.note(`${process.name} does ${effect.kind}`)
    switch (effect.kind) {
      case 'SpawnWorker':
        return this.#spawn(effect.incarnation)
      case 'AskWorkerToClose':
        return this.worker?.close(effect.reason)
      case 'SignalWorker':
        return this.#signal(effect.signal)
      case 'ReapGroups':
        return void process.after(REAP_MS, () => this.#put({ kind: 'GroupsGone' }))
      case 'PurgeDirectories':
        return void this.#purge().then(() => this.#put({ kind: 'DirectoriesPurged' }))
      case 'SetTimer': {
        this.#timers.get(effect.name)?.()
        const { name, serial } = effect
        this.#timers.set(
          name,
          process.after(effect.delayMs, () => this.#put({ kind: 'TimerDue', name, serial })),
        )
        return
      }
      case 'ClearTimer':
        this.#timers.get(effect.name)?.()
        return
      case 'TellScheduler':
        return this.#tell(effect.message)
      case 'ReportStarted':
        return
      case 'RetireWorker':
        return void this.#retire()
      case 'Finish':
        return void this.#finish()
    }
  }

  #spawn(incarnation: number): void {
    const { process, name } = this.parts
    const child = new SimProcess(process.world, `${name}.${incarnation}`, process.machine)
    const worker: SimWorker = new SimWorker({
      ...this.parts,
      process: child,
      address: this.parts.nextAddress(),
      incarnation,
      onStarted: () => {
        if (this.worker === worker) this.#put({ kind: 'WorkerStarted', address: worker.parts.address })
      },
      onClosing: (reason) => {
        if (this.worker === worker) this.#put({ kind: 'WorkerClosing', reason })
      },
      onClosed: () => {
        child.kill()
        if (this.worker === worker) this.#exited(0, null, [])
      },
    })
    this.worker = worker
    child.after(SPAWN_MS, () => worker.start())
  }

  #signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (signal === 'SIGKILL') this.killWorker()
    else this.worker?.close('SIGTERM')
  }

  async #retire(): Promise<void> {
    const answer = await this.#connection?.request('retire-worker', {}).catch(() => null)
    const retired = (answer as { retired?: readonly string[] } | null | undefined)?.retired ?? []
    this.#put({ kind: 'WorkerRetired', retired: retired.length > 0 })
  }

  async #purge(): Promise<void> {
    await this.#fs.removeTree(`${MEMORY_MOUNT}/${this.workerId}`)
    await this.#fs.removeTree(`${DISK_MOUNT}/${this.workerId}`)
  }

  async #finish(): Promise<void> {
    await this.#purge()
    this.#connection?.abort()
    this.finished = true
    this.parts.process.kill()
  }

  /** What a nanny that died left behind: its directories belong to nobody, and the next nanny of the machine removes them. */
  static async purgeUnowned(process: SimProcess, disk: SimDisk, isOwned: (workerId: string) => boolean): Promise<void> {
    const fs = new ProcessFs(process, disk)
    for (const mount of [MEMORY_MOUNT, DISK_MOUNT])
      for (const name of await fs.list(mount)) if (!isOwned(name)) await fs.removeTree(`${mount}/${name}`)
  }

  #tell(message: NannyToScheduler): void {
    if (this.#connection !== null && !this.#connection.closed) this.#connection.send(message)
    else this.#pending.push(message)
  }

  #connect(attempt: number): void {
    this.#register().catch(() => {
      if (this.finished) return
      this.#connection = null
      this.parts.process.after(Math.min(5000, BACKOFF_MS * 2 ** attempt), () => this.#connect(attempt + 1))
    })
  }

  async #register(): Promise<void> {
    const { process, schedulerAddress } = this.parts
    const connection = await this.#network.connect(process, schedulerAddress, 'nanny')
    connection.onMessages<SchedulerToNanny>((messages) => messages.forEach((message) => this.#hear(message)))
    await connection.request('register-nanny', { workerId: this.workerId, pid: 1, host: process.machine })
    this.#connection = connection
    for (const message of this.#pending.splice(0)) connection.send(message)
    connection.onClose(() => {
      this.#connection = null
      this.#put({ kind: 'SchedulerLost' })
      if (!this.finished) this.#connect(0)
    })
    this.#put({ kind: 'SchedulerConnected' })
    this.#beat(connection)
  }

  #beat(connection: SimConnection): void {
    this.parts.process.after(HEARTBEAT_MS, () => {
      if (connection.closed) return
      connection.request('heartbeat-nanny', {}).catch(() => {})
      this.#beat(connection)
    })
  }

  #hear(message: SchedulerToNanny): void {
    if (message.op === 'close') this.#put({ kind: 'CloseAsked', reason: message.reason, force: false })
    else if (message.op === 'restart-worker') this.#put({ kind: 'RestartAsked', generation: message.generation })
    else this.#put({ kind: 'KillAsked', reason: message.reason, blameless: message.asked === true })
  }

  /** The disk it works on. */
  get disk(): SimDisk {
    return this.#disk
  }
}
