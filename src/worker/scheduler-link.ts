// The worker's connection to its scheduler: made, registered with an inventory, kept with heartbeats, and made again when
// it is lost, while the worker runs on.
//
// K1, K2: what is said while nobody hears it is in unsent.ts.
// K3. The scheduler's stream is heard only after its answer to the registration was acted on.
// K4. It ends by `close`, by a refusal for good (token, version), or when no scheduler was reached for `deathTimeoutMs`.

import { setTimeout as sleep } from 'node:timers/promises'
import { partLogger } from '../base/part-logger.ts'
import { type Clock, timerMs } from '../base/clock.ts'
import { formatDurationMs } from '../base/units.ts'
import { connect, type Credentials } from '../comm/index.ts'
import { isErrorCode, PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type {
  RegisterWorker,
  RegisterWorkerAnswer,
  SchedulerToWorker,
  SchedulerWorkerRequests,
  WorkerControlRequests,
  WorkerHeartbeat,
  WorkerToScheduler,
} from '../protocol/scheduler-worker.ts'
import type { StoryEntry } from '../protocol/scheduler-client.ts'
import type { TaskKey } from '../base/ids.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'
import { Unsent } from './unsent.ts'

export interface SchedulerLinkOptions {
  readonly address: string
  readonly credentials: Credentials
  readonly connectTimeoutMs: number
  /** null = never give up once registered. */
  readonly deathTimeoutMs: number | null
  readonly clock: Clock
}

export interface SchedulerLinkHooks {
  /** What to register with, as of now; called right before it is sent. */
  registration(): RegisterWorker
  /** The stream is not heard before this resolves. */
  onRegistered(answer: RegisterWorkerAnswer): Promise<void>
  onMessages(messages: readonly SchedulerToWorker[]): void
  heartbeat(): WorkerHeartbeat
  story(key: TaskKey): readonly StoryEntry[]
  /** K4, other than by `close`, after the first registration. */
  onGivenUp(error: Error): void
}

type SchedulerConnection = Connection<
  SchedulerToWorker,
  WorkerToScheduler,
  WorkerControlRequests,
  SchedulerWorkerRequests
>

/** `over` resolves when the connection is; null: in good order. */
interface Registered {
  readonly over: Promise<Error | null>
}

const BACKOFF_MS_FIRST = 50
const BACKOFF_MS_MAX = 1000
/** A connection that is made again is waited for this long at first: what hangs is tried anew before the grace is over. */
const TRY_MS_FIRST = 2500
const REQUEST_TIMEOUT_MS = 30_000
/** For a goodbye in good order. */
const CLOSE_MS = 1000

export class SchedulerLink {
  readonly #options: SchedulerLinkOptions
  readonly #hooks: SchedulerLinkHooks
  readonly #abort = new AbortController()
  readonly #log = partLogger('worker')
  #connection: SchedulerConnection | null = null
  readonly #unsent = new Unsent()
  #loop: Promise<void> = Promise.resolve()

  constructor(options: SchedulerLinkOptions, hooks: SchedulerLinkHooks) {
    this.#options = options
    this.#hooks = hooks
  }

  /**
   * Resolves after the first registration.
   * @throws PlimsollError CONNECT_FAILED within `deathTimeoutMs` or the connect timeout; AUTH_FAILED, VERSION_MISMATCH.
   */
  async start(): Promise<void> {
    const timeoutMs = this.#options.deathTimeoutMs ?? this.#options.connectTimeoutMs
    const first = await this.#connectAndRegister(timeoutMs)
    this.#loop = this.#keepUp(first).catch((error: unknown) => this.#hooks.onGivenUp(toError(error)))
  }

  get up(): boolean {
    return this.#unsent.up
  }

  send(message: WorkerToScheduler): void {
    if (this.#unsent.admit(message)) this.#connection?.send(message)
  }

  /** A heartbeat out of turn: something it reports has changed. */
  beat(): void {
    if (this.up && this.#connection !== null) void this.#beat(this.#connection)
  }

  /** Writes what was sent now instead of at the end of the turn. */
  flush(): void {
    this.#connection?.flush()
  }

  async close(): Promise<void> {
    this.#abort.abort(new PlimsollError('COMM_CLOSED', 'the worker closes'))
    const connection = this.#connection
    if (connection !== null) {
      await Promise.race([connection.close(), sleep(CLOSE_MS, undefined, { ref: false })])
      connection.abort()
    }
    await this.#loop
  }

  /** Loses connections and makes new ones until it is closed; rejects when it gives up. */
  async #keepUp(first: Registered): Promise<void> {
    const { signal } = this.#abort
    let registered = first
    for (;;) {
      const reason = await registered.over
      this.#onLost()
      if (signal.aborted) return
      this.#log.warn('the connection to the scheduler at {address} is lost: {reason}', {
        address: this.#options.address,
        reason: reason?.message ?? 'it was closed there',
      })
      const next = await this.#reconnect()
      if (next === null) return
      registered = next
    }
  }

  /** Null when it was closed meanwhile. */
  async #reconnect(): Promise<Registered | null> {
    const { signal } = this.#abort
    const { clock, deathTimeoutMs, address, connectTimeoutMs } = this.#options
    const lostAt = clock.now()
    for (let attempt = 0; ; attempt++) {
      const leftMs = deathTimeoutMs === null ? Number.POSITIVE_INFINITY : deathTimeoutMs - (clock.now() - lostAt)
      if (leftMs <= 0) {
        const text = `no scheduler was reached at ${address} for ${formatDurationMs(deathTimeoutMs ?? 0)}`
        throw new PlimsollError('CONNECT_FAILED', text, { address, deathTimeoutMs })
      }
      try {
        return await this.#connectAndRegister(Math.min(leftMs, connectTimeoutMs, TRY_MS_FIRST * 2 ** attempt))
      } catch (error) {
        if (signal.aborted) return null
        if (isRefusal(error)) throw error
        this.#log.info('no connection to the scheduler at {address}: {error}', { address, error })
      }
      const pauseMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** attempt)
      await sleep(pauseMs, undefined, { signal }).catch(() => {})
      if (signal.aborted) return null
    }
  }

  async #connectAndRegister(timeoutMs: number): Promise<Registered> {
    const { address, credentials } = this.#options
    const { signal } = this.#abort
    const comm = await connect(address, {
      role: 'worker',
      credentials,
      protocolVersion: PROTOCOL_VERSION,
      timeoutMs,
      signal,
    })
    const connection: SchedulerConnection = new Connection(comm, { requestTimeoutMs: REQUEST_TIMEOUT_MS })
    connection.handle('ping', () => ({}))
    connection.handle('story', ({ key }) => ({ entries: this.#hooks.story(key) }))
    const over = new Promise<Error | null>((resolve) => connection.onClose(resolve))
    try {
      const answer = await connection.request('register-worker', this.#unsent.registering(this.#hooks.registration()), {
        signal,
      })
      await this.#hooks.onRegistered(answer)
      if (connection.closed) throw new PlimsollError('COMM_CLOSED', `the scheduler at ${address} closed the connection`)
      this.#becomeUp(connection, answer)
      // At once: the scheduler knows memory and executors from the moment the worker counts as started.
      await this.#beat(connection)
      return { over: over.finally(this.#keepHeartbeat(connection, answer.heartbeatMs)) }
    } catch (error) {
      this.#onLost()
      connection.abort(toError(error))
      throw error
    }
  }

  #becomeUp(connection: SchedulerConnection, answer: RegisterWorkerAnswer): void {
    this.#connection = connection
    for (const message of this.#unsent.registered()) connection.send(message)
    this.#log.info('registered at the scheduler {id}', { id: answer.schedulerId, address: this.#options.address })
    connection.onMessages((messages) => this.#hooks.onMessages(messages))
  }

  #onLost(): void {
    this.#connection = null
    this.#unsent.lost()
  }

  #keepHeartbeat(connection: SchedulerConnection, intervalMs: number): () => void {
    const timer = setInterval(() => void this.#beat(connection), timerMs(intervalMs))
    timer.unref()
    return () => clearInterval(timer)
  }

  async #beat(connection: SchedulerConnection): Promise<void> {
    if (connection.closed) return
    const { endsSent } = this.#unsent
    try {
      const { status } = await connection.request('heartbeat-worker', this.#hooks.heartbeat())
      if (connection === this.#connection) this.#unsent.confirm(endsSent)
      // It does not know this worker (any more): a new registration tells it everything.
      if (status === 'missing')
        connection.abort(new PlimsollError('COMM_CLOSED', 'the scheduler does not know this worker'))
    } catch (error) {
      if (isErrorCode(error, 'TIMEOUT')) connection.abort(toError(error))
      else if (!connection.closed) this.#log.warn('a heartbeat failed: {error}', { error })
    }
  }
}

function isRefusal(error: unknown): boolean {
  return (
    isErrorCode(error, 'AUTH_FAILED') ||
    isErrorCode(error, 'VERSION_MISMATCH') ||
    isErrorCode(error, 'INVALID_ARGUMENT')
  )
}
