// A worker with an inline executor and a real store in temporary directories, against a scheduler that says what a test
// wants. Everything is in this process, over inproc.

import { chmod, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { deferred } from '../base/deferred.ts'
import { runId, taskKey, workerId, type WorkerId } from '../base/ids.ts'
import { connect, listen, type Listener } from '../comm/index.ts'
import { capture } from '../functions/capture.ts'
import { hostToken } from '../native/host-token.ts'
import type { WorkerStartOptions } from '../protocol/nanny.ts'
import type {
  RegisterWorker,
  RegisterWorkerAnswer,
  SchedulerToWorker,
  SchedulerWorkerRequests,
  WorkerControlRequests,
  WorkerHeartbeat,
  WorkerToScheduler,
} from '../protocol/scheduler-worker.ts'
import type { Holder, InputWire } from '../protocol/tasks.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import type { ServedValue, WorkerRequests } from '../protocol/worker-worker.ts'
import { Connection } from '../rpc/index.ts'
import { encodeArgs, TaskRef } from '../values/args.ts'
import { blobToBytes } from '../values/blob.ts'
import { decodeBlob } from '../values/decode.ts'
import { encodeValue } from '../values/encode.ts'
import { decodeError } from '../values/error.ts'
import { Worker } from './worker.ts'

const CREDENTIALS = { token: 'a'.repeat(64), tls: null, insecurePlaintext: false }
const CLUSTER = 'scheduler-1'

type ToWorker = Connection<WorkerToScheduler, SchedulerToWorker, SchedulerWorkerRequests, WorkerControlRequests>
type Op = WorkerToScheduler['op']
type MessageOf<O extends Op> = Extract<WorkerToScheduler, { op: O }>

/** Everything that a test opened, closed after it in reverse order. */
const opened: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'plimsoll-worker-test-'))
  opened.push(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** A scheduler that answers registrations and remembers what workers say. */
class Script {
  readonly registrations: RegisterWorker[] = []
  readonly heartbeats: WorkerHeartbeat[] = []
  readonly heard: { from: WorkerId; message: WorkerToScheduler }[] = []
  readonly connections = new Map<WorkerId, ToWorker>()
  answer: Partial<RegisterWorkerAnswer> = {}
  heartbeatStatus: 'ok' | 'missing' = 'ok'
  #listener: Listener | null = null
  #changed: (() => void)[] = []
  #runs = 0

  get address(): string {
    return this.#listener?.address ?? ''
  }

  async start(address = 'inproc://'): Promise<this> {
    this.#listener = await listen(address, {
      role: 'scheduler',
      credentials: CREDENTIALS,
      protocolVersion: PROTOCOL_VERSION,
      clusterId: CLUSTER,
      onComm: (comm) => this.#accept(new Connection(comm)),
    })
    opened.push(() => this.close())
    return this
  }

  async close(): Promise<void> {
    await this.#listener?.close()
    await Promise.all([...this.connections.values()].map((connection) => connection.close()))
  }

  #accept(connection: ToWorker): void {
    let id = workerId('')
    connection.handle('register-worker', (registration) => {
      id = registration.workerId
      this.registrations.push(registration)
      this.connections.set(id, connection)
      this.#notify()
      return { schedulerId: CLUSTER, generation: 0, heartbeatMs: 20, drop: [], cancel: [], ...this.answer }
    })
    connection.handle('heartbeat-worker', (beat) => {
      this.heartbeats.push(beat)
      this.#notify()
      return { status: this.heartbeatStatus }
    })
    connection.onMessages((messages) => {
      for (const message of messages) this.heard.push({ from: id, message })
      this.#notify()
    })
  }

  #notify(): void {
    for (const wake of this.#changed.splice(0)) wake()
  }

  async until<T>(find: () => T | undefined): Promise<T> {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      await new Promise<void>((resolve) => this.#changed.push(resolve))
    }
  }

  /** The next message of this kind about this key that was not taken yet. */
  take<O extends Op>(op: O, key?: string): Promise<MessageOf<O>> {
    return this.until(() => {
      const index = this.heard.findIndex(
        ({ message }) => message.op === op && (key === undefined || JSON.stringify(message).includes(`"${key}"`)),
      )
      return index < 0 ? undefined : (this.heard.splice(index, 1)[0]?.message as MessageOf<O>)
    })
  }

  say(worker: Worker | WorkerId, ...messages: SchedulerToWorker[]): void {
    const id = typeof worker === 'string' ? worker : idOf(worker)
    for (const message of messages) this.connections.get(id)?.send(message)
  }

  /** Assigns a function call; `inputs` are keys that the arguments refer to. */
  compute(
    worker: Worker,
    key: string,
    fn: (...args: never[]) => unknown,
    args: readonly unknown[] = [],
    inputs: readonly InputWire[] = [],
  ): number {
    const run = ++this.#runs
    const captured = capture(fn)
    const { bytes } = encodeArgs(args, (value) => (value instanceof TaskRef ? value.key : undefined))
    this.say(worker, {
      op: 'compute-task',
      key: taskKey(key),
      runId: runId(run),
      name: 'f',
      priority: [0, 0, run],
      fn: captured.id,
      fnBytes: captured.bytes,
      args: bytes,
      inputs,
      options: {},
      attempt: 1,
    })
    return run
  }
}

