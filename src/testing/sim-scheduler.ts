// The simulated scheduler process: the production core with its timers and its encoder of errors, over simulated
// connections. Events are dispatched as scheduler/scheduler.ts does it.

import type { ClientId, WorkerId } from '../base/ids.ts'
import { deferred, type Deferred } from '../base/deferred.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { NannyRequests, NannyToScheduler } from '../protocol/nanny.ts'
import type { ClientToScheduler, SchedulerRequests } from '../protocol/scheduler-client.ts'
import type { SchedulerWorkerRequests, WorkerToScheduler } from '../protocol/scheduler-worker.ts'
import type { Effect } from '../scheduler/core/effects.ts'
import type { SchedulerEvent } from '../scheduler/core/events.ts'
import { heartbeatMs } from '../scheduler/core/handlers/worker-registration.ts'
import { type CoreOptions, createState, type SchedulerState } from '../scheduler/core/state.ts'
import { step } from '../scheduler/core/step.ts'
import { checkInvariants } from '../scheduler/core/validate.ts'
import { locate } from '../scheduler/core/view.ts'
import { ErrorEncoder } from '../scheduler/perform.ts'
import { Timers } from '../scheduler/timers.ts'
import type { Served, SimConnection } from './sim-connection.ts'
import { brief } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'

type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never
type Question<Op extends keyof SchedulerRequests> = SchedulerRequests[Op][0]

export const SCHEDULER_ADDRESS = 'tcp://10.0.0.1:8786'

interface Pending {
  readonly served: Served
  readonly over: Deferred<object>
}

interface Peer {
  readonly connection: SimConnection
  readonly number: number
  role:
    | { readonly kind: 'client'; readonly id: ClientId }
    | { readonly kind: 'worker' | 'nanny'; readonly id: WorkerId }
    | null
}

export class SimScheduler {
  readonly state: SchedulerState
  readonly process: SimProcess
  /** Steps of the core so far. */
  steps = 0
  /** All invariants are checked after every so many steps; 0 = never. */
  checkEvery: number
  readonly #timers: Timers
  readonly #errors = new ErrorEncoder()
  readonly #peers = new Map<number, Peer>()
  readonly #clients = new Map<ClientId, Peer>()
  readonly #workers = new Map<WorkerId, Peer>()
  readonly #nannies = new Map<WorkerId, Peer>()
  readonly #pending = new Map<number, Pending>()
  readonly #events: Untimed<SchedulerEvent>[] = []
  #busy = false
  #connections = 0
  #requests = 0

  constructor(process: SimProcess, options: CoreOptions, checkEvery: number) {
    this.process = process
    this.state = createState('sim', options)
    this.checkEvery = checkEvery
    this.#timers = new Timers(process, (timer) => this.dispatch({ kind: 'TimerFired', timer }))
    this.dispatch({ kind: 'Started' })
  }

  accept(connection: SimConnection): void {
    const peer: Peer = { connection, number: ++this.#connections, role: null }
    this.#peers.set(peer.number, peer)
    this.#serveWorker(peer)
    this.#serveNanny(peer)
    this.#serveClient(peer)
    connection.onMessages<object>((messages) => this.#onMessages(peer, messages))
    connection.onClose(() => this.#onClosed(peer))
  }

  dispatch(event: Untimed<SchedulerEvent>): void {
    this.#events.push(event)
    if (this.#busy) return
    this.#busy = true
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#step(next)
    this.#busy = false
  }

  #step(event: Untimed<SchedulerEvent>): void {
    const now = this.process.now()
    this.steps++
    if (this.process.world.lines !== null) this.process.world.note(`scheduler hears ${event.kind}`)
    for (const effect of step(this.state, { ...event, now, at: now } as SchedulerEvent)) this.#perform(effect)
    if (this.checkEvery > 0 && this.steps % this.checkEvery === 0) checkInvariants(this.state)
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case 'SendToWorker':
        for (const message of effect.messages) this.#workers.get(effect.worker)?.connection.send(message)
        return
      case 'SendToClient':
        for (const message of effect.messages)
          this.#clients.get(effect.client)?.connection.send(this.#errors.onWire(message))
        return
      case 'SendToNanny':
        return this.#nannies.get(effect.worker)?.connection.send(effect.message)
      case 'Answer':
        return this.#answer(effect.request, effect.answer)
      case 'Refuse':
        return this.#take(effect.request)?.over.reject(new PlimsollError(effect.code, effect.message, effect.fields))
      case 'SetTimer':
        return this.#timers.set(effect.timer, effect.delayMs)
      case 'ClearTimer':
        return this.#timers.clear(effect.timer)
      case 'CloseConnection':
        return this.#peers.get(effect.connection)?.connection.abort()
      case 'Log':
        return this.process.world.note(`scheduler logs ${effect.message} ${brief(effect.fields)}`)
      case 'CloseScheduler':
        return this.process.world.fail(`the scheduler wants to close: ${effect.reason}`)
    }
  }

  #ask(served: Served, pass: (request: number) => void): Promise<object> {
    const request = ++this.#requests
    const over = deferred<object>()
    this.#pending.set(request, { served, over })
    served.signal.addEventListener('abort', () => {
      if (this.#pending.delete(request)) this.dispatch({ kind: 'RequestAbandoned', request })
    })
    pass(request)
    return over.promise
  }

  /** Leaves before any message that the same step sends on this connection. */
  #answer(request: number, answer: object): void {
    const pending = this.#take(request)
    if (pending === undefined) return
    pending.served.answerFirst(answer)
    pending.over.resolve(answer)
    this.process.world.touchPromises()
  }

  #take(request: number): Pending | undefined {
    const pending = this.#pending.get(request)
    this.#pending.delete(request)
    this.process.world.touchPromises()
    return pending
  }

