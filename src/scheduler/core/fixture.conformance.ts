// A scheduler core under a hand-moved clock, for short tests: events go in by small words, effects are kept until a test
// takes them. Every step checks all invariants, and every message goes through a copy, as on the wire.

import { clientId, functionId, type RunId, taskKey, workerId } from '../../base/ids.ts'
import type { ClientToScheduler } from '../../protocol/scheduler-client.ts'
import type {
  Inventory,
  RegisterWorker,
  SchedulerToWorker,
  WorkerHeartbeat,
  WorkerToScheduler,
} from '../../protocol/scheduler-worker.ts'
import type { TaskFailureKind, TaskOptionsWire } from '../../protocol/tasks.ts'
import type { ClientMessage, Effect } from './effects.ts'
import { timerId, type SchedulerEvent, type Timer } from './events.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import { createState, DEFAULT_CORE_OPTIONS, type CoreOptions, type SchedulerState } from './state.ts'
import { step } from './step.ts'

type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never
type MessageOf<M extends { readonly op: string }, Op extends M['op']> = Extract<M, { readonly op: Op }>

export interface WorkerSetup {
  readonly nthreads?: number
  readonly memoryLimit?: number
  readonly host?: string
  readonly name?: string
  readonly address?: string
  readonly resources?: Readonly<Record<string, number>>
  readonly incarnation?: number
  readonly status?: 'running' | 'paused'
  readonly clusterId?: string | null
  readonly generation?: number
  readonly inventory?: Inventory
}

export interface GraphSetup {
  readonly client?: string
  readonly name?: string
  readonly fn?: string
  readonly options?: TaskOptionsWire
  /** Default: all tasks. */
  readonly wanted?: readonly string[]
}

export interface ResultSetup {
  readonly nbytes?: number
  readonly durationMs?: number
  readonly durable?: boolean
  readonly runId?: number
  readonly worker?: string
  readonly blob?: Uint8Array
}

export class CoreFixture {
  readonly state: SchedulerState
  now = 1000
  readonly memoryTold: MessageOf<ClientMessage, 'cluster-memory'>[] = []
  #effects: Effect[] = []
  #connections = 0
  #requests = 0
  readonly #timers = new Map<string, { readonly timer: Timer; readonly dueMs: number }>()
  readonly #nannies = new Map<string, number>()
  readonly #functionsSent = new Set<string>()

  constructor(options: Partial<CoreOptions> = {}) {
    this.state = createState('cluster', {
      ...DEFAULT_CORE_OPTIONS,
      workerTtlMs: null,
      workStealing: false,
      validate: true,
      ...options,
    })
    this.event({ kind: 'Started' })
  }

  event(event: Untimed<SchedulerEvent>): void {
    for (const effect of step(this.state, { ...event, now: this.now, at: 1e12 + this.now } as SchedulerEvent)) {
      if (effect.kind === 'SetTimer')
        this.#timers.set(timerId(effect.timer), { timer: effect.timer, dueMs: this.now + effect.delayMs })
      else if (effect.kind === 'ClearTimer') this.#timers.delete(timerId(effect.timer))
      else this.#effects.push(effect)
    }
  }

