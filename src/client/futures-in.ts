// What users pass as "futures": one, any iterable of them, or a structure with futures in it.

import { taskKey, type TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { otherClients } from './argument-encoder.ts'
import { shown } from './checked-options.ts'
import { claimOf, Future, type FutureOwner } from './future.ts'
import type { FutureState } from './future-state.ts'
import { forEachLeaf } from './nested.ts'

/** One future, or futures anywhere in arrays, other iterables, plain objects, Maps and Sets. */
export type Futures = Future<unknown> | Iterable<unknown> | Readonly<Record<string, unknown>>

/** Every future, in order of appearance; the same one as often as it appears. Anything else is refused. */
export function futuresIn(futures: Futures): Future[] {
  const found: Future[] = []
  forEachLeaf(
    expanded(futures),
    (leaf) => {
      if (!(leaf instanceof Future)) throw notAFuture(leaf)
      found.push(leaf)
    },
    (leaf) => {
      throw notAFuture(leaf)
    },
  )
  return found
}

/** Their states, each once. All must belong to `owner`. */
export function statesIn(futures: Futures, owner: FutureOwner): FutureState[] {
  const states = new Set<FutureState>()
  for (const future of futuresIn(futures)) {
    const claim = claimOf(future)
    if (claim.owner !== owner) throw otherClients(claim.state.key)
    states.add(claim.state)
  }
  return [...states]
}

/** Keys of futures, or keys as texts. */
export function keysIn(futures: Futures | readonly string[]): TaskKey[] {
  const keys = new Set<TaskKey>()
  const given: unknown = expanded(futures)
  for (const item of Array.isArray(given) ? (given as unknown[]) : [given]) {
    if (typeof item === 'string') keys.add(taskKey(item))
    else for (const future of futuresIn(item as Futures)) keys.add(taskKey(future.key))
  }
  return [...keys]
}

/** Generators and the like as arrays; structures are looked into as they are. */
function expanded(futures: Futures | readonly string[]): unknown {
  const isContainer =
    Array.isArray(futures) || futures instanceof Map || futures instanceof Set || futures instanceof Future
  if (typeof futures !== 'object' || futures === null || isContainer) return futures
  return Symbol.iterator in futures ? [...(futures as Iterable<unknown>)] : futures
}

function notAFuture(leaf: unknown): PlimsollError {
  return new PlimsollError('INVALID_ARGUMENT', `A future is needed here, not ${shown(leaf)}.`)
}
