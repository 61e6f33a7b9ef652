// A client's connection to its scheduler, over all the connections that it takes: what the client says reaches the
// scheduler exactly once and in order (core/stream-log.ts); when the connection breaks, another is made while the
// scheduler remembers the client (core/attachment.ts), and nobody above has to know.
//
// K1. A question is asked behind every message posted before it. Its answer says that those were carried out.
// K2. A question that a broken connection left without an answer is asked again on the next one, within its own timeout.
//     Those that must not be carried out twice carry a ticket, by which the scheduler knows them.
// K3. After a reconnect: first the messages that were not carried out, then the open questions, then `onReattached`.
// K4. It ends once: by `close`, by `end`, by the scheduler's own word, or when the scheduler or its memory of this client is gone.

import { partLogger } from '../base/part-logger.ts'
import type { Clock } from '../base/clock.ts'
import type { ClientId } from '../base/ids.ts'
import { Prng } from '../base/prng.ts'
import { formatBytes, formatDurationMs } from '../base/units.ts'
import { isLoopback, isRefused, parseAddress } from '../comm/index.ts'
import { isErrorCode, PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { ClientToScheduler, SchedulerRequests, SchedulerToClient } from '../protocol/scheduler-client.ts'
import type { Connection } from '../rpc/connection.ts'
import { Attachment, type NextTry } from './core/attachment.ts'
import { StreamLog } from './core/stream-log.ts'

export type SchedulerConnection = Connection<
  SchedulerToClient,
  ClientToScheduler,
  Record<never, never>,
  SchedulerRequests
>

export interface LinkSettings {
  readonly clientId: ClientId
  readonly name: string
  readonly timeoutMs: number
  readonly heartbeatMs: number
  /** How long a lost connection is made again; null: as long as the scheduler remembers the client. */
  readonly reconnectMs: number | null
  readonly clock: Clock
  /** Of the pauses between tries. */
  readonly seed: number
}

export interface LinkHooks {
  onMessages(messages: readonly SchedulerToClient[]): void
  /** The scheduler's generation, now and then. */
  onGeneration(generation: number): void
  /** K3: what the scheduler said meanwhile is lost. */
  onReattached(): void
  /** K4, unless by `close`. Every question has failed. */
  onEnded(error: PlimsollError): void
}

/** One attempt to connect. */
export type Dial = (timeoutMs: number, signal: AbortSignal) => Promise<SchedulerConnection>

type Op = keyof SchedulerRequests
type Registered = SchedulerRequests['register-client'][1]

interface Question {
  readonly op: Op
  readonly question: object
  /** Time of the clock; Infinity: none. */
  readonly deadlineMs: number
  readonly timeoutMs: number
  readonly ticket: number | null
  resolve(answer: unknown): void
  reject(error: Error): void
}

/** What waits until the messages before it have been sent. */
interface Later {
  readonly after: number
  run(connection: SchedulerConnection): void
  /** The question that waits here, for its end. */
  readonly question: Question | null
  readonly stopTimer: () => void
}

/** Not carried out twice (K2). */
const WITH_TICKET: ReadonlySet<Op> = new Set([
  'retry',
  'restart',
  'scatter-place',
  'retire-workers',
  'publish-dataset',
  'unpublish-dataset',
  'restart-workers',
  'replicate',
  'rebalance',
  'memory-manager',
])
/** Its answer may have been lost with the cluster itself. */
const ONCE: ReadonlySet<Op> = new Set(['terminate'])
/** A message of this size leaves at once: the scheduler works on it while the next ones are made. */
const AT_ONCE_BYTES = 64 * 1024
/** More than this unsent ends the client: it would only grow. */
const LOG_BYTES_MAX = 2 ** 30
/** A heartbeat without an answer after this long costs the connection, which is cheap to replace. */
const HEARTBEAT_TIMEOUT_MS = 10_000

const logger = partLogger('client')

export class SchedulerLink {
  readonly #settings: LinkSettings
  readonly #hooks: LinkHooks
  readonly #dial: Dial
  readonly #log = new StreamLog()
  readonly #abort = new AbortController()
  #attachment: Attachment
  /** null while there is none. */
  #connection: SchedulerConnection | null
  #schedulerId: string | null = null
  #ended: PlimsollError | null = null
  /** Stream messages received, over all connections. */
  #heard = 0
  #later: Later[] = []
  #tickets = 0
  readonly #openTickets = new Set<number>()
  #questionOut = false
  #stopHeartbeat: (() => void) | null = null
  #stopRetry: (() => void) | null = null

  constructor(connection: SchedulerConnection, dial: Dial, settings: LinkSettings, hooks: LinkHooks) {
    this.#connection = connection
    this.#dial = dial
    this.#settings = settings
    this.#hooks = hooks
    this.#attachment = this.#newAttachment(settings.reconnectMs ?? 0)
    this.#listen(connection)
  }

  get ended(): PlimsollError | null {
    return this.#ended
  }

  /** The cluster's id while its scheduler is known to be on this host. */
  get nearClusterId(): string | null {
    const { comm } = this.#connection ?? {}
    if (comm === undefined || !isLoopback(parseAddress(comm.peerAddress).host)) return null
    return comm.peer.clusterId
  }

  /** How long a lost connection is made again, milliseconds. */
  get graceMs(): number {
    return this.#attachment.graceMs
  }

  /** First of all; heartbeats start. */
  async register(version: string): Promise<Registered> {
    const { clientId, name, timeoutMs, reconnectMs } = this.#settings
    const question = { clientId, name, pid: process.pid, nodeVersion: process.version, version }
    const answer = (await this.request('register-client', question, timeoutMs)) as Registered
    this.#schedulerId = answer.schedulerId
    this.#attachment = this.#newAttachment(reconnectMs ?? answer.graceMs)
    if (this.#connection !== null) this.#keepHeartbeat(this.#connection, answer.heartbeatMs)
    return answer
  }

  send(message: ClientToScheduler): void {
    if (this.#ended !== null) return
    const before = this.#log.bytes
    this.#log.post(message)
    this.#pump()
    if (this.#log.bytes - before >= AT_ONCE_BYTES) this.#connection?.flush()
    if (this.#log.bytes > LOG_BYTES_MAX) {
      const text = `The scheduler does not take what this client says: ${formatBytes(this.#log.bytes)} are waiting. Submit less at a time.`
      this.end(new PlimsollError('COMM_CLOSED', text, { bytes: this.#log.bytes }))
    }
  }

  /** @throws PlimsollError the scheduler's own error, TIMEOUT; COMM_CLOSED or CLIENT_CLOSED when the link has ended. */
  request(op: Op, question: object, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const deadlineMs = timeoutMs > 0 ? this.#settings.clock.now() + timeoutMs : Infinity
      const ticket = WITH_TICKET.has(op) ? ++this.#tickets : null
      if (ticket !== null) this.#openTickets.add(ticket)
      this.#ask({ op, question, deadlineMs, timeoutMs, ticket, resolve, reject })
    })
  }

  /** What is known to be over: its messages and questions have no use any more. */
  end(error: PlimsollError): void {
    if (this.#ended !== null) return
    this.#stop(error)
    this.#connection?.abort(error)
    this.#connection = null
    this.#hooks.onEnded(error)
  }

  /** Sends what was posted, then the goodbye. Without a connection it ends at once: the scheduler forgets by itself. */
  async close(reason: PlimsollError): Promise<void> {
    if (this.#ended !== null) return
    const connection = this.#connection
    if (connection !== null) {
      for (const message of this.#log.rest()) connection.send(message)
      connection.send({ op: 'close-client' })
    }
    this.#stop(reason)
    this.#connection = null
    await connection?.close()
  }

  #stop(error: PlimsollError): void {
    this.#ended = error
    this.#abort.abort(error)
    this.#stopHeartbeat?.()
    this.#stopRetry?.()
    const later = this.#later
    this.#later = []
    for (const { question, stopTimer } of later) {
      stopTimer()
      question?.reject(error)
    }
  }

  #newAttachment(graceMs: number): Attachment {
    return new Attachment({ graceMs, prng: new Prng(this.#settings.seed) })
  }

  #listen(connection: SchedulerConnection): void {
    connection.onMessages((messages) => {
      if (connection !== this.#connection) return
      this.#heard += messages.length
      this.#hooks.onMessages(messages)
      const last = messages.at(-1)
      if (last?.op === 'scheduler-closing') this.end(closing(last.reason))
      if (last?.op === 'client-refused') this.end(refused(last.reason))
    })
    connection.onClose((reason) => this.#onClosed(connection, reason))
  }

  // What is said.

  #pump(): void {
    const connection = this.#connection
    if (connection === null) return
    for (let message = this.#log.next(); message !== undefined; message = this.#log.next()) connection.send(message)
    if (this.#log.questionDue && !this.#questionOut) void this.#beat(connection)
    if (this.#later.length > 0) this.#runLater(connection)
  }

  #runLater(connection: SchedulerConnection): void {
    for (let first = this.#later[0]; first !== undefined && first.after <= this.#log.sent; first = this.#later[0]) {
      this.#later.shift()
      first.stopTimer()
      first.run(connection)
    }
  }

  #ask(question: Question): void {
    if (this.#ended !== null) this.#fail(question, this.#ended)
    else if (this.#connection === null || this.#later.length > 0 || this.#log.sent < this.#log.posted)
      this.#askLater(question)
    else this.#askNow(this.#connection, question)
  }

  #askLater(question: Question): void {
    const leftMs = question.deadlineMs - this.#settings.clock.now()
    const stopTimer =
      leftMs < 2 ** 31
        ? this.#settings.clock.after(leftMs, () => {
            this.#later = this.#later.filter((each) => each !== later)
            this.#fail(question, this.#timedOut(question))
          })
        : () => {}
    const later: Later = {
      after: this.#log.posted,
      question,
      stopTimer,
      run: (connection) => this.#askNow(connection, question),
    }
    this.#later.push(later)
  }

  #askNow(connection: SchedulerConnection, asked: Question): void {
    const { op, ticket, deadlineMs } = asked
    const timeoutMs = deadlineMs === Infinity ? 0 : deadlineMs - this.#settings.clock.now()
    if (timeoutMs < 0) return this.#fail(asked, this.#timedOut(asked))
    const question =
      ticket === null ? asked.question : { ...asked.question, ticket, settled: Math.min(...this.#openTickets) }
    const carriedOut = this.#log.sent
    connection.request(op, question as never, { timeoutMs }).then(
      (answer: unknown) => {
        this.#applied(carriedOut)
        if (ticket !== null) this.#openTickets.delete(ticket)
        asked.resolve(answer)
      },
      (error: unknown) => {
        if (!connection.closed) this.#fail(asked, toError(error))
        else if (ONCE.has(op) || this.#schedulerId === null)
          this.#fail(asked, this.#ended ?? unanswered(op, toError(error)))
        else this.#ask(asked)
      },
    )
  }

  #fail(question: Question, error: Error): void {
    if (question.ticket !== null) this.#openTickets.delete(question.ticket)
    question.reject(error)
  }

  #timedOut({ op, timeoutMs }: Question): PlimsollError {
    const text = `no answer to "${op}" from the scheduler within ${formatDurationMs(timeoutMs)}: the connection to it is lost`
    return new PlimsollError('TIMEOUT', text, { op, timeoutMs })
  }

  #applied(number: number): void {
    this.#log.applied(number)
    if (this.#log.sent < this.#log.posted) this.#pump()
  }

  // Heartbeats.

  #keepHeartbeat(connection: SchedulerConnection, schedulersMs: number): void {
    const intervalMs = Math.max(schedulersMs, this.#settings.heartbeatMs)
    this.#stopHeartbeat?.()
    this.#stopHeartbeat = this.#settings.clock.after(intervalMs, () => {
      void this.#beat(connection).then((alive) => {
        if (alive && connection === this.#connection) this.#keepHeartbeat(connection, schedulersMs)
      })
    })
  }

  /** Clears the log as well (K1). False: the connection is of no use any more. */
  async #beat(connection: SchedulerConnection): Promise<boolean> {
    const { timeoutMs } = this.#settings
    this.#questionOut = true
    const carriedOut = this.#log.sent
    try {
      const limitMs = Math.min(timeoutMs, HEARTBEAT_TIMEOUT_MS)
      const { generation } = await connection.request('heartbeat', { heard: this.#heard }, { timeoutMs: limitMs })
      this.#questionOut = false
      this.#hooks.onGeneration(generation)
      this.#applied(carriedOut)
      return true
    } catch (error) {
      this.#questionOut = false
      connection.abort(toError(error))
      return false
    }
  }

  // Losing the connection, and making it again.

  #onClosed(connection: SchedulerConnection, reason: Error | null): void {
    if (connection !== this.#connection || this.#ended !== null) return
    this.#connection = null
    this.#questionOut = false
    this.#stopHeartbeat?.()
    const why = reason?.message ?? 'the scheduler closed it'
    if (this.#schedulerId === null) return this.end(lost(why, reason))
    if (this.#attachment.settled && this.graceMs > 0) {
      logger.warn('the connection to the scheduler at {address} is lost ({why}); it is made again within {grace}', {
        address: connection.peerAddress,
        why,
        grace: formatDurationMs(this.graceMs),
      })
    }
    this.#follow(this.#attachment.lost(this.#settings.clock.now()), reason)
  }

  #follow(next: NextTry, last: Error | null): void {
    if (next.kind === 'give-up') {
      const why = last === null ? 'the scheduler closed it' : last.message
      this.end(lost(`${why}; ${next.why}`, last))
      return
    }
    this.#stopRetry = this.#settings.clock.after(next.afterMs, () => void this.#try(next.timeoutMs))
  }

  async #try(timeoutMs: number): Promise<void> {
    const { clientId, clock } = this.#settings
    let connection: SchedulerConnection | null = null
    try {
      connection = await this.#dial(timeoutMs, this.#abort.signal)
      if (connection.comm.peer.clusterId !== this.#schedulerId)
        throw new PlimsollError('CLIENT_CLOSED', 'another scheduler listens there now')
      const question = { clientId, heard: this.#heard }
      const answer = await connection.request('reattach-client', question, { timeoutMs, signal: this.#abort.signal })
      if (!this.#log.rewind(answer.applied))
        throw new PlimsollError(
          'CLIENT_CLOSED',
          `it counts ${answer.applied} messages of this client, which sent ${this.#log.sent}`,
        )
      this.#reattached(connection, answer)
    } catch (thrown) {
      const error = toError(thrown)
      connection?.abort(error)
      if (this.#ended !== null) return
      if (isFinal(error)) this.end(lost(error.message, error))
      else this.#follow(this.#attachment.failed(clock.now(), isRefused(error)), error)
    }
  }

  /** K3. */
  #reattached(connection: SchedulerConnection, answer: SchedulerRequests['reattach-client'][1]): void {
    if (connection.closed) throw new PlimsollError('COMM_CLOSED', 'the connection broke at once')
    this.#attachment.reconnected()
    this.#connection = connection
    this.#heard = answer.told
    this.#hooks.onGeneration(answer.generation)
    this.#later.push({
      after: this.#log.posted,
      question: null,
      stopTimer: () => {},
      run: () => {
        this.#hooks.onReattached()
        void this.#confirm(connection)
      },
    })
    this.#listen(connection)
    this.#keepHeartbeat(connection, answer.heartbeatMs)
    this.#pump()
  }

  async #confirm(connection: SchedulerConnection): Promise<void> {
    if (!(await this.#beat(connection)) || connection !== this.#connection) return
    const lostMs = this.#attachment.confirmed(this.#settings.clock.now())
    logger.warn('back at the scheduler after {lost}: nothing was lost', { lost: formatDurationMs(lostMs) })
  }
}

function isFinal(error: unknown): boolean {
  return (
    isErrorCode(error, 'CLIENT_CLOSED') || isErrorCode(error, 'AUTH_FAILED') || isErrorCode(error, 'VERSION_MISMATCH')
  )
}

function closing(reason: string): PlimsollError {
  return new PlimsollError('COMM_CLOSED', `The scheduler is closing: ${reason}.`, { reason })
}

function refused(reason: string): PlimsollError {
  const text = `The scheduler cannot read what this client said and has forgotten it (${reason}): the last call before this went wrong. Connect again, and submit again what is still needed.`
  return new PlimsollError('PROTOCOL_ERROR', text, { reason })
}

function unanswered(op: string, cause: Error): PlimsollError {
  return new PlimsollError(
    'COMM_CLOSED',
    `The connection broke before "${op}" was answered: ${cause.message}`,
    { op },
    { cause },
  )
}

/** For everything that waits on a scheduler that is gone. */
export function lost(why: string, cause: Error | null): PlimsollError {
  const text = `The connection to the scheduler is gone (${why}). Connect again, and submit again what is still needed.`
  return new PlimsollError('COMM_CLOSED', text, {}, cause === null ? undefined : { cause })
}