const ids = new WeakMap<Worker, WorkerId>()
const idOf = (worker: Worker): WorkerId => ids.get(worker) as WorkerId
const holderOf = (worker: Worker): Holder => ({ id: idOf(worker), address: worker.address })
const inputFrom = (key: string, run: number, nbytes: number, worker: Worker): InputWire => ({
  key: taskKey(key),
  runId: runId(run),
  nbytes,
  holders: [holderOf(worker)],
})

async function startWorker(script: Script, name: string, overrides: Partial<WorkerStartOptions> = {}): Promise<Worker> {
  const localDirectory = overrides.localDirectory ?? (await temporary())
  const worker = new Worker({
    schedulerAddress: script.address,
    ...CREDENTIALS,
    workerId: workerId(name),
    incarnation: 1,
    name,
    nthreads: 1,
    memoryLimit: 0,
    localDirectory,
    memoryDirectory: null,
    host: '127.0.0.1',
    port: 0,
    http: null,
    resources: {},
    nannyPid: null,
    restarts: 0,
    processPeak: 0,
    spilledTotal: 0,
    executor: 'inline',
    deathTimeoutMs: null,
    ...overrides,
    config: { 'scheduler.validate': true, ...overrides.config },
  })
  ids.set(worker, workerId(name))
  opened.push(() => worker.close())
  await worker.start()
  return worker
}

async function reader(worker: Worker): Promise<Connection<never, never, object, WorkerRequests>> {
  const comm = await connect(worker.address, {
    role: 'client',
    credentials: CREDENTIALS,
    protocolVersion: PROTOCOL_VERSION,
    timeoutMs: 2000,
  })
  const connection = new Connection<never, never, object, WorkerRequests>(comm)
  opened.push(() => connection.close())
  return connection
}

/** Reads a value as a stranger on another host does. */
async function readValue(worker: Worker, key: string): Promise<unknown> {
  const connection = await reader(worker)
  const chunks: Uint8Array[] = []
  const answer = await connection.request(
    'get-data',
    { keys: [taskKey(key)], hostToken: null },
    { onChunk: (chunk) => void chunks.push(Uint8Array.from(chunk)) },
  )
  const value = answer.values[0]
  if (value?.via === 'inline') return decodeBlob(value.bytes).value
  if (value?.via === 'stream') return decodeBlob(Buffer.concat(chunks)).value
  return value?.via
}

/** Asks like a peer on this host; named files stay pinned until the connection closes. */
async function serve(worker: Worker, key: string): Promise<ServedValue | undefined> {
  const connection = await reader(worker)
  const answer = await connection.request(
    'get-data',
    { keys: [taskKey(key)], hostToken: hostToken() },
    { onChunk: () => {} },
  )
  return answer.values[0]
}

