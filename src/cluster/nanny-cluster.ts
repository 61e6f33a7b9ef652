// A scheduler and nannies with their workers, hosted in this process.

import { setTimeout as sleep } from 'node:timers/promises'
import { type Deferred, deferred } from '../base/deferred.ts'
import { type Config, loadConfig } from '../config/index.ts'
import { Nanny } from '../nanny/index.ts'
import { Scheduler } from '../scheduler/index.ts'
import type { AdaptiveOptions } from './adaptive.ts'
import type { ClusterBackend, ClusterPlan, ClusterScheduler, ClusterWorker } from './backend.ts'
import { Scaling } from './scaling.ts'
import { SchedulerQuestions } from './scheduler-questions.ts'

const GOODBYE_MS = 300

export interface NannyClusterHooks {
  /** Something is different about the workers. */
  onChange(): void
  /** The scheduler listens here. */
  onListening(address: string): void
}

export class NannyCluster implements ClusterBackend {
  readonly #plan: ClusterPlan
  readonly #config: Config
  readonly #scheduler: Scheduler
  readonly #nannies: Nanny[] = []
  readonly #hooks: NannyClusterHooks
  readonly #closed: Deferred<string> = deferred()
  #workersMade = 0
  readonly #scaling: Scaling
  #closing: Promise<void> | null = null

  constructor(plan: ClusterPlan, hooks: NannyClusterHooks) {
    this.#plan = plan
    this.#hooks = hooks
    this.#config = loadConfig({ overrides: plan.config, env: {}, files: [] })
    const credentials = { token: plan.token, tls: null, insecurePlaintext: false }
    this.#scheduler = new Scheduler({
      host: plan.host,
      port: plan.schedulerPort,
      scheme: 'tcp',
      credentials,
      config: this.#config,
      http: plan.http,
    })
    const nannies = this.#nannies
    const scheduler = this.#scheduler
    const workers = {
      get ids() {
        const staying = nannies.filter(
          (nanny) => !nanny.leaving && !scheduler.hasRetired(nanny.workerId, nanny.incarnation),
        )
        return staying.map(({ workerId }) => workerId)
      },
      nameOf: (id: string) => nannies.find(({ workerId }) => workerId === id)?.name ?? id,
      add: (count: number) => this.#add(count),
      end: (ids: readonly string[], reason: string) => this.#end(ids, reason),
    }
    const timeoutMs = this.#config.get('comm.timeouts.connect')
    this.#scaling = new Scaling(workers, new SchedulerQuestions(() => this.#scheduler.address, credentials, timeoutMs))
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
      this.#hooks.onListening(this.#scheduler.address)
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
    return this.#scaling.scale(n)
  }

  adapt(options: AdaptiveOptions): Promise<void> {
    this.#scaling.adapt(options)
    return Promise.resolve()
  }

  close(reason: string, options: { readonly force?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#closeNow(reason, options.force === true)
    // Whoever is in a hurry does not wait for a polite end that is under way.
    if (options.force === true) for (const nanny of this.#nannies) void nanny.close(reason, { force: true })
    return this.#closing
  }

  async #closeNow(reason: string, force: boolean): Promise<void> {
    this.#scaling.close()
    const schedulerClosed = this.#scheduler.close(reason)
    await Promise.allSettled([
      // In a hurry nobody is left to say goodbye to.
      force ? Promise.race([schedulerClosed, sleep(GOODBYE_MS)]) : schedulerClosed,
      ...this.#nannies.map((nanny) => nanny.close(reason, { force })),
    ])
    this.#closed.resolve(reason)
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
      { onChange: () => this.#hooks.onChange(), prefork: true },
    )
    void nanny.closed.then(() => {
      this.#nannies.splice(this.#nannies.indexOf(nanny), 1)
      this.#hooks.onChange()
    })
    return nanny
  }

  async #end(ids: readonly string[], reason: string): Promise<void> {
    await Promise.all(
      this.#nannies.filter(({ workerId }) => ids.includes(workerId)).map((nanny) => nanny.close(reason)),
    )
  }
}
