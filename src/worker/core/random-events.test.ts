// Random histories against a model of everything around the core: executors that end runs in any way and order, peers
// that answer, are busy, die or lack keys, a store that accepts, refuses and evicts, and a scheduler that assigns, frees,
// cancels, steals, pauses and wipes at any moment, also keys it has just assigned. Checked after every event: all
// invariants of the core, and what the outside may rely on (see `Model`). At the end everything is answered and freed:
// then nothing may be left.

import { describe, expect, it } from 'vitest'
import { functionId, runId, taskKey, workerId, type RunId, type TaskKey } from '../../base/ids.ts'
import { Prng } from '../../base/prng.ts'
import type { SchedulerToWorker, WorkerToScheduler } from '../../protocol/scheduler-worker.ts'
import type { Holder, TaskOptionsWire } from '../../protocol/tasks.ts'
import type { RunOrder, WorkerEffect } from './effects.ts'
import type { WorkerEvent } from './events.ts'
import { createState, statusOf } from './state.ts'
import { step } from './step.ts'

const NO_BYTES = new Uint8Array(0)
const KEYS = Array.from({ length: 14 }, (_, i) => taskKey(`k${i}`))
const PEERS: Holder[] = ['p', 'q', 'r'].map((id) => ({
  id: workerId(id),
  address: `tcp://${id === 'p' ? 'here' : id}:1`,
}))

const DEMANDS: TaskOptionsWire[] = [
  {},
  {},
  { resources: { GPU: 1 } },
  { resources: { disk: 0.7 } },
  { resources: { disk: 2.5, GPU: 0.5 } },
]

type Event = WorkerEvent extends infer E ? (E extends WorkerEvent ? Omit<E, 'now'> : never) : never

class Model {
  readonly prng: Prng
  readonly state
  now = 0
  nextRun = 1
  /** What the store holds. */
  readonly store = new Map<TaskKey, RunId>()
  /** Executions handed out and not ended. */
  readonly running = new Map<RunId, RunOrder>()
  /** Results that the core ordered to store. */
  readonly storing = new Map<RunId, TaskKey>()
  readonly transfers = new Map<number, { readonly keys: { key: TaskKey; runId: RunId }[]; readonly peer: string }>()
  /** What executors answer to a withdrawal. */
  readonly later: Event[] = []
  readonly timers: { due: number; event: Event }[] = []
  /** Assignments that were given and not answered yet: each must be answered or freed. */
  readonly owed = new Map<RunId, TaskKey>()

  /** The store was asked for room, and has not answered. */
  makingRoom = false

  /** By the step whose effects are performed. */
  mayStart = false

  constructor(seed: number) {
    this.prng = new Prng(seed)
    this.state = createState({
      workerId: workerId('me'),
      address: 'tcp://here:9',
      nthreads: 2,
      memory:
        seed % 2 === 0
          ? null
          : { limitBytes: 1000, pauseBytes: 800, canSpill: seed % 3 > 0, divertsResults: seed % 3 > 1 },
      resources: { GPU: 1, disk: 2.5 },
      incomingBytesLimit: this.prng.int(2) === 0 ? Number.POSITIVE_INFINITY : 150,
      messageBytesLimit: 100,
      incomingCountLimit: 2,
      logLength: 1000,
      seed,
      validate: true,
    })
  }

  step(event: Event): void {
    const probing = this.state.probing || event.kind === 'MemoryProbed'
    const effects = step(this.state, { now: this.now, ...event } as WorkerEvent)
    const running = statusOf(this.state) === 'running'
    // The run that ends a probe starts alone, and the worker is paused at once.
    this.mayStart = running || probing
    if (probing && !running)
      for (const { runs } of effects.filter((each) => each.kind === 'Execute')) {
        expect(runs).toHaveLength(1)
        expect(this.state.running).toBe(1)
      }
    for (const effect of effects) this.perform(effect)
  }

  send(event: Event): void {
    this.step(event)
    this.check()
    const next = this.later.shift()
    if (next === undefined) return
    // An executor that returns a run is done with it.
    if (next.kind === 'RunReturned' && !this.running.delete(next.runId)) return
    this.send(next)
  }

  receive(...messages: SchedulerToWorker[]): void {
    this.send({ kind: 'MessagesReceived', messages })
  }

