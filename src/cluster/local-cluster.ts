import { deferred } from '../base/deferred.ts'
import { partLogger } from '../base/part-logger.ts'
import { readOrCreateToken } from '../comm/token.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { ClusterBackend, ClusterScheduler, ClusterWorker } from './backend.ts'
import { HelperProcess } from './helper-process.ts'
import { type AdaptOptions, resolveAdaptOptions } from './adapt-options.ts'
import { type ClusterSettings, type LocalClusterOptions, resolveOptions } from './options.ts'

export type { AdaptOptions } from './adapt-options.ts'
export type { LocalClusterOptions } from './options.ts'

/**
 * A cluster on this machine that belongs to this program: a scheduler and nannies in one helper process, workers under
 * them. It is started by `start()`, or by the first `Client.connect(cluster)`; it ends with `close()`, and with the
 * program, however that ends.
 */
export class LocalCluster {
  readonly #settings: ClusterSettings
  #backend: ClusterBackend | null = null
  #starting: Promise<ClusterScheduler> | null = null
  #token: string
  #scheduler: ClusterScheduler | null = null
  #closing: Promise<void> | null = null
  #endReason: string | null = null
  readonly #ended = deferred<string>()

  /** @throws PlimsollError INVALID_ARGUMENT, CONFIG_INVALID for a wrong option. */
  constructor(options: LocalClusterOptions = {}) {
    this.#settings = resolveOptions(options)
    this.#token = this.#settings.plan.token
  }

  /**
   * Resolves when scheduler and workers are ready; calling it again is free.
   * @throws PlimsollError WORKER_START_FAILED and others; then nothing is left behind.
   */
  async start(): Promise<this> {
    if (this.#closing !== null) throw this.#closedError()
    this.#starting ??= this.#startNow()
    await this.#starting
    return this
  }

  /** As `start()`: what is awaited on it starts the cluster, if nobody has. */
  get ready(): Promise<this> {
    return this.start()
  }

  /** The scheduler's address, as soon as it listens: clients connect while workers start. Rejects as `start()` does. */
  get listening(): Promise<string> {
    const started = this.start().then(() => this.address)
    const listening = this.#backend?.listening
    return listening === undefined ? started : Promise.race([listening, started])
  }

  /** Address of the scheduler. @throws PlimsollError INVALID_ARGUMENT before the start. */
  get address(): string {
    return this.scheduler.address
  }

  /** Shared secret of the cluster, from the start on; null in one process, where nobody else can connect. */
  get token(): string | null {
    return this.#settings.inProcess ? null : this.#token
  }

  /** @throws PlimsollError INVALID_ARGUMENT before the start. */
  get scheduler(): ClusterScheduler {
    if (this.#scheduler !== null) return this.#scheduler
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      'the cluster has not been started: await cluster.start(), or Client.connect(cluster)',
    )
  }

  /** The workers as last heard of; one that is being restarted has no address. */
  get workers(): readonly ClusterWorker[] {
    return this.#backend?.workers ?? []
  }

  /** Where the scheduler serves HTTP; null: nowhere, or before the start. */
  get dashboardLink(): string | null {
    return this.#scheduler?.dashboardLink ?? null
  }

  /** Resolves with the reason when the cluster has ended, by `close()` or by itself. */
  get ended(): Promise<string> {
    return this.#ended.promise
  }

  /** Whether `close()` was called, or the cluster ended by itself. */
  get closed(): boolean {
    return this.#closing !== null
  }

  /**
   * Starts workers, or ends the newest ones after their values were copied to the others; resolves when that is done. With 0
   * all values go with them.
   * @throws PlimsollError INVALID_ARGUMENT, WORKER_START_FAILED, COMM_CLOSED; STORE_FULL when workers stay, because no other
   * can take what only they hold.
   */
  async scale(n: number): Promise<void> {
    if (!Number.isSafeInteger(n) || n < 0) {
      throw new PlimsollError(
        'INVALID_ARGUMENT',
        `scale takes a whole number of workers of at least 0, not ${String(n)}`,
      )
    }
    await this.start()
    if (this.#backend === null) throw this.#closedError()
    await this.#backend.scale(n)
  }

  /**
   * Has the cluster grow and shrink by itself, between `minimum` and `maximum` workers: as many as finish the work that is
   * there within `targetDuration`, and as hold the data. Workers that go are emptied first. Ends with the next `scale`.
   * @throws PlimsollError INVALID_ARGUMENT, COMM_CLOSED.
   */
  async adapt(options: AdaptOptions = {}): Promise<void> {
    const resolved = resolveAdaptOptions(options, this.#settings.plan.config)
    await this.start()
    if (this.#backend === null) throw this.#closedError()
    await this.#backend.adapt(resolved)
  }

  /** Ends all workers and the scheduler and removes their directories. Never rejects; calling it again waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#closeNow()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #startNow(): Promise<ClusterScheduler> {
    const { inProcess, data, warnings } = this.#settings
    if (!inProcess) this.#token = await tokenOfUser(this.#token)
    const plan = { ...this.#settings.plan, token: this.#token }
    if (this.#closing !== null) throw this.#closedError()
    for (const warning of warnings) partLogger('cluster').warn('{warning}', { warning })
    // Scheduler and worker are loaded into this process only when they run in it.
    const backend = inProcess
      ? new (await import('./in-process-cluster.ts')).InProcessCluster(plan, data)
      : new HelperProcess(plan)
    this.#backend = backend
    void backend.closed.then((reason) => {
      this.#endReason = reason
      this.#ended.resolve(reason)
      this.#closing ??= Promise.resolve()
    })
    this.#scheduler = await backend.start()
    return this.#scheduler
  }

  async #closeNow(): Promise<void> {
    // A start that is under way is ended by the same call.
    if (this.#starting !== null && this.#backend === null) await this.#starting.catch(() => {})
    await this.#backend?.close('the cluster was closed')
  }

  #closedError(): PlimsollError {
    const reason = this.#endReason === null ? '' : ` (${this.#endReason})`
    return new PlimsollError('COMM_CLOSED', `the cluster is closed${reason}: make a new LocalCluster`)
  }
}

/** What tools of the same user find (`plimsoll status`, a second client), or one of its own where that cannot be had. */
async function tokenOfUser(otherwise: string): Promise<string> {
  try {
    return await readOrCreateToken()
  } catch (error) {
    partLogger('cluster').debug('only this program can connect to its cluster: {reason}', {
      reason: toError(error).message,
    })
    return otherwise
  }
}
