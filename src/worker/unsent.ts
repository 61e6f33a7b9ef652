// What a worker has to say while its scheduler cannot hear it, and what of that goes into the next inventory.
//
// K1. Nothing is sent between the moment the inventory is taken and the scheduler's answer to it: what the worker has to
//     say meanwhile waits, in order, and follows the registration.
// K2. What no later inventory can tell is how runs ended without a value. Such messages are kept, bounded, until an answer
//     of the scheduler shows that they arrived; a connection that breaks before that may have swallowed them, and they are
//     said again. Their runs stay in the inventory, so that the scheduler does not start them elsewhere first. It knows
//     what it hears twice by the run id.

import type { Inventory, RegisterWorker, WorkerToScheduler } from '../protocol/scheduler-worker.ts'

/** Ends of runs that wait for a connection, or for a sign that they arrived. */
const UNSENT_MAX = 10_000

type RunEnd = Extract<WorkerToScheduler, { op: 'task-erred' | 'task-cancelled' | 'reschedule' }>

export class Unsent {
  #state: 'down' | 'registering' | 'up' = 'down'
  #messages: WorkerToScheduler[] = []
  /** Ends that were sent and may have been lost, the last of those that were ever sent. */
  #sent: RunEnd[] = []
  #endsSent = 0

  get up(): boolean {
    return this.#state === 'up'
  }

  /** True when the message may be sent now; else it was kept, or dropped because the next inventory tells it. */
  admit(message: WorkerToScheduler): boolean {
    if (this.#state === 'up') {
      if (tellsAnEnd(message)) this.#note(message)
      return true
    }
    if (this.#state === 'down' && !tellsAnEnd(message)) return false
    this.#messages.push(message)
    if (this.#messages.length > UNSENT_MAX && this.#state === 'down') this.#messages.shift()
    return false
  }

  /** K1, K2: the inventory is this one, and what comes from now on follows it. */
  registering(registration: RegisterWorker): RegisterWorker {
    this.#state = 'registering'
    const ended: Inventory['tasks'][number][] = []
    for (const message of this.#messages) {
      if (tellsAnEnd(message)) ended.push({ key: message.key, runId: message.runId, state: 'executing' })
    }
    if (ended.length === 0) return registration
    const { keys, tasks } = registration.inventory
    return { ...registration, inventory: { ...registration.inventory, keys, tasks: [...tasks, ...ended] } }
  }

  /** The scheduler answered: what waited is to be sent now, in this order. */
  registered(): WorkerToScheduler[] {
    this.#state = 'up'
    const messages = this.#messages
    this.#messages = []
    for (const message of messages) if (tellsAnEnd(message)) this.#note(message)
    return messages
  }

  /** How many ends were sent: a question asked now is answered behind them. */
  get endsSent(): number {
    return this.#endsSent
  }

  /** The scheduler has answered a question that was asked when so many ends had been sent. */
  confirm(endsSent: number): void {
    const left = this.#endsSent - endsSent
    if (left < this.#sent.length) this.#sent.splice(0, this.#sent.length - left)
  }

  lost(): void {
    this.#state = 'down'
    this.#messages = [...this.#sent, ...this.#messages.filter(tellsAnEnd)].slice(-UNSENT_MAX)
    this.#sent = []
  }

  #note(message: RunEnd): void {
    this.#endsSent++
    this.#sent.push(message)
    if (this.#sent.length > UNSENT_MAX) this.#sent.shift()
  }
}

function tellsAnEnd(message: WorkerToScheduler): message is RunEnd {
  return message.op === 'task-erred' || message.op === 'task-cancelled' || message.op === 'reschedule'
}