  perform(effect: WorkerEffect): void {
    switch (effect.kind) {
      case 'SendToScheduler':
        for (const message of effect.messages) this.hear(message)
        return
      case 'ReportFailure':
        expect(this.owed.delete(effect.runId)).toBe(true)
        return
      case 'Execute':
        for (const run of effect.runs) this.start(run)
        return
      case 'WithdrawExecutions': {
        const returned = effect.runIds.filter((id) => this.running.has(id) && this.prng.int(2) === 0)
        for (const id of returned) this.later.push({ kind: 'RunReturned', runId: id, reason: 'withdrawn' })
        this.later.push({ kind: 'RunsKept', runIds: effect.runIds.filter((id) => !returned.includes(id)) })
        return
      }
      case 'CancelExecution':
        expect(this.running.has(effect.runId)).toBe(true)
        return
      case 'StoreResult': {
        const run = this.running.get(effect.runId)
        if (run === undefined) throw new Error(`result of run ${effect.runId}, which does not run`)
        this.running.delete(effect.runId)
        this.storing.set(effect.runId, run.key)
        return
      }
      case 'DropResult':
        expect(this.running.delete(effect.runId)).toBe(true)
        return
      case 'GatherFromPeer':
        for (const open of this.transfers.values()) expect(open.peer).not.toBe(effect.peer)
        expect(this.mayStart).toBe(true)
        this.transfers.set(effect.transferId, {
          peer: effect.peer,
          keys: effect.keys.map(({ key, runId }) => ({ key, runId })),
        })
        return
      case 'AbortTransfer':
        expect(this.transfers.has(effect.transferId)).toBe(true)
        return
      case 'FreeFromStore':
        for (const { key, runId } of effect.values) if (this.store.get(key) === runId) this.store.delete(key)
        return
      case 'WipeStore':
        this.store.clear()
        return
      case 'MakeRoom':
        expect(this.makingRoom).toBe(false)
        expect(effect.bytes).toBeGreaterThan(0)
        this.makingRoom = true
        return
      case 'SetTimer':
        this.timers.push({ due: this.now + effect.delayMs, event: effect.event })
        return
      case 'KeepReplicas': {
        const values = effect.keys.flatMap((key) => {
          const run = this.store.get(key)
          return run === undefined ? [] : [{ key, runId: run }]
        })
        this.later.push({ kind: 'ReplicasKept', values })
        return
      }
      case 'ForgetFunctions':
      case 'CloseWorker':
        return
    }
  }

  /** An execution has its inputs, its key is in no other execution or transfer, and the worker is not paused. */
  start(run: RunOrder): void {
    expect(this.mayStart).toBe(true)
    for (const input of run.inputs) expect(this.store.has(input)).toBe(true)
    for (const other of this.running.values()) expect(other.key).not.toBe(run.key)
    for (const key of this.storing.values()) expect(key).not.toBe(run.key)
    for (const open of this.transfers.values()) expect(open.keys.some((order) => order.key === run.key)).toBe(false)
    this.running.set(run.runId, run)
  }

  hear(message: WorkerToScheduler): void {
    switch (message.op) {
      case 'task-finished':
        expect(this.store.get(message.key)).toBe(message.runId)
        this.owed.delete(message.runId)
        return
      case 'task-erred':
      case 'reschedule':
      case 'task-cancelled':
        expect(this.owed.delete(message.runId)).toBe(true)
        return
      case 'steal-response':
        for (const { runId } of message.taken) expect(this.owed.delete(runId)).toBe(true)
        return
      case 'add-keys':
        for (const { key, runId } of message.keys) expect(this.store.get(key)).toBe(runId)
        return
      default:
        return
    }
  }

  check(): void {
    let held = 0
    for (const task of this.state.tasks.values()) {
      if (task.state !== 'memory') continue
      held++
      expect(this.store.get(task.key), `${task.key} is said to be held`).toBe(task.runId)
    }
    expect(this.store.size, 'the store holds nothing that the core forgot').toBe(held)
  }

  pick<T>(items: Iterable<T>): T | undefined {
    return this.prng.pick([...items])
  }

  someHolders(): Holder[] {
    return PEERS.filter(() => this.prng.int(2) === 0)
  }

  /** Something the scheduler might say. */
  command(): SchedulerToWorker {
    const key = this.pick(KEYS) as TaskKey
    const assigned = this.pick(this.owed) ?? [runId(0), key]
    switch (this.prng.int(16)) {
      case 0:
      case 1:
        return { op: 'free-keys', keys: [key, assigned[1]] }
      case 2:
        return { op: 'steal-request', runs: [...this.owed].map(([runId, key]) => ({ key, runId })) }
      case 3:
        return { op: 'cancel-task', key: assigned[1], runId: assigned[0], force: this.prng.int(2) === 0 }
      case 4:
        return {
          op: 'refresh-who-has',
          keys: [...this.state.missing].map((task) => ({
            key: task.key,
            runId: task.runId,
            nbytes: 10,
            holders: this.someHolders(),
          })),
        }
      case 5:
        return { op: 'remove-worker', ...(this.pick(PEERS) as Holder) }
      case 6:
        return {
          op: 'acquire-replicas',
          inputs: [{ key, runId: runId(this.nextRun++), nbytes: 10, holders: this.someHolders() }],
        }
      case 7:
        return { op: 'remove-replicas', keys: [key] }
      case 8:
        return {
          op: 'set-status',
          status: this.pick(['running', 'running', 'paused', 'retiring'] as const) ?? 'running',
        }
      case 9:
        return this.prng.int(10) === 0
          ? { op: 'wipe', generation: this.nextRun }
          : { op: 'free-functions', ids: [functionId('none')] }
      case 10:
        return { op: 'attach-values', runs: [{ key: assigned[1], runId: assigned[0] }] }
      default:
        return this.assignment()
    }
  }