const free = (key: string): SchedulerToWorker => ({ op: 'free-keys', keys: [taskKey(key)] })

describe('a worker', () => {
  it('registers with what it is, and beats with measures that add up', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a', { nthreads: 2, resources: { GPU: 1 } })
    expect(script.registrations).toMatchObject([
      {
        workerId: 'a',
        address: worker.address,
        pid: process.pid,
        nthreads: 2,
        resources: { GPU: 1 },
        status: 'running',
        clusterId: null,
        inventory: { keys: [], tasks: [] },
      },
    ])
    const { memory } = await script.until(() => script.heartbeats[0])
    expect(memory.managed + memory.unmanaged + memory.unmanagedRecent).toBe(memory.process)
    expect(memory.process).toBeGreaterThan(0)
  })

  it('runs a task, tells its result, serves it and frees it', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'sum', (x: number, y: number) => x + y, [20, 22])
    expect(await script.take('task-finished', 'sum')).toMatchObject({ runId: 1, type: 'number', durable: false })
    expect(await readValue(worker, 'sum')).toBe(42)
    script.say(worker, free('sum'))
    script.compute(worker, 'next', () => 1)
    await script.take('task-finished', 'next')
    expect(await readValue(worker, 'sum')).toBe('missing')
  })

  it('runs a chain of tasks whose values are too large to be inline', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    const first = script.compute(worker, 'block', (n: number) => new Float64Array(n).fill(7), [100_000])
    const { nbytes, durable } = await script.take('task-finished', 'block')
    expect([nbytes > 800_000, durable]).toEqual([true, true])
    const input: InputWire = { key: taskKey('block'), runId: runId(first), nbytes, holders: [holderOf(worker)] }
    script.compute(
      worker,
      'mean',
      (block: Float64Array) => block.reduce((a, x) => a + x, 0) / block.length,
      [new TaskRef('block')],
      [input],
    )
    await script.take('task-finished', 'mean')
    expect(await readValue(worker, 'mean')).toBe(7)
    expect(sumOf(await readValue(worker, 'block'))).toBe(700_000)
  })

  it('tells what a task threw', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'bad', () => {
      throw new TypeError('no such column')
    })
    const { kind, error } = await script.take('task-erred', 'bad')
    expect(kind).toBe('user')
    expect(decodeError(error)).toMatchObject({ name: 'TypeError', message: 'no such column' })
  })

  it('tells its story', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'one', () => 1)
    await script.take('task-finished', 'one')
    const { entries } = (await script.connections.get(workerId('a'))?.request('story', { key: taskKey('one') })) ?? {
      entries: [],
    }
    expect(entries.map((entry) => entry.text)).toContain('executing -> memory (run 1, ValueStored)')
    expect(Math.abs((entries[0]?.at ?? 0) - Date.now())).toBeLessThan(60_000)
  })

  it('refuses a memory limit that its processes alone would fill', async () => {
    const script = await new Script().start()
    await expect(startWorker(script, 'a', { executor: 'process', memoryLimit: 100 * 2 ** 20 })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: /at least 160.00 MiB/,
    })
  })

  it('fails to start when there is no scheduler', async () => {
    const script = new Script()
    await expect(
      startWorker(script, 'a', { schedulerAddress: 'tcp://127.0.0.1:1', deathTimeoutMs: 50 }),
    ).rejects.toMatchObject({ code: 'CONNECT_FAILED' })
  })

  it('closes when the scheduler says so, and leaves no files', async () => {
    const script = await new Script().start()
    const localDirectory = await temporary()
    const worker = await startWorker(script, 'a', { localDirectory })
    script.compute(worker, 'block', () => new Float64Array(100_000))
    await script.take('task-finished', 'block')
    script.say(worker, { op: 'close', reason: 'scaled down' })
    expect(await worker.closed).toEqual({ reason: 'scaled down', restart: false })
    expect(await filesBelow(localDirectory)).toEqual([])
  })
})

