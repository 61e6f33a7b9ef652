// One simulated process: its clock, its timers, its end. Whatever belongs to a process that was killed never goes on: its
// timers do not fire and its file work does not finish.

import type { Clock } from '../base/clock.ts'
import type { Prng } from '../base/prng.ts'
import type { World } from './world.ts'

const FINEST_MS = 0.001

export class SimProcess implements Clock {
  readonly world: World
  readonly name: string
  /** Processes of one machine share its network and its file systems. */
  readonly machine: string
  readonly prng: Prng
  #alive = true
  #onKilled: (() => void)[] = []
  readonly #timerLabel: string

  constructor(world: World, name: string, machine: string) {
    this.world = world
    this.name = name
    this.machine = machine
    this.prng = world.prng(name)
    this.#timerLabel = `timer ${name}`
  }

  get alive(): boolean {
    return this.#alive
  }

  now(): number {
    return this.world.now
  }

  after(delayMs: number, callback: () => void): () => void {
    // A remainder of rounding, added to the time, would be that very time again, for ever; no timer is that fine.
    const fineMs = delayMs > 0 ? Math.max(delayMs, FINEST_MS) : 0
    const event = this.world.at(fineMs, this.#timerLabel, () => {
      if (!this.#alive) return
      this.world.touchPromises()
      callback()
    })
    return () => {
      event.run = null
    }
  }

  readonly defer = (callback: () => void): void => void this.after(0, callback)

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  onKilled(callback: () => void): void {
    this.#onKilled.push(callback)
  }

  /** At once, wherever it is: kill -9. Also how a process that has finished ends. */
  kill(): void {
    if (!this.#alive) return
    this.#alive = false
    this.world.note(`${this.name} is dead`)
    const callbacks = this.#onKilled
    this.#onKilled = []
    for (const callback of callbacks) callback()
    this.world.touchPromises()
  }
}
