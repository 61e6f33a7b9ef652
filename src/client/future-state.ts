// What one client knows of one key, shared by all its futures of that key. There may be hundreds of thousands of these,
// so nothing is allocated for waiting until somebody waits.
//
// F1. `outcome` is the only state; `settled` is derived from it. Only the registry changes it.
// F2. A listener hears of the next settling once and is forgotten; whoever must wait again (a value was lost while it was
//     being read) registers again.
// F3. `refs` counts live futures and operations in flight; at 0 the registry drops the state and tells the scheduler.

import type { TaskKey } from '../base/ids.ts'
import type { PlimsollError } from '../errors/plimsoll-error.ts'

/** `lost`: the value had no recipe (scattered) and no copy is left. A value that is being computed again is `pending`. */
export type FutureStatus = 'pending' | 'finished' | 'error' | 'cancelled' | 'lost'

export type Outcome =
  | { readonly status: 'pending' }
  | { readonly status: 'finished'; readonly nbytes: number; readonly type: string }
  /** The task's own error, or that of a task it depends on. Made when first asked for, then kept. */
  | { readonly status: 'error'; readonly error: Error }
  | { readonly status: 'cancelled' | 'lost'; readonly error: PlimsollError; readonly reason: string }

export const PENDING: Outcome = { status: 'pending' }

export type SettleListener = (state: FutureState) => void

export class FutureState {
  readonly key: TaskKey
  /** Name of the function (or type of a scattered value): groups futures in progress bars. */
  readonly name: string
  /** Of the cluster when the key was submitted: a restart cancels everything older. */
  readonly generation: number
  outcome: Outcome = PENDING
  refs = 0
  /** How many cancels this client had said when the key was last asked for. */
  askedAfterCancels = 0
  /** Names function and arguments of a key that was given by hand; null: the key itself does. */
  call: string | null = null
  /** The value itself, when it came along with the news of it; gone when it was read, or is not the value any more. */
  attached: Uint8Array | null = null
  /** Releases what the value was made from and cannot be made again without: large arguments sent ahead of the task. */
  releaseInputs: (() => void) | null = null
  #listeners: Set<SettleListener> | null = null

  constructor(key: TaskKey, name: string, generation: number) {
    this.key = key
    this.name = name
    this.generation = generation
  }

  get settled(): boolean {
    return this.outcome.status !== 'pending'
  }

  /** Calls back at the next settling; at once when it is settled already. `unlisten` takes it back. */
  whenSettled(listener: SettleListener): void {
    if (this.settled) {
      listener(this)
      return
    }
    this.#listeners ??= new Set()
    this.#listeners.add(listener)
  }

  unlisten(listener: SettleListener): void {
    this.#listeners?.delete(listener)
  }

  get waited(): boolean {
    return this.#listeners !== null && this.#listeners.size > 0
  }

  /** For the registry alone (F1). */
  become(outcome: Outcome, attached: Uint8Array | null = null): void {
    this.outcome = outcome
    this.attached = attached
    if (outcome.status === 'pending' || this.#listeners === null) return
    const listeners = this.#listeners
    this.#listeners = null
    for (const listener of listeners) listener(this)
  }
}
