// A simulated worker's connection to the scheduler: the life of worker/scheduler-link.ts (made, registered with an
// inventory, kept with heartbeats, made again when it is lost) over simulated connections. What waits while nobody hears
// it is kept by the real Unsent.

import type {
  RegisterWorker,
  RegisterWorkerAnswer,
  SchedulerToWorker,
  WorkerHeartbeat,
  WorkerToScheduler,
} from '../protocol/scheduler-worker.ts'
import { Unsent } from '../worker/unsent.ts'
import { closedError, type SimConnection } from './sim-connection.ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'

export interface SimWorkerLinkHooks {
  registration(): RegisterWorker
  onRegistered(answer: RegisterWorkerAnswer): Promise<void>
  onMessages(messages: readonly SchedulerToWorker[]): void
  heartbeat(): WorkerHeartbeat
  /** Registered for the first time. */
  onUp(): void
  /** It makes no sense to try again. */
  onRefused(error: Error): void
}

const BACKOFF_MS_FIRST = 50
const BACKOFF_MS_MAX = 1000

export class SimWorkerLink {
  readonly #process: SimProcess
  readonly #network: SimNetwork
  readonly #address: string
  readonly #hooks: SimWorkerLinkHooks
  readonly #unsent = new Unsent()
  #connection: SimConnection | null = null
  #closed = false

  constructor(process: SimProcess, network: SimNetwork, address: string, hooks: SimWorkerLinkHooks) {
    this.#process = process
    this.#network = network
    this.#address = address
    this.#hooks = hooks
  }

  get up(): boolean {
    return this.#unsent.up
  }

  get connection(): SimConnection | null {
    return this.#connection
  }

  start(): void {
    this.#try(0)
  }

  send(message: WorkerToScheduler): void {
    if (this.#unsent.admit(message)) this.#connection?.send(message)
  }

  close(): void {
    this.#closed = true
    this.#connection?.abort()
  }

  #try(attempt: number): void {
    if (this.#closed) return
    this.#connectAndRegister().then(
      () => {},
      (error: unknown) => {
        this.#unsent.lost()
        this.#connection = null
        if (this.#closed) return
        if ((error as { readonly code?: string }).code === 'INVALID_ARGUMENT')
          return this.#hooks.onRefused(error as Error)
        this.#process.after(Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** attempt), () => this.#try(attempt + 1))
      },
    )
  }

  async #connectAndRegister(): Promise<void> {
    const connection = await this.#network.connect(this.#process, this.#address, 'worker')
    this.#connection = connection
    const registration = this.#unsent.registering(this.#hooks.registration())
    const answer = await connection.request<RegisterWorkerAnswer>('register-worker', registration)
    await this.#hooks.onRegistered(answer)
    if (connection.closed) throw closedError(this.#address)
    for (const message of this.#unsent.registered()) connection.send(message)
    connection.onMessages<SchedulerToWorker>((messages) => this.#hooks.onMessages(messages))
    connection.onClose(() => {
      this.#unsent.lost()
      this.#connection = null
      this.#try(0)
    })
    this.#hooks.onUp()
    this.#beat(connection, answer.heartbeatMs)
  }

  #beat(connection: SimConnection, intervalMs: number): void {
    if (connection.closed) return
    connection.request<{ readonly status: string }>('heartbeat-worker', this.#hooks.heartbeat()).then(
      ({ status }) => {
        if (status === 'missing') connection.abort(closedError(this.#address))
      },
      (error: unknown) => {
        if ((error as { readonly code?: string }).code === 'TIMEOUT') connection.abort(closedError(this.#address))
      },
    )
    this.#process.after(intervalMs, () => this.#beat(connection, intervalMs))
  }
}
