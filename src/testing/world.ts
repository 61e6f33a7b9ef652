// The world of one simulation: virtual time, one queue of events, randomness from one seed, and what went wrong first.
//
// W1. Events run one after the other, in order of time, then of creation. Nothing else runs but the promises that an
//     event has settled, all of them before the next event: so a seed names one history.
// W2. No clock, timer, file or socket of the machine takes part.
// W3. The first failure ends the simulation; what comes after it would be its consequence.

import { Prng } from '../base/prng.ts'
import { EventQueue, type SimEvent } from './event-queue.ts'

export interface WorldOptions {
  readonly seed: number
  /** Keeps a line per event, message and effect. */
  readonly trace: boolean
}

export interface SimFailure {
  readonly atMs: number
  readonly what: string
  /** What is known about it: stories of tasks, states of workers. */
  readonly details: readonly string[]
}

/** Lines of a trace that are kept: the end is what matters. */
const TRACE_MAX = 200_000
/** More events than this in one moment of virtual time never end. */
const OF_MOMENT_MAX = 100_000
const FNV_PRIME = 0x01000193

export class World {
  readonly seed: number
  readonly lines: string[] | null
  failure: SimFailure | null = null
  /** Events run so far. */
  events = 0
  #now = 0
  #hash = 0x811c9dc5
  #promisesMayRun = false
  /** Events of this very moment so far. */
  #ofMoment = 0
  readonly #queue = new EventQueue()

  constructor({ seed, trace }: WorldOptions) {
    this.seed = seed
    this.lines = trace ? [] : null
  }

  get now(): number {
    return this.#now
  }

  /** Of everything that happened so far, for comparing two runs of one seed. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0')
  }

  /** A generator of its own for one part: what one part draws does not shift what another gets. */
  prng(name: string): Prng {
    return prngOf(this.seed, name)
  }

  at(delayMs: number, label: string, run: () => void): SimEvent {
    return this.#queue.add(this.#now + Math.max(0, delayMs), label, run)
  }

  /** Promises may have been settled by this event: they are followed up before the next one. */
  touchPromises(): void {
    this.#promisesMayRun = true
  }

  note(text: string): void {
    if (this.lines === null) return
    this.lines.push(`${this.#now.toFixed(3).padStart(12)}  ${text}`)
    if (this.lines.length > TRACE_MAX) this.lines.splice(0, TRACE_MAX / 2)
  }

  fail(what: string, details: readonly string[] = []): void {
    if (this.failure !== null) return
    this.failure = { atMs: this.#now, what, details }
    this.note(`FAILURE ${what}`)
  }

  /** Runs events until `isDone` says so, time is up, or something failed; true when it is done. */
  async run(isDone: () => boolean, untilMs: number): Promise<boolean> {
    // Whatever was started before the first event.
    await drained()
    while (this.failure === null) {
      if (isDone()) return true
      const event = this.#queue.peek()
      if (event === undefined || event.atMs > untilMs) return false
      this.#queue.pop()
      if (event.run === null) continue
      this.#happen(event, event.run)
      if (!this.#promisesMayRun) continue
      await drained()
      this.#promisesMayRun = false
    }
    return false
  }

  /** Runs events until the promise has settled. */
  async settle<T>(promise: Promise<T>, untilMs: number): Promise<T | undefined> {
    let result: { readonly value: T } | undefined
    promise.then(
      (value) => {
        result = { value }
      },
      (error: unknown) => this.fail(describe(error)),
    )
    await this.run(() => result !== undefined, untilMs)
    return result?.value
  }

  #happen(event: SimEvent, run: () => void): void {
    this.#ofMoment = event.atMs === this.#now ? this.#ofMoment + 1 : 0
    if (this.#ofMoment > OF_MOMENT_MAX) return this.fail(`time stands still: ${event.label} again and again`)
    this.#now = event.atMs
    this.events++
    this.#mix(event.atMs, event.label)
    try {
      run()
    } catch (error) {
      this.fail(describe(error))
    }
  }

  #mix(atMs: number, label: string): void {
    let hash = Math.imul(this.#hash ^ Math.round(atMs * 1000), FNV_PRIME)
    for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), FNV_PRIME)
    this.#hash = hash
  }
}

/** See `World.prng`. */
export function prngOf(seed: number, name: string): Prng {
  let hash = seed ^ 0x9e3779b9
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), FNV_PRIME)
  const prng = new Prng(hash)
  prng.next()
  return prng
}

/** Every promise that can go on has gone on when the event loop takes its next turn. */
function drained(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
