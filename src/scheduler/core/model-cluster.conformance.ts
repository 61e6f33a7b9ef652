// A model cluster for random histories: fake workers that compute, fetch, fail, lose values, streams and processes, fake
// clients that submit, release, cancel and retry. Messages are delayed in both directions. A seed names a run.

import { expect } from 'vitest'
import { clientId, type RunId, type TaskKey, taskKey, workerId } from '../../base/ids.ts'
import { Prng } from '../../base/prng.ts'
import type { RunName, SchedulerToWorker, WorkerToScheduler } from '../../protocol/scheduler-worker.ts'
import type { InputWire, TaskFailureKind } from '../../protocol/tasks.ts'
import type { ClientMessage, Effect } from './effects.ts'
import { CoreFixture } from './fixture.conformance.ts'
import { reduceReplicas } from './reduce-replicas.ts'

interface Value {
  readonly runId: RunId
  durable: boolean
  /** Fetched for a task, and dropped for room now and then. */
  loose: boolean
}

interface Assignment {
  readonly runId: RunId
  readonly inputs: readonly InputWire[]
}

/** Obeys like a worker; messages wait in both directions until the model lets them pass. */
class FakeWorker {
  readonly id: string
  incarnation = 0
  connected = false
  readonly values = new Map<TaskKey, Value>()
  readonly tasks = new Map<TaskKey, Assignment>()
  lastRun = 0 as RunId
  acquiring: InputWire[] = []
  readonly inbox: SchedulerToWorker[] = []
  readonly outbox: WorkerToScheduler[] = []

  constructor(id: string) {
    this.id = id
  }

  obey(message: SchedulerToWorker): void {
    switch (message.op) {
      case 'compute-task':
        this.values.delete(message.key)
        this.forget(message.key)
        this.lastRun = message.runId
        this.tasks.set(message.key, message)
        return
      case 'free-keys':
        for (const key of message.keys) {
          this.values.delete(key)
          this.forget(key)
        }
        return
      case 'free-runs':
        for (const { key, runId } of message.runs) if (this.values.get(key)?.runId === runId) this.values.delete(key)
        return
      case 'remove-replicas':
        for (const key of message.keys) this.removeReplica(key)
        return
      case 'cancel-task':
        if (this.tasks.get(message.key)?.runId === message.runId) {
          this.tasks.delete(message.key)
          this.outbox.push({ op: 'task-cancelled', key: message.key, runId: message.runId })
        }
        return
      case 'steal-request':
        this.giveBack(message.runs)
        return
      case 'acquire-replicas':
        this.acquiring.push(...message.inputs.filter(({ key }) => !this.tasks.has(key)))
        return
      case 'wipe':
        this.values.clear()
        this.tasks.clear()
        return
      default:
    }
  }

  /** What a task here needs stays. */
  removeReplica(key: TaskKey): void {
    const value = this.values.get(key)
    this.acquiring = this.acquiring.filter((input) => input.key !== key)
    if (value !== undefined && [...this.tasks.values()].some(({ inputs }) => inputs.some((input) => input.key === key)))
      return void this.outbox.push({ op: 'add-keys', keys: [{ key, runId: value.runId, durable: value.durable }] })
    this.values.delete(key)
    this.outbox.push({ op: 'release-worker-data', keys: [{ key, runId: value?.runId ?? (0 as RunId) }] })
  }

  /** Needs room: copies that it may drop go. */
  evict(): void {
    for (const [key, { runId, loose }] of this.values) {
      if (!loose) continue
      this.values.delete(key)
      this.outbox.push({ op: 'release-worker-data', keys: [{ key, runId }] })
    }
  }

  /** What it has not begun goes back; now and then it has begun. */
  giveBack(runs: readonly RunName[]): void {
    const begun = ({ key, runId }: RunName): boolean => this.tasks.get(key)?.runId !== runId || runId % 4 === 0
    const kept = runs.filter(begun)
    const taken = runs.filter((run) => !kept.includes(run))
    for (const { key } of taken) this.tasks.delete(key)
    this.outbox.push({ op: 'steal-response', taken, kept })
  }

  forget(key: TaskKey): void {
    this.tasks.delete(key)
    this.acquiring = this.acquiring.filter((input) => input.key !== key)
  }