describe('values between workers', () => {
  for (const way of ['link', 'stream'] as const) {
    it(`are fetched by ${way}`, async () => {
      const script = await new Script().start()
      const config = { 'worker.transfer.same-host': way }
      const [a, b] = [await startWorker(script, 'a', { config }), await startWorker(script, 'b', { config })]
      const large = script.compute(a, 'large', () => new Float64Array(500_000).fill(3))
      const small = script.compute(a, 'small', () => ({ text: 'hello' }))
      const { nbytes } = await script.take('task-finished', 'large')
      await script.take('task-finished', 'small')
      const inputs = [inputFrom('large', large, nbytes, a), inputFrom('small', small, 100, a)]
      script.compute(
        b,
        'both',
        (x: Float64Array, y: { text: string }) => `${y.text} ${x.length * (x[9] ?? 0)}`,
        [new TaskRef('large'), new TaskRef('small')],
        inputs,
      )
      await script.take('task-finished', 'both')
      expect(await readValue(b, 'both')).toBe('hello 1500000')
      const added = [await script.take('add-keys')]
      if ((added[0]?.keys.length ?? 0) < 2) added.push(await script.take('add-keys'))
      expect(added.flatMap((message) => message.keys.map(({ key }) => key as string)).toSorted()).toEqual([
        'large',
        'small',
      ])
      expect(sumOf(await readValue(b, 'large'))).toBe(1_500_000)
    })
  }

  it('are looked for elsewhere when the peer does not have them or cannot be reached', async () => {
    const script = await new Script().start()
    const [a, b] = [await startWorker(script, 'a'), await startWorker(script, 'b')]
    const run = script.compute(a, 'x', () => 5)
    await script.take('task-finished', 'x')
    const holders = [{ id: workerId('gone'), address: 'tcp://127.0.0.1:1' }]
    script.compute(
      b,
      'y',
      (x: number) => x + 1,
      [new TaskRef('x')],
      [{ key: taskKey('x'), runId: runId(run), nbytes: 10, holders }],
    )
    await script.take('request-refresh-who-has', 'x')
    script.say(b, { op: 'refresh-who-has', keys: [inputFrom('x', run, 10, a)] })
    await script.take('task-finished', 'y')
    expect(await readValue(b, 'y')).toBe(6)
  })

  it('are not taken from a damaged copy of a peer, which reports it lost', async () => {
    const script = await new Script().start()
    const a = await startWorker(script, 'a')
    const b = await startWorker(script, 'b', { config: { 'worker.transfer.same-host': 'stream' } })
    const run = script.compute(a, 'x', () => new Float64Array(20_000).fill(1))
    await script.take('task-finished', 'x')
    const served = await serve(a, 'x')
    if (served?.via !== 'file') throw new Error(`served via ${served?.via}`)
    const bytes = await readFile(served.path)
    bytes[bytes.length - 1] = 1
    await chmod(served.path, 0o600)
    await writeFile(served.path, bytes)
    script.compute(b, 'y', (x: Float64Array) => x.length, [new TaskRef('x')], [inputFrom('x', run, served.nbytes, a)])
    const isLoss = ({ from, message }: (typeof script.heard)[number]): boolean =>
      from === 'a' && message.op === 'release-worker-data'
    expect(await script.until(() => script.heard.find(isLoss)?.message)).toEqual({
      op: 'release-worker-data',
      keys: [{ key: 'x', runId: run, unreadable: 'frame 1 of 2 fails its checksum' }],
    })
    expect(await readValue(a, 'x')).toBe('missing')
    await script.take('request-refresh-who-has', 'x')
  })

  it('are not taken from a damaged copy, which is reported lost', async () => {
    const script = await new Script().start()
    const localDirectory = await temporary()
    const a = await startWorker(script, 'a', { localDirectory })
    const run = script.compute(a, 'x', () => new Float64Array(20_000).fill(1))
    await script.take('task-finished', 'x')
    const served = await serve(a, 'x')
    if (served?.via !== 'file') throw new Error(`served via ${served?.via}`)
    await chmod(served.path, 0o600)
    await writeFile(served.path, Buffer.alloc(served.nbytes, 1))
    script.compute(a, 'y', (x: Float64Array) => x.length, [new TaskRef('x')], [inputFrom('x', run, served.nbytes, a)])
    expect(await script.take('release-worker-data', 'x')).toEqual({
      op: 'release-worker-data',
      keys: [{ key: 'x', runId: run, unreadable: 'a stored value cannot be read: it does not start like a blob' }],
    })
    await script.take('request-refresh-who-has', 'x')
    script.say(a, { op: 'refresh-who-has', keys: [{ key: taskKey('x'), runId: runId(run), nbytes: 0, holders: [] }] })
    expect(await script.take('reschedule', 'y')).toMatchObject({ op: 'reschedule', key: 'y' })
  })

  it('that a client scatters are in a file before they are acknowledged', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    const connection = await reader(worker)
    for (const [key, value] of [
      ['tiny', { a: 1 }],
      ['huge', new Float64Array(300_000)],
    ] as const) {
      const bytes = blobToBytes({ clusterId: CLUSTER, generation: 0, key, runId: 90 }, encodeValue(value))
      const answer = await connection.request(
        'put-data',
        { key: taskKey(key), runId: runId(90), nbytes: bytes.length, type: 'Thing' },
        { body: inChunks(bytes, 100_000) },
      )
      expect(answer).toEqual({ nbytes: bytes.length })
      expect(sumOf(await readValue(worker, key))).toEqual(sumOf(value))
    }
    const damaged = blobToBytes(
      { clusterId: CLUSTER, generation: 0, key: 'bad', runId: 91 },
      encodeValue(new Float64Array(300_000)),
    )
    damaged[damaged.length - 1] = 1
    const refused = connection.request(
      'put-data',
      { key: taskKey('bad'), runId: runId(91), nbytes: damaged.length, type: 'Thing' },
      { body: inChunks(damaged, 100_000) },
    )
    await expect(refused).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
    expect(await readValue(worker, 'bad')).toBe('missing')
  })

  it('are named to one host and streamed to another, and stay pinned while they are named', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'x', () => new Float64Array(100_000).fill(2))
    await script.take('task-finished', 'x')
    const connection = await reader(worker)
    const { values } = await connection.request('get-data', { keys: [taskKey('x')], hostToken: hostToken() })
    const [named] = values
    if (named?.via !== 'file') throw new Error(`served via ${named?.via}`)
    script.say(worker, free('x'))
    script.compute(worker, 'next', () => 1)
    await script.take('task-finished', 'next')
    expect(sumOf(decodeBlob(await readFile(named.path)).value)).toBe(200_000)
    await connection.request('release-pins', { pins: [named.pin] })
    await expect
      .poll(() =>
        readFile(named.path).then(
          () => 'there',
          () => 'gone',
        ),
      )
      .toBe('gone')
  })
})

