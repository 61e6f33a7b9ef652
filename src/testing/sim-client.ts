// One simulated client: the production registry of futures, fetcher, uploader and outbox over simulated connections, and a
// user who holds futures, waits for them and reads every value once it is there.
//
// U1. What the user holds is read when it is finished, and its value checked against the task book.
// U2. In one life of a key no client reads two values of it: another value only after the scheduler took the first one back.

import { clientId, type ClientId, type FunctionId, type TaskKey } from '../base/ids.ts'
import { Fetcher } from '../client/fetcher.ts'
import { PENDING, type FutureState } from '../client/future-state.ts'
import { FuturesRegistry } from '../client/futures-registry.ts'
import { Outbox } from '../client/outbox.ts'
import type { Peers, WorkerConnection } from '../client/peers.ts'
import { Uploader, type UploadOutcome } from '../client/uploads.ts'
import { readValues } from '../client/value-reader.ts'
import type { ClientToScheduler, SchedulerRequests, SchedulerToClient } from '../protocol/scheduler-client.ts'
import type { TaskGroupWire } from '../protocol/tasks.ts'
import { encodeValue } from '../values/encode.ts'
import { closedError, type SimConnection } from './sim-connection.ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'
import { SCHEDULER_ADDRESS } from './sim-scheduler.ts'
import { functionOf, type SimTask, type SimValue, type TaskBook } from './task-book.ts'

/** One future that the user holds. */
export interface Held {
  readonly state: FutureState
  /** What was read, after it was checked. */
  value: SimValue | null
  /** Why reading it failed. */
  failure: Error | null
  reading: boolean
}

const RETRY_MS = 20_000
const HEARTBEAT_MS = 1000
const REQUEST_MS = 20_000

export class SimClient {
  readonly id: ClientId
  readonly process: SimProcess
  readonly held = new Map<TaskKey, Held>()
  readonly registry: FuturesRegistry
  readonly #network: SimNetwork
  readonly #book: TaskBook
  readonly #outbox = new Outbox()
  readonly #fetcher: Fetcher
  readonly #uploader: Uploader
  readonly #sentFunctions = new Set<FunctionId>()
  #connection: SimConnection | null = null
  #waiting: (() => void)[] = []
  /** Its futures mean nothing any more: it left, or lost its scheduler. */
  #ended = false
  /** Questions whose answer it waits for. */
  #asking = 0

