// One simulated client: the production session (registry of futures, outbox, link to the scheduler, fetcher, uploader) over
// simulated connections, and a user who holds futures, reads every value when it is there, and now and then again.
//
// U1. Every value that is read is checked against the task book.
// U2. In one life of a key no client reads two values of it: while the scheduler accepts one run, that run's value is read.
// U3. A client whose network is whole again soon after it lost its scheduler comes back.

import { clientId, type FunctionId, type TaskKey } from '../base/ids.ts'
import { ClientSession } from '../client/client-session.ts'
import type { FutureState } from '../client/future-state.ts'
import type { KeepAlive } from '../client/keep-alive.ts'
import type { Peers, WorkerConnection } from '../client/peers.ts'
import type { SchedulerConnection } from '../client/scheduler-link.ts'
import type { TaskRecord } from '../scheduler/core/records.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { SchedulerRequests } from '../protocol/scheduler-client.ts'
import type { TaskGroupWire } from '../protocol/tasks.ts'
import { encodeValue } from '../values/encode.ts'
import type { SimConnection } from './sim-connection.ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'
import { SCHEDULER_ADDRESS, type SimScheduler } from './sim-scheduler.ts'
import { functionOf, idOf, type SimTask, type SimValue, type TaskBook } from './task-book.ts'

/** One future that the user holds. */
export interface Held {
  readonly state: FutureState
  /** The call that this client means by the key. */
  readonly id: string
  /** What was read last, and checked. */
  value: SimValue | null
  /** Why reading it failed. */
  failure: Error | null
  reading: boolean
}

const TIMEOUT_MS = 20_000
const HEARTBEAT_MS = 1000
const READ_AGAIN_MS = 500
const WATCH_MS = 500
/** More than a client needs to know that it is back. */
const LASTING_MS = 1000
/** A fraction of the grace. */
const SOON = 0.25
/** Futures are released by the script of the history. */
const NO_COLLECTION = { run: () => 0, heapBytes: () => 0 }

export class SimClient {
  readonly process: SimProcess
  readonly held = new Map<TaskKey, Held>()
  readonly #network: SimNetwork
  readonly #book: TaskBook
  readonly #scheduler: SimScheduler
  readonly #peers: Peers
  #session: ClientSession | null = null
  /** Of the session, from before it is registered. */
  #keepAlive: KeepAlive | null = null
  /** The user's acts before it was connected. */
  #waiting: ((session: ClientSession) => void)[] = []
  #connection: SimConnection | null = null
  /** When the last connection was lost that lasted: one that broke at once does not begin a new grace. */
  #lostAtMs = 0
  /** Whether that was the last one. */
  #lasted = false
  #ended = false
  #calm = false
  /** Questions whose answer it waits for. */
  #asking = 0

  constructor(process: SimProcess, network: SimNetwork, book: TaskBook, scheduler: SimScheduler) {
    this.process = process
    this.#network = network
    this.#book = book
    this.#scheduler = scheduler
    this.#peers = { use: (address, fn) => this.#usePeer(address, fn), close: async () => {} }
  }

  get name(): string {
    return this.process.name
  }

  /** It left, or died. */
  get ended(): boolean {
    return this.#ended
  }

  get connection(): SimConnection | null {
    return this.#connection
  }

  /** After the end of the scheduler: every future has heard of it, and nobody waits for an answer. */
  get isToldTheEnd(): boolean {
    if (this.#ended || this.#session === null) return true
    if (!this.#session.closed || this.#asking > 0) return false
    for (const held of this.held.values()) if (held.reading || !held.state.settled) return false
    return true
  }

  /** Everything the user waits for has come. */
  get isSatisfied(): boolean {
    if (this.#ended) return true
    if (this.#session === null || this.#asking > 0 || !this.#session.idle || this.#connection?.closed !== false)
      return false
    for (const held of this.held.values()) if (held.reading || !held.state.settled) return false
    return true
  }

  start(): void {
    this.#open().catch((error: unknown) => {
      this.process.world.note(`${this.name} could not connect: ${String(error)}`)
      if (!this.#ended && this.#scheduler.process.alive) this.process.after(100, () => this.start())
    })
  }

  // What the user does.

  submit(tasks: readonly SimTask[], wanted: readonly TaskKey[], { reads = true } = {}): void {
    this.#do((session) => {
      if (this.#namesAnothersCall(tasks)) return
      const fresh: TaskKey[] = []
      const own = new Map(tasks.map((task) => [task.key, task]))
      for (const key of wanted) {
        const known = session.registry.reusable(key)
        if (known === undefined || session.registry.reclaim(known)) fresh.push(key)
        const task = own.get(key)
        const state = known ?? session.registry.create(key, task?.name ?? '')
        this.#hold(session, state, task === undefined ? key : idOf(task), reads)
      }
      if (fresh.length > 0) session.postInTurn(() => this.#sendGraph(session, tasks, fresh))
    })
  }

  release(keys: readonly TaskKey[]): void {
    for (const key of keys) {
      const held = this.held.get(key)
      this.held.delete(key)
      if (held !== undefined) this.#session?.release(held.state)
    }
  }

  cancel(keys: readonly TaskKey[], force: boolean): void {
    this.#do((session) => session.cancel(this.#statesOf(keys), force))
  }

  retry(keys: readonly TaskKey[]): void {
    this.#do((session) => {
      this.#book.forgetStarts()
      const states = this.#statesOf(keys).filter((state) => state.outcome.status === 'error')
      this.#during(session.retry(states))
      for (const state of states) this.#read(session, this.held.get(state.key) as Held)
    })
  }

  /** Sends values to workers; they are held. */
  scatter(tasks: readonly SimTask[], broadcast: boolean | number): void {
    this.#do((session) => {
      const fresh = tasks.filter(({ key }) => session.registry.reusable(key) === undefined)
      const entries = fresh.map((task) => ({
        state: session.registry.create(task.key, task.name),
        value: encodeValue(this.#book.make(task, 0, [])),
      }))
      for (const { state } of entries) this.#hold(session, state, state.key)
      if (entries.length > 0) session.upload(entries, { broadcast, timeoutMs: TIMEOUT_MS })
    })
  }

