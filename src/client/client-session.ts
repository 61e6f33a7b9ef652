// What stands behind a Client: its connection to the scheduler, the keys it holds, what it has to say and in which order,
// and the way to the workers. Client (client.ts) is the face of it; Futures know it as their owner.
//
// C1. Stream messages leave in the order the user caused them (outbox.ts); a question about keys is asked only after what
//     was said before it.
// C2. A connection that breaks is made again (scheduler-link.ts), and what waits goes on waiting; when the scheduler is gone
//     for good, everything that waits fails with COMM_CLOSED.
// C3. Nothing here keeps the process alive but somebody who waits (keep-alive.ts).

import { setTimeout as sleep } from 'node:timers/promises'
import { partLogger } from '../base/part-logger.ts'
import { type Clock, systemClock } from '../base/clock.ts'
import type { ClientId, FunctionId, TaskKey } from '../base/ids.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { ClientToScheduler, SchedulerRequests } from '../protocol/scheduler-client.ts'
import type { EncodedValue } from '../values/encode.ts'
import type { LargeArgument } from './argument-encoder.ts'
import { type Collection, Collector, systemCollection } from './collector.ts'
import { Fetcher, type FetchListener } from './fetcher.ts'
import { Future, type FutureOwner } from './future.ts'
import { PENDING, type FutureState } from './future-state.ts'
import { FuturesRegistry } from './futures-registry.ts'
import { gatherLimitBytes } from './gather-limit.ts'
import { GraphBatch } from './graph-batch.ts'
import { KeepAlive } from './keep-alive.ts'
import { prefixOf } from './keys.ts'
import { Outbox } from './outbox.ts'
import type { Peers } from './peers.ts'
import { Uploader, type PlaceOptions, type Upload, type UploadOutcome } from './uploads.ts'
import { type Dial, lost, type SchedulerConnection, SchedulerLink } from './scheduler-link.ts'
import { SnapshotFile } from './snapshot-file.ts'
import { readValues } from './value-reader.ts'
import { waitWithin, type WaitOptions } from './wait-limits.ts'

export interface SessionSettings {
  readonly clientId: ClientId
  readonly name: string
  readonly timeoutMs: number
  readonly heartbeatMs: number
  /** `client.reconnect-timeout`; null: as the scheduler says. */
  readonly reconnectMs: number | null
  /** `client.gather-limit`: bytes, or a part of the free memory up to 1. */
  readonly gatherLimit: number
  /** `client.gc`: collect garbage so that dropped futures are found. */
  readonly collectsGarbage: boolean
}

/** What a session takes its time and chance from. */
export interface SessionHost {
  readonly clock: Clock
  /** Calls back when this turn of the event loop is over. */
  readonly defer: (callback: () => void) => void
  pause(ms: number): Promise<void>
  readonly seed: number
  readonly collection: Collection
}

const log = partLogger('client')

const systemHost = (): SessionHost => ({
  clock: systemClock,
  defer: setImmediate,
  pause: (ms) => sleep(ms),
  seed: Math.random() * 2 ** 32,
  collection: systemCollection(),
})

export class ClientSession implements FutureOwner {
  readonly settings: SessionSettings
  readonly keepAlive = new KeepAlive()
  readonly registry: FuturesRegistry
  readonly #link: SchedulerLink
  /** Connections to workers. */
  readonly peers: Peers
  readonly #outbox = new Outbox()
  readonly #graphs = new GraphBatch((message) => this.#link.send(message))
  readonly #fetcher: Fetcher
  readonly #uploader: Uploader
  readonly #collector: Collector | null
  readonly #sentFunctions = new Set<FunctionId>()
  /** Keys whose release waits in the outbox. */
  readonly #lateReleases = new Set<TaskKey>()
  #ended: PlimsollError | null = null

