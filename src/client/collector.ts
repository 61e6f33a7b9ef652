// Collects garbage for the sake of dropped futures, when core/collection-policy.ts says so. Their finalizers release the keys
// in the turns that follow. Always a full one: in a collection of the young generation V8 takes what only a finalizer waits
// for as alive.

import type { Clock } from '../base/clock.ts'
import { exposedGc } from '../native/exposed-gc.ts'
import type { SchedulerToClient } from '../protocol/scheduler-client.ts'
import { CollectionPolicy, type Holdings } from './core/collection-policy.ts'

/** A full collection, as the host of a session does it. */
export interface Collection {
  /** Returns the processor time that it took, milliseconds. */
  run(): number
  /** Heap in use, bytes: what the first collection will have to look through. */
  heapBytes(): number
}

export interface CollectorDeps {
  readonly clock: Clock
  readonly collection: Collection
  held(): Holdings
}

const TICK_MS = 500
/** Of a collection that was not measured yet: high, so that a first one in a large heap comes late rather than early. */
const MS_PER_BYTE = 1 / 2 ** 20

export class Collector {
  readonly #deps: CollectorDeps
  readonly #policy: CollectionPolicy
  #costMs: number | null = null
  #active = false
  #stopTick: (() => void) | null = null

  constructor(deps: CollectorDeps) {
    this.#deps = deps
    this.#policy = new CollectionPolicy(deps.clock.now())
  }

  /** Something was submitted. */
  touch(): void {
    this.#active = true
    if (this.#stopTick === null) this.#tickLater()
  }

  /** News came: what is held may have grown, or memory be short. */
  look(messages: readonly SchedulerToClient[]): void {
    for (const message of messages) {
      if (message.op === 'cluster-memory')
        this.#policy.noteCluster(this.#deps.clock.now(), message.limitBytes, message.isShort)
      else this.touch()
    }
    this.#collectIfDue(false)
  }

  /** Futures were let go of, by the program or by the finalizers of a collection. */
  noteReleases(): void {
    this.#policy.noteHeld(this.#deps.held())
  }

  /** For good: nothing makes it tick again. */
  close(): void {
    this.#stopTick?.()
    this.#stopTick = () => {}
  }

  #tickLater(): void {
    this.#stopTick = this.#deps.clock.after(TICK_MS, () => this.#tick())
  }

  #tick(): void {
    this.#stopTick = null
    const wasActive = this.#active
    this.#active = false
    if (wasActive) this.#policy.noteActivity(this.#deps.clock.now())
    this.#collectIfDue(!wasActive)
    if (wasActive || this.#deps.held().keys > 0) this.#tickLater()
  }

  #collectIfDue(quiet: boolean): void {
    const { clock, collection } = this.#deps
    this.#costMs ??= collection.heapBytes() * MS_PER_BYTE
    const start = clock.now()
    if (!this.#policy.isDue(start, this.#deps.held(), this.#costMs, quiet)) return
    const usedMs = collection.run()
    const end = clock.now()
    // On a busy machine most of the time that passes is not the collection's own.
    this.#costMs = Math.min(end - start, usedMs)
    this.#policy.noteCollection(end, this.#deps.held())
  }
}

/** A full collection of this process. */
export function systemCollection(): Collection {
  return {
    run: () => {
      const gc = exposedGc()
      const before = process.cpuUsage()
      gc('all')
      const { user, system } = process.cpuUsage(before)
      return (user + system) / 1000
    },
    heapBytes: () => process.memoryUsage().heapUsed,
  }
}