describe('serving', () => {
  it('answers busy while as many as it may are being served, and holds only a window of a slow reader', async () => {
    const script = await new Script().start()
    const config = { 'worker.connections.incoming': 1 }
    const worker = await startWorker(script, 'a', { config })
    script.compute(worker, 'large', () => new Float64Array(4_000_000).fill(1))
    await script.take('task-finished', 'large')
    const slow = await reader(worker)
    const first = deferred()
    const goOn = deferred()
    let taken = 0
    const reading = slow.request(
      'get-data',
      { keys: [taskKey('large')], hostToken: null },
      {
        onChunk: async (chunk) => {
          taken += chunk.length
          first.resolve()
          await goOn.promise
        },
      },
    )
    await first.promise
    const other = await reader(worker)
    expect(await other.request('get-data', { keys: [taskKey('large')], hostToken: null })).toEqual({
      values: [{ key: 'large', via: 'busy' }],
    })
    expect(taken).toBeLessThan(4 * 2 ** 20)
    goOn.resolve()
    await reading
    expect(taken).toBeGreaterThan(32_000_000)
    expect(sumOf(await readValue(worker, 'large'))).toBe(4_000_000)
  })

  it('acceptance 24: serves one at a time while it is paused; another is told busy, and served a little later', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'large', () => new Float64Array(4_000_000).fill(1))
    await script.take('task-finished', 'large')
    script.say(worker, { op: 'set-status', status: 'paused' })
    await script.take('worker-status-change')
    const first = deferred()
    const goOn = deferred()
    const reading = (await reader(worker)).request(
      'get-data',
      { keys: [taskKey('large')], hostToken: null },
      {
        onChunk: () => {
          first.resolve()
          return goOn.promise
        },
      },
    )
    await first.promise
    expect(await readValue(worker, 'large')).toBe('busy')
    goOn.resolve()
    await reading
    expect(sumOf(await readValue(worker, 'large'))).toBe(4_000_000)
    expect(worker.status).toBe('paused')
  })

  it('is over when the reader goes away', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a', { config: { 'worker.connections.incoming': 1 } })
    script.compute(worker, 'large', () => new Float64Array(4_000_000))
    await script.take('task-finished', 'large')
    const gone = await reader(worker)
    const first = deferred()
    const reading = gone.request(
      'get-data',
      { keys: [taskKey('large')], hostToken: null },
      {
        onChunk: () => {
          first.resolve()
          return new Promise(() => {})
        },
      },
    )
    await first.promise
    gone.abort()
    await expect(reading).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    await expect.poll(async () => sumOf(await readValue(worker, 'large'))).toBe(0)
  })
})