  /** Inputs have lower numbers than the task, so there is no circle. A repeated or older order comes now and then. */
  assignment(): SchedulerToWorker {
    const index = this.prng.int(KEYS.length)
    const inputs = KEYS.slice(0, index)
      .filter(() => this.prng.int(5) === 0)
      .map((key) => {
        const held = this.state.tasks.get(key)
        const run = held !== undefined && held.runId > 0 && this.prng.int(4) > 0 ? held.runId : runId(this.nextRun++)
        return { key, runId: run, nbytes: 1 + this.prng.int(120), holders: this.someHolders() }
      })
    const repeated = this.prng.int(8) === 0 ? this.pick(this.owed) : undefined
    const [id, key] = repeated ?? [runId(this.nextRun++), KEYS[index] as TaskKey]
    return {
      op: 'compute-task',
      key,
      runId: id,
      name: this.pick(['f', 'g']) as string,
      priority: [0, this.prng.int(3), id],
      fn: functionId('f'),
      fnBytes: NO_BYTES,
      args: NO_BYTES,
      inputs: repeated === undefined ? inputs : [],
      options: this.pick(DEMANDS) ?? {},
      attempt: 1,
      ...(this.prng.int(8) === 0 && { reserve: { bytes: this.prng.int(900), alone: this.prng.int(2) === 0 } }),
    }
  }

  /** Keeps book of what the scheduler is owed an answer for, then says it. */
  say(): void {
    const messages = Array.from({ length: 1 + this.prng.int(4) }, () => this.command())
    for (const message of messages) {
      if (message.op === 'compute-task') {
        const task = this.state.tasks.get(message.key)
        const current =
          task?.assignment?.runId ?? (task?.state === 'memory' || task?.state === 'error' ? task.runId : 0)
        if (message.runId <= current) continue
        // The newer order voids the older one.
        for (const [id, key] of this.owed) if (key === message.key) this.owed.delete(id)
        this.owed.set(message.runId, message.key)
      } else if (message.op === 'free-keys') {
        for (const [id, key] of this.owed) if (message.keys.includes(key)) this.owed.delete(id)
      } else if (message.op === 'wipe') {
        this.owed.clear()
      }
      this.receive(message)
    }
  }

  endRun(): void {
    const run = this.pick(this.running.values())
    if (run === undefined) return
    const id = run.runId
    const end = this.prng.int(8)
    if (end < 4) {
      const peakBytes = this.prng.int(500)
      this.send({ kind: 'RunFinished', runId: id, durationMs: 1, depth: 1 + this.prng.int(3), peakBytes })
      return
    }
    this.running.delete(id)
    const bad = this.pick(run.inputs)
    if (end === 4) this.send({ kind: 'RunErred', runId: id, failure: 'user', error: NO_BYTES, durationMs: 1 })
    else if (end === 5) this.send({ kind: 'RunReturned', runId: id, reason: 'executor died' })
    else if (end === 6 && bad !== undefined)
      this.send({
        kind: 'InputBad',
        runId: id,
        key: bad,
        valueRunId: this.state.tasks.get(bad)?.runId ?? runId(0),
        reason: 'checksum',
      })
    else this.send({ kind: 'RunCancelled', runId: id })
  }

  endStoring(): void {
    const next = this.pick(this.storing)
    if (next === undefined) return
    const [id, key] = next
    this.storing.delete(id)
    if (this.prng.int(6) === 0) {
      this.send({ kind: 'ValueRefused', runId: id, error: NO_BYTES })
    } else {
      this.store.set(key, id)
      this.sendStored({ kind: 'ValueStored', runId: id, nbytes: 1 + this.prng.int(20), type: 'number', durable: false })
    }
  }

  /** The store has the value a moment before the core knows of it. */
  sendStored(event: Event): void {
    this.step(event)
    this.check()
  }

