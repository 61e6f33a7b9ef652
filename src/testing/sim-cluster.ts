// A whole simulated cluster: scheduler, nannies with their workers, clients, machines. What happens to it is decided
// elsewhere (scenario.ts, faults.ts); what must hold at the end is checked in final-checks.ts.

import { workerId } from '../base/ids.ts'
import type { RunRequest } from '../worker/executor/index.ts'
import { storyLines } from './describe.ts'
import { DEFAULT_CORE_OPTIONS, type CoreOptions } from '../scheduler/core/state.ts'
import { SimClient } from './sim-client.ts'
import { type DiskOptions, SimDisk } from './sim-disk.ts'
import { type NetworkOptions, SimNetwork } from './sim-network.ts'
import { SimNanny } from './sim-nanny.ts'
import { SimProcess } from './sim-process.ts'
import { SCHEDULER_ADDRESS, SimScheduler } from './sim-scheduler.ts'
import type { SimWorker, WorkerProfile } from './sim-worker.ts'
import { TaskBook } from './task-book.ts'
import type { World } from './world.ts'

export interface ClusterOptions {
  readonly workers: readonly WorkerProfile[]
  /** Workers share this many machines. */
  readonly machines: number
  readonly network: NetworkOptions
  readonly disk: DiskOptions
  readonly scheduler: Partial<CoreOptions>
  /** The scheduler's invariants are checked after every so many of its steps; 0 = never. */
  readonly checkEvery: number
  /** Without their scheduler for so long, nannies end their workers; null = never. */
  readonly deathTimeoutMs?: number
}

export class SimCluster {
  readonly world: World
  readonly options: ClusterOptions
  readonly network: SimNetwork
  readonly scheduler: SimScheduler
  readonly book = new TaskBook()
  readonly disks = new Map<string, SimDisk>()
  readonly nannies: SimNanny[] = []
  readonly clients: SimClient[] = []
  readonly #byId = new Map<string, SimNanny>()
  #ports = 0
  #nannies = 0
  #clients = 0

  constructor(world: World, options: ClusterOptions) {
    this.world = world
    this.options = options
    this.network = new SimNetwork(world, options.network)
    const process = new SimProcess(world, 'scheduler', 'm-scheduler')
    this.scheduler = new SimScheduler(process, { ...DEFAULT_CORE_OPTIONS, ...options.scheduler }, options.checkEvery)
    this.network.listen(SCHEDULER_ADDRESS, process, (connection, role) => this.scheduler.accept(connection, role))
    for (let n = 0; n < options.machines; n++) {
      const machine = `m${n}`
      this.disks.set(machine, new SimDisk(world, machine, options.disk))
    }
    this.book.noteStarted = (run) => this.#noteStarted(run)
    for (const profile of options.workers) this.startNanny(profile)
  }

  /** Nannies that are not gone. */
  get living(): SimNanny[] {
    return this.nannies.filter((nanny) => nanny.parts.process.alive)
  }

  /** Worker processes that live. */
  get workers(): SimWorker[] {
    return this.living.flatMap(({ worker }) => (worker?.parts.process.alive === true ? [worker] : []))
  }

  /** `name`: of a worker that is gone, started anew by its operator. */
  startNanny(profile: WorkerProfile, name?: string): SimNanny {
    const n = this.#nannies++
    const machineNumber = n % this.options.machines
    const machine = `m${machineNumber}`
    const disk = this.disks.get(machine) as SimDisk
    const nanny: SimNanny = new SimNanny({
      process: new SimProcess(this.world, `nanny${n}`, machine),
      network: this.network,
      disk,
      book: this.book,
      profile,
      workerId: workerId(`w${n}`),
      name: name ?? `w${n}`,
      deathTimeoutMs: this.options.deathTimeoutMs ?? null,
      schedulerAddress: SCHEDULER_ADDRESS,
      nextAddress: () => `tcp://10.0.1.${machineNumber + 1}:${20_000 + this.#ports++}`,
    })
    this.nannies.push(nanny)
    this.#byId.set(nanny.workerId, nanny)
    const isOwned = (id: string): boolean => this.#byId.get(id)?.parts.process.alive === true
    void SimNanny.purgeUnowned(nanny.parts.process, disk, isOwned)
    nanny.start()
    return nanny
  }

  /** What must not run twice is started once in the life of its key. */
  #noteStarted({ key, runId, options }: RunRequest): void {
    if (options.idempotent !== false) return
    this.book.noteRan(key)
    const life = this.scheduler.state.tasks.get(key)
    if (life?.runId === runId && this.book.noteStart(life) > 1)
      this.world.fail(`${key} must not run twice and was started again`, storyLines(this, key))
  }

  startClient(): SimClient {
    const n = this.#clients++
    const client = new SimClient(
      new SimProcess(this.world, `client${n}`, `m-client${n}`),
      this.network,
      this.book,
      this.scheduler,
    )
    this.clients.push(client)
    client.start()
    return client
  }
}
