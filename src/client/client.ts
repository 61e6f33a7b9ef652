import type { MemoryMeasures, PrefixCounts, SchedulerInfo, StoryEntry } from '../protocol/scheduler-client.ts'
import { systemClock } from '../base/clock.ts'
import type { TaskKey } from '../base/ids.ts'
import type { ClientOptions, ClusterLike } from './client-options.ts'
import { ClientRegistry } from './client-registry.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { choiceOption, flagOption, shown, textsOption } from './checked-options.ts'
import type { ClientSession } from './client-session.ts'
import { getDataset, publishDataset, type PublishOptions, unpublishDataset } from './datasets.ts'
import {
  MemoryManager,
  rebalance,
  type Rebalanced,
  type RebalanceOptions,
  replicate,
  type Replicated,
  type ReplicateOptions,
  type RestartOutcome,
  restartWorkers,
  type RetireOptions,
  retireWorkers,
} from './data-placement.ts'
import type { Future } from './future.ts'
import type { FutureState } from './future-state.ts'
import { futuresIn, keysIn, statesIn, type Futures } from './futures-in.ts'
import { gather, type GatherOptions } from './gather.ts'
import { MemorySampler } from './memory-sampler.ts'
import { openSession } from './open-session.ts'
import { scatterValues, type ScatterOptions } from './scatter.ts'
import { submitCalls } from './submit.ts'
import type { Gathered, GatheredSome, SubmittableArgs, SubmittableIterables } from './submittable.ts'
import { trimMemory } from './trim-memory.ts'
import { durationMs } from './wait-limits.ts'
import { waitForWorkers } from './wait-for-workers.ts'
import { zip } from './zip.ts'

const clients = new ClientRegistry<Client>()

/**
 * The current client: that of the surrounding `client.asCurrent(...)`, else the newest one that is open. Throws
 * `INVALID_ARGUMENT` when there is none.
 */
export function getClient(): Client {
  return clients.get()
}

/**
 * A connection to a cluster: submits functions, and holds their results as futures. An open client does not keep the
 * process alive; waiting for something does.
 */
export class Client {
  readonly #session: ClientSession
  readonly #afterClose: () => Promise<void>
  /** The active memory manager. */
  readonly amm: MemoryManager
  #closing: Promise<void> | null = null

  /** Clients are made by `Client.connect` and `Client.local`. */
  constructor(
    session: ClientSession,
    options: { readonly setAsDefault?: boolean; readonly afterClose?: () => Promise<void> } = {},
  ) {
    this.#session = session
    this.amm = new MemoryManager(session)
    this.#afterClose = options.afterClose ?? (() => Promise.resolve())
    if (options.setAsDefault ?? true) clients.add(this)
  }

  /**
   * Connects to the scheduler at an address such as `tcp://127.0.0.1:8786`, or to that of a cluster object. Throws
   * `CONNECT_FAILED`, `AUTH_FAILED`, `VERSION_MISMATCH`.
   */
  static async connect(target: string | ClusterLike, options: ClientOptions = {}): Promise<Client> {
    const session = await openSession(target, options)
    return new this(session, { ...(options.setAsDefault !== undefined && { setAsDefault: options.setAsDefault }) })
  }

  get name(): string {
    return this.#session.settings.name
  }

  get id(): string {
    return this.#session.settings.clientId
  }

  /** True after `close()`, and when the scheduler is gone. */
  get closed(): boolean {
    return this.#closing !== null || this.#session.closed
  }

  /**
   * Runs `fn` on the cluster. Every argument may be a value, a Future of it, or have futures nested in it. The same function
   * with the same arguments is one task (`task(fn, { pure: false })` makes each call its own). Throws `CANNOT_CAPTURE`
   * and `NOT_SERIALIZABLE` before anything is sent.
   */
  submit<A extends unknown[], R>(fn: (...args: A) => R, ...args: SubmittableArgs<A>): Future<Awaited<R>> {
    const [future] = this.#submit(fn, [args], 'single')
    return future as Future<Awaited<R>>
  }

