// The scheduler as a process sees it: a listener, the connections of its peers, and the core. This shell turns what
// arrives into events, steps the core, and performs the effects (perform.ts). It decides nothing about tasks.
//
// S1. Events are handled one after another; what an effect causes meanwhile waits in `#events`.
// S2. What a peer sends is checked before the core sees it. Whatever goes wrong with one peer's message ends that peer's
//     connection with a reason in the log, and nothing else.
// S3. Messages that the steps of one turn send to one peer leave together (rpc batches them).

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../base/clock.ts'
import { deferred } from '../base/deferred.ts'
import type { WorkerId } from '../base/ids.ts'
import { formatAddress, listen, type Comm, type Listener, type PeerIdentity } from '../comm/index.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'
import type { SchedulerEvent } from './core/events.ts'
import { HttpServer } from '../http/index.ts'
import type { SchedulerInfo } from '../protocol/scheduler-client.ts'
import { schedulerRoutes } from './http-routes.ts'
import { schedulerInfo } from './core/view.ts'
import type { Policy } from './core/memory-manager.ts'
import { createState, type SchedulerState } from './core/state.ts'
import { recover, step } from './core/step.ts'
import { coreOptions, type SchedulerOptions } from './options.ts'
import { acceptPeer, type EventHost, refuseClient } from './peer-events.ts'
import { Peers } from './peers.ts'
import { PendingAnswers } from './pending-answers.ts'
import { ErrorEncoder, log, perform, type Hands } from './perform.ts'
import { loadPolicies } from './policies.ts'
import { Timers } from './timers.ts'

type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never

/** How long peers are given to take their last message. */
const CLOSE_MS = 2000

export class Scheduler implements EventHost {
  /** Names this scheduler's life. */
  readonly id: string
  readonly state: SchedulerState
  readonly peers = new Peers()
  readonly answers: PendingAnswers
  readonly #options: SchedulerOptions
  /** Of the memory manager; loaded by the start. */
  readonly #policies: Policy[] = []
  readonly #hands: Hands
  readonly #timers: Timers
  readonly #events: { readonly event: Untimed<SchedulerEvent>; readonly from: number | null }[] = []
  readonly #closed = deferred<string>()
  #listener: Listener | null = null
  #http: HttpServer | null = null
  #busy = false
  #closing: Promise<void> | null = null

  constructor(options: SchedulerOptions) {
    this.id = `scheduler-${randomUUID()}`
    this.#options = options
    this.state = createState(this.id, coreOptions(options.config, this.#policies))
    this.#timers = new Timers(systemClock, (timer) => this.dispatch({ kind: 'TimerFired', timer }))
    this.answers = new PendingAnswers((request) => this.dispatch({ kind: 'RequestAbandoned', request }))
    this.#hands = {
      peers: this.peers,
      timers: this.#timers,
      answers: this.answers,
      errors: new ErrorEncoder(),
      closeScheduler: (reason) => this.closeSoon(reason),
    }
  }

  /** Where clients and workers reach it, with the real port. */
  get address(): string {
    if (this.#listener === null) throw new PlimsollError('INTERNAL', 'the scheduler is not listening: start it first')
    return this.#listener.address
  }

  /** What everybody may know of it. */
  get info(): SchedulerInfo {
    return schedulerInfo(this.state, { address: this.address, pid: process.pid, dashboard: this.dashboardLink })
  }

  /** This process of a worker was emptied and told to close, though it may not know yet. */
  hasRetired(worker: WorkerId, incarnation: number): boolean {
    return this.state.retired.get(worker) === incarnation
  }

  /** Where HTTP is served; null: nowhere. */
  get dashboardLink(): string | null {
    return this.#http?.link ?? null
  }

  /** Resolves with the reason when it has closed. */
  get closed(): Promise<string> {
    return this.#closed.promise
  }

  /** @throws PlimsollError CONNECT_FAILED when the address is taken, AUTH_FAILED without credentials for it, CONFIG_INVALID for a policy that cannot be loaded. */
  async start(): Promise<void> {
    const { host, port, scheme = 'tcp', credentials, config, policies = [] } = this.#options
    this.#policies.push(...(await loadPolicies(config.get('scheduler.active-memory-manager.policies'), policies)))
    this.#listener = await listen(formatAddress({ scheme, host, port }), {
      role: 'scheduler',
      credentials,
      protocolVersion: PROTOCOL_VERSION,
      clusterId: this.id,
      onComm: (comm, peer) => this.#onComm(comm, peer),
    })
    await this.#serveHttp()
    this.dispatch({ kind: 'Started' })
    log.info('listening at {address}', { address: this.address })
  }

