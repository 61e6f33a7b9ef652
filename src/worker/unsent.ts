// What a worker has to say while its scheduler cannot hear it, and what of that goes into the next inventory.
//
// K1. Nothing is sent between the moment the inventory is taken and the scheduler's answer to it: what the worker has to
//     say meanwhile waits, in order, and follows the registration.
// K2. Without a connection only messages that no later inventory can tell are kept, bounded: how runs ended. Until they
//     are delivered their runs stay in the inventory, so that the scheduler does not start them elsewhere first.

import type { Inventory, RegisterWorker, WorkerToScheduler } from '../protocol/scheduler-worker.ts'

/** Ends of runs that wait for a connection. */
const UNSENT_MAX = 10_000

type RunEnd = Extract<WorkerToScheduler, { op: 'task-erred' | 'task-cancelled' | 'reschedule' }>

export class Unsent {
  #state: 'down' | 'registering' | 'up' = 'down'
  #messages: WorkerToScheduler[] = []

  get up(): boolean {
    return this.#state === 'up'
  }

  /** True when the message may be sent now; else it was kept, or dropped because the next inventory tells it. */
  admit(message: WorkerToScheduler): boolean {
    if (this.#state === 'up') return true
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
    return { ...registration, inventory: { keys, tasks: [...tasks, ...ended] } }
  }

  /** The scheduler answered: what waited is to be sent now, in this order. */
  registered(): WorkerToScheduler[] {
    this.#state = 'up'
    const messages = this.#messages
    this.#messages = []
    return messages
  }

  lost(): void {
    this.#state = 'down'
    this.#messages = this.#messages.filter(tellsAnEnd)
  }
}

function tellsAnEnd(message: WorkerToScheduler): message is RunEnd {
  return message.op === 'task-erred' || message.op === 'task-cancelled' || message.op === 'reschedule'
}
