// The keys this client holds: one FutureState per key, counted references, and the scheduler's news applied to them.
// It sends nothing itself: releases are collected and handed to `effects.release` once per turn.
//
// R1. A key is in the map iff somebody holds a reference to its state, or the state is settled as cancelled and its
//     futures are still around; a cancelled or lost state gives way to a new one when the key is submitted again.
// R2. Releasing a state that is no longer the key's current one tells the scheduler nothing: the key may be held anew.
// R3. What the scheduler cancels because of a cancel of ours counts only for keys that were not asked for again after it:
//     while its answer is on its way, whoever asks for a held key has to submit it once more (`reclaim`). Whatever else is
//     heard of such a key before that answer is news of its earlier life and does not count: how it stands is told anew
//     when it has been asked for again, which comes after the cancel.
// R4. After a restart every state of an older generation is cancelled and out of the map.
// R5. `heldBytes` is the sum over the finished states that somebody holds: what dropping all futures would free.

import type { TaskKey } from '../base/ids.ts'
import { invariant } from '../base/invariant.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { SchedulerToClient } from '../protocol/scheduler-client.ts'
import { OVERHEAD_BYTES } from './core/collection-policy.ts'
import { FutureState, type Outcome, PENDING } from './future-state.ts'
import { GivenUp, RemoteFailure } from './bad-outcomes.ts'

export interface RegistryEffects {
  /** The last reference to these keys is gone. */
  release(keys: readonly TaskKey[]): void
  /** Runs `flush` once, later in this turn. */
  schedule(flush: () => void): void
}

export class FuturesRegistry {
  generation = 0
  #heldBytes = 0
  readonly #states = new Map<TaskKey, FutureState>()
  readonly #effects: RegistryEffects
  readonly #releases = new Set<TaskKey>()
  /** Cancels said, and the last one that was answered. */
  #cancels = 0
  #cancelsDone = 0
  #scheduled = false

  constructor(effects: RegistryEffects) {
    this.#effects = effects
  }

  get size(): number {
    return this.#states.size
  }

  /** R5. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  get(key: TaskKey): FutureState | undefined {
    return this.#states.get(key)
  }

  states(): IterableIterator<FutureState> {
    return this.#states.values()
  }

  /** The state of a key that is held already and not given up; otherwise undefined: it has to be submitted. */
  reusable(key: TaskKey): FutureState | undefined {
    const state = this.#states.get(key)
    if (state === undefined) return undefined
    const { status } = state.outcome
    return status === 'cancelled' || status === 'lost' ? undefined : state
  }