  async #serveHttp(): Promise<void> {
    const { http = null } = this.#options
    if (http === null) return
    try {
      this.#http = await HttpServer.listen({ ...http, routes: schedulerRoutes(this.state, () => this.info) })
    } catch (error) {
      await this.#listener?.close()
      throw error
    }
  }

  /** Tells clients, closes workers and nannies, then the connections. Never rejects; takes at most some seconds. */
  close(reason = 'the scheduler was closed'): Promise<void> {
    this.#closing ??= this.#closeNow(reason)
    return this.#closing
  }

  /** After the answer in hand has left. */
  closeSoon(reason: string): void {
    setImmediate(() => void this.close(reason))
  }

  /** Hands an event to the core; `from` is the connection that caused it. */
  dispatch(event: Untimed<SchedulerEvent>, from: number | null = null): void {
    // Peers that leave a closing scheduler are no loss, and nothing is to be computed again for them.
    if (this.#closing !== null) return
    this.#events.push({ event, from })
    if (this.#busy) return
    this.#busy = true
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift())
        this.#handle(next.event, next.from)
    } finally {
      this.#busy = false
    }
  }

  #handle(event: Untimed<SchedulerEvent>, from: number | null): void {
    try {
      for (const effect of step(this.state, timed(event))) perform(effect, this.#hands)
    } catch (thrown) {
      this.#blame(from, toError(thrown), event.kind)
      try {
        for (const effect of recover(this.state)) perform(effect, this.#hands)
      } catch (again) {
        log.error('after {event}: {stack}', { event: event.kind, stack: toError(again).stack })
      }
    }
  }

  /** Something was wrong with what came on this connection: it ends, and the log says why. */
  #blame(from: number | null, error: Error, what: string): void {
    const peer = from === null ? undefined : this.peers.get(from)
    const bad = error instanceof PlimsollError && error.code === 'PROTOCOL_ERROR'
    if (bad && from !== null && peer?.role === 'client') return refuseClient(this, peer, from, error.message)
    const properties = {
      peer: peer?.connection.peerAddress ?? 'timer',
      what,
      reason: bad ? error.message : error.stack,
    }
    if (bad) log.warn('closing the connection of {peer} ({what}): {reason}', properties)
    else log.error('closing the connection of {peer} ({what}): {reason}', properties)
    peer?.connection.abort(error)
  }

  #onComm(comm: Comm, { role }: PeerIdentity): void {
    if (role === 'client' || role === 'probe' || role === 'worker' || role === 'nanny')
      acceptPeer(this, role, new Connection(comm))
    else comm.abort(new PlimsollError('PROTOCOL_ERROR', `the scheduler does not talk to role "${role}"`))
  }

  async #closeNow(reason: string): Promise<void> {
    log.info('closing: {reason}', { reason })
    this.#timers.clearAll()
    const ended = Promise.all(
      Array.from(this.peers.all, (peer) => new Promise<void>((resolve) => peer.connection.onClose(() => resolve()))),
    )
    for (const peer of this.peers.all) {
      if (peer.role === 'client') peer.connection.send({ op: 'scheduler-closing', reason })
      else peer.connection.send({ op: 'close', reason })
      if (peer.role === 'client') void peer.connection.close()
    }
    await Promise.all([this.#listener?.close(), this.#http?.close()])
    await Promise.race([ended, sleep(CLOSE_MS, undefined, { ref: false })])
    for (const peer of this.peers.all) peer.connection.abort(new PlimsollError('COMM_CLOSED', reason))
    this.#timers.clearAll()
    this.#closed.resolve(reason)
  }
}

/** Events are made for one dispatch: the time is written into them instead of into a copy. */
function timed(event: Untimed<SchedulerEvent>): SchedulerEvent {
  const timestamps = event as { now?: number; at?: number }
  timestamps.now = systemClock.now()
  timestamps.at = Date.now()
  return event as SchedulerEvent
}