  constructor(
    connection: SchedulerConnection,
    dial: Dial,
    peers: Peers,
    settings: SessionSettings,
    host: SessionHost = systemHost(),
  ) {
    this.settings = settings
    this.peers = peers
    this.#link = new SchedulerLink(
      connection,
      dial,
      { ...settings, clock: host.clock, seed: host.seed },
      {
        onMessages: (messages) => {
          for (const message of messages) this.registry.apply(message)
          this.#collector?.look(messages)
        },
        onGeneration: (generation) => this.registry.restart(generation),
        // In its turn: how a key stands that is still to be asked for would be news of an older wish.
        onReattached: () => this.post({ op: 'report-keys' }),
        onEnded: (error) => this.#lost(error),
      },
    )
    this.registry = new FuturesRegistry({
      release: (keys) => this.#sendReleases(keys),
      schedule: host.defer,
    })
    this.#collector = settings.collectsGarbage
      ? new Collector({
          clock: host.clock,
          collection: host.collection,
          held: () => ({ keys: this.registry.size, bytes: this.registry.heldBytes }),
        })
      : null
    this.#fetcher = new Fetcher({
      retain: (state) => this.retain(state),
      release: (state) => this.release(state),
      // A broken connection is no reason to give up: whether it comes back decides the link.
      locate: (keys) => this.ask('locate', { keys }, { timeoutMs: settings.timeoutMs + this.#link.graceMs }),
      send: (message) => this.sendNow(message),
      reassert: (state) => this.#reassert(state),
      announce: (keys) => this.post({ op: 'client-awaits-values', keys }),
      read: (items) => readValues(peers, items),
      gatherLimit: () => gatherLimitBytes(settings.gatherLimit),
      retryMs: settings.timeoutMs,
      clock: host.clock,
      defer: host.defer,
    })
    this.#uploader = new Uploader({
      peers,
      place: (question) => this.ask('scatter-place', question, { timeoutMs: question.timeoutMs + settings.timeoutMs }),
      pause: (ms) => host.pause(ms),
      warn: (key, address, error) =>
        log.warn('{key} was not taken by {address}: {reason}', { key, address, reason: error.message }),
    })
  }

  get closed(): boolean {
    return this.#ended !== null
  }

  /** Registers at the scheduler; heartbeats start. */
  async register(version: string): Promise<SchedulerRequests['register-client'][1]> {
    const answer = await this.keepAlive.during(this.#link.register(version))
    this.registry.generation = answer.generation
    return answer
  }

  /** Throws when the client cannot be used any more. */
  assertOpen(): void {
    if (this.#ended !== null) throw this.#ended
  }

  // What is said to the scheduler.

  /** Everything said so far has left. */
  get idle(): boolean {
    return this.#outbox.idle
  }

  post(message: ClientToScheduler): void {
    this.#outbox.post(() => this.#graphs.send(message))
  }

  postInTurn(deliver: () => void): void {
    this.#collector?.touch()
    this.#outbox.post(deliver)
  }

  /** For deliveries that run in their turn already, and for what has no place in the order. */
  sendNow(message: ClientToScheduler): void {
    this.#graphs.send(message)
  }

  firstUse(id: FunctionId): boolean {
    if (this.#sentFunctions.has(id)) return false
    this.#sentFunctions.add(id)
    return true
  }

  /** Asks without waiting for what is still in the outbox. */
  ask<Op extends keyof SchedulerRequests>(
    op: Op,
    question: SchedulerRequests[Op][0],
    options: { readonly timeoutMs?: number } = {},
  ): Promise<SchedulerRequests[Op][1]> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    this.#graphs.flush()
    const timeoutMs = options.timeoutMs ?? this.settings.timeoutMs
    return this.keepAlive.during(this.#link.request(op, question, timeoutMs) as Promise<SchedulerRequests[Op][1]>)
  }

  /** Asks after everything said before (C1). */
  async askInTurn<Op extends keyof SchedulerRequests>(
    op: Op,
    question: SchedulerRequests[Op][0],
    options: { readonly timeoutMs?: number } = {},
  ): Promise<SchedulerRequests[Op][1]> {
    this.registry.flushReleases()
    if (!this.#outbox.idle) await this.keepAlive.during(this.#outbox.delivered())
    return this.ask(op, question, options)
  }

  // Futures.

  retain(state: FutureState): void {
    this.registry.retain(state)
  }

  release(state: FutureState): void {
    this.registry.release(state)
  }

  fetch(state: FutureState, wait: WaitOptions): Promise<unknown> {
    this.#assertUsable(state)
    const result = waitWithin<unknown>(
      wait,
      () => `"${state.key}" did not finish`,
      ({ resolve, reject }) => {
        const listener: FetchListener = {
          onValue: (_, value) => resolve(value),
          onFailure: (_, error) => reject(error),
        }
        this.#fetcher.fetch(state, listener)
        return () => this.#fetcher.detach(state, listener)
      },
    )
    return this.keepAlive.during(result)
  }

  /** For many states at once; every call is answered by one word to the listener, or taken back with `unfetch`. */
  fetchFor(state: FutureState, listener: FetchListener): void {
    this.#fetcher.fetch(state, listener)
  }

  unfetch(state: FutureState, listener: FetchListener): void {
    this.#fetcher.detach(state, listener)
  }

  settled(state: FutureState, wait: WaitOptions): Promise<void> {
    this.retain(state)
    const result = waitWithin<void>(
      wait,
      () => `"${state.key}" did not finish`,
      ({ resolve }) => {
        const listener = () => resolve()
        state.whenSettled(listener)
        return () => {
          state.unlisten(listener)
          this.release(state)
        }
      },
    )
    return this.keepAlive.during(result)
  }

  /** Futures of keys that are on the cluster already; how they stand is told next. */
  futuresOf(keys: readonly TaskKey[]): Map<TaskKey, Future> {
    const futures = new Map<TaskKey, Future>()
    for (const key of keys) {
      const held = this.registry.reusable(key)
      if (held !== undefined) this.registry.reclaim(held)
      futures.set(key, new Future(this, held ?? this.registry.create(key, prefixOf(key))))
    }
    if (keys.length > 0) this.post({ op: 'client-desires-keys', keys })
    return futures
  }

  cancel(states: readonly FutureState[], force: boolean): void {
    const wanted = states.filter((state) => state.outcome.status !== 'cancelled')
    if (wanted.length === 0) return
    this.assertOpen()
    const reason = `cancelled by client ${this.settings.name}`
    this.registry.cancel(wanted, reason)
    // A key that was lost and submitted again is no longer this state's to cancel.
    const keys = wanted.filter((state) => (this.registry.get(state.key) ?? state) === state).map((state) => state.key)
    if (keys.length === 0) return
    this.post({ op: 'cancel-keys', keys, force, reason, cancel: this.registry.nextCancel() })
  }

  async retry(states: readonly FutureState[]): Promise<void> {
    const failed = new Map(
      states.filter((state) => state.outcome.status === 'error').map((state) => [state, state.outcome]),
    )
    if (failed.size === 0) return
    // Pending from now on, not from the answer on: the task may be done again before the answer is looked at.
    for (const state of failed.keys()) this.registry.settle(state, PENDING)
    const retried = new Set<TaskKey>()
    try {
      const answer = await this.askInTurn('retry', { keys: [...failed.keys()].map((state) => state.key) })
      for (const key of answer.retried) retried.add(key)
    } finally {
      for (const [state, outcome] of failed) {
        if (!state.settled && !retried.has(state.key)) this.registry.settle(state, outcome)
      }
    }
  }

  fireAndForget(states: readonly FutureState[]): void {
    this.assertOpen()
    this.post({ op: 'fire-and-forget', keys: states.map((state) => state.key) })
  }

  report(error: unknown, what: string): void {
    log.error('{what}: {stack}', { what, stack: toError(error).stack })
  }

  warn(message: string, fields: Record<string, unknown>): void {
    log.warn(message, fields)
  }

  gatherLimitBytes(): number {
    return gatherLimitBytes(this.settings.gatherLimit)
  }

  // Values on their way to workers.

  /** A state for a large argument; what is posted from now on waits for it. */
  sendAhead({ key, value }: LargeArgument): FutureState {
    const held = this.registry.reusable(key)
    if (held !== undefined) return held
    const state = this.registry.create(key, value.type)
    this.upload([{ state, value }], { broadcast: false, timeoutMs: this.settings.timeoutMs })
    return state
  }

  /**
   * Sends values to workers; later messages wait for that. The states settle when the scheduler says that it knows of the
   * values: before that, a worker that is being retired would take them along.
   */
  upload(
    entries: readonly { readonly state: FutureState; readonly value: Upload['value'] }[],
    options: PlaceOptions,
  ): void {
    for (const { state } of entries) this.retain(state)
    let outcomes: readonly UploadOutcome[] = []
    const uploads = entries.map(({ state, value }) => ({ key: state.key, value }))
    const sending = async () => {
      // A release of the same key that still waits must come first, or it would undo this; and a cancel, since what is heard
      // of these keys before its answer does not count.
      if (this.registry.cancelling || uploads.some(({ key }) => this.#lateReleases.has(key))) await earlier
      outcomes = await this.#uploader.send(uploads, options)
    }
    const earlier = this.#outbox.delivered()
    this.#outbox.barrier(this.keepAlive.during(sending()), () => {
      this.#announce(entries, outcomes)
      for (const { state, value } of entries) {
        this.release(state)
        if (value instanceof SnapshotFile) value.close()
      }
    })
  }

  /** A copy of a value to be uploaded as a file that a worker of this host can take over; null where that is not likely. */
  snapshotFile(key: TaskKey, value: EncodedValue): SnapshotFile | null {
    const { grantsFiles, lastRunId } = this.#uploader
    const clusterId = grantsFiles && SnapshotFile.suits(value) ? this.#link.nearClusterId : null
    if (clusterId === null) return null
    return SnapshotFile.of(value, { clusterId, generation: this.registry.generation, key, runId: lastRunId })
  }

  #announce(entries: readonly { readonly state: FutureState }[], outcomes: readonly UploadOutcome[]): void {
    const byKey = new Map(outcomes.map((outcome) => [outcome.key, outcome]))
    const sent: Extract<UploadOutcome, { kind: 'sent' }>[] = []
    const wanted: TaskKey[] = []
    const failed: TaskKey[] = []
    for (const { state } of entries) {
      const outcome = byKey.get(state.key)
      if (outcome === undefined || outcome.kind === 'failed') {
        failed.push(state.key)
        this.registry.settle(state, {
          status: 'error',
          error: outcome?.error ?? this.#ended ?? lost('it was closed', null),
        })
        continue
      }
      // What was sent is wanted since the scheduler placed it; what was there already has to be asked for.
      if (outcome.kind === 'sent') sent.push(outcome)
      else wanted.push(state.key)
    }
    if (sent.length > 0) {
      const toEntry = ({ key, runId, nbytes, type, workers }: (typeof sent)[number]) => ({
        key,
        runId,
        nbytes,
        type,
        workers,
      })
      this.sendNow({ op: 'update-data', entries: sent.map(toEntry) })
    }
    if (wanted.length > 0) this.sendNow({ op: 'client-desires-keys', keys: wanted })
    // What was posted meanwhile may build on them: it must not find a place for which nobody brings a value any more.
    if (failed.length > 0 && !this.closed) this.sendNow({ op: 'client-releases-keys', keys: failed })
  }

  /** The cluster is known to be gone: no connection to it will be made again. */
  clusterEnded(reason: string): void {
    this.#link.end(lost(reason, null))
  }

  /** Ends everything: what waits fails or is cancelled, connections close. May be called again. */
  async close(): Promise<void> {
    let closing: Promise<void> = Promise.resolve()
    if (this.#ended === null) {
      this.#ended = new PlimsollError('CLIENT_CLOSED', `The client ${this.settings.name} is closed.`, {
        client: this.settings.name,
      })
      this.registry.close('its client was closed')
      this.#fetcher.close(this.#ended)
      this.#graphs.flush()
      this.#collector?.close()
      closing = this.#link.close(this.#ended)
    }
    await this.keepAlive.during(Promise.all([closing, this.peers.close()]))
    this.keepAlive.close()
  }

  #lost(error: PlimsollError): void {
    if (this.#ended !== null) return
    this.#ended = error
    this.#collector?.close()
    this.registry.failPending(error)
    this.#fetcher.close(error)
    void this.peers.close()
  }

  #sendReleases(keys: readonly TaskKey[]): void {
    if (this.closed) return
    this.#collector?.noteReleases()
    const late = !this.#outbox.idle
    if (late) for (const key of keys) this.#lateReleases.add(key)
    this.#outbox.post(() => {
      if (late) for (const key of keys) this.#lateReleases.delete(key)
      this.#graphs.send({ op: 'client-releases-keys', keys })
    })
  }

  #reassert(state: FutureState): void {
    this.registry.settle(state, PENDING)
    this.sendNow({ op: 'client-desires-keys', keys: [state.key] })
  }

  #assertUsable(state: FutureState): void {
    if (this.#ended !== null && state.outcome.status === 'finished') throw this.#ended
  }
}