  moveTransfer(): void {
    const next = this.pick(this.transfers)
    if (next === undefined) return
    const [transferId, open] = next
    const order = this.pick(open.keys)
    const what = this.prng.int(6)
    if (order !== undefined && what < 4) {
      open.keys.splice(open.keys.indexOf(order), 1)
      if (what === 3) {
        this.send({ kind: 'ReplicaRefused', transferId, key: order.key, reason: 'full' })
      } else {
        this.store.set(order.key, order.runId)
        this.sendStored({
          kind: 'ReplicaReceived',
          transferId,
          value: { ...order, nbytes: 10, type: 'number', durable: true },
        })
      }
      return
    }
    this.transfers.delete(transferId)
    this.send({
      kind: 'TransferEnded',
      transferId,
      outcome: this.pick(['done', 'busy', 'unreachable', 'aborted'] as const) ?? 'done',
    })
  }

  /** The store drops something that no execution has pinned. */
  evict(): void {
    const pinned = new Set([...this.running.values()].flatMap((run) => run.inputs))
    const next = this.pick([...this.store].filter(([key]) => !pinned.has(key)))
    if (next === undefined) return
    const [key, id] = next
    this.store.delete(key)
    this.sendStored({ kind: 'ReplicasLost', values: [{ key, runId: id }], reason: 'room' })
  }

  look(): void {
    if (this.makingRoom && this.prng.int(2) === 0) {
      this.makingRoom = false
      this.send({ kind: 'RoomMade', tierBytes: this.prng.int(400) })
      return
    }
    const grown = [...this.running.keys()].map((id) => ({ runId: id, bytes: this.prng.int(400) }))
    this.send({ kind: 'MemoryMeasured', idleBytes: this.prng.int(600), tierBytes: this.prng.int(400), grown })
  }

  pass(): void {
    this.now += this.prng.int(400)
    for (const timer of this.timers.splice(0)) {
      if (timer.due <= this.now) this.send(timer.event)
      else this.timers.push(timer)
    }
  }

  move(): void {
    const what = this.prng.int(20)
    if (what < 6) this.say()
    else if (what < 10) this.endRun()
    else if (what < 13) this.endStoring()
    else if (what < 16) this.moveTransfer()
    else if (what === 16) this.evict()
    else if (what === 18) this.look()
    else if (what === 17)
      this.send({
        kind: (['MemoryPaused', 'MemoryResumed', 'MemoryProbed'] as const)[this.prng.int(3)] ?? 'MemoryResumed',
      })
    else this.pass()
  }

  /** Everything outside answers, the scheduler frees all keys: nothing may be left. */
  comeToRest(): void {
    this.send({ kind: 'MemoryResumed' })
    this.receive({ op: 'set-status', status: 'running' })
    for (
      let i = 0;
      i < 500 && (this.owed.size > 0 || this.running.size > 0 || this.storing.size > 0 || this.transfers.size > 0);
      i++
    ) {
      this.pass()
      this.look()
      if (this.state.missing.size > 0) {
        const keys = [...this.state.missing].map((task) => ({
          key: task.key,
          runId: task.runId,
          nbytes: 10,
          holders: this.someHolders(),
        }))
        this.receive({ op: 'refresh-who-has', keys })
      }
      this.endRun()
      this.endStoring()
      this.moveTransfer()
    }
    expect([...this.owed], 'every assignment was answered').toEqual([])
    this.receive({ op: 'free-keys', keys: KEYS })
    for (let i = 0; i < 50; i++) {
      this.endRun()
      this.endStoring()
      this.moveTransfer()
    }
    this.receive({ op: 'free-keys', keys: KEYS })
    this.now += 60_000
    for (const timer of this.timers.splice(0)) this.send(timer.event)
    const { tasks, runs, transfers, peers, flying, discarded, waiting, missing, load, heldBytes, incomingBytes } =
      this.state
    expect(['GPU', 'disk'].map((name) => this.state.resources.free(name))).toEqual([1, 2.5])
    const sizes = [tasks, runs, transfers, peers, flying, discarded, waiting, missing, this.store].map(
      (collection) => collection.size,
    )
    expect(sizes).toEqual(sizes.map(() => 0))
    expect([load, heldBytes, incomingBytes, this.state.admission.claimedBytes]).toEqual([0, 0, 0, 0])
  }
}

describe('random histories', () => {
  it('keep every invariant and leave nothing behind', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const model = new Model(seed)
      try {
        for (let i = 0; i < 300; i++) model.move()
        model.comeToRest()
      } catch (cause) {
        throw new Error(`seed ${seed}`, { cause })
      }
    }
  })

  it('are replayed exactly by the same seed', () => {
    const play = (): string => {
      const model = new Model(7)
      for (let i = 0; i < 200; i++) model.move()
      return JSON.stringify([...model.state.log])
    }
    expect(play()).toBe(play())
  })
})