  /** `submit` for every set of arguments that the iterables give together, up to the end of the shortest; one message in all. */
  map<A extends unknown[], R>(fn: (...args: A) => R, ...iterables: SubmittableIterables<A>): Future<Awaited<R>>[] {
    return this.#submit(fn, zip(iterables), 'map') as Future<Awaited<R>>[]
  }

  /**
   * Values in place of futures, wherever they are in a structure of arrays, plain objects, Maps and Sets. Throws the first
   * error of a task as soon as it is known (see `errors`), `GATHER_TOO_LARGE`, `TIMEOUT`.
   */
  gather<const T>(structure: T, options?: GatherOptions & { readonly errors?: 'raise' }): Promise<Gathered<T>>
  gather<const T>(structure: T, options: GatherOptions & { readonly errors: 'return' }): Promise<Gathered<T, Error>>
  gather<const T>(structure: T, options: GatherOptions & { readonly errors: 'skip' }): Promise<GatheredSome<T>>
  gather(structure: unknown, options: GatherOptions = {}): Promise<unknown> {
    return gather(this.#session, structure, options)
  }

  /**
   * Puts a value onto the cluster. The future is `pending` until a worker has it in a file, where it survives the worker;
   * it can be an argument at once. The value is copied when this is called. Throws `NOT_SERIALIZABLE`.
   */
  scatter<T>(value: T, options: ScatterOptions = {}): Future<T> {
    const [future] = scatterValues(this.#session, [value], options, () => 'value')
    return future as Future<T>
  }

  /** `scatter` for each of the values, spread over the workers. */
  scatterAll<T>(values: Iterable<T>, options: ScatterOptions = {}): Future<T>[] {
    if (typeof (values as Partial<Iterable<T>> | null | undefined)?.[Symbol.iterator] !== 'function')
      throw new PlimsollError('INVALID_ARGUMENT', `scatterAll takes an iterable of values, not ${shown(values)}.`)
    return scatterValues(this.#session, [...values], options, (index) => `value ${index}`) as Future<T>[]
  }

  /** Gives tasks up; what depends on them is cancelled too. With `force` also when other clients want them. */
  cancel(futures: Futures, options: { readonly force?: boolean } = {}): void {
    refuseUnknown('cancel', options, ['force'])
    this.#session.cancel(this.#statesOf(futures), flagOption('force', options.force) ?? false)
  }

  /** Runs failed tasks again, each from the deepest input that failed. */
  async retry(futures: Futures): Promise<void> {
    await this.#session.retry(this.#statesOf(futures))
  }

  /** Releases every future given; see `Future.release`. */
  release(futures: Futures): void {
    for (const future of futuresIn(futures)) future.release()
  }

  /** Addresses of the workers that hold each key; none for a key that is not in memory. Default: all keys. */
  async whoHas(futures?: Futures): Promise<Record<string, string[]>> {
    const { keys } = await this.#session.askInTurn('who-has', keysOption(futures))
    return mapValues(keys, (holders) => holders.map((holder) => holder.address))
  }

  /** Keys held by each worker (names or addresses; default: all). */
  async hasWhat(workers?: readonly string[]): Promise<Record<string, string[]>> {
    const answer = await this.#session.askInTurn('has-what', workersOption(workers))
    return mapValues(answer.workers, (keys) => [...keys])
  }

  /** Stored bytes by key, or by function name; default: of all keys, by name. */
  async nbytes(futures?: Futures, options: { readonly by?: 'key' | 'prefix' } = {}): Promise<Record<string, number>> {
    refuseUnknown('nbytes', options, ['by'])
    const by = choiceOption('by', options.by, ['key', 'prefix']) ?? (futures === undefined ? 'prefix' : 'key')
    const { nbytes } = await this.#session.askInTurn('nbytes', { ...keysOption(futures), by })
    return { ...nbytes }
  }

  /** Threads of each connected worker, by address. */
  async nthreads(): Promise<Record<string, number>> {
    const { workers } = await this.schedulerInfo()
    const connected = Object.values(workers).filter(
      ({ status }) => status !== 'restarting' && status !== 'disconnected',
    )
    return Object.fromEntries(connected.map(({ address, nthreads }) => [address, nthreads]))
  }

  /** Keys that each worker is to run or runs now, by address. */
  async processing(workers?: readonly string[]): Promise<Record<string, string[]>> {
    const answer = await this.#session.askInTurn('processing', workersOption(workers))
    return mapValues(answer.workers, (keys) => [...keys])
  }

  /**
   * The scheduler and its workers as they are now, also those that are waited for: `status` is `restarting` while a nanny
   * starts the process again, `disconnected` while a connection is missing.
   */
  async schedulerInfo(): Promise<SchedulerInfo> {
    return await this.#session.ask('identity', {})
  }

  /** The memory measures in bytes, of the cluster and of each worker by address. */
  async memory(): Promise<{
    readonly cluster: MemoryMeasures
    readonly workers: Readonly<Record<string, MemoryMeasures>>
  }> {
    return await this.#session.ask('memory', {})
  }

  /** Records memory over time: `sampler.sample(label, body)`, then `sampler.series()`. */
  memorySampler(): MemorySampler {
    const ask = async (): Promise<MemoryMeasures> => (await this.memory()).cluster
    return new MemorySampler({ clock: systemClock, date: Date.now, ask })
  }

  /**
   * Has every worker and its executors collect garbage and give freed memory back to the system; tasks that run now finish
   * first and are not waited for. The bytes that each worker's processes gave back, by its address.
   */
  async trimMemory(): Promise<Record<string, number>> {
    const session = this.#session
    return await session.keepAlive.during(trimMemory(await this.nthreads(), session.peers))
  }

  /** Tasks by state, and how often they ran, by function name. */
  async taskCounts(): Promise<Record<string, PrefixCounts>> {
    return { ...(await this.#session.askInTurn('task-counts', {})).prefixes }
  }

  /** Every transition of a key, on the scheduler and its workers, in order. */
  async story(key: string | Future<unknown>): Promise<StoryEntry[]> {
    const [only, ...others] = keysIn(typeof key === 'string' ? [key] : key)
    if (only === undefined || others.length > 0)
      throw new PlimsollError('INVALID_ARGUMENT', 'story takes one key or one future.')
    const { entries } = await this.#session.askInTurn('story', { key: only })
    return [...entries]
  }

  /**
   * Keeps a structure with futures in it (arrays, plain objects, Maps, Sets) on the cluster under a name, beyond the life of
   * this client, until it is unpublished or the cluster is restarted. What it has beside futures goes along, up to 1 MiB.
   * Throws `DATASET_EXISTS` unless `override` is set; `NOT_SERIALIZABLE`; `INVALID_ARGUMENT`.
   */
  async publishDataset(name: string, value: unknown, options: PublishOptions = {}): Promise<void> {
    await publishDataset(this.#session, name, value, options)
  }

  /** The structure that was published under this name, by whatever client, with futures of this client. Throws `DATASET_UNKNOWN`. */
  async getDataset<T = unknown>(name: string): Promise<T> {
    return (await getDataset(this.#session, name)) as T
  }

  /** Names of the published datasets, in the order of their first publication. */
  async listDatasets(): Promise<string[]> {
    return [...(await this.#session.askInTurn('list-datasets', {})).names]
  }

  /** Ends a dataset: its values are freed unless somebody else wants them. Throws `DATASET_UNKNOWN`. */
  async unpublishDataset(name: string): Promise<void> {
    await unpublishDataset(this.#session, name)
  }

  /** Waits until at least `n` workers run. Throws `TIMEOUT`, which says how many there were. */
  async waitForWorkers(n: number, options: { readonly timeout?: number | string } = {}): Promise<void> {
    const session = this.#session
    await session.keepAlive.during(waitForWorkers((patience) => session.ask('identity', {}, patience), n, options))
  }

  /**
   * Forgets every task of every client, and starts the workers again with empty stores. All futures are cancelled. Throws
   * `TIMEOUT` when the workers are not back in time (default: four times the client's timeout).
   */
  async restart(
    options: { readonly timeout?: number | string; readonly waitForWorkers?: boolean } = {},
  ): Promise<void> {
    refuseUnknown('restart', options, ['timeout', 'waitForWorkers'])
    const session = this.#session
    const timeoutMs = options.timeout === undefined ? 4 * session.settings.timeoutMs : durationMs(options.timeout)
    const question = { timeoutMs, waitForWorkers: flagOption('waitForWorkers', options.waitForWorkers) ?? true }
    const asked = session.askInTurn('restart', question, { timeoutMs: timeoutMs + session.settings.timeoutMs })
    session.registry.restart(session.registry.generation + 1)
    const { generation } = await asked
    session.registry.restart(generation)
  }

  /**
   * Has each value on `n` workers (default: on all), copied from worker to worker; waits for the futures and for the copies.
   * Copies keep to the memory that their workers have free. While the active memory manager runs, it removes what no
   * task needs at its next pass.
   * @throws PlimsollError INVALID_ARGUMENT, TIMEOUT; the error of a future that failed.
   */
  replicate(futures: Futures, options: ReplicateOptions = {}): Promise<Replicated> {
    return replicate(this.#session, futures, options)
  }

  /**
   * Moves values (default: any) from workers that hold much to ones that hold little, as `worker.memory.rebalance.*` says.
   * There is never less than one copy; nothing goes to a paused worker, or to one that would be nearly full.
   * @throws PlimsollError INVALID_ARGUMENT, TIMEOUT; the error of a future that failed.
   */
  rebalance(futures?: Futures, options: RebalanceOptions = {}): Promise<Rebalanced> {
    return rebalance(this.#session, futures, options)
  }

  /**
   * Workers leave the cluster: they get no new task, finish what they run, and what only they hold is copied to others. Returns
   * the addresses of those that did; one whose values nobody can take goes back to work, with a warning in the scheduler's log.
   * There is no way back for those that did: with `closeWorkers: false` a worker stays without work until `restartWorkers`.
   * @throws PlimsollError INVALID_ARGUMENT when none of the workers is known; TIMEOUT.
   */
  retireWorkers(options: RetireOptions = {}): Promise<string[]> {
    return retireWorkers(this.#session, options)
  }

  /**
   * New processes for some workers (names, hosts, addresses or ids), by their nannies. Futures live on: values in files are
   * adopted, what was running runs again. Returns by name what became of each. Default timeout: four times the client's.
   * @throws PlimsollError INVALID_ARGUMENT when a worker is not known or has no nanny.
   */
  restartWorkers(
    workers: string | readonly string[],
    options: { readonly timeout?: number | string } = {},
  ): Promise<Record<string, RestartOutcome>> {
    return restartWorkers(this.#session, workers, options)
  }

  /** Within `fn`, and everything it starts, `getClient()` is this client. */
  asCurrent<T>(fn: () => T): T {
    return clients.run(this, fn)
  }

  /** Cancels what is pending, releases everything and disconnects; closes the cluster of `Client.local`. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get [Symbol.toStringTag](): string {
    return 'Client'
  }

  async #close(): Promise<void> {
    clients.remove(this)
    try {
      await this.#session.close()
    } finally {
      await this.#session.keepAlive.during(this.#afterClose())
      this.#session.keepAlive.close()
    }
  }

  #submit(fn: unknown, calls: Iterable<readonly unknown[]>, shape: 'single' | 'map'): Future[] {
    const session = this.#session
    session.assertOpen()
    return submitCalls(
      {
        owner: session,
        registry: session.registry,
        idle: () => session.idle,
        post: (deliver) => session.postInTurn(deliver),
        send: (message) => session.sendNow(message),
        firstUse: (id) => session.firstUse(id),
        sendAhead: (value) => session.sendAhead(value),
        warn: (message, fields) => session.warn(message, fields),
      },
      fn,
      calls,
      shape,
    )
  }

  #statesOf(futures: Futures): FutureState[] {
    this.#session.assertOpen()
    return statesIn(futures, this.#session)
  }
}

function workersOption(workers: readonly string[] | undefined): { readonly workers?: readonly string[] } {
  const texts = textsOption('workers', workers)
  return texts === undefined ? {} : { workers: texts }
}

function keysOption(futures: Futures | undefined): { readonly keys?: readonly TaskKey[] } {
  return futures === undefined ? {} : { keys: keysIn(futures) }
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, toValue: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, toValue(value)]))
}