  #onMessages({ role, number, connection }: Peer, messages: readonly object[]): void {
    if (role === null) return connection.abort()
    const { id } = role
    if (role.kind === 'client') {
      const batch = messages as readonly ClientToScheduler[]
      this.dispatch({ kind: 'ClientMessages', client: id as ClientId, connection: number, messages: batch })
    } else if (role.kind === 'worker') {
      const batch = messages as readonly WorkerToScheduler[]
      this.dispatch({ kind: 'WorkerMessages', worker: id as WorkerId, connection: number, messages: batch })
    } else {
      const batch = messages as readonly NannyToScheduler[]
      this.dispatch({ kind: 'NannyMessages', worker: id as WorkerId, connection: number, messages: batch })
    }
  }

  #onClosed(peer: Peer): void {
    const { number, role } = peer
    this.#peers.delete(number)
    if (role === null) return
    if (role.kind === 'client') {
      if (this.#clients.get(role.id) === peer) this.#clients.delete(role.id)
      this.dispatch({ kind: 'ClientLost', client: role.id, connection: number })
    } else if (role.kind === 'worker') {
      if (this.#workers.get(role.id) === peer) this.#workers.delete(role.id)
      this.dispatch({ kind: 'WorkerLost', worker: role.id, connection: number })
    } else {
      if (this.#nannies.get(role.id) === peer) this.#nannies.delete(role.id)
      this.dispatch({ kind: 'NannyLost', worker: role.id, connection: number })
    }
  }

  #serveWorker(peer: Peer): void {
    const { connection, number } = peer
    connection.handle<SchedulerWorkerRequests['register-worker'][0]>('register-worker', (registration, served) => {
      const id = registration.workerId
      const before = this.#workers.get(id)
      peer.role = { kind: 'worker', id }
      this.#workers.set(id, peer)
      return this.#ask(served, (request) => {
        this.dispatch({ kind: 'WorkerRegistered', request, connection: number, registration })
        // Refused: the one that was there before stays.
        if (this.state.workers.get(id)?.connection !== number && before !== undefined) this.#workers.set(id, before)
      })
    })
    connection.handle<SchedulerWorkerRequests['heartbeat-worker'][0]>('heartbeat-worker', (heartbeat) => {
      const { role } = peer
      if (role?.kind !== 'worker' || this.state.workers.get(role.id)?.connection !== number)
        return { status: 'missing' }
      this.dispatch({ kind: 'WorkerBeat', worker: role.id, connection: number, heartbeat })
      return { status: 'ok' }
    })
  }

  #serveNanny(peer: Peer): void {
    const { connection, number } = peer
    connection.handle<NannyRequests['register-nanny'][0]>('register-nanny', ({ workerId, restarts }) => {
      peer.role = { kind: 'nanny', id: workerId }
      this.#nannies.set(workerId, peer)
      this.dispatch({ kind: 'NannyRegistered', worker: workerId, connection: number, restarts })
      return { schedulerId: this.state.id }
    })
    connection.handle<NannyRequests['heartbeat-nanny'][0]>('heartbeat-nanny', ({ restarts }) => {
      if (peer.role?.kind === 'nanny')
        this.dispatch({ kind: 'NannyBeat', worker: peer.role.id, connection: number, restarts })
      return {}
    })
  }

  #serveClient(peer: Peer): void {
    const { connection, number } = peer
    connection.handle<Question<'register-client'>>('register-client', ({ clientId, name }) => {
      peer.role = { kind: 'client', id: clientId }
      this.#clients.set(clientId, peer)
      this.dispatch({ kind: 'ClientRegistered', client: clientId, connection: number, name })
      const { id, generation, workers } = this.state
      return { schedulerId: id, generation, nodeVersion: 'v20', heartbeatMs: heartbeatMs(workers.size) }
    })
    connection.handle('heartbeat', () => ({ generation: this.state.generation }))
    connection.handle<Question<'locate'>>('locate', ({ keys }) => ({ found: locate(this.state, keys) }))
    connection.handle<Question<'retry'>>('retry', ({ keys }, served) =>
      this.#ask(served, (request) => this.dispatch({ kind: 'RetryRequested', request, keys })),
    )
    connection.handle<Question<'restart'>>('restart', ({ timeoutMs, waitForWorkers }, served) =>
      this.#ask(served, (request) => this.dispatch({ kind: 'RestartRequested', request, timeoutMs, waitForWorkers })),
    )
    connection.handle<Question<'retire-workers'>>('retire-workers', ({ workers, closeWorkers }, served) =>
      this.#ask(served, (request) => this.dispatch({ kind: 'RetireRequested', request, workers, closeWorkers })),
    )
    connection.handle<Question<'scatter-place'>>('scatter-place', (question, served) => {
      const { role } = peer
      if (role?.kind !== 'client') throw new PlimsollError('PROTOCOL_ERROR', 'only a registered client can scatter')
      return this.#ask(served, (request) =>
        this.dispatch({ kind: 'ScatterRequested', request, client: role.id, question }),
      )
    })
  }
}