  die(): void {
    this.disconnect()
    this.tasks.clear()
    this.acquiring.length = 0
    for (const [key, value] of this.values) if (!value.durable) this.values.delete(key)
  }

  disconnect(): void {
    this.connected = false
    this.inbox.length = 0
    this.outbox.length = 0
  }
}

export class ModelCluster {
  readonly sim = new CoreFixture({
    connectionGraceMs: 500,
    workerGraceMs: 1000,
    clientGraceMs: 2000,
    allowedFailures: 100,
    workStealing: true,
    memoryManager: { start: true, intervalMs: 300, measure: 'managedTotal', policies: [reduceReplicas] },
  })
  readonly #random: Prng
  readonly workers: readonly FakeWorker[]
  readonly #known: string[] = []
  readonly #reported = new Map<string, Map<string, string>>()
  #keys = 0
  /** Values that were there and are not any more, though somebody wants them. */
  lost = 0
  #faults: boolean

  constructor(seed: number, faults: boolean) {
    this.#random = new Prng(seed)
    this.#faults = faults
    this.workers = Array.from({ length: 2 + this.#random.int(4) }, (_, n) => new FakeWorker(`w${n}`))
    for (const client of ['c', 'd']) {
      this.sim.client(client)
      this.#reported.set(client, new Map())
    }
    for (const worker of this.workers) this.#connect(worker)
    this.#deliver()
  }

  run(events: number): void {
    for (let n = 0; n < events; n++) {
      this.#act()
      this.#deliver()
    }
    this.#faults = false
    // Copies that do not come are waited for for a while.
    for (let quiet = 0, rounds = 0; quiet < 20 || (this.sim.state.requests.size > 0 && rounds < 200); rounds++) {
      const before = this.sim.state.story.total
      for (const worker of this.workers) {
        if (!worker.connected) this.#connect(worker)
        if (this.sim.workerRecord(worker.id).status === 'paused')
          this.sim.workerSays(worker.id, { op: 'worker-status-change', status: 'running' })
        this.#work(worker)
      }
      this.#deliver()
      this.sim.advance(200)
      this.#deliver()
      quiet = this.sim.state.story.total === before ? quiet + 1 : 0
    }
  }

  /** Every task that a client wants has ended, and the client knows how; nobody waits for copies any more. */
  check(): void {
    expect([...this.sim.state.requests.values()].map(({ kind }) => kind)).toEqual([])
    for (const client of ['c', 'd']) {
      for (const task of this.sim.state.clients.get(clientId(client))?.wants ?? []) {
        if (this.sim.state.placements.has(task)) continue
        expect(['memory', 'erred'], `${task.key}: ${JSON.stringify(this.sim.state.story.of(task.key))}`).toContain(
          task.state,
        )
        expect(this.#reported.get(client)?.get(task.key)).toBe(task.state)
      }
    }
    for (const worker of this.workers) {
      const booked = [...this.sim.workerRecord(worker.id).replicas.keys()].map(
        (task) => `${task.key} ${task.acceptedRunId}`,
      )
      expect([...worker.values].map(([key, value]) => `${key} ${value.runId}`).toSorted()).toEqual(booked.toSorted())
      expect(worker.tasks.size).toBe(0)
    }
  }

  /** Everybody lets go: nothing is left in the books. */
  forgetAll(): void {
    for (const client of ['c', 'd']) this.sim.says(client, { op: 'close-client' })
    for (const name of this.sim.state.datasets.keys())
      this.sim.request((request) => ({ kind: 'UnpublishRequested', request, name }))
    this.#deliver()
    const { tasks, functions, queue, noWorker, placements } = this.sim.state
    expect([tasks.size, functions.size, queue.size, noWorker.size, placements.size]).toEqual([0, 0, 0, 0, 0])
    for (const worker of this.workers) {
      for (const message of worker.inbox) worker.obey(message)
      expect(worker.values.size).toBe(0)
    }
  }

  #act(): void {
    const worker = this.#random.pick(this.workers) as FakeWorker
    const client = this.#random.pick(['c', 'd']) as string
    const dice = this.#random.int(100)
    if (dice < 55) this.#work(worker)
    else if (dice < 68) this.#submit(client)
    else if (dice < 72) this.sim.says(client, { op: 'client-releases-keys', keys: this.#someKeys() })
    else if (dice < 74) this.sim.says(client, { op: 'client-awaits-values', keys: this.#someKeys() })
    else if (dice < 77)
      this.sim.says(client, {
        op: 'cancel-keys',
        keys: this.#someKeys(),
        force: this.#random.int(2) === 0,
        reason: 'r',
        cancel: 1,
      })
    else if (dice < 80) this.sim.says(client, { op: 'client-desires-keys', keys: this.#someKeys() })
    else if (dice < 82) this.sim.request((request) => ({ kind: 'RetryRequested', request, keys: this.#someKeys() }))
    else if (dice < 84) this.#scatter(client)
    else if (dice < 85) this.sim.advance(this.#random.int(400))
    else if (dice < 86) this.#publish(client)
    else if (dice < 87) worker.evict()
    else if (dice < 90) this.#move(worker)
    else if (this.#faults) this.#fault(worker, dice)
  }

  /** Somebody wants data elsewhere. */
  #move(worker: FakeWorker): void {
    if (!worker.connected) return this.#connect(worker)
    const { state } = this.sim
    const keys = this.#someKeys().filter((key) => state.tasks.get(key)?.state === 'memory')
    const dice = this.#random.int(8)
    if (dice < 4) {
      const n = this.#random.pick([1, 2, 3, null]) ?? null
      const branchingFactor = 1 + this.#random.int(2)
      const kind = 'ReplicateRequested'
      this.sim.request((request) => ({ kind, request, keys, n, workers: null, branchingFactor }))
    } else if (dice < 7) {
      const measure = 'managedTotal'
      const all = this.#random.int(2) === 0
      this.sim.request((request) => ({
        kind: 'RebalanceRequested',
        request,
        keys: all ? null : keys,
        workers: null,
        measure,
      }))
    } else
      this.sim.request((request) => ({
        kind: 'RetireRequested',
        request,
        workers: [worker.id],
        closeWorkers: true,
      }))
  }

  #fault(worker: FakeWorker, dice: number): void {
    if (!worker.connected) return this.#connect(worker)
    if (dice < 92) {
      const connection = this.sim.workerRecord(worker.id).connection
      worker.disconnect()
      this.sim.event({ kind: 'WorkerLost', worker: workerId(worker.id), connection })
    } else if (dice < 94) this.#kill(worker)
    else if (dice < 96) {
      const [key, value] = this.#random.pick([...worker.values]) ?? []
      if (key === undefined || value === undefined) return
      worker.values.delete(key)
      worker.outbox.push({ op: 'release-worker-data', keys: [{ key, runId: value.runId }] })
    } else if (dice < 97) {
      const [key, value] = this.#random.pick([...worker.values]) ?? []
      if (key !== undefined && value !== undefined)
        this.sim.says('c', { op: 'report-missing', key, runId: value.runId, workers: [workerId(worker.id)] })
    } else if (dice < 99)
      worker.outbox.push({ op: 'worker-status-change', status: this.#random.int(2) === 0 ? 'paused' : 'running' })
    else if (this.#random.int(10) === 0)
      this.sim.request((request) => ({ kind: 'RestartRequested', request, timeoutMs: 100, waitForWorkers: false }))
  }

  /** With a nanny that knows, without one, or known only by the next registration. */
  #kill(worker: FakeWorker): void {
    const running = [...worker.tasks.values()].filter(() => this.#random.int(3) === 0).map((task) => task.runId)
    const connection = this.sim.workerRecord(worker.id).connection
    const way = this.#random.int(3)
    if (way === 0) this.sim.event({ kind: 'WorkerLost', worker: workerId(worker.id), connection })
    if (way < 2) {
      if (!this.sim.state.nannies.has(workerId(worker.id))) this.sim.nanny(worker.id)
      this.sim.exited(worker.id, running, this.#random.int(4) > 0)
    }
    worker.die()
  }

  #connect(worker: FakeWorker): void {
    const { state } = this.sim
    const record = state.workers.get(workerId(worker.id))
    if (record === undefined || worker.tasks.size === 0) worker.incarnation++
    if (worker.incarnation !== (record?.info.incarnation ?? 0)) worker.die()
    const keys = [...worker.values].map(([key, { runId, durable, loose }]) => {
      return { key, runId, durable, loose, nbytes: 10, type: 't' }
    })
    const tasks = [...worker.tasks].map(([key, { runId }]) => ({ key, runId, state: 'ready' as const }))
    worker.connected = true
    const effect = this.sim.worker(worker.id, {
      incarnation: worker.incarnation,
      nthreads: 1 + this.#random.int(2),
      inventory: { keys, tasks },
    })
    if (effect?.kind !== 'Answer') throw new Error(`refused: ${JSON.stringify(effect)}`)
    const answer = effect.answer as { drop: TaskKey[]; cancel: RunId[] }
    for (const key of answer.drop) worker.values.delete(key)
    for (const [key, task] of worker.tasks) if (answer.cancel.includes(task.runId)) worker.tasks.delete(key)
  }

  #submit(client: string): void {
    const graph: Record<string, readonly string[]> = {}
    const size = 1 + this.#random.int(8)
    for (let n = 0; n < size; n++) {
      const pool = [...this.#known.slice(-12), ...Object.keys(graph)]
      const inputs = Array.from({ length: this.#random.int(3) }, () => this.#random.pick(pool)).filter(
        (key): key is string => key !== undefined,
      )
      const again = this.#random.int(6) === 0 ? this.#random.pick(this.#known) : undefined
      const key = again ?? `k${this.#keys++}`
      graph[key] = again === undefined ? inputs : []
    }
    const keys = Object.keys(graph)
    this.#known.push(...keys)
    const wanted = keys.filter(() => this.#random.int(3) > 0)
    const options =
      this.#random.int(6) === 0
        ? { retries: 1, workers: ['w0', 'w1'], allowOtherWorkers: this.#random.int(2) === 0 }
        : {}
    this.sim.graph(graph, { client, wanted, fn: `f${this.#random.int(2)}`, options })
  }

  #publish(client: string): void {
    const name = `set ${this.#random.int(3)}`
    const keys = this.#someKeys()
    const override = this.#random.int(2) === 0
    const question = { name, value: new Uint8Array(1), keys, override }
    const way = this.#random.int(3)
    this.sim.request((request) => {
      if (way === 0) return { kind: 'UnpublishRequested', request, name }
      if (way === 1) return { kind: 'DatasetRequested', request, client: clientId(client), name }
      return { kind: 'PublishRequested', request, question }
    })
    const wanted = way === 1 ? (this.sim.state.datasets.get(name)?.keys ?? []) : []
    if (wanted.length > 0) this.sim.says(client, { op: 'client-desires-keys', keys: wanted })
  }

  #scatter(client: string): void {
    const key = this.#random.int(3) === 0 ? (this.#random.pick(this.#known) ?? 's') : `s${this.#keys++}`
    this.#known.push(key)
    const entries = [{ key: taskKey(key), nbytes: 10, type: 't' }]
    const question = { entries, broadcast: 1 + this.#random.int(2), timeoutMs: 100 }
    const request = this.sim.request((number) => ({
      kind: 'ScatterRequested',
      request: number,
      client: clientId(client),
      question,
    }))
    const effect = this.sim.answer(request)
    if (effect?.kind !== 'Answer') return this.sim.event({ kind: 'RequestAbandoned', request })
    const [placed] = (effect.answer as { placed: { runId: RunId | null; workers: { id: string }[] }[] }).placed
    if (placed === undefined || placed.runId === null) return
    const got = this.workers.filter(
      (worker) => worker.connected && placed.workers.some((each) => each.id === worker.id),
    )
    this.#deliver()
    for (const worker of got) {
      for (const message of worker.inbox.splice(0)) worker.obey(message)
      worker.values.set(taskKey(key), { runId: placed.runId, durable: true, loose: false })
    }
    const workers = got.map((worker) => workerId(worker.id))
    this.sim.says(client, {
      op: 'update-data',
      entries: [{ key: taskKey(key), runId: placed.runId, nbytes: 10, type: 't', workers }],
    })
  }

  /** Takes some of its messages, does something about one task, and lets some of its own messages go. */
  #work(worker: FakeWorker): void {
    if (!worker.connected) return
    for (
      let count = this.#faults ? this.#random.int(4) : worker.inbox.length;
      count > 0 && worker.inbox.length > 0;
      count--
    ) {
      worker.obey(worker.inbox.shift() as SchedulerToWorker)
    }
    for (const input of worker.acquiring.splice(0)) if (!this.#fetch(worker, input, true)) worker.acquiring.push(input)
    const [key, task] = this.#random.pick([...worker.tasks]) ?? []
    if (key !== undefined && task !== undefined) this.#compute(worker, key, task)
    const sent = worker.outbox.splice(0, this.#faults ? this.#random.int(4) : worker.outbox.length)
    if (sent.length > 0) this.sim.workerSays(worker.id, ...sent)
  }

  #compute(worker: FakeWorker, key: TaskKey, { runId, inputs }: Assignment): void {
    for (const input of inputs) {
      if (this.#fetch(worker, input)) continue
      worker.tasks.delete(key)
      worker.outbox.push({ op: 'reschedule', key, runId, reason: 'input not found' })
      return
    }
    worker.tasks.delete(key)
    if (this.#faults && this.#random.int(10) === 0) {
      const kind =
        this.#random.pick<TaskFailureKind>(['user', 'crashed', 'timeout', 'out-of-memory', 'store-full', 'system']) ??
        'user'
      worker.outbox.push({ op: 'task-erred', key, runId, kind, error: new Uint8Array([1]), durationMs: 1 })
      return
    }
    const durable = this.#random.int(2) === 0
    const durationMs = this.#random.pick([0.1, 10, 5000]) ?? 1
    worker.values.set(key, { runId, durable, loose: false })
    worker.outbox.push({ op: 'task-finished', key, runId, nbytes: 10, type: 't', durable, durationMs })
  }

  #fetch(worker: FakeWorker, input: InputWire, keeps = false): boolean {
    const held = worker.values.get(input.key)
    const isHere = held?.runId === input.runId
    if (isHere && !keeps) return true
    const source = this.workers.find((peer) => peer.connected && peer.values.get(input.key)?.runId === input.runId)
    if (source === undefined) return false
    const durable = isHere && held.durable
    worker.values.set(input.key, { runId: input.runId, durable, loose: !keeps && (held?.loose ?? true) })
    const note = { key: input.key, runId: input.runId, durable }
    worker.outbox.push({ op: 'add-keys', keys: [keeps ? { ...note, kept: worker.lastRun } : note] })
    return true
  }

  #deliver(): void {
    for (const effect of this.sim.take()) this.#perform(effect)
  }

  #perform(effect: Effect): void {
    if (effect.kind === 'SendToClient') for (const message of effect.messages) this.#report(effect.client, message)
    const worker =
      effect.kind === 'SendToWorker' || effect.kind === 'SendToNanny'
        ? this.workers.find((each) => each.id === effect.worker)
        : undefined
    if (worker === undefined) return
    if (effect.kind === 'SendToWorker' && worker.connected) {
      worker.inbox.push(...structuredClone(effect.messages))
      // The scheduler has forgotten it already.
      if (effect.messages.at(-1)?.op !== 'close') return
      worker.die()
      worker.values.clear()
    }
    if (effect.kind === 'SendToNanny') {
      worker.die()
      if (effect.message.op !== 'kill-worker') worker.values.clear()
    }
  }

  #report(client: string, message: ClientMessage): void {
    const heard = this.#reported.get(client) as Map<string, string>
    if (message.op === 'key-in-memory') heard.set(message.key, 'memory')
    else if (message.op === 'task-erred') {
      // A refusal says nothing of the task that has the key.
      if (!isRefusal(message)) heard.set(message.key, 'erred')
    } else if (message.op === 'lost-data') {
      this.lost++
      heard.delete(message.key)
    } else if (message.op === 'cancelled-keys' || message.op === 'task-retried')
      for (const key of message.keys) heard.delete(key)
    else if (message.op === 'restart') heard.clear()
  }

  #someKeys(): TaskKey[] {
    return Array.from({ length: 1 + this.#random.int(3) }, () =>
      taskKey(this.#random.pick(this.#known.slice(-30)) ?? 'none'),
    )
  }
}

function isRefusal({ failure: { error } }: Extract<ClientMessage, { op: 'task-erred' }>): boolean {
  return error.kind === 'raised' && (error.code === 'KEY_CONFLICT' || error.code === 'GRAPH_CYCLE')
}
