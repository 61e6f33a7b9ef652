// Drives the pure core: takes events one after the other, has their effects performed in order, keeps its timers.
//
// Z1. What an effect causes waits for its turn: no step begins before all effects of the one before are performed.
// Z2. While it is held (the store is being emptied) nothing is performed; events wait.
// Z3. What throws out of the core or an effect ends the driver: the state cannot be trusted any more.

import type { Clock } from '../base/clock.ts'
import { toError } from '../errors/plimsoll-error.ts'
import type { WorkerEffect } from './core/effects.ts'
import type { WorkerEvent } from './core/events.ts'
import type { WorkerState } from './core/state.ts'
import { step } from './core/step.ts'

/** An event whose time the driver adds, unless it has one: for frequent events, since adding a field to an object takes a microsecond. */
export type EventBody = WorkerEvent extends infer E
  ? E extends WorkerEvent
    ? Omit<E, 'now'> & { readonly now?: number }
    : never
  : never

export class CoreDriver {
  readonly #clock: Clock
  readonly #perform: (effect: WorkerEffect) => void
  readonly #onFailed: (error: Error) => void
  readonly #timers = new Set<() => void>()
  #state: WorkerState | null = null
  #events: WorkerEvent[] = []
  #nextEvent = 0
  #effects: readonly WorkerEffect[] = []
  #nextEffect = 0
  #draining = false
  #held = false
  #stopped = false

  constructor(clock: Clock, perform: (effect: WorkerEffect) => void, onFailed: (error: Error) => void) {
    this.#clock = clock
    this.#perform = perform
    this.#onFailed = onFailed
  }

  /** Null before `start`. */
  get state(): WorkerState | null {
    return this.#state
  }

  /** Events that came before are taken now. */
  start(state: WorkerState): void {
    this.#state = state
    this.#drain()
  }

  /** The event is made for this call: it is given its time here. */
  dispatch(event: EventBody): void {
    if (this.#stopped) return
    if (event.now === undefined) (event as { now?: number }).now = this.#clock.now()
    this.#events.push(event as WorkerEvent)
    this.#drain()
  }

  setTimer(delayMs: number, event: EventBody): void {
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(cancel)
      this.dispatch({ ...event })
    })
    this.#timers.add(cancel)
  }

  /** Nothing happens from the end of this effect until `until` has resolved. */
  hold(until: Promise<void>): void {
    this.#held = true
    until.then(
      () => {
        this.#held = false
        this.#drain()
      },
      (error: unknown) => this.#fail(toError(error)),
    )
  }

  stop(): void {
    this.#stopped = true
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
  }

  #drain(): void {
    const state = this.#state
    if (state === null || this.#draining) return
    this.#draining = true
    try {
      while (!this.#held && !this.#stopped) {
        const effect = this.#effects[this.#nextEffect]
        if (effect !== undefined) {
          this.#nextEffect++
          this.#perform(effect)
          continue
        }
        const event = this.#takeEvent()
        if (event === undefined) break
        this.#effects = step(state, event)
        this.#nextEffect = 0
      }
    } catch (error) {
      this.#fail(toError(error))
    } finally {
      this.#draining = false
    }
  }

  #takeEvent(): WorkerEvent | undefined {
    const event = this.#events[this.#nextEvent++]
    if (event === undefined) {
      this.#events = []
      this.#nextEvent = 0
    }
    return event
  }

  #fail(error: Error): void {
    this.stop()
    this.#onFailed(error)
  }
}
