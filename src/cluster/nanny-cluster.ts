// A scheduler and nannies with their workers, hosted in this process.

import { setTimeout as sleep } from 'node:timers/promises'
import { type Deferred, deferred } from '../base/deferred.ts'
import { connect, type Credentials } from '../comm/index.ts'
import { type Config, loadConfig } from '../config/index.ts'
import { Nanny } from '../nanny/index.ts'
import type { SchedulerRequests } from '../protocol/scheduler-client.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'
import { Scheduler } from '../scheduler/index.ts'
import type { ClusterBackend, ClusterPlan, ClusterScheduler, ClusterWorker } from './backend.ts'

/** Emptying a worker means copying what only it holds. */
const RETIRE_MS = 60_000
const GOODBYE_MS = 300

export class NannyCluster implements ClusterBackend {
  readonly #plan: ClusterPlan
  readonly #config: Config
  readonly #credentials: Credentials
  readonly #scheduler: Scheduler
  readonly #nannies: Nanny[] = []
  readonly #onChange: () => void
  readonly #closed: Deferred<string> = deferred()
  #workersMade = 0
  #scaling: Promise<void> = Promise.resolve()
  #closing: Promise<void> | null = null

  constructor(plan: ClusterPlan, onChange: () => void = () => {}) {
    this.#plan = plan
    this.#onChange = onChange
    this.#config = loadConfig({ overrides: plan.config, env: {}, files: [] })
    this.#credentials = { token: plan.token, tls: null, insecurePlaintext: false }
    this.#scheduler = new Scheduler({
      host: plan.host,
      port: plan.schedulerPort,
      scheme: 'tcp',
      credentials: this.#credentials,
      config: this.#config,
      http: plan.http,
    })
  }

  get workers(): readonly ClusterWorker[] {
    return this.#nannies.map((nanny) => ({
      id: nanny.workerId,
      name: nanny.name,
      address: nanny.workerAddress,
      pid: nanny.workerPid,
      restarts: nanny.restarts,
    }))
  }

  get closed(): Promise<string> {
    return this.#closed.promise
  }

  async start(): Promise<ClusterScheduler> {
    try {
      await this.#scheduler.start()
      // It may end by itself: idle, or told to by a client.
      void Promise.resolve(this.#scheduler.closed).then(() => this.close('the scheduler has closed'))
      await this.#add(this.#plan.nWorkers)
    } catch (error) {
      await this.close('the cluster could not be started', { force: true })
      throw error
    }
    const { id, address, dashboardLink } = this.#scheduler
    return { id, address, pid: process.pid, dashboardLink }
  }

  scale(n: number): Promise<void> {
    const scaled = this.#scaling.then(() => this.#scaleNow(n))
    this.#scaling = scaled.catch(() => {})
    return scaled
  }

  close(reason: string, options: { readonly force?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#closeNow(reason, options.force === true)
    // Whoever is in a hurry does not wait for a polite end that is under way.
    if (options.force === true) for (const nanny of this.#nannies) void nanny.close(reason, { force: true })
    return this.#closing
  }

  async #closeNow(reason: string, force: boolean): Promise<void> {
    const schedulerClosed = this.#scheduler.close(reason)
    await Promise.allSettled([
      // In a hurry nobody is left to say goodbye to.
      force ? Promise.race([schedulerClosed, sleep(GOODBYE_MS)]) : schedulerClosed,
      ...this.#nannies.map((nanny) => nanny.close(reason, { force })),
    ])
    this.#closed.resolve(reason)
  }

  async #scaleNow(n: number): Promise<void> {
    const surplus = this.#nannies.slice(n)
    if (surplus.length === 0) return await this.#add(n - this.#nannies.length)
    // Without a worker that stays there is nowhere to copy to.
    if (n > 0) await this.#retire(surplus.map((nanny) => nanny.workerId))
    await Promise.all(surplus.map((nanny) => nanny.close('the cluster was scaled down')))
  }

  async #add(count: number): Promise<void> {
    const nannies = Array.from({ length: count }, () => this.#createNanny())
    this.#nannies.push(...nannies)
    await Promise.all(nannies.map((nanny) => nanny.start()))
  }

  #createNanny(): Nanny {
    const { nthreads, memoryLimit, host, http, token, env, config, data, localBase, memoryBase } = this.#plan
    const nanny = new Nanny(
      {
        schedulerAddress: this.#scheduler.address,
        token,
        tls: null,
        insecurePlaintext: false,
        name: String(this.#workersMade++),
        nthreads,
        memoryLimit,
        host,
        port: 0,
        http: http === null ? null : { host: http.host, port: 0 },
        resources: this.#config.get('worker.resources'),
        executor: 'process',
        deathTimeoutMs: this.#config.get('worker.death-timeout'),
        data,
        config,
        env,
        ...(localBase === undefined ? {} : { localBase }),
        ...(memoryBase === undefined ? {} : { memoryBase }),
      },
      { onChange: this.#onChange, prefork: true },
    )
    void nanny.closed.then(() => {
      this.#nannies.splice(this.#nannies.indexOf(nanny), 1)
      this.#onChange()
    })
    return nanny
  }

  /** Asks as anybody could: the scheduler moves what only these workers hold, then closes them. */
  async #retire(workers: readonly string[]): Promise<void> {
    const timeoutMs = this.#config.get('comm.timeouts.connect')
    const options = { role: 'probe', credentials: this.#credentials, protocolVersion: PROTOCOL_VERSION, timeoutMs }
    const connection = new Connection<unknown, unknown, object, SchedulerRequests>(
      await connect(this.#scheduler.address, options),
    )
    try {
      await connection.request('retire-workers', { workers, closeWorkers: true }, { timeoutMs: RETIRE_MS })
    } finally {
      await connection.close()
    }
  }
}