describe('taking back', () => {
  it('a running task ends with task-cancelled, a queued one goes to a thief', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a', { config: { 'worker.cancel-grace': 10 } })
    const endless = script.compute(worker, 'endless', () => new Promise(() => {}))
    const queued = script.compute(worker, 'queued', () => 1)
    await script.until(() => script.heartbeats.at(-1)?.executing.some((run) => run.runId === endless) || undefined)
    const runs = [
      { key: taskKey('endless'), runId: runId(endless) },
      { key: taskKey('queued'), runId: runId(queued) },
    ]
    script.say(worker, { op: 'steal-request', runs })
    expect(await script.take('steal-response')).toMatchObject({ taken: [runs[1]], kept: [] })
    expect(await script.take('steal-response')).toMatchObject({ taken: [], kept: [runs[0]] })
    script.say(worker, { op: 'cancel-task', key: taskKey('endless'), runId: runId(endless), force: false })
    await script.take('task-cancelled', 'endless')
    script.compute(worker, 'after', () => 1)
    await script.take('task-finished', 'after')
  })

  it('a paused worker hands its queue back, and works again when it is resumed', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.say(worker, { op: 'set-status', status: 'paused' })
    const run = script.compute(worker, 'waits', () => 1)
    expect(await script.take('worker-status-change')).toMatchObject({ status: 'paused' })
    expect(await script.take('reschedule', 'waits')).toMatchObject({ runId: run })
    script.say(worker, { op: 'set-status', status: 'running' })
    script.compute(worker, 'waits', () => 1)
    await script.take('task-finished', 'waits')
  })
})

