// The simulated scheduler process: the production core, and of its shell everything that knows no socket: what comes on
// connections is checked and turned into events, requests are answered, effects performed, timers kept by the same code.

import { type CoreOptions, createState, type SchedulerState } from '../scheduler/core/state.ts'
import type { SchedulerEvent } from '../scheduler/core/events.ts'
import { step } from '../scheduler/core/step.ts'
import { checkInvariants } from '../scheduler/core/validate.ts'
import { schedulerInfo } from '../scheduler/core/view.ts'
import { acceptPeer, type EventHost } from '../scheduler/peer-events.ts'
import { Peers } from '../scheduler/peers.ts'
import { PendingAnswers } from '../scheduler/pending-answers.ts'
import { ErrorEncoder, type Hands, perform } from '../scheduler/perform.ts'
import { Timers } from '../scheduler/timers.ts'
import type { SimConnection } from './sim-connection.ts'
import { brief, type SimRole } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'

type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never

export const SCHEDULER_ADDRESS = 'tcp://10.0.0.1:8786'

export class SimScheduler implements EventHost {
  readonly process: SimProcess
  readonly state: SchedulerState
  readonly peers = new Peers()
  readonly answers: PendingAnswers
  /** Steps of the core so far. */
  steps = 0
  /** Time of the machine spent in the core, milliseconds; for reports, nothing depends on it. */
  spentMs = 0
  /** Told of each step, after all of it. */
  afterStep: (event: SchedulerEvent['kind']) => void = () => {}
  /** All invariants are checked after every so many steps; 0 = never. */
  readonly #checkEvery: number
  readonly #hands: Hands
  readonly #events: Untimed<SchedulerEvent>[] = []
  #busy = false

  constructor(process: SimProcess, options: CoreOptions, checkEvery: number) {
    this.process = process
    this.state = createState('sim', options)
    this.#checkEvery = checkEvery
    this.answers = new PendingAnswers((request) => this.dispatch({ kind: 'RequestAbandoned', request }))
    this.#hands = {
      peers: this.peers,
      timers: new Timers(process, (timer) => this.dispatch({ kind: 'TimerFired', timer })),
      answers: this.answers,
      errors: new ErrorEncoder(),
      closeScheduler: (reason) => this.closeSoon(reason),
    }
    this.dispatch({ kind: 'Started' })
  }

  accept(connection: SimConnection, role: SimRole): void {
    acceptPeer(this, role, connection)
  }

  dispatch(event: Untimed<SchedulerEvent>): void {
    this.#events.push(event)
    if (this.#busy) return
    this.#busy = true
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#step(next)
    } finally {
      this.#busy = false
    }
  }

  get info(): EventHost['info'] {
    return schedulerInfo(this.state, { address: SCHEDULER_ADDRESS, pid: 1, dashboard: null })
  }

  closeSoon(reason: string): void {
    this.process.world.fail(`the scheduler wants to close: ${reason}`)
  }

  #step(event: Untimed<SchedulerEvent>): void {
    const { world } = this.process
    this.steps++
    world.touchPromises()
    if (world.lines !== null) world.note(`scheduler hears ${event.kind}`)
    const now = this.process.now()
    const startedAt = performance.now()
    const effects = step(this.state, { ...event, now, at: now } as SchedulerEvent)
    this.spentMs += performance.now() - startedAt
    for (const effect of effects) {
      if (effect.kind === 'Log') world.note(`scheduler logs ${effect.message} ${brief(effect.fields)}`)
      else perform(effect, this.#hands)
    }
    if (this.#checkEvery > 0 && this.steps % this.#checkEvery === 0) checkInvariants(this.state)
    this.afterStep(event.kind)
  }
}