  constructor(process: SimProcess, network: SimNetwork, book: TaskBook) {
    this.id = clientId(process.name)
    this.process = process
    this.#network = network
    this.#book = book
    this.registry = new FuturesRegistry({
      release: (keys) => this.#post({ op: 'client-releases-keys', keys }),
      schedule: (flush) => process.defer(flush),
    })
    const peers: Peers = {
      use: (address, fn) => this.#usePeer(address, fn),
      close: async () => {},
    }
    this.#fetcher = new Fetcher({
      retain: (state) => this.registry.retain(state),
      release: (state) => this.registry.release(state),
      locate: (keys) => this.#ask('locate', { keys }),
      send: (message) => this.#connection?.send(message),
      reassert: (state) => {
        this.registry.settle(state, PENDING)
        this.#connection?.send({ op: 'client-desires-keys', keys: [state.key] })
      },
      read: (items) => readValues(peers, items),
      gatherLimit: () => Infinity,
      retryMs: RETRY_MS,
      clock: process,
      defer: process.defer,
    })
    this.#uploader = new Uploader({
      peers,
      place: (question) => this.#ask('scatter-place', question),
      pause: (ms) => process.pause(ms),
      warn: () => {},
    })
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Everything the user waits for has come. */
  get isSatisfied(): boolean {
    if (this.#ended) return true
    if (this.#connection === null || this.#asking > 0 || !this.#outbox.idle) return false
    for (const held of this.held.values()) if (held.reading || !held.state.settled) return false
    return true
  }

  start(): void {
    this.#register().catch(() => {
      if (!this.#ended) this.process.after(100, () => this.start())
    })
  }

  // What the user does.

  submit(tasks: readonly SimTask[], wanted: readonly TaskKey[]): void {
    this.#whenUp(() => {
      const fresh: TaskKey[] = []
      for (const key of wanted) {
        if (this.held.has(key)) continue
        const known = this.registry.reusable(key)
        if (known === undefined) fresh.push(key)
        this.#hold(known ?? this.registry.create(key, this.#book.get(key)?.name ?? ''))
      }
      if (fresh.length > 0) this.#outbox.post(() => this.#sendGraph(tasks, fresh))
    })
  }

  release(keys: readonly TaskKey[]): void {
    for (const key of keys) {
      const held = this.held.get(key)
      if (held === undefined) continue
      this.held.delete(key)
      this.registry.release(held.state)
    }
  }

  cancel(keys: readonly TaskKey[], force: boolean): void {
    const states = keys
      .flatMap((key) => this.held.get(key)?.state ?? [])
      .filter((state) => state.outcome.status !== 'cancelled')
    if (states.length === 0) return
    this.registry.cancel(states, 'the user cancelled it')
    this.#post({ op: 'cancel-keys', keys: states.map((state) => state.key), force, reason: 'the user cancelled it' })
  }

  retry(keys: readonly TaskKey[]): void {
    const failed = new Map<FutureState, FutureState['outcome']>()
    for (const key of keys) {
      const state = this.held.get(key)?.state
      if (state?.outcome.status === 'error') failed.set(state, state.outcome)
    }
    if (failed.size === 0) return
    for (const state of failed.keys()) this.#again(state)
    this.registry.flushReleases()
    this.#outbox.post(() => void this.#askRetry(failed))
  }

  /** Sends values to workers; they are held. */
  scatter(tasks: readonly SimTask[], broadcast: boolean | number): void {
    this.#whenUp(() => {
      const fresh = tasks.filter(({ key }) => !this.held.has(key) && this.registry.reusable(key) === undefined)
      if (fresh.length === 0) return
      for (const task of fresh) this.#hold(this.registry.create(task.key, task.name))
      const uploads = fresh.map((task) => ({ key: task.key, value: encodeValue(this.#book.make(task, 0, [])) }))
      let outcomes: UploadOutcome[] = []
      const sending = this.#uploader.send(uploads, { broadcast, timeoutMs: RETRY_MS }).then((done) => {
        outcomes = done
      })
      this.#outbox.barrier(sending, () => this.#announce(outcomes))
    })
  }

  ask<Op extends 'restart' | 'retire-workers'>(op: Op, question: SchedulerRequests[Op][0]): void {
    this.#whenUp(() => void this.#ask(op, question, Infinity).catch(() => {}))
  }

  fireAndForget(keys: readonly TaskKey[]): void {
    this.#post({ op: 'fire-and-forget', keys })
  }

  /** In good order. */
  close(): void {
    if (this.#ended) return
    this.#end()
    this.registry.close('its client was closed')
    this.#connection?.send({ op: 'close-client' })
    this.#connection?.abort()
    this.process.after(0, () => this.process.kill())
  }

  /** The process dies. */
  vanish(): void {
    this.#end()
    this.process.kill()
  }

  get connection(): SimConnection | null {
    return this.#connection
  }

  // Behind it.

  #end(): void {
    this.#ended = true
    this.held.clear()
  }

  async #register(): Promise<void> {
    const connection = await this.#network.connect(this.process, SCHEDULER_ADDRESS)
    const question = { clientId: this.id, name: this.id, pid: 1, nodeVersion: 'v20', version: '0' }
    connection.onMessages<SchedulerToClient>((messages) => messages.forEach((message) => this.#hear(message)))
    const answer = await connection.request<SchedulerRequests['register-client'][1]>('register-client', question)
    this.registry.generation = answer.generation
    this.#connection = connection
    connection.onClose(() => this.#lost())
    this.#heartbeat(connection)
    for (const act of this.#waiting.splice(0)) act()
  }

  #lost(): void {
    this.#connection = null
    if (this.#ended) return
    const error = closedError(SCHEDULER_ADDRESS)
    this.#end()
    this.registry.failPending(error)
    this.#fetcher.close(error)
  }

  #heartbeat(connection: SimConnection): void {
    this.process.after(HEARTBEAT_MS, () => {
      if (connection.closed) return
      connection.request<{ readonly generation: number }>('heartbeat', {}).then(
        ({ generation }) => this.registry.restart(generation),
        () => {},
      )
      this.#heartbeat(connection)
    })
  }

  #hear(message: SchedulerToClient): void {
    if (message.op === 'lost-data') this.#takenBack([message.key])
    if (message.op === 'task-retried' || message.op === 'cancelled-keys') this.#takenBack(message.keys)
    this.registry.apply(message)
  }

  /** What was read is not the key's value any more (U2). */
  #takenBack(keys: readonly TaskKey[]): void {
    for (const key of keys) {
      const held = this.held.get(key)
      if (held === undefined || held.state.outcome.status === 'cancelled') continue
      this.#read(held)
    }
  }

  #hold(state: FutureState): void {
    this.registry.retain(state)
    const held: Held = { state, value: null, failure: null, reading: false }
    this.held.set(state.key, held)
    this.#read(held)
  }

  #again(state: FutureState): void {
    this.registry.settle(state, PENDING)
    const held = this.held.get(state.key)
    if (held !== undefined) this.#read(held)
  }

  /** U1. */
  #read(held: Held): void {
    if (held.reading) return
    held.reading = true
    held.value = null
    held.failure = null
    this.#fetcher.fetch(held.state, {
      onValue: (state, value) => {
        held.reading = false
        held.value = value as SimValue
        const fault = this.#book.findFault(state.key, value)
        if (fault !== null && !this.#ended) this.process.world.fail(`${this.id} read a wrong value: ${fault}`)
      },
      onFailure: (_, error) => {
        held.reading = false
        held.failure = error
      },
    })
  }

  #sendGraph(tasks: readonly SimTask[], wanted: readonly TaskKey[]): void {
    const groups = new Map<string, TaskGroupWire & { readonly tasks: TaskGroupWire['tasks'][number][] }>()
    const functions: { readonly id: FunctionId; readonly bytes: Uint8Array }[] = []
    for (const task of tasks) {
      const fn = functionOf(task)
      const id = `${task.name} ${JSON.stringify(task.options)}`
      const group = groups.get(id) ?? { fn, name: task.name, options: task.options, tasks: [] }
      group.tasks.push(this.#book.row(task))
      groups.set(id, group)
      if (this.#sentFunctions.has(fn)) continue
      this.#sentFunctions.add(fn)
      functions.push({ id: fn, bytes: Buffer.from(fn) })
    }
    this.#connection?.send({
      op: 'update-graph',
      groups: [...groups.values()],
      functions,
      wanted,
    } satisfies ClientToScheduler)
  }

  async #askRetry(failed: ReadonlyMap<FutureState, FutureState['outcome']>): Promise<void> {
    const retried = new Set<TaskKey>()
    try {
      const answer = await this.#ask('retry', { keys: [...failed.keys()].map((state) => state.key) })
      for (const key of answer.retried) retried.add(key)
    } catch {
      // Its connection is gone, and it with it.
    }
    for (const [state, outcome] of failed)
      if (!state.settled && !retried.has(state.key)) this.registry.settle(state, outcome)
  }

  #announce(outcomes: readonly UploadOutcome[]): void {
    const byKey = new Map(outcomes.map((outcome) => [outcome.key, outcome]))
    const wanted: TaskKey[] = []
    for (const [key, outcome] of byKey) {
      const state = this.registry.get(key)
      if (outcome.kind === 'present') wanted.push(key)
      else if (outcome.kind === 'failed' && state !== undefined)
        this.registry.settle(state, { status: 'error', error: outcome.error })
    }
    const sent = outcomes.flatMap((outcome) => (outcome.kind === 'sent' ? [outcome] : []))
    const entries = sent.map(({ key, runId, nbytes, type, workers }) => ({ key, runId, nbytes, type, workers }))
    if (entries.length > 0) this.#connection?.send({ op: 'update-data', entries })
    if (wanted.length > 0) this.#connection?.send({ op: 'client-desires-keys', keys: wanted })
  }

  #post(message: ClientToScheduler): void {
    this.#whenUp(() => this.#outbox.post(() => this.#connection?.send(message)))
  }

  #whenUp(act: () => void): void {
    if (this.#ended) return
    this.process.world.touchPromises()
    if (this.#connection === null) this.#waiting.push(act)
    else act()
  }

  async #ask<Op extends keyof SchedulerRequests>(
    op: Op,
    question: SchedulerRequests[Op][0],
    timeoutMs = REQUEST_MS,
  ): Promise<SchedulerRequests[Op][1]> {
    const connection = this.#connection
    if (connection === null) throw closedError(SCHEDULER_ADDRESS)
    this.#asking++
    try {
      return await connection.request(op, question, { timeoutMs })
    } finally {
      this.#asking--
    }
  }

  async #usePeer<T>(address: string, fn: (connection: WorkerConnection) => Promise<T>): Promise<T> {
    const connection = await this.#network.connect(this.process, address)
    try {
      return await fn(connection as unknown as WorkerConnection)
    } finally {
      connection.abort()
    }
  }
}
