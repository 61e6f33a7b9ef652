// The shell over the in-process transport: peers as real connections, with hand-made messages.

import { afterEach, describe, expect, it } from 'vitest'
import { clientId, functionId, type RunId, taskKey, workerId } from '../base/ids.ts'
import { deferred } from '../base/deferred.ts'
import { connect } from '../comm/index.ts'
import { loadConfig } from '../config/index.ts'
import type { NannyRequests, NannyToScheduler, SchedulerToNanny } from '../protocol/nanny.ts'
import type { ClientToScheduler, SchedulerRequests, SchedulerToClient } from '../protocol/scheduler-client.ts'
import type {
  RegisterWorker,
  SchedulerToWorker,
  SchedulerWorkerRequests,
  WorkerControlRequests,
  WorkerToScheduler,
} from '../protocol/scheduler-worker.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'
import { decodeError } from '../values/error.ts'
import { Scheduler } from './scheduler.ts'

const credentials = { token: null, tls: null, insecurePlaintext: false }
const schedulers: Scheduler[] = []
const connections: { abort(): void }[] = []

afterEach(async () => {
  for (const connection of connections.splice(0)) connection.abort()
  await Promise.all(schedulers.splice(0).map((scheduler) => scheduler.close()))
})

async function start(config: Record<string, unknown> = {}): Promise<Scheduler> {
  const overrides = { 'scheduler.validate': true, ...config }
  const scheduler = new Scheduler({
    host: '',
    port: 0,
    scheme: 'inproc',
    credentials,
    config: loadConfig({ overrides, env: {}, files: [] }),
  })
  schedulers.push(scheduler)
  await scheduler.start()
  return scheduler
}

/** One end of a connection, which remembers what came. */
class End<In, Out, Serves, Asks> {
  readonly connection: Connection<In, Out, Serves, Asks>
  readonly received: In[] = []
  readonly ended = deferred<Error | null>()
  #watchers: (() => void)[] = []

