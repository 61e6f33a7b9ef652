// A scheduler and workers for tests of the client: real connections within the process, real functions, blobs and errors,
// but no scheduling. What it was told is on record; what goes wrong is up to the test.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { taskKey, runId, workerId, type ClientId, type RunId, type TaskKey, type WorkerId } from '../../src/base/ids.ts'
import { listen, type Credentials, type Listener } from '../../src/comm/index.ts'
import type { PlimsollError } from '../../src/errors/plimsoll-error.ts'
import { rebuild } from '../../src/functions/rebuild.ts'
import type {
  ClientToScheduler,
  SchedulerInfo,
  SchedulerRequests,
  SchedulerToClient,
  WorkerInfo,
} from '../../src/protocol/scheduler-client.ts'
import { ATTACHED_BYTES_MAX, type TaskRow } from '../../src/protocol/tasks.ts'
import { PROTOCOL_VERSION } from '../../src/protocol/version.ts'
import type { ServedValue, WorkerRequests } from '../../src/protocol/worker-worker.ts'
import { Connection } from '../../src/rpc/connection.ts'
import { decodeArgs } from '../../src/values/args.ts'
import { blobToBytes } from '../../src/values/blob.ts'
import { decodeBlob } from '../../src/values/decode.ts'
import { encodeValue } from '../../src/values/encode.ts'
import { encodeError } from '../../src/values/error.ts'

type ClientConnection = Connection<ClientToScheduler, SchedulerToClient, SchedulerRequests>
type Message<Op extends ClientToScheduler['op']> = Extract<ClientToScheduler, { op: Op }>
type Placed = SchedulerRequests['scatter-place'][1]['placed'][number]

export const CREDENTIALS: Credentials = { token: 'ab'.repeat(32), tls: null, insecurePlaintext: false }

interface FakeTask {
  readonly row: TaskRow
  readonly fn: (...args: unknown[]) => unknown
  error: Uint8Array | null
  runs: number
}

interface Stored {
  readonly runId: RunId
  readonly blob: Uint8Array
  readonly type: string
}

export class FakeWorker {
  readonly id: WorkerId
  readonly stored = new Map<string, Stored>()
  readonly asked: (readonly TaskKey[])[] = []
  /** How values are handed out. */
  via: 'inline' | 'file' | 'stream' = 'inline'
  directory = ''
  /** Answers left to be `busy`. */
  busy = 0
  /** Keys whose next reading is damaged. */
  readonly corrupt = new Set<string>()
  refuse: PlimsollError | null = null
  pins = 0
  listener!: Listener

  constructor(name: string) {
    this.id = workerId(name)
  }

  get address(): string {
    return this.listener.address
  }

