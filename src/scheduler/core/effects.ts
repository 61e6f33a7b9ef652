// Everything that the scheduler core can ask its shell to do, and the outbox that collects it during one step.

import type { ClientId, RunId, TaskKey, WorkerId } from '../../base/ids.ts'
import type { ErrorCode } from '../../errors/codes.ts'
import type { ErrorFields } from '../../errors/plimsoll-error.ts'
import type { SchedulerToNanny } from '../../protocol/nanny.ts'
import type { SchedulerToClient } from '../../protocol/scheduler-client.ts'
import type { RunName, SchedulerToWorker } from '../../protocol/scheduler-worker.ts'
import type { ReplicaWire } from '../../protocol/tasks.ts'
import type { RequestNumber, Timer } from './events.ts'
import type { ClientRecord, Farewell, TaskFailure, WorkerRecord } from './records.ts'

/** As on the wire, but for errors: the core may hold ones that are not encoded yet. */
export type ClientMessage =
  | Exclude<SchedulerToClient, { readonly op: 'task-erred' }>
  | { readonly op: 'task-erred'; readonly key: TaskKey; readonly failure: TaskFailure }

export type LogLevel = 'debug' | 'info' | 'warning' | 'error'

export type Effect =
  | { readonly kind: 'Answer'; readonly request: RequestNumber; readonly answer: object }
  | {
      readonly kind: 'Refuse'
      readonly request: RequestNumber
      readonly code: ErrorCode
      readonly message: string
      readonly fields: ErrorFields
    }
  | { readonly kind: 'SendToWorker'; readonly worker: WorkerId; readonly messages: readonly SchedulerToWorker[] }
  | { readonly kind: 'SendToClient'; readonly client: ClientId; readonly messages: readonly ClientMessage[] }
  | { readonly kind: 'SendToNanny'; readonly worker: WorkerId; readonly message: SchedulerToNanny }
  /** Ends the connection with this number, if it is still there. */
  | { readonly kind: 'CloseConnection'; readonly connection: number; readonly reason: string }
  | { readonly kind: 'SetTimer'; readonly timer: Timer; readonly delayMs: number }
  | { readonly kind: 'ClearTimer'; readonly timer: Timer }
  | {
      readonly kind: 'Log'
      readonly level: LogLevel
      readonly message: string
      readonly fields: Readonly<Record<string, unknown>>
    }
  /** Answers that were kept for a client in case it asks again are of no use any more. */
  | { readonly kind: 'ForgetClient'; readonly client: ClientId }
  | { readonly kind: 'CloseScheduler'; readonly reason: string }

/** Effects of the step in hand, in the order in which the shell has to perform them: per worker and client, messages keep their order. */
export class Outbox {
  #workers = new Map<WorkerRecord, SchedulerToWorker[]>()
  #clients = new Map<ClientRecord, ClientMessage[]>()
  #answers: Effect[] = []
  #others: Effect[] = []

  /** Dropped when the worker's stream is gone: its next inventory settles what it missed. */
  toWorker(worker: WorkerRecord, message: SchedulerToWorker): void {
    if (worker.link !== 'live') return
    const messages = this.#workers.get(worker)
    if (messages === undefined) this.#workers.set(worker, [message])
    else messages.push(message)
  }

  /** Joins a run of freed keys into one message. */
  freeKey(worker: WorkerRecord, key: TaskKey): void {
    const last = this.#workers.get(worker)?.at(-1)
    if (last !== undefined && last.op === 'free-keys') (last.keys as TaskKey[]).push(key)
    else this.toWorker(worker, { op: 'free-keys', keys: [key] })
  }

  /** Of a value that may be replaced past this stream: only of this run. Joins a run of them into one message. */
  freeRun(worker: WorkerRecord, key: TaskKey, runId: RunId): void {
    const last = this.#workers.get(worker)?.at(-1)
    if (last !== undefined && last.op === 'free-runs') (last.runs as RunName[]).push({ key, runId })
    else this.toWorker(worker, { op: 'free-runs', runs: [{ key, runId }] })
  }

  /** Joins a run of them into one message. */
  attachValue(worker: WorkerRecord, key: TaskKey, runId: RunId): void {
    const last = this.#workers.get(worker)?.at(-1)
    if (last !== undefined && last.op === 'attach-values') (last.runs as RunName[]).push({ key, runId })
    else this.toWorker(worker, { op: 'attach-values', runs: [{ key, runId }] })
  }

  /** Joins a run of them into one message. */
  acquire(worker: WorkerRecord, input: ReplicaWire): void {
    const last = this.#workers.get(worker)?.at(-1)
    if (last !== undefined && last.op === 'acquire-replicas') (last.inputs as ReplicaWire[]).push(input)
    else this.toWorker(worker, { op: 'acquire-replicas', inputs: [input] })
  }

  /** Joins a run of them into one message. */
  removeReplica(worker: WorkerRecord, key: TaskKey): void {
    const last = this.#workers.get(worker)?.at(-1)
    if (last !== undefined && last.op === 'remove-replicas') (last.keys as TaskKey[]).push(key)
    else this.toWorker(worker, { op: 'remove-replicas', keys: [key] })
  }

  /** Dropped when the client's stream is gone: how its keys stand is told when it is back. Last words are remembered. */
  toClient(client: ClientRecord, message: ClientMessage): void {
    const connected = client.connection !== null
    if (connected) client.told++
    if (message.op === 'cancelled-keys' && !client.isPseudo) {
      const { keys, reason, code, cancel } = message
      for (const key of keys) this.#remember(client, key, { reason, code, cancel })
    }
    if (!connected) return
    const messages = this.#clients.get(client)
    if (messages === undefined) this.#clients.set(client, [message])
    else messages.push(message)
  }

  /** A key that this client cannot have, and does not want as far as the books go. */
  refuseKey(client: ClientRecord, key: TaskKey, failure: TaskFailure): void {
    this.toClient(client, { op: 'task-erred', key, failure })
    this.#remember(client, key, { failure })
  }

  #remember(client: ClientRecord, key: TaskKey, words: Farewell['words']): void {
    client.farewells.set(key, { number: client.connection === null ? Infinity : client.told, words })
  }

  answer(request: RequestNumber, answer: object): void {
    this.#answers.push({ kind: 'Answer', request, answer })
  }

  refuse(request: RequestNumber, code: ErrorCode, message: string, fields: ErrorFields = {}): void {
    this.#answers.push({ kind: 'Refuse', request, code, message, fields })
  }

  log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#others.push({ kind: 'Log', level, message, fields })
  }

  setTimer(timer: Timer, delayMs: number): void {
    this.#others.push({ kind: 'SetTimer', timer, delayMs })
  }

  clearTimer(timer: Timer): void {
    this.#others.push({ kind: 'ClearTimer', timer })
  }

  push(effect: Effect): void {
    this.#others.push(effect)
  }

  /** What has gathered, answers first: a worker is answered before it is sent its first task. */
  take(): Effect[] {
    const effects = this.#answers
    for (const [worker, messages] of this.#workers) effects.push({ kind: 'SendToWorker', worker: worker.id, messages })
    for (const [client, messages] of this.#clients) effects.push({ kind: 'SendToClient', client: client.id, messages })
    for (const effect of this.#others) effects.push(effect)
    if (this.#workers.size > 0) this.#workers.clear()
    if (this.#clients.size > 0) this.#clients.clear()
    this.#answers = []
    this.#others = []
    return effects
  }
}
