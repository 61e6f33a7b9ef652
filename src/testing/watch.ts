// What must hold between the scheduler and the world around it after every step of it, beside its own invariants.
//
// V1. No task is blamed for more deaths of executors and workers than happened while it ran.
// V2. A client is given up only when it has been without a connection for the whole grace.
// V3. Where nothing happens that can lose a value, none is lost: what somebody needs stays in memory once it is there.
// V4. Nor does a task that must not run twice fail as lost before it has run.
// V5. No restart waits for a worker that is gone.

import type { SchedulerEvent } from '../scheduler/core/events.ts'
import type { ClientRecord, TaskRecord } from '../scheduler/core/records.ts'
import type { SchedulerState } from '../scheduler/core/state.ts'
import type { FaultKind } from './fault-plan.ts'
import type { TaskBook } from './task-book.ts'

const ROUNDING_MS = 0.01
const GIVEN_BACK = /\((reschedule|steal-response|WorkerRegistered)\)$/

/** Whatever else happens may take a value along: with a process, a disk, or a grace that ends. */
const HARMLESS: ReadonlySet<FaultKind> = new Set([
  'cut-worker',
  'cut-nanny',
  'cut-client',
  'partition-client',
  'vanish-client',
  'slow-disk',
  'pause',
  'resume',
  'pause-storm',
  'pause-all',
  'hoard',
  'retire',
  'replicate',
  'rebalance',
  'new-worker',
])

export class Watch {
  readonly #state: SchedulerState
  readonly #book: TaskBook
  readonly #keepsAll: boolean
  /** Since when they are without a connection. */
  readonly #without = new Map<ClientRecord, number>()
  #inMemory = new Set<TaskRecord>()

  constructor(state: SchedulerState, book: TaskBook, faults: readonly FaultKind[]) {
    this.#state = state
    this.#book = book
    this.#keepsAll = faults.every((kind) => HARMLESS.has(kind))
  }

  /** What does not hold after this step; null = nothing. */
  findFault(event: SchedulerEvent['kind']): { readonly what: string; readonly key?: string } | null {
    const fault = this.#blamed() ?? this.#givenUp() ?? this.#restartsInVain()
    return fault ?? (this.#keepsAll ? (this.#lost(event) ?? this.#neverRan()) : null)
  }

  /** V1. */
  #blamed(): { readonly what: string; readonly key: string } | null {
    for (const { key, trouble } of this.#state.tasks.values()) {
      const deaths = this.#book.deathsOf(key)
      if (trouble !== null && trouble.crashes > deaths)
        return { what: `${key} is blamed for ${trouble.crashes} deaths, and ran during ${deaths}`, key }
    }
    return null
  }

  /** V2. */
  #givenUp(): { readonly what: string } | null {
    const { clients, now, options } = this.#state
    for (const [client, sinceMs] of this.#without) {
      if (clients.get(client.id) === client && client.connection === null) continue
      this.#without.delete(client)
      const forMs = now - sinceMs
      if (clients.get(client.id) !== client && forMs < options.clientGraceMs - ROUNDING_MS)
        return { what: `${client.id} was given up ${forMs.toFixed(0)} ms after its connection was lost` }
    }
    for (const client of clients.values())
      if (!client.isPseudo && client.connection === null && !this.#without.has(client)) this.#without.set(client, now)
    return null
  }

  /** V3. Clients may cancel a key and ask for it again in one step. */
  #lost(event: SchedulerEvent['kind']): { readonly what: string; readonly key: string } | null {
    const { tasks } = this.#state
    for (const task of event === 'ClientMessages' ? [] : this.#inMemory) {
      if (task.state !== 'memory' && task.isNeeded && tasks.get(task.key) === task)
        return { what: `the value of ${task.key} was there and is lost`, key: task.key }
    }
    this.#inMemory = new Set()
    for (const task of tasks.values()) if (task.state === 'memory') this.#inMemory.add(task)
    return null
  }

  /** V4. */
  #neverRan(): { readonly what: string; readonly key: string } | null {
    for (const { key, group, failure } of this.#state.tasks.values()) {
      if (group.options.idempotent !== false || failure?.origin !== key || failure.error.kind !== 'raised') continue
      const { code } = failure.error
      if (code !== 'WORKER_LOST' || this.#book.wasStarted(key)) continue
      // Of a run that was taken back the scheduler does not hear whether it had begun.
      const ends = this.#state.story.of(key).filter(({ text }) => text.startsWith('processing -> released'))
      if (ends.every(({ text }) => GIVEN_BACK.test(text))) return { what: `${key} failed and never ran`, key }
    }
    return null
  }
  /** V5. */
  #restartsInVain(): { readonly what: string } | null {
    const { requests, workers } = this.#state
    for (const request of requests.values())
      for (const id of request.kind === 'restart' ? request.missing : [])
        if (!workers.has(id)) return { what: `a restart waits for ${id}, which is gone` }
    return null
  }
}