  async start(address: string): Promise<void> {
    this.listener = await listen(address, {
      role: 'worker',
      credentials: CREDENTIALS,
      protocolVersion: PROTOCOL_VERSION,
      clusterId: 'fake',
      onComm: (comm) => {
        const connection = new Connection<never, never, WorkerRequests>(comm)
        connection.handle('get-data', async ({ keys }, context) => {
          this.asked.push(keys)
          const values = keys.map((key) => this.#serve(key))
          const chunks = values.flatMap((value) => (value.via === 'stream' ? [this.#bytes(value.key)] : []))
          if (chunks.length === 0) return { values }
          await context.answerFirst({ values })
          for (const bytes of chunks)
            for (let at = 0; at < bytes.length; at += 1000) await context.sendChunk(bytes.subarray(at, at + 1000))
          return { values }
        })
        connection.handle('release-pins', ({ pins }) => {
          this.pins -= pins.length
          return {}
        })
        // Values come as streams: a file would need a store.
        connection.handle('grant-place', () => ({ place: null }))
        connection.handle('put-data', async ({ key, runId: run, nbytes, type }, context) => {
          const chunks: Uint8Array[] = []
          for await (const chunk of context.body) chunks.push(Uint8Array.from(chunk))
          if (this.refuse !== null) throw this.refuse
          const blob = Buffer.concat(chunks)
          if (blob.length !== nbytes) throw new Error(`${blob.length} bytes of ${nbytes} arrived`)
          decodeBlob(blob)
          this.stored.set(key, { runId: run, blob, type })
          return { nbytes }
        })
      },
    })
  }

  #serve(key: TaskKey): ServedValue {
    const value = this.stored.get(key)
    if (this.busy > 0) {
      this.busy--
      return { key, via: 'busy' }
    }
    if (value === undefined) return { key, via: 'missing' }
    if (this.via === 'inline') return { key, via: 'inline', runId: value.runId, bytes: this.#bytes(key) }
    const nbytes = value.blob.length
    if (this.via === 'stream') return { key, via: 'stream', runId: value.runId, nbytes }
    const path = join(this.directory, `${this.pins++}.blob`)
    writeFileSync(path, this.#bytes(key))
    return { key, via: 'file', runId: value.runId, path, offset: 0, nbytes, tier: 'memory', pin: this.pins }
  }

  #bytes(key: string): Uint8Array {
    const { blob } = this.stored.get(key) as Stored
    if (!this.corrupt.delete(key)) return blob
    const damaged = Uint8Array.from(blob)
    damaged[damaged.length - 1] = (damaged.at(-1) as number) ^ 0xff
    return damaged
  }
}

export class FakeCluster {
  readonly token = CREDENTIALS.token
  readonly workers: FakeWorker[]
  readonly messages: ClientToScheduler[] = []
  readonly tasks = new Map<string, FakeTask>()
  readonly wanted = new Set<string>()
  readonly connections = new Set<ClientConnection>()
  registered: ClientId[] = []
  /** `false`: tasks are accepted and never run. */
  running = true
  /** The answer to whoever wants to scatter. */
  noPlace: PlimsollError | null = null
  /** Small values that are awaited come along with the news of them, as they are or damaged. */
  attaches: 'no' | 'whole' | 'damaged' = 'no'
  readonly #awaited = new Set<string>()
  generation = 3
  nodeVersion = process.version
  located = 0
  /** Keys in memory whose holders cannot be reached at present. */
  readonly away = new Set<string>()
  #listener!: Listener
  #lastRun = 0
  #nextWorker = 0
  readonly #functions = new Map<string, Promise<(...args: unknown[]) => unknown>>()

  constructor(workers: number) {
    this.workers = Array.from({ length: workers }, (_, index) => new FakeWorker(`w${index}`))
  }

  static async start(workers = 1, address = 'inproc://'): Promise<FakeCluster> {
    const cluster = new FakeCluster(workers)
    for (const worker of cluster.workers) await worker.start(address)
    cluster.#listener = await listen(address, {
      role: 'scheduler',
      credentials: CREDENTIALS,
      protocolVersion: PROTOCOL_VERSION,
      clusterId: 'fake',
      onComm: (comm) => cluster.#accept(new Connection(comm)),
    })
    return cluster
  }

  get address(): string {
    return this.#listener.address
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.abort(new Error('the scheduler died'))
    await this.#listener.close()
    for (const worker of this.workers) await worker.listener.close()
  }

  sent<Op extends ClientToScheduler['op']>(op: Op): Message<Op>[] {
    return this.messages.filter((message): message is Message<Op> => message.op === op)
  }

  tell(message: SchedulerToClient): void {
    for (const connection of this.connections) connection.send(message)
  }

  /** Resolves when everything the client said so far was heard. */
  async heard(): Promise<void> {
    for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve))
  }

