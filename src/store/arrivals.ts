// Values that are on their way into the store: asynchronous steps lie between the decision to keep one and the moment it
// is in the index. A key freed meanwhile must not appear afterwards.

import type { TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export class Arrival {
  readonly key: TaskKey
  freed = false

  constructor(key: TaskKey) {
    this.key = key
  }

  /** @throws TASK_CANCELLED when the key was freed since. */
  check(): void {
    if (!this.freed) return
    throw new PlimsollError('TASK_CANCELLED', `The value of ${this.key} was freed while it was being stored.`, {
      key: this.key,
    })
  }
}

export class Arrivals {
  readonly #byKey = new Map<TaskKey, Set<Arrival>>()

  begin(key: TaskKey): Arrival {
    const arrival = new Arrival(key)
    const set = this.#byKey.get(key)
    if (set === undefined) this.#byKey.set(key, new Set([arrival]))
    else set.add(arrival)
    return arrival
  }

  end(arrival: Arrival): void {
    const set = this.#byKey.get(arrival.key)
    set?.delete(arrival)
    if (set?.size === 0) this.#byKey.delete(arrival.key)
  }

  free(key: TaskKey): void {
    if (this.#byKey.size === 0) return
    for (const arrival of this.#byKey.get(key) ?? []) arrival.freed = true
  }

  freeAll(): void {
    for (const set of this.#byKey.values()) for (const arrival of set) arrival.freed = true
  }
}