  ask<Op extends 'restart' | 'retire-workers' | 'replicate' | 'rebalance'>(
    op: Op,
    question: SchedulerRequests[Op][0],
  ): void {
    this.#do((session) => this.#during(session.ask(op, question, { timeoutMs: 2 * TIMEOUT_MS })))
  }

  fireAndForget(keys: readonly TaskKey[]): void {
    this.#do((session) => session.fireAndForget(this.#statesOf(keys)))
  }

  /** From now on nothing is read without need. */
  calmDown(): void {
    this.#calm = true
  }

  /** Reads everything that is held once more. */
  readAgain(): void {
    this.#do((session) => {
      for (const held of this.held.values()) this.#read(session, held)
    })
  }

  /** In good order. */
  close(): void {
    if (this.#ended) return
    this.#end()
    this.process.world.touchPromises()
    void this.#session?.close()
    this.process.after(0, () => this.process.kill())
  }

  /** The process dies. */
  vanish(): void {
    if (this.#ended) return
    this.#end()
    this.#keepAlive?.close()
    this.process.kill()
  }

  /** The simulation is over: what keeps a real program alive that waits for something is let go. */
  dispose(): void {
    this.#keepAlive?.close()
  }

  // Behind it.

  /** A program cannot name what it does not hold; where two calls claim the key, it would build on either. */
  #namesAnothersCall(tasks: readonly SimTask[]): boolean {
    const own = new Set(tasks.map((task) => task.key))
    const isMeant = (key: TaskKey): boolean => {
      const status = this.held.get(key)?.state.outcome.status ?? 'lost'
      return own.has(key) || (status !== 'cancelled' && status !== 'lost')
    }
    return tasks.some(({ inputs }) => inputs.some((key) => this.#book.isDisputed(key) && !isMeant(key)))
  }

  #end(): void {
    this.#ended = true
    this.held.clear()
  }

  async #open(): Promise<void> {
    const dial = async (tryMs?: number): Promise<SchedulerConnection> => {
      const connection = await this.#network.connect(this.process, SCHEDULER_ADDRESS, 'client', tryMs)
      const madeAtMs = this.process.now()
      connection.onClose(() => {
        this.#lasted =
          this.#network.wholeFor(this.process.machine, this.#scheduler.process.machine, madeAtMs) > LASTING_MS
        if (this.#lasted) this.#lostAtMs = this.process.now()
      })
      this.#connection = connection
      return connection as unknown as SchedulerConnection
    }
    const { process } = this
    const settings = {
      clientId: clientId(`${process.name}.${process.prng.int(1e6)}`),
      name: process.name,
      timeoutMs: TIMEOUT_MS,
      heartbeatMs: HEARTBEAT_MS,
      reconnectMs: null,
      gatherLimit: 2 ** 40,
      collectsGarbage: false,
    }
    const seed = process.prng.int(2 ** 31)
    const host = {
      clock: process,
      defer: process.defer,
      pause: (ms: number) => process.pause(ms),
      seed,
      collection: NO_COLLECTION,
    }
    const session = new ClientSession(await dial(), dial, this.#peers, settings, host)
    this.#keepAlive = session.keepAlive
    try {
      await session.register('0')
    } catch (error) {
      void session.close()
      throw error
    }
    this.#session = session
    for (const act of this.#waiting.splice(0)) act(session)
    this.#readSomeAgain(session)
    this.#watchSession(session, this.#scheduler.state.options.clientGraceMs)
  }

  /** Acts need a session; the scheduler always takes a client back within its grace. */
  #do(act: (session: ClientSession) => void): void {
    if (this.#ended) return
    this.process.world.touchPromises()
    const session = this.#session
    if (session === null) this.#waiting.push(act)
    else if (!session.closed) act(session)
  }

  /** It stays connected as long as there is a scheduler, unless it was cut off for its whole grace. */
  #watchSession(session: ClientSession, graceMs: number): void {
    const { process } = this
    process.after(WATCH_MS, () => {
      if (this.#ended) return
      if (!session.closed || !this.#scheduler.process.alive) return this.#watchSession(session, graceMs)
      const isForgotten = !this.#scheduler.state.clients.has(session.settings.clientId)
      if (!isForgotten && process.now() - this.#lostAtMs < graceMs)
        return process.world.fail(`${this.name} gave its scheduler up too early`)
      const wholeMs = this.#network.wholeSince(process.machine, this.#scheduler.process.machine)
      if (this.#lasted && wholeMs < this.#lostAtMs + graceMs * SOON)
        return process.world.fail(`${this.name} gave up a scheduler that it could reach`)
      for (const [key, { state }] of this.held)
        if (!state.settled) process.world.fail(`${this.name} was cut off for good and still waits for ${key}`)
      process.world.note(`${this.name} was cut off for good`)
      this.vanish()
    })
  }

  #during(work: Promise<unknown>): void {
    this.#asking++
    const over = (): void => void this.#asking--
    work.then(over, over)
  }

  #statesOf(keys: readonly TaskKey[]): FutureState[] {
    return keys.flatMap((key) => this.held.get(key)?.state ?? [])
  }

  /** A key that was given up is held anew by another state. */
  #hold(session: ClientSession, state: FutureState, id: string, reads = true): void {
    const before = this.held.get(state.key)
    if (before?.state === state) return
    session.retain(state)
    if (before !== undefined) session.release(before.state)
    const held: Held = { state, id, value: null, failure: null, reading: false }
    this.held.set(state.key, held)
    if (reads) this.#read(session, held)
  }

  #read(session: ClientSession, held: Held): void {
    if (held.reading) return
    held.reading = true
    const before = this.#acceptedRun(held.state.key)
    session.fetchFor(held.state, {
      onValue: (state, value) => {
        held.reading = false
        held.failure = null
        held.value = value as SimValue
        this.#check(held.id, state.key, held.value, before)
      },
      onFailure: (_, error) => {
        held.reading = false
        held.value = null
        held.failure = error
      },
    })
  }

  #readSomeAgain(session: ClientSession): void {
    const { prng } = this.process
    this.process.after(READ_AGAIN_MS * (0.5 + prng.next()), () => {
      if (this.#ended || this.#calm || session.closed) return
      const held = prng.pick([...this.held.values()])
      if (held?.state.outcome.status === 'finished') this.#read(session, held)
      this.#readSomeAgain(session)
    })
  }

  /** U1, U2. */
  #check(
    id: string,
    key: string,
    value: SimValue,
    before: { readonly task: TaskRecord; readonly run: number } | null,
  ): void {
    if (this.#ended) return
    const fault = this.#book.findFault(id, value)
    if (fault !== null) return this.process.world.fail(`${this.name} read a wrong value: ${fault}`)
    const after = this.#acceptedRun(key)
    if (before === null || after === null || before.task !== after.task || before.run !== after.run) return
    if (value.run !== 0 && value.run !== after.run)
      this.process.world.fail(
        `${this.name} read ${key} of run ${value.run} while run ${after.run} was the accepted one`,
      )
  }

  #acceptedRun(key: string): { readonly task: TaskRecord; readonly run: number } | null {
    const task = this.#scheduler.state.tasks.get(key)
    return task === undefined ? null : { task, run: task.acceptedRunId }
  }

  #sendGraph(session: ClientSession, tasks: readonly SimTask[], wanted: readonly TaskKey[]): void {
    const groups = new Map<string, TaskGroupWire & { readonly tasks: TaskGroupWire['tasks'][number][] }>()
    const functions: { readonly id: FunctionId; readonly bytes: Uint8Array }[] = []
    for (const task of tasks) {
      const fn = functionOf(task)
      const id = `${task.name} ${JSON.stringify(task.options)}`
      const group = groups.get(id) ?? { fn, name: task.name, options: task.options, tasks: [] }
      group.tasks.push(this.#book.row(task))
      groups.set(id, group)
      if (session.firstUse(fn)) functions.push({ id: fn, bytes: Buffer.from(fn) })
    }
    session.sendNow({ op: 'update-graph', groups: [...groups.values()], functions, wanted })
  }

  async #usePeer<T>(address: string, fn: (connection: WorkerConnection) => Promise<T>): Promise<T> {
    if (this.#ended) throw new PlimsollError('CLIENT_CLOSED', `${this.name} has left`)
    const connection = await this.#network.connect(this.process, address, 'client')
    try {
      return await fn(connection as unknown as WorkerConnection)
    } finally {
      connection.abort()
    }
  }
}