  store(worker: FakeWorker, key: string, value: unknown, run: RunId = runId(++this.#lastRun)): void {
    const encoded = encodeValue(value)
    const blob = blobToBytes({ clusterId: 'fake', generation: this.generation, key, runId: run }, encoded)
    worker.stored.set(key, { runId: run, blob, type: encoded.type })
  }

  /** Runs what is ready now. */
  async run(): Promise<void> {
    for (const [key, task] of this.tasks) {
      if (!this.#holders(key).length && task.error === null) await this.#compute(taskKey(key), task)
    }
  }

  #holders(key: string): FakeWorker[] {
    return this.workers.filter((worker) => worker.stored.has(key))
  }

  #accept(connection: ClientConnection): void {
    this.connections.add(connection)
    connection.onClose(() => void this.connections.delete(connection))
    connection.onMessages((batch) => {
      for (const message of batch) {
        this.messages.push(message)
        void this.#hear(connection, message)
      }
    })
    connection.handle('register-client', ({ clientId }) => {
      this.registered.push(clientId)
      return {
        schedulerId: 'fake',
        generation: this.generation,
        nodeVersion: this.nodeVersion,
        heartbeatMs: 1000,
        graceMs: 5000,
      }
    })
    connection.handle('heartbeat', () => ({ generation: this.generation }))
    connection.handle('identity', () => this.#identity())
    connection.handle('locate', ({ keys }) => {
      this.located++
      return { found: keys.flatMap((key) => this.#locate(key)) }
    })
    connection.handle('who-has', ({ keys }) => ({
      keys: Object.fromEntries(
        (keys ?? [...this.tasks.keys()]).map((key) => [
          key,
          this.#holders(key).map(({ id, address }) => ({ id, address })),
        ]),
      ),
    }))
    connection.handle('scatter-place', ({ entries, broadcast }) => {
      if (this.noPlace !== null) throw this.noPlace
      for (const { key } of entries) this.wanted.add(key)
      return {
        placed: entries.map((entry) => this.#place(entry.key, broadcast)),
        clusterId: 'fake',
        generation: this.generation,
      }
    })
    connection.handle('retry', ({ keys }) => {
      for (const key of keys) (this.tasks.get(key) as FakeTask).error = null
      this.tell({ op: 'task-retried', keys })
      setImmediate(() => void this.run())
      return { retried: keys }
    })
    connection.handle('restart', () => {
      this.generation++
      this.tasks.clear()
      for (const worker of this.workers) worker.stored.clear()
      this.tell({ op: 'restart', generation: this.generation })
      return { generation: this.generation, workers: this.workers.length }
    })
  }

  #place(key: TaskKey, broadcast: boolean | number): Placed {
    const chosen =
      broadcast === true ? this.workers : [this.workers[this.#nextWorker++ % this.workers.length] as FakeWorker]
    const workers = chosen.map(({ id, address }) => ({ id, address }))
    return { key, runId: this.#holders(key).length > 0 ? null : runId(++this.#lastRun), workers }
  }

  #locate(key: TaskKey): SchedulerRequests['locate'][1]['found'][number][] {
    const holders = this.#holders(key)
    const [first] = holders
    if (first === undefined) return []
    const value = first.stored.get(key) as Stored
    if (this.away.has(key)) return [{ key, runId: value.runId, nbytes: value.blob.length, holders: [] }]
    return [
      {
        key,
        runId: value.runId,
        nbytes: value.blob.length,
        holders: holders.map(({ id, address }) => ({ id, address })),
      },
    ]
  }

  async #hear(connection: ClientConnection, message: ClientToScheduler): Promise<void> {
    if (message.op === 'client-awaits-values') for (const key of message.keys) this.#awaited.add(key)
    if (message.op === 'client-releases-keys') for (const key of message.keys) this.wanted.delete(key)
    if (message.op === 'cancel-keys') {
      const { keys, cancel, reason } = message
      for (const key of keys) this.wanted.delete(key)
      connection.send({ op: 'cancelled-keys', keys: [], reason, code: 'TASK_CANCELLED', cancel })
    }
    if (message.op === 'client-desires-keys') {
      for (const key of message.keys) {
        this.wanted.add(key)
        if (this.#holders(key).length > 0) this.#report(key)
        else if (!this.tasks.has(key))
          connection.send({ op: 'cancelled-keys', keys: [key], reason: 'already forgotten', code: 'TASK_CANCELLED' })
      }
      if (this.running) await this.run()
    }
    if (message.op === 'update-data') for (const { key } of message.entries) this.#report(key)
    if (message.op === 'report-missing') {
      for (const worker of this.workers) if (message.workers.includes(worker.id)) worker.stored.delete(message.key)
      if (this.#holders(message.key).length > 0) return
      if (this.tasks.has(message.key)) connection.send({ op: 'lost-data', key: message.key })
      else connection.send({ op: 'cancelled-keys', keys: [message.key], reason: 'no copy is left', code: 'DATA_LOST' })
      if (this.running) await this.run()
    }
    if (message.op === 'update-graph') await this.#updateGraph(message)
  }

  async #updateGraph({ groups, functions, wanted }: Message<'update-graph'>): Promise<void> {
    for (const { id, bytes } of functions)
      this.#functions.set(id, rebuild(bytes) as Promise<(...args: unknown[]) => unknown>)
    for (const key of wanted) this.wanted.add(key)
    for (const group of groups) {
      const fn = await this.#functions.get(group.fn)
      if (fn === undefined) throw new Error(`the function of ${group.name} was not sent`)
      for (const row of group.tasks) this.tasks.set(row[0], { row, fn, error: null, runs: 0 })
    }
    if (this.running) await this.run()
  }

  async #compute(key: TaskKey, task: FakeTask): Promise<void> {
    const [, args, dependencies] = task.row
    const failed = dependencies
      .map((dependency) => this.tasks.get(dependency)?.error)
      .find((error) => error !== undefined && error !== null)
    const values = new Map(
      dependencies.map((dependency) => [
        dependency as string,
        this.#holders(dependency)[0]?.stored.get(dependency)?.blob,
      ]),
    )
    if (failed === undefined && [...values.values()].includes(undefined)) return
    task.runs++
    const worker = this.workers[this.#nextWorker++ % this.workers.length] as FakeWorker
    try {
      if (failed !== undefined) throw Object.assign(new Error('an input failed'), { inherited: failed })
      const value = await task.fn(...decodeArgs(args, (needed) => decodeBlob(values.get(needed) as Uint8Array).value))
      this.store(worker, key, value)
    } catch (error) {
      task.error = (error as { inherited?: Uint8Array }).inherited ?? encodeError(error)
    }
    this.#report(key)
  }

  #report(key: TaskKey): void {
    if (!this.wanted.has(key)) return
    const task = this.tasks.get(key)
    const [holder] = this.#holders(key)
    if (holder !== undefined) {
      const { blob, type } = holder.stored.get(key) as Stored
      const news = { op: 'key-in-memory', key, nbytes: blob.length, type } as const
      const attached = this.attaches !== 'no' && this.#awaited.has(key) && blob.length <= ATTACHED_BYTES_MAX
      const damaged = attached && this.attaches === 'damaged'
      this.tell(attached ? { ...news, blob: damaged ? blob.subarray(1) : blob } : news)
    } else if (task !== undefined && task.error !== null) {
      this.tell({ op: 'task-erred', key, error: task.error, worker: 'inproc://somewhere' })
    }
  }

  #identity(): SchedulerInfo {
    const none = { limit: 0, process: 0, managed: 0, unmanaged: 0, unmanagedRecent: 0, spilled: 0 }
    const info = ({ id, address }: FakeWorker): WorkerInfo => ({
      id,
      name: id,
      address,
      pid: process.pid,
      nannyPid: null,
      host: 'here',
      nthreads: 2,
      memoryLimit: 0,
      status: 'running',
      executors: [],
      resources: {},
      dashboard: null,
      localDirectory: '',
      memoryDirectory: '',
      restarts: 0,
      processPeak: 0,
      spilledTotal: 0,
      memory: none,
      processing: 0,
      stored: 0,
    })
    return {
      id: 'fake',
      memory: none,
      address: this.address,
      pid: process.pid,
      dashboard: null,
      workers: Object.fromEntries(this.workers.map((worker) => [worker.address, info(worker)])),
      clients: this.connections.size,
      tasks: {},
    }
  }
}
