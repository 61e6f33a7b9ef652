// Scheduler and workers in this process, over `inproc://`, with tasks run in this very thread: for unit tests and
// debugging. Values are encoded and decoded as between processes. Nothing is killed, capped or restarted.

import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { type Deferred, deferred } from '../base/deferred.ts'
import { partLogger } from '../base/part-logger.ts'
import { type WorkerId, workerId } from '../base/ids.ts'
import { type Config, loadConfig } from '../config/index.ts'
import { Scheduler } from '../scheduler/index.ts'
import { type ClaimedDirectories, claimDirectories } from '../store/directories.ts'
import { Worker } from '../worker/index.ts'
import { openGiven, type OpenContainer, openWith } from '../worker/open-container.ts'
import type { AdaptiveOptions } from './adaptive.ts'
import type { ClusterBackend, ClusterPlan, ClusterScheduler, ClusterWorker } from './backend.ts'
import { type DataOption, factoryOf } from './data-option.ts'
import { Scaling } from './scaling.ts'
import { SchedulerQuestions } from './scheduler-questions.ts'

/** A worker that ends is not followed by another. */
const INCARNATION = 1

const log = partLogger('cluster')

interface Member {
  readonly id: WorkerId
  readonly name: string
  readonly worker: Worker
  readonly directories: ClaimedDirectories
}

export class InProcessCluster implements ClusterBackend {
  readonly #plan: ClusterPlan
  readonly #data: DataOption | null
  readonly #config: Config
  readonly #scheduler: Scheduler
  readonly #members: Member[] = []
  readonly #closed: Deferred<string> = deferred()
  readonly #scaling: Scaling
  #workersMade = 0
  #closing: Promise<void> | null = null
  readonly #onExit = (): void => this.#removeNow()

  constructor(plan: ClusterPlan, data: DataOption | null = null) {
    this.#plan = plan
    this.#data = data
    this.#config = loadConfig({ overrides: plan.config, env: {}, files: [] })
    const credentials = { token: null, tls: null, insecurePlaintext: false }
    const { http } = plan
    this.#scheduler = new Scheduler({ host: '', port: 0, scheme: 'inproc', credentials, config: this.#config, http })
    const members = this.#members
    const scheduler = this.#scheduler
    const workers = {
      get ids() {
        return members.map(({ id }) => id).filter((id) => !scheduler.hasRetired(id, INCARNATION))
      },
      nameOf: (id: string) => members.find((member) => member.id === id)?.name ?? id,
      add: (count: number) => this.#add(count),
      end: (ids: readonly string[], reason: string) => this.#end(ids, reason),
    }
    const timeoutMs = this.#config.get('comm.timeouts.connect')
    this.#scaling = new Scaling(workers, new SchedulerQuestions(() => this.#scheduler.address, credentials, timeoutMs))
  }

  get workers(): readonly ClusterWorker[] {
    return this.#members.map(({ id, name, worker }) => ({
      id,
      name,
      address: worker.address,
      pid: process.pid,
      restarts: 0,
    }))
  }

  get closed(): Promise<string> {
    return this.#closed.promise
  }

  async start(): Promise<ClusterScheduler> {
    process.once('exit', this.#onExit)
    try {
      await this.#scheduler.start()
      await this.#add(this.#plan.nWorkers)
    } catch (error) {
      await this.close('the cluster could not be started')
      throw error
    }
    const { id, address, dashboardLink } = this.#scheduler
    return { id, address, pid: process.pid, dashboardLink }
  }

  scale(n: number): Promise<void> {
    return this.#scaling.scale(n)
  }

  adapt(options: AdaptiveOptions): Promise<void> {
    this.#scaling.adapt(options)
    return Promise.resolve()
  }

  close(reason: string): Promise<void> {
    this.#closing ??= this.#closeNow(reason)
    return this.#closing
  }

  async #closeNow(reason: string): Promise<void> {
    this.#scaling.close()
    await Promise.allSettled(this.#members.splice(0).map((member) => end(member, reason)))
    await Promise.allSettled([this.#scheduler.close(reason)])
    process.removeListener('exit', this.#onExit)
    this.#closed.resolve(reason)
  }

  async #add(count: number): Promise<void> {
    for (let n = 0; n < count; n++) this.#members.push(await this.#createMember())
  }

  async #end(ids: readonly string[], reason: string): Promise<void> {
    const ending = this.#members.filter(({ id }) => ids.includes(id))
    for (const member of ending) this.#members.splice(this.#members.indexOf(member), 1)
    await Promise.all(ending.map((member) => end(member, reason)))
  }

  async #createMember(): Promise<Member> {
    const { nthreads, memoryLimit, config, http, localBase, memoryBase } = this.#plan
    const id = workerId(`worker-${randomBytes(6).toString('hex')}`)
    const name = String(this.#workersMade++)
    const directories = await claimDirectories({
      workerId: id,
      memoryLimit,
      ...(localBase === undefined ? {} : { localBase }),
      ...(memoryBase === undefined ? {} : { memoryBase }),
    })
    const worker = new Worker(
      {
        schedulerAddress: this.#scheduler.address,
        token: null,
        tls: null,
        insecurePlaintext: false,
        workerId: id,
        incarnation: INCARNATION,
        name,
        nthreads,
        memoryLimit,
        localDirectory: directories.local,
        memoryDirectory: directories.memory,
        host: '',
        port: 0,
        http: http === null ? null : { host: http.host, port: 0 },
        resources: this.#config.get('worker.resources'),
        nannyPid: null,
        restarts: 0,
        processPeak: 0,
        spilledTotal: 0,
        executor: 'inline',
        deathTimeoutMs: null,
        config,
      },
      this.#data === null ? {} : { openContainer: openHere(this.#data) },
    )
    const member = { id, name, worker, directories }
    try {
      await worker.start()
    } catch (error) {
      await end(member, 'the worker could not be started')
      throw error
    }
    void worker.closed
      .then(({ reason }) => this.#end([id], reason))
      .catch((error: unknown) => log.warn('worker {name} was not cleaned up completely: {error}', { name, error }))
    return member
  }

  /** The program exits without having closed the cluster: there is no time for more than this. */
  #removeNow(): void {
    for (const { directories } of this.#members) {
      for (const path of [directories.local, directories.memory]) {
        if (path !== null) rmSync(path, { recursive: true, force: true })
      }
    }
  }
}

async function end({ worker, directories }: Member, reason: string): Promise<void> {
  await Promise.allSettled([worker.close(reason)])
  await directories.release({ remove: true })
}

function openHere(data: DataOption): OpenContainer {
  const made = factoryOf(data)
  return made === null ? openGiven(data) : openWith(...made)
}