  constructor(connection: Connection<In, Out, Serves, Asks>) {
    this.connection = connection
    connection.onMessages((batch) => {
      this.received.push(...batch)
      for (const watch of this.#watchers.splice(0)) watch()
    })
    connection.onClose((reason) => this.ended.resolve(reason))
  }

  static async open<In, Out, Serves, Asks>(scheduler: Scheduler, role: string): Promise<End<In, Out, Serves, Asks>> {
    const comm = await connect(scheduler.address, {
      role,
      credentials,
      protocolVersion: PROTOCOL_VERSION,
      timeoutMs: 1000,
    })
    const connection = new Connection<In, Out, Serves, Asks>(comm)
    connections.push(connection)
    return new End(connection)
  }

  /** Takes the next message with this op; others before it are dropped. */
  async next<Op extends (In extends { readonly op: infer Name } ? Name : never)>(
    op: Op,
  ): Promise<Extract<In, { readonly op: Op }>> {
    for (;;) {
      for (let message = this.received.shift(); message !== undefined; message = this.received.shift()) {
        if ((message as { readonly op: unknown }).op === op) return message as Extract<In, { readonly op: Op }>
      }
      await new Promise<void>((resolve) => this.#watchers.push(resolve))
    }
  }
}

type Client = End<SchedulerToClient, ClientToScheduler, object, SchedulerRequests>
type Worker = End<SchedulerToWorker, WorkerToScheduler, WorkerControlRequests, SchedulerWorkerRequests>
type Nanny = End<SchedulerToNanny, NannyToScheduler, object, NannyRequests>

async function client(scheduler: Scheduler, id = 'c'): Promise<Client> {
  const end: Client = await End.open(scheduler, 'client')
  await end.connection.request('register-client', {
    clientId: clientId(id),
    name: id,
    pid: 1,
    nodeVersion: 'v20',
    version: '0',
  })
  return end
}

function registration(scheduler: Scheduler, id: string, more: Partial<RegisterWorker> = {}): RegisterWorker {
  return {
    workerId: workerId(id),
    incarnation: 1,
    name: id,
    address: `inproc://${id}`,
    pid: 7,
    nannyPid: null,
    host: id,
    nthreads: 1,
    memoryLimit: 1000,
    resources: {},
    dashboard: null,
    localDirectory: '/l',
    memoryDirectory: '/m',
    nodeVersion: 'v20',
    status: 'running',
    restarts: 0,
    clusterId: null,
    generation: scheduler.state.generation,
    inventory: { keys: [], tasks: [] },
    ...more,
  }
}

async function worker(scheduler: Scheduler, id: string): Promise<Worker> {
  const end: Worker = await End.open(scheduler, 'worker')
  end.connection.handle('story', ({ key }) => ({ entries: [{ where: id, at: 5, key, text: `seen by ${id}` }] }))
  await end.connection.request('register-worker', registration(scheduler, id))
  return end
}

function submit(end: Client, keys: readonly string[]): void {
  end.connection.send({
    op: 'update-graph',
    groups: [
      {
        fn: functionId('f'),
        name: 'inc',
        options: {},
        tasks: keys.map((key) => [taskKey(key), new Uint8Array(1), []]),
      },
    ],
    functions: [{ id: functionId('f'), bytes: new Uint8Array(3) }],
    wanted: keys.map(taskKey),
  })
}

async function computeNext(end: Worker): Promise<void> {
  const { key, runId } = await end.next('compute-task')
  end.connection.send({ op: 'task-finished', key, runId, nbytes: 8, type: 'number', durable: true, durationMs: 1 })
}

describe('a scheduler', () => {
  it('takes a graph from a client, has a worker compute it and reports the result', async () => {
    const scheduler = await start()
    const [c, w] = [await client(scheduler), await worker(scheduler, 'w')]
    submit(c, ['x'])
    expect(await w.next('compute-task')).toMatchObject({
      key: 'x',
      name: 'inc',
      fnBytes: expect.any(Uint8Array) as Uint8Array,
    })
    w.connection.send({
      op: 'task-finished',
      key: taskKey('x'),
      runId: 1 as RunId,
      nbytes: 8,
      type: 'number',
      durable: false,
      durationMs: 1,
    })
    expect(await c.next('key-in-memory')).toEqual({ op: 'key-in-memory', key: 'x', nbytes: 8, type: 'number' })
    const { found } = await c.connection.request('locate', { keys: [taskKey('x'), taskKey('y')] })
    expect(found).toEqual([{ key: 'x', runId: 1, nbytes: 8, holders: [{ id: 'w', address: 'inproc://w' }] }])
  })

  it('answers questions about its state, also to a probe that never registers', async () => {
    const scheduler = await start()
    const [c, w] = [await client(scheduler), await worker(scheduler, 'w')]
    const memory = { limit: 1000, process: 400, managed: 300, unmanaged: 60, unmanagedRecent: 40, spilled: 10 }
    const beat = { memory, processPeak: 500, spilledTotal: 10, executors: [{ pid: 9 }], executing: [], bandwidth: {} }
    expect(await w.connection.request('heartbeat-worker', beat)).toEqual({ status: 'ok' })
    submit(c, ['x', 'y'])
    await computeNext(w)
    await c.next('key-in-memory')
    const probe: Client = await End.open(scheduler, 'probe')
    const ask = probe.connection
    const info = await ask.request('identity', {})
    expect(info).toMatchObject({
      id: scheduler.id,
      address: scheduler.address,
      clients: 1,
      tasks: { memory: 1, processing: 1 },
    })
    expect(info.workers['inproc://w']).toMatchObject({ processPeak: 500, stored: 1, executors: [{ pid: 9 }] })
    expect(await ask.request('memory', {})).toEqual({ cluster: memory, workers: { 'inproc://w': memory } })
    expect(await ask.request('who-has', {})).toEqual({ keys: { x: [{ id: 'w', address: 'inproc://w' }] } })
    expect(await ask.request('has-what', {})).toEqual({ workers: { 'inproc://w': ['x'] } })
    expect(await ask.request('processing', { workers: ['w'] })).toEqual({ workers: { 'inproc://w': ['y'] } })
    expect(await ask.request('nbytes', { by: 'prefix' })).toEqual({ nbytes: { inc: 8 } })
    expect((await ask.request('task-counts', {})).prefixes['inc']).toMatchObject({
      memory: 1,
      processing: 1,
      runs: 1,
      nbytes: 8,
    })
    const { entries } = await ask.request('story', { key: taskKey('x') })
    expect(entries[0]).toEqual({ where: 'w', at: 5, key: 'x', text: 'seen by w' })
    expect(entries.filter((entry) => entry.where === 'scheduler').length).toBeGreaterThan(2)
  })

  it('encodes the failures that it states itself', async () => {
    const scheduler = await start({ 'scheduler.no-workers-timeout': '10ms' })
    const c = await client(scheduler)
    submit(c, ['x'])
    const { error } = await c.next('task-erred')
    expect(decodeError(error)).toMatchObject({ code: 'NO_WORKERS' })
  })

  it('answers a scatter when a worker comes, and refuses it after its timeout', async () => {
    const scheduler = await start()
    const c = await client(scheduler)
    const entries = [{ key: taskKey('s'), nbytes: 5, type: 'string' }]
    await expect(
      c.connection.request('scatter-place', { entries, broadcast: false, timeoutMs: 10 }),
    ).rejects.toMatchObject({ code: 'TIMEOUT' })
    const waiting = c.connection.request('scatter-place', { entries, broadcast: false, timeoutMs: 5000 })
    await worker(scheduler, 'w')
    expect((await waiting).placed).toMatchObject([{ key: 's', workers: [{ id: 'w' }] }])
  })

  it('restarts: nannies renew their workers, and the answer comes when they are back', async () => {
    const scheduler = await start()
    const [c, w] = [await client(scheduler), await worker(scheduler, 'w')]
    const nanny: Nanny = await End.open(scheduler, 'nanny')
    await nanny.connection.request('register-nanny', { workerId: workerId('w'), pid: 1, host: 'h' })
    const restarted = c.connection.request('restart', { timeoutMs: 5000, waitForWorkers: true })
    expect(await nanny.next('restart-worker')).toEqual({ op: 'restart-worker', generation: 2 })
    expect(await c.next('restart')).toEqual({ op: 'restart', generation: 2 })
    await w.connection.close()
    const next: Worker = await End.open(scheduler, 'worker')
    await next.connection.request('register-worker', registration(scheduler, 'w', { incarnation: 2 }))
    expect(await restarted).toEqual({ generation: 2, workers: 1 })
    expect(await c.connection.request('heartbeat', { heard: 0 })).toEqual({ generation: 2 })
  })

  it('keeps the worker that it has when another of its name is refused', async () => {
    const scheduler = await start()
    const [c, w] = [await client(scheduler), await worker(scheduler, 'w')]
    const other: Worker = await End.open(scheduler, 'worker')
    await expect(
      other.connection.request('register-worker', registration(scheduler, 'w', { incarnation: 0 })),
    ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await other.connection.request('heartbeat-worker', { ...EMPTY_BEAT })).toEqual({ status: 'missing' })
    await other.connection.close()
    submit(c, ['x'])
    expect(await w.next('compute-task')).toMatchObject({ key: 'x' })
  })
})

const EMPTY_BEAT = {
  memory: { limit: 0, process: 0, managed: 0, unmanaged: 0, unmanagedRecent: 0, spilled: 0 },
  processPeak: 0,
  spilledTotal: 0,
  executors: [],
  executing: [],
  bandwidth: {},
}

describe('bad peers', () => {
  it.each<[string, unknown]>([
    ['an unknown message', { op: 'no-such-message' }],
    ['a name from the prototype', { op: 'constructor' }],
    ['no message at all', 7],
    ['null', null],
    ['keys that are no list', { op: 'client-releases-keys', keys: 'x' }],
    ['a list with a wrong item', { op: 'client-desires-keys', keys: ['x', 5] }],
    [
      'a graph without rows',
      { op: 'update-graph', groups: [{ fn: 'f', name: 'n', options: {} }], functions: [], wanted: [] },
    ],
    [
      'options of a wrong type',
      {
        op: 'update-graph',
        groups: [{ fn: 'f', name: 'n', options: { retries: 'many' }, tasks: [] }],
        functions: [],
        wanted: [],
      },
    ],
    [
      'tasks of a function that was never sent',
      {
        op: 'update-graph',
        groups: [{ fn: 'f', name: 'n', options: {}, tasks: [['x', new Uint8Array(), []]] }],
        functions: [],
        wanted: ['x'],
      },
    ],
  ])('%s ends that connection and nothing else', async (_what, message) => {
    const scheduler = await start()
    const [bad, good, w] = [
      await client(scheduler, 'bad'),
      await client(scheduler, 'good'),
      await worker(scheduler, 'w'),
    ]
    bad.connection.send(message as ClientToScheduler)
    await bad.ended.promise
    submit(good, ['x'])
    await computeNext(w)
    expect(await good.next('key-in-memory')).toMatchObject({ key: 'x' })
  })

  it.each<[string, unknown, RegExp]>([
    ['a wrong field', { op: 'client-releases-keys', keys: 'x' }, /"keys" of "client-releases-keys"/],
    [
      'a function that was never sent',
      {
        op: 'update-graph',
        groups: [{ fn: 'other', name: 'n', options: {}, tasks: [['x', new Uint8Array(), []]] }],
        functions: [],
        wanted: ['x'],
      },
      /function/,
    ],
  ])('a client is told of %s, and forgotten at once: it would only say it again', async (_what, message, reason) => {
    const scheduler = await start()
    const [bad, w] = [await client(scheduler, 'bad'), await worker(scheduler, 'w')]
    submit(bad, ['mine'])
    await w.next('compute-task')
    bad.connection.send(message as ClientToScheduler)
    expect(await bad.next('client-refused')).toMatchObject({ reason: expect.stringMatching(reason) as string })
    await bad.ended.promise
    expect(scheduler.state.clients.size).toBe(0)
    expect(scheduler.state.tasks.size).toBe(0)
  })

  it('a malformed question is refused, with the field', async () => {
    const scheduler = await start()
    const c = await client(scheduler)
    await expect(c.connection.request('retry', { keys: 5 as never })).rejects.toMatchObject({
      code: 'PROTOCOL_ERROR',
      message: expect.stringContaining('"keys" of "retry"') as string,
    })
    const w: Worker = await End.open(scheduler, 'worker')
    await expect(
      w.connection.request('register-worker', registration(scheduler, 'w', { nthreads: 0 })),
    ).rejects.toMatchObject({ code: 'PROTOCOL_ERROR' })
  })

  it('a worker that sends nonsense is lost, its task runs elsewhere', async () => {
    const scheduler = await start({ 'scheduler.connection-grace': '20ms' })
    const [c, bad] = [await client(scheduler), await worker(scheduler, 'bad')]
    submit(c, ['x'])
    await bad.next('compute-task')
    const good = await worker(scheduler, 'good')
    bad.connection.send({ op: 'task-finished', key: 'x', runId: 1, nbytes: -5 } as never)
    await bad.ended.promise
    await computeNext(good)
    expect(await c.next('key-in-memory')).toMatchObject({ key: 'x' })
  })

  it('messages before the registration end the connection', async () => {
    const scheduler = await start()
    const early: Worker = await End.open(scheduler, 'worker')
    early.connection.send({ op: 'request-refresh-who-has', keys: [] })
    await early.ended.promise
    expect(scheduler.state.workers.size).toBe(0)
  })

  it('a role that the scheduler does not know is turned away', async () => {
    const scheduler = await start()
    const stranger: Client = await End.open(scheduler, 'scheduler')
    await stranger.ended.promise
  })
})

describe('closing', () => {
  it('tells clients, closes workers and nannies, and resolves `closed` with the reason', async () => {
    const scheduler = await start()
    const [c, w] = [await client(scheduler), await worker(scheduler, 'w')]
    const nanny: Nanny = await End.open(scheduler, 'nanny')
    await nanny.connection.request('register-nanny', { workerId: workerId('w'), pid: 1, host: 'h' })
    const closing = scheduler.close('enough')
    expect(await c.next('scheduler-closing')).toEqual({ op: 'scheduler-closing', reason: 'enough' })
    expect(await w.next('close')).toEqual({ op: 'close', reason: 'enough' })
    expect(await nanny.next('close')).toEqual({ op: 'close', reason: 'enough' })
    await w.connection.close()
    await nanny.connection.close()
    await closing
    expect(await scheduler.closed).toBe('enough')
    expect(await c.ended.promise).toBeNull()
  })

  it('on request of a client, and when nothing is done for idle-timeout', async () => {
    const asked = await start()
    const c = await client(asked)
    expect(await c.connection.request('terminate', {})).toEqual({})
    expect(await asked.closed).toContain('client')
    const idle = await start({ 'scheduler.idle-timeout': '10ms' })
    expect(await idle.closed).toContain('idle-timeout')
  })

  it('does not wait long for peers that do not go', async () => {
    const scheduler = await start()
    const w = await worker(scheduler, 'w')
    const before = performance.now()
    await scheduler.close()
    expect(performance.now() - before).toBeLessThan(5000)
    await w.ended.promise
  })
})