  create(key: TaskKey, name: string): FutureState {
    // A release that still waits for its turn must reach the scheduler before the key is asked for again.
    if (this.#releases.has(key)) this.flushReleases()
    const state = new FutureState(key, name, this.generation)
    state.askedAfterCancels = this.#cancels
    this.#states.set(key, state)
    return state
  }

  /** Somebody asks for a held key anew; true when the scheduler has to be told, since a cancel may be taking it away (R3). */
  reclaim(state: FutureState): boolean {
    if (!this.cancelling || state.askedAfterCancels === this.#cancels) return false
    if (state.outcome.status === 'error') return false
    state.askedAfterCancels = this.#cancels
    return true
  }

  /** A cancel was said and has not been answered. */
  get cancelling(): boolean {
    return this.#cancels !== this.#cancelsDone
  }

  /** Number of a cancel that is about to be said. */
  nextCancel(): number {
    return ++this.#cancels
  }

  retain(state: FutureState): void {
    state.refs++
  }

  release(state: FutureState): void {
    invariant(state.refs > 0, () => `released "${state.key}" more often than it was held`)
    if (--state.refs > 0) return
    this.#heldBytes -= heldBytes(state.outcome)
    state.releaseInputs?.()
    state.releaseInputs = null
    const wasPending = state.outcome.status === 'pending'
    const current = this.#states.get(state.key) === state
    if (current) {
      this.#states.delete(state.key)
      if (state.outcome.status !== 'cancelled') this.#queueRelease(state.key)
    }
    if (wasPending) state.become(cancelled(state.key, 'all its futures were released'))
  }

  /** Sends the collected releases now, so that what follows comes after them. */
  flushReleases(): void {
    if (this.#releases.size === 0) return
    const keys = [...this.#releases]
    this.#releases.clear()
    this.#effects.release(keys)
  }

  apply(message: SchedulerToClient): void {
    switch (message.op) {
      case 'key-in-memory':
        this.#hear(message.key, { status: 'finished', nbytes: message.nbytes, type: message.type }, message.blob)
        return
      case 'task-erred':
        this.#hear(message.key, new RemoteFailure(message))
        return
      case 'lost-data':
        this.#revive(message.key)
        return
      case 'task-retried':
        for (const key of message.keys) this.#revive(key)
        return
      case 'cancelled-keys':
        this.#cancelled(message)
        return
      case 'restart':
        this.restart(message.generation)
        return
      case 'cluster-memory':
        // Of no key: the session's collector hears it.
        return
      case 'client-refused':
        // The link ends with it, and everything that waits.
        return
      case 'scheduler-closing':
        this.failPending(
          new PlimsollError('COMM_CLOSED', `The scheduler is closing: ${message.reason}.`, { reason: message.reason }),
        )
        return
    }
  }

  /** What this client found out itself. Cancelled is the last word on a state: nothing changes it any more. */
  settle(state: FutureState, outcome: Outcome, attached: Uint8Array | null = null): void {
    if (state.outcome.status !== 'cancelled') this.#turn(state, outcome, attached)
  }

  /** Marks states as cancelled before the scheduler knows. */
  cancel(states: Iterable<FutureState>, reason: string): void {
    for (const state of states) {
      if (state.outcome.status !== 'cancelled') this.#turn(state, cancelled(state.key, reason))
    }
  }

  /** Everything of an older generation is cancelled and forgotten (R4). */
  restart(generation: number): void {
    if (generation <= this.generation) return
    this.generation = generation
    const old = [...this.#states.values()].filter((state) => state.generation < generation)
    for (const state of old) this.#states.delete(state.key)
    // The scheduler may have taken some of them into the new generation when they crossed its message; it is told that
    // nobody holds them.
    for (const state of old) this.#queueRelease(state.key)
    this.cancel(old, 'the cluster was restarted')
  }

  /** The connection is gone or closing: whatever is still waited for fails now. */
  failPending(error: Error): void {
    const states = [...this.#states.values()]
    for (const state of states) {
      if (state.outcome.status === 'pending') state.become({ status: 'error', error })
    }
  }

  /** The client closes: every future that was not settled is cancelled, and nothing is held any more. */
  close(reason: string): void {
    const states = [...this.#states.values()]
    this.#states.clear()
    this.#releases.clear()
    this.cancel(
      states.filter((state) => state.outcome.status === 'pending'),
      reason,
    )
  }

  #hear(key: TaskKey, outcome: Outcome, attached?: Uint8Array): void {
    const state = this.#states.get(key)
    if (state !== undefined && !this.#awaitsCancel(state)) this.settle(state, outcome, attached)
  }

  #cancelled({ keys, reason, code, cancel }: Extract<SchedulerToClient, { op: 'cancelled-keys' }>): void {
    if (cancel !== undefined) this.#cancelsDone = Math.max(this.#cancelsDone, cancel)
    // What nobody here asked for stands for all cancels that were answered before it.
    const next = cancel ?? this.#cancelsDone + 1
    for (const key of keys) {
      const state = this.#states.get(key)
      if (state === undefined || state.askedAfterCancels >= next) continue
      this.settle(state, new GivenUp(key, reason, code))
    }
  }

  #revive(key: TaskKey): void {
    const state = this.#states.get(key)
    if (state === undefined) return
    const { status } = state.outcome
    // A value that is known now is that of a key that was only asked for once more: it may be lost at any time.
    if (status === 'finished' || (status === 'error' && !this.#awaitsCancel(state))) this.#turn(state, PENDING)
  }

  /** The key was asked for after a cancel that is still to be answered: what is heard is from before that (R3). */
  #awaitsCancel(state: FutureState): boolean {
    return state.askedAfterCancels > this.#cancelsDone
  }

  #turn(state: FutureState, outcome: Outcome, attached: Uint8Array | null = null): void {
    if (state.refs > 0) this.#heldBytes += heldBytes(outcome) - heldBytes(state.outcome)
    state.become(outcome, attached)
  }

  #queueRelease(key: TaskKey): void {
    this.#releases.add(key)
    if (this.#scheduled) return
    this.#scheduled = true
    this.#effects.schedule(() => {
      this.#scheduled = false
      this.flushReleases()
    })
  }
}

function heldBytes(outcome: Outcome): number {
  return outcome.status === 'finished' ? outcome.nbytes + OVERHEAD_BYTES : 0
}

function cancelled(key: TaskKey, reason: string): Outcome {
  return new GivenUp(key, reason, 'TASK_CANCELLED')
}
