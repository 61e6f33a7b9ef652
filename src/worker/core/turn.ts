// What one step gathers: recommended transitions, effects and messages. Messages keep their order; those that carry lists
// of keys grow while they are the last one, so a step that touches a thousand keys sends one message.

import type { RunId, TaskKey } from '../../base/ids.ts'
import type { RunName, WorkerToScheduler } from '../../protocol/scheduler-worker.ts'
import type { RunOrder, WorkerEffect, WorkerMessage } from './effects.ts'
import type { ReplicaName } from './events.ts'
import type { LocalTask, LocalTaskState, WorkerState } from './state.ts'

export type NextState = LocalTaskState | 'forgotten'

/** Of what is told to the scheduler; the log has all of it. */
const REASON_CHARS_MAX = 500

type Growing<Op> = Extract<WorkerToScheduler, { op: Op }> extends { keys: readonly (infer Item)[] } ? Item[] : never

export class Turn {
  readonly state: WorkerState
  readonly now: number
  cause: string
  /** Something happened that may let a fetch start. */
  fetchesMayStart = false
  /** Tasks and where they are to go, in pairs. */
  readonly #recommended: (LocalTask | NextState)[] = []
  #next = 0
  readonly #effects: WorkerEffect[] = []
  #messages: WorkerMessage[] | null = null
  #freed: ReplicaName[] | null = null
  #runs: RunOrder[] | null = null
  #withdrawn: RunId[] | null = null

  constructor(state: WorkerState, now: number, cause: string) {
    this.state = state
    this.now = now
    this.cause = cause
  }

  recommend(task: LocalTask, to: NextState): void {
    this.#recommended.push(task, to)
  }

  /** Hands the next recommendation to `apply`; false when there is none. */
  applyNext(apply: (turn: Turn, task: LocalTask, to: NextState) => void): boolean {
    const index = this.#next
    if (index === this.#recommended.length) return false
    this.#next = index + 2
    apply(this, this.#recommended[index] as LocalTask, this.#recommended[index + 1] as NextState)
    return true
  }

  emit(effect: WorkerEffect): void {
    this.#effects.push(effect)
  }

  execute(order: RunOrder): void {
    this.#runs ??= []
    this.#runs.push(order)
  }

  withdraw(runId: RunId): void {
    this.#withdrawn ??= []
    this.#withdrawn.push(runId)
  }

  free(key: TaskKey, runId: RunId): void {
    this.#freed ??= []
    this.#freed.push({ key, runId })
  }

  send(message: WorkerMessage): void {
    this.#messages ??= []
    this.#messages.push(message)
  }

  sendScattered(key: TaskKey, runId: RunId): void {
    this.#growing('keys-scattered').push({ key, runId })
  }

  sendAddKey(key: TaskKey, runId: RunId, durable: boolean): void {
    this.#growing('add-keys').push({ key, runId, durable })
  }

  sendKept(key: TaskKey, runId: RunId, durable: boolean): void {
    this.#growing('add-keys').push({ key, runId, durable, kept: this.state.lastRun })
  }

  sendReleased(key: TaskKey, runId: RunId): void {
    this.#growing('release-worker-data').push({ key, runId })
  }

  /** It was here and is of no use. */
  sendUnreadable(key: TaskKey, runId: RunId, reason: string): void {
    this.#growing('release-worker-data').push({ key, runId, unreadable: reason.slice(0, REASON_CHARS_MAX) })
  }

  sendDurable(key: TaskKey, runId: RunId): void {
    this.#growing('keys-durable').push({ key, runId })
  }

  sendStealAnswer(run: RunName, taken: boolean): void {
    let last = this.#messages?.at(-1)
    if (last?.op !== 'steal-response') {
      last = { op: 'steal-response', taken: [], kept: [] }
      this.send(last)
    }
    const runs = (taken ? last.taken : last.kept) as RunName[]
    runs.push(run)
  }

  sendRefresh(key: TaskKey): void {
    this.#growing('request-refresh-who-has').push(key)
  }

  /** Values are freed before new work starts; messages go last, when everything they tell of was ordered. */
  finish(): WorkerEffect[] {
    const effects = this.#effects
    if (this.#freed !== null) effects.unshift({ kind: 'FreeFromStore', values: this.#freed })
    if (this.#withdrawn !== null) effects.push({ kind: 'WithdrawExecutions', runIds: this.#withdrawn })
    if (this.#runs !== null) effects.push({ kind: 'Execute', runs: this.#runs })
    if (this.#messages !== null) effects.push({ kind: 'SendToScheduler', messages: this.#messages })
    return effects
  }

  #growing<
    Op extends 'add-keys' | 'release-worker-data' | 'keys-durable' | 'keys-scattered' | 'request-refresh-who-has',
  >(op: Op): Growing<Op> {
    const last = this.#messages?.at(-1)
    if (last?.op === op) return last.keys as unknown as Growing<Op>
    const keys: unknown[] = []
    this.send({ op, keys } as unknown as WorkerToScheduler)
    return keys as Growing<Op>
  }
}