describe('a connection to the scheduler', () => {
  it('is made again with an inventory of values and tasks, and nothing that ended meanwhile is lost', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'kept', () => 1)
    await script.take('task-finished', 'kept')
    const slow = script.compute(
      worker,
      'slow',
      () => new Promise((_, reject) => Object.assign(globalThis, { endSlow: reject })),
    )
    script.compute(worker, 'queued', () => 2)
    await script.until(() => script.heartbeats.at(-1)?.executing.some((run) => run.runId === slow) || undefined)
    const { address } = script
    await script.close()
    ;(globalThis as { endSlow?: (error: Error) => void }).endSlow?.(new Error('late'))
    const next = await new Script().start(address)
    const { inventory, clusterId } = await next.until(() => next.registrations[0])
    expect(clusterId).toBe(CLUSTER)
    expect(inventory.keys).toMatchObject([{ key: 'kept', runId: 1, type: 'number' }])
    expect(inventory.tasks.map((task) => task.runId as number)).toContain(slow)
    expect(await next.take('task-erred', 'slow')).toMatchObject({ runId: slow })
    expect(await next.take('task-finished', 'queued')).toMatchObject({ runId: slow + 1 })
  })

  it('leaves nothing behind when the scheduler is another one', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a')
    script.compute(worker, 'old', () => new Float64Array(100_000))
    await script.take('task-finished', 'old')
    const { address } = script
    await script.close()
    const next = new Script()
    next.answer = { schedulerId: 'scheduler-2' }
    await next.start(address)
    await next.until(() => next.registrations[0])
    next.compute(worker, 'new', () => 2)
    await next.take('task-finished', 'new')
    expect(await readValue(worker, 'old')).toBe('missing')
    expect(await readValue(worker, 'new')).toBe(2)
  })

  it('registers anew when the scheduler does not know the worker any more', async () => {
    const script = await new Script().start()
    await startWorker(script, 'a')
    script.heartbeatStatus = 'missing'
    await script.until(() => script.registrations[1])
  })

  it('is given up when no scheduler is reached for the death timeout', async () => {
    const script = await new Script().start()
    const worker = await startWorker(script, 'a', { deathTimeoutMs: 100 })
    await script.close()
    expect(await worker.closed).toMatchObject({ restart: false, reason: /no scheduler was reached/ })
  })
})

describe('what survives', () => {
  it('a worker adopts the files of the one before, and drops what the scheduler does not want', async () => {
    const script = await new Script().start()
    const localDirectory = await temporary()
    const first = await startWorker(script, 'a', { localDirectory })
    const wanted = script.compute(first, 'wanted', () => new Float64Array(100_000).fill(4))
    script.compute(first, 'unwanted', () => new Float64Array(100_000))
    script.compute(first, 'inline', () => 1)
    await script.take('task-finished', 'inline')
    const kept = await temporary()
    await cp(localDirectory, kept, { recursive: true, preserveTimestamps: true })
    await first.close()

    script.answer = { drop: [taskKey('unwanted')] }
    const second = await startWorker(script, 'a', { localDirectory: kept, incarnation: 2 })
    const registration = script.registrations.at(-1)
    expect(registration).toMatchObject({ clusterId: CLUSTER, incarnation: 2 })
    expect(registration?.inventory.keys.map(({ key }) => key as string).toSorted()).toEqual(['unwanted', 'wanted'])
    expect(registration?.inventory.keys.every(({ durable }) => durable)).toBe(true)
    expect(await readValue(second, 'unwanted')).toBe('missing')
    script.compute(
      second,
      'sum',
      (x: Float64Array) => x[99_999],
      [new TaskRef('wanted')],
      [inputFrom('wanted', wanted, 800_000, second)],
    )
    await script.take('task-finished', 'sum')
    expect(await readValue(second, 'sum')).toBe(4)
  })

  it('nothing survives a wipe, and the worker goes on in the new generation', async () => {
    const script = await new Script().start()
    const localDirectory = await temporary()
    const worker = await startWorker(script, 'a', { localDirectory })
    script.compute(worker, 'old', () => new Float64Array(100_000))
    await script.take('task-finished', 'old')
    script.compute(worker, 'endless', () => new Promise(() => {}))
    script.say(worker, { op: 'wipe', generation: 1 })
    script.compute(worker, 'new', () => new Float64Array(100_000).fill(1))
    await script.take('task-finished', 'new')
    expect(await readValue(worker, 'old')).toBe('missing')
    const served = await serve(worker, 'new')
    if (served?.via !== 'file') throw new Error(`served via ${served?.via}`)
    expect(decodeBlob(await readFile(served.path)).header.meta).toMatchObject({ generation: 1, clusterId: CLUSTER })
  })
})

/** Comparing large arrays element by element takes a test runner seconds. */
function sumOf(value: unknown): unknown {
  return value instanceof Float64Array ? value.reduce((sum, x) => sum + x, 0) : value
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
}
