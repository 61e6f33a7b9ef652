// The nanny's connection to its scheduler: made, registered, kept with heartbeats, and made again when it is lost. What
// the nanny has to tell meanwhile waits here, bounded. Who is refused for good (token, version) is told so, once.

import { setTimeout as sleep } from 'node:timers/promises'
import { partLogger } from '../base/part-logger.ts'
import type { WorkerId } from '../base/ids.ts'
import { connect, type Credentials, parseAddress } from '../comm/index.ts'
import { isErrorCode, toError } from '../errors/plimsoll-error.ts'
import type { NannyRequests, NannyToScheduler, SchedulerToNanny } from '../protocol/nanny.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'

export interface LinkOptions {
  readonly address: string
  readonly credentials: Credentials
  readonly workerId: WorkerId
  /** The interface given by the user; empty: the one that reaches the scheduler. */
  readonly host: string
  readonly connectTimeoutMs: number
}

export interface LinkEvents {
  onConnected(localHost: string): void
  onLost(): void
  /** It makes no sense to try again. */
  onRefused(error: Error): void
  onMessage(message: SchedulerToNanny): void
}

const HEARTBEAT_MS = 2_000
const REQUEST_TIMEOUT_MS = 10_000
const BACKOFF_MS_FIRST = 100
const BACKOFF_MS_MAX = 5_000
/** Deaths are bounded by the restart limit; a nanny that dies this often while its scheduler is away has given up. */
const PENDING_MAX = 64
const CLOSE_MS = 1_000

type NannyConnection = Connection<SchedulerToNanny, NannyToScheduler, object, NannyRequests>

export class SchedulerLink {
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #abort = new AbortController()
  readonly #log = partLogger('nanny')
  #pending: NannyToScheduler[] = []
  /** Sent, and not known to have arrived: said again on the next connection. */
  #unconfirmed: NannyToScheduler[] = []
  #connection: NannyConnection | null = null
  #loop: Promise<void> | null = null

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options
    this.#events = events
  }

  start(): void {
    this.#loop ??= this.#run()
  }

  /** Sent in order; kept while there is no connection, and until a later heartbeat is answered. */
  tell(message: NannyToScheduler): void {
    if (this.#connection !== null && !this.#connection.closed) {
      this.#send(this.#connection, message)
      return
    }
    this.#pending.push(message)
    if (this.#pending.length > PENDING_MAX) this.#pending.shift()
  }

  /** Whether the scheduler has retired the worker within this time: no tasks are left on it, and its values are elsewhere. */
  async retire(timeoutMs: number): Promise<boolean> {
    try {
      const answer = await this.#connection?.request('retire-worker', {}, { timeoutMs })
      return (answer?.retired.length ?? 0) > 0
    } catch (error) {
      this.#log.warn('the worker was not retired: {error}', { error })
      return false
    }
  }

  /** What was told before is sent, then the connection is closed. At most a second. */
  async close(): Promise<void> {
    this.#abort.abort(new Error('the nanny closes'))
    const connection = this.#connection
    if (connection !== null) {
      await Promise.race([connection.close(), sleep(CLOSE_MS, undefined, { ref: false })])
      connection.abort()
    }
    await this.#loop
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.#abort.signal.aborted; attempt++) {
      const startedAt = performance.now()
      try {
        await this.#connectOnce()
        if (performance.now() - startedAt > BACKOFF_MS_MAX) attempt = 0
      } catch (error) {
        if (this.#abort.signal.aborted) return
        if (
          isErrorCode(error, 'AUTH_FAILED') ||
          isErrorCode(error, 'VERSION_MISMATCH') ||
          isErrorCode(error, 'INVALID_ARGUMENT')
        ) {
          this.#events.onRefused(toError(error))
        }
        this.#log.info('no connection to the scheduler at {address}: {error}', {
          address: this.#options.address,
          error,
        })
      }
      await this.#pause(Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** attempt))
    }
  }

  /** Connects, registers, and returns when the connection is over. */
  async #connectOnce(): Promise<void> {
    const { address, credentials, connectTimeoutMs, workerId } = this.#options
    const { signal } = this.#abort
    const comm = await connect(address, {
      role: 'nanny',
      credentials,
      protocolVersion: PROTOCOL_VERSION,
      timeoutMs: connectTimeoutMs,
      signal,
    })
    const connection: NannyConnection = new Connection(comm, { requestTimeoutMs: REQUEST_TIMEOUT_MS })
    const over = new Promise<void>((resolve) => connection.onClose(() => resolve()))
    connection.onMessages((batch) => batch.forEach((message) => this.#events.onMessage(message)))
    const localHost = parseAddress(comm.localAddress).host
    try {
      const host = this.#options.host || localHost
      await connection.request('register-nanny', { workerId, pid: process.pid, host }, { signal })
    } catch (error) {
      connection.abort(toError(error))
      throw error
    }
    this.#connection = connection
    for (const message of this.#pending.splice(0)) this.#send(connection, message)
    this.#events.onConnected(localHost)
    const stopHeartbeat = this.#heartbeat(connection)
    await over
    stopHeartbeat()
    this.#connection = null
    this.#pending = [...this.#unconfirmed.splice(0), ...this.#pending].slice(-PENDING_MAX)
    if (!signal.aborted) this.#events.onLost()
  }

  #heartbeat(connection: NannyConnection): () => void {
    const timer = setInterval(() => {
      const sent = new Set(this.#unconfirmed)
      connection.request('heartbeat-nanny', {}).then(
        () => {
          if (connection === this.#connection) this.#unconfirmed = this.#unconfirmed.filter((each) => !sent.has(each))
        },
        (error: unknown) => {
          if (isErrorCode(error, 'TIMEOUT')) connection.abort(error)
        },
      )
    }, HEARTBEAT_MS)
    return () => clearInterval(timer)
  }

  #send(connection: NannyConnection, message: NannyToScheduler): void {
    connection.send(message)
    this.#unconfirmed.push(message)
    if (this.#unconfirmed.length > PENDING_MAX) this.#unconfirmed.shift()
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#abort.signal }).catch(() => {})
  }
}
