// Which values to move so that workers hold about the same. Pure: a plan is a function of the state.
//
// B1. Senders are above the mean of all workers looked at by half of `sender-recipient-gap` of their limit, and above
//     `sender-min`; recipients are running, below the mean by as much, below `recipient-max`, and have room for what they get.
// B2. The fullest sender and the emptiest recipient are paired again and again. The sender gives its oldest value that
//     neither brings it below the mean nor the recipient above it; a value that does not fit is passed over for good.
// B3. A sender that comes within half a gap of the mean is out; a recipient when it has reached the mean: else many that
//     end somewhat below it would leave one far above.

import { HeapSet } from '../../base/heap-set.ts'
import { isLeaving } from './copies.ts'
import { hasRoomFor, Ledger } from './ledger.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { RebalanceOptions, SchedulerState } from './state.ts'

export interface Move {
  readonly task: TaskRecord
  readonly sender: WorkerRecord
  readonly recipient: WorkerRecord
}

/** `tasks`: null for all. */
export function planRebalance(
  state: SchedulerState,
  workers: readonly WorkerRecord[],
  tasks: ReadonlySet<TaskRecord> | null,
  options: RebalanceOptions,
): Move[] {
  if (workers.length < 2) return []
  const ledger = new Ledger(state, options.measure)
  let sum = 0
  for (const worker of workers) sum += ledger.of(worker)
  const mean = Math.floor(sum / workers.length)
  return new Planner(state, ledger, mean, options).plan(workers, tasks)
}

class Planner {
  readonly #state: SchedulerState
  readonly #ledger: Ledger
  readonly #mean: number
  readonly #options: RebalanceOptions
  readonly #values = new Map<WorkerRecord, Iterator<TaskRecord>>()
  /** What was taken from the plan's room of a recipient. */
  readonly #coming = new Map<WorkerRecord, number>()
  readonly #senders = new HeapSet<WorkerRecord, number>(
    (worker) => -this.#ledger.of(worker),
    (a, b) => a - b,
  )
  readonly #recipients = new HeapSet<WorkerRecord, number>(
    (worker) => this.#ledger.of(worker),
    (a, b) => a - b,
  )

  constructor(state: SchedulerState, ledger: Ledger, mean: number, options: RebalanceOptions) {
    this.#state = state
    this.#ledger = ledger
    this.#mean = mean
    this.#options = options
  }

  plan(workers: readonly WorkerRecord[], tasks: ReadonlySet<TaskRecord> | null): Move[] {
    for (const worker of workers) {
      if (this.#isSender(worker)) {
        this.#senders.add(worker)
        this.#values.set(worker, movable(worker, tasks))
      } else if (this.#isRecipient(worker)) this.#recipients.add(worker)
    }
    const moves: Move[] = []
    for (let sender = this.#senders.peek(); sender !== undefined; sender = this.#senders.peek()) {
      const move = this.#recipients.size === 0 ? null : this.#nextMove(sender)
      if (move === null) {
        this.#senders.delete(sender)
        continue
      }
      moves.push(move)
      this.#book(move)
    }
    return moves
  }

  #halfGap({ info }: WorkerRecord): number {
    return Math.floor((this.#options.gap / 2) * info.memoryLimit)
  }

  #isSender(worker: WorkerRecord): boolean {
    const memory = this.#ledger.of(worker)
    if (worker.replicas.size === 0 || memory <= this.#mean || memory < this.#mean + this.#halfGap(worker)) return false
    return memory >= this.#options.senderMin * worker.info.memoryLimit
  }

  #isRecipient(worker: WorkerRecord): boolean {
    const { memoryLimit } = worker.info
    const memory = this.#ledger.of(worker)
    if (!worker.isRunning || memory >= this.#mean - this.#halfGap(worker)) return false
    return memoryLimit === 0 || memory < this.#options.recipientMax * memoryLimit
  }

  /** null: this sender has nothing more to give. */
  #nextMove(sender: WorkerRecord): Move | null {
    const values = this.#values.get(sender)
    for (let next = values?.next(); next !== undefined && next.done !== true; next = values?.next()) {
      const task = next.value
      if (this.#ledger.of(sender) - task.nbytes < this.#mean || isOnTheMove(this.#state, task, sender)) continue
      const recipient = this.#recipientOf(task)
      if (recipient !== null) return { task, sender, recipient }
    }
    return null
  }

  /** The emptiest one that takes it. Those that hold it already are passed over, for this value. */
  #recipientOf(task: TaskRecord): WorkerRecord | null {
    const passed: WorkerRecord[] = []
    let found: WorkerRecord | null = null
    for (let best = this.#recipients.peek(); best !== undefined; best = this.#recipients.peek()) {
      if (this.#ledger.of(best) + task.nbytes > this.#mean) break
      const fits = hasRoomFor(this.#state, best, task.nbytes + (this.#coming.get(best) ?? 0))
      if (fits && !best.replicas.has(task)) {
        found = best
        break
      }
      this.#recipients.delete(best)
      passed.push(best)
    }
    for (const worker of passed) this.#recipients.add(worker)
    return found
  }

  /** B3. */
  #book({ task, sender, recipient }: Move): void {
    this.#senders.delete(sender)
    this.#ledger.add(sender, -task.nbytes)
    if (this.#ledger.of(sender) - this.#mean > this.#halfGap(sender)) this.#senders.add(sender)
    this.#recipients.delete(recipient)
    this.#ledger.add(recipient, task.nbytes)
    if (this.#ledger.of(recipient) < this.#mean) this.#recipients.add(recipient)
    this.#coming.set(recipient, (this.#coming.get(recipient) ?? 0) + task.nbytes)
  }
}

/** Oldest first. */
function* movable(worker: WorkerRecord, tasks: ReadonlySet<TaskRecord> | null): Generator<TaskRecord> {
  for (const task of worker.replicas.keys()) if (tasks === null || tasks.has(task)) yield task
}

function isOnTheMove(state: SchedulerState, task: TaskRecord, sender: WorkerRecord): boolean {
  return state.copies.orders.has(task) || isLeaving(state, task, sender)
}