  /** Moves time and fires the timers that fall due. */
  advance(byMs: number): void {
    const end = this.now + byMs
    for (;;) {
      const due = [...this.#timers.values()].filter((each) => each.dueMs <= end).sort((a, b) => a.dueMs - b.dueMs)[0]
      if (due === undefined) break
      this.now = Math.max(this.now, due.dueMs)
      this.#timers.delete(timerId(due.timer))
      this.event({ kind: 'TimerFired', timer: due.timer })
    }
    this.now = end
  }

  get timers(): string[] {
    return [...this.#timers.keys()]
  }

  // What came out.

  /** Effects that nobody took yet. */
  take(): Effect[] {
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  /** Takes the messages sent to one worker. */
  sent(worker: string): SchedulerToWorker[] {
    const taken: SchedulerToWorker[] = []
    this.#effects = this.#effects.filter((effect) => {
      if (effect.kind !== 'SendToWorker' || effect.worker !== worker) return true
      taken.push(...structuredClone(effect.messages))
      return false
    })
    return taken
  }

  /** Takes the messages sent to one client. What it heard of the cluster's memory goes to `memoryTold`. */
  told(client: string): ClientMessage[] {
    const taken: ClientMessage[] = []
    this.#effects = this.#effects.filter((effect) => {
      if (effect.kind !== 'SendToClient' || effect.client !== client) return true
      taken.push(...structuredClone(effect.messages))
      return false
    })
    for (const message of taken) if (message.op === 'cluster-memory') this.memoryTold.push(message)
    return taken.filter((message) => message.op !== 'cluster-memory')
  }

  answer(request: number): Effect | undefined {
    const found = this.#effects.find((effect) => 'request' in effect && effect.request === request)
    this.#effects = this.#effects.filter((effect) => effect !== found)
    return found
  }

  // Who takes part.

  client(id: string): void {
    this.event({ kind: 'ClientRegistered', client: clientId(id), connection: ++this.#connections, name: id })
  }

  clientLost(id: string): void {
    this.event({
      kind: 'ClientLost',
      client: clientId(id),
      connection: this.state.clients.get(clientId(id))?.connection as number,
    })
  }

  /** Registers a worker; returns the effect that answers it. */
  worker(id: string, setup: WorkerSetup = {}): Effect | undefined {
    const registration: RegisterWorker = {
      workerId: workerId(id),
      incarnation: setup.incarnation ?? 1,
      name: setup.name ?? id,
      address: setup.address ?? `tcp://${id}`,
      pid: 1,
      nannyPid: null,
      host: setup.host ?? `host-${id}`,
      nthreads: setup.nthreads ?? 1,
      memoryLimit: setup.memoryLimit ?? 0,
      resources: setup.resources ?? {},
      dashboard: null,
      localDirectory: '/local',
      memoryDirectory: '/memory',
      nodeVersion: 'v20',
      status: setup.status ?? 'running',
      restarts: 0,
      clusterId: setup.clusterId ?? (setup.inventory === undefined ? null : 'cluster'),
      generation: setup.generation ?? this.state.generation,
      inventory: setup.inventory ?? { keys: [], tasks: [] },
    }
    const request = this.#request()
    this.event({ kind: 'WorkerRegistered', request, connection: ++this.#connections, registration })
    return this.answer(request)
  }

  workerLost(id: string): void {
    this.event({ kind: 'WorkerLost', worker: workerId(id), connection: this.workerRecord(id).connection })
  }

  nanny(id: string): void {
    this.#nannies.set(id, ++this.#connections)
    this.event({ kind: 'NannyRegistered', worker: workerId(id), connection: this.#connections })
  }

  nannyLost(id: string): void {
    this.event({ kind: 'NannyLost', worker: workerId(id), connection: this.#nannies.get(id) as number })
  }

  /** The nanny reports the process dead. */
  exited(id: string, running: readonly number[] = [], restarting = true): void {
    const incarnation = this.state.workers.get(workerId(id))?.info.incarnation ?? 1
    this.event({
      kind: 'NannyMessages',
      worker: workerId(id),
      connection: this.#nannies.get(id) as number,
      messages: [
        {
          op: 'worker-exited',
          workerId: workerId(id),
          incarnation,
          code: null,
          signal: 'SIGKILL',
          running: running as RunId[],
          restarting,
        },
      ],
    })
  }

  // What they say.

  says(client: string, message: ClientToScheduler): void {
    const connection = this.state.clients.get(clientId(client))?.connection as number
    this.event({ kind: 'ClientMessages', client: clientId(client), connection, messages: [structuredClone(message)] })
  }

  workerSays(id: string, ...messages: readonly WorkerToScheduler[]): void {
    this.event({
      kind: 'WorkerMessages',
      worker: workerId(id),
      connection: this.workerRecord(id).connection,
      messages: structuredClone(messages),
    })
  }

  beat(id: string, heartbeat: Partial<WorkerHeartbeat> & { readonly process?: number }): void {
    const limit = this.workerRecord(id).info.memoryLimit
    const memory = {
      limit,
      process: heartbeat.process ?? 0,
      managed: 0,
      unmanaged: heartbeat.process ?? 0,
      unmanagedRecent: 0,
      spilled: 0,
    }
    this.event({
      kind: 'WorkerBeat',
      worker: workerId(id),
      connection: this.workerRecord(id).connection,
      heartbeat: { memory, processPeak: 0, spilledTotal: 0, executors: [], executing: [], bandwidth: {}, ...heartbeat },
    })
  }

  /** Tasks by name with their inputs, as one group. */
  graph(tasks: Readonly<Record<string, readonly string[]>>, setup: GraphSetup = {}): void {
    const client = setup.client ?? 'c'
    const fn = setup.fn ?? 'f'
    const known = this.#functionsSent.has(`${client} ${fn}`)
    this.#functionsSent.add(`${client} ${fn}`)
    this.says(client, {
      op: 'update-graph',
      groups: [
        {
          fn: functionId(fn),
          name: setup.name ?? fn,
          options: setup.options ?? {},
          tasks: Object.entries(tasks).map(([key, inputs]) => [taskKey(key), new Uint8Array([1]), inputs.map(taskKey)]),
        },
      ],
      functions: known ? [] : [{ id: functionId(fn), bytes: new Uint8Array([7]) }],
      wanted: (setup.wanted ?? Object.keys(tasks)).map(taskKey),
    })
  }

  release(...keys: readonly string[]): void {
    this.says('c', { op: 'client-releases-keys', keys: keys.map(taskKey) })
  }

  /** The task's present run finishes where it is. */
  finish(key: string, setup: ResultSetup = {}): void {
    const task = this.task(key)
    this.workerSays(setup.worker ?? (task.processingOn?.id as string), {
      op: 'task-finished',
      key: taskKey(key),
      runId: (setup.runId ?? task.runId) as RunId,
      nbytes: setup.nbytes ?? 100,
      type: 'number',
      durable: setup.durable ?? false,
      durationMs: setup.durationMs ?? 1000,
      ...(setup.blob !== undefined && { blob: setup.blob }),
    })
  }

  fail(key: string, kind: TaskFailureKind = 'user', bytes: readonly number[] = [42], peakBytes?: number): void {
    const task = this.task(key)
    this.workerSays(task.processingOn?.id as string, {
      op: 'task-erred',
      key: taskKey(key),
      runId: task.runId as RunId,
      kind,
      error: new Uint8Array(bytes),
      durationMs: 5,
      ...(peakBytes !== undefined && { peakBytes }),
    })
  }

  request(event: (request: number) => Untimed<SchedulerEvent>): number {
    const request = this.#request()
    this.event(event(request))
    return request
  }

  // What is known.

  task(key: string): TaskRecord {
    const task = this.state.tasks.get(key)
    if (task === undefined) throw new Error(`no task ${key}`)
    return task
  }

  stateOf(key: string): string {
    return this.state.tasks.get(key)?.state ?? 'forgotten'
  }

  on(key: string): string | undefined {
    return this.task(key).processingOn?.id
  }

  workerRecord(id: string): WorkerRecord {
    const worker = this.state.workers.get(workerId(id))
    if (worker === undefined) throw new Error(`no worker ${id}`)
    return worker
  }

  /** Keys of the compute-task messages among these. */
  static assigned(messages: readonly SchedulerToWorker[]): string[] {
    return messages
      .filter((message): message is MessageOf<SchedulerToWorker, 'compute-task'> => message.op === 'compute-task')
      .map((message) => message.key)
  }

  #request(): number {
    return ++this.#requests
  }
}

/** A cluster of one client `c` and workers with one thread each. */
export function cluster(
  workers: Readonly<Record<string, WorkerSetup>> = { a: {}, b: {} },
  options: Partial<CoreOptions> = {},
): CoreFixture {
  const fixture = new CoreFixture(options)
  fixture.client('c')
  for (const [id, setup] of Object.entries(workers)) fixture.worker(id, setup)
  fixture.take()
  return fixture
}

export function range(count: number, prefix = 't'): Record<string, readonly string[]> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`${prefix}-${n}`, []]))
}
