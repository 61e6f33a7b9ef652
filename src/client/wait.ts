import { PlimsollError } from '../errors/plimsoll-error.ts'
import { claimOf, type Future } from './future.ts'
import type { FutureState } from './future-state.ts'
import { waitWithin, type WaitOptions } from './wait-limits.ts'

export interface WaitForOptions extends WaitOptions {
  /** Default `ALL_COMPLETED`. */
  readonly returnWhen?: 'ALL_COMPLETED' | 'FIRST_COMPLETED'
}

export interface Waited<T> {
  readonly done: Future<T>[]
  readonly notDone: Future<T>[]
}

/**
 * Waits until all futures (or the first one) are done: finished, failed or lost. Fetches nothing. Throws `TIMEOUT`, and
 * `TASK_CANCELLED` when any of them was cancelled.
 */
export async function wait<T>(futures: Iterable<Future<T>>, options: WaitForOptions = {}): Promise<Waited<T>> {
  const all = [...futures]
  const states = new Map(all.map((future) => [future, claimOf(future)] as const))
  const pending = new Set<FutureState>()
  for (const { state } of states.values()) if (!state.settled) pending.add(state)
  const enough = () =>
    pending.size === 0 || (options.returnWhen === 'FIRST_COMPLETED' && all.some((future) => future.done()))
  const first = all[0]
  if (first !== undefined && !enough()) {
    const { keepAlive } = claimOf(first).owner
    await keepAlive.during(waitForStates(states.values(), pending, enough, options))
  }
  refuseCancelled(all)
  return { done: all.filter((future) => future.done()), notDone: all.filter((future) => !future.done()) }
}

function waitForStates(
  claims: Iterable<ReturnType<typeof claimOf>>,
  pending: Set<FutureState>,
  enough: () => boolean,
  options: WaitOptions,
): Promise<void> {
  const total = pending.size
  const held = [...claims]
  for (const { owner, state } of held) owner.retain(state)
  return waitWithin<void>(
    options,
    () => `${pending.size} of ${total} futures did not finish`,
    ({ resolve }) => {
      const listener = (state: FutureState) => {
        pending.delete(state)
        if (enough()) resolve()
      }
      const waited = [...pending]
      for (const state of waited) state.whenSettled(listener)
      return () => {
        for (const state of pending) state.unlisten(listener)
        for (const { owner, state } of held) owner.release(state)
      }
    },
  )
}

function refuseCancelled(futures: readonly Future<unknown>[]): void {
  const cancelled = futures.filter((future) => future.cancelled())
  if (cancelled.length === 0) return
  const byReason = new Map<string, string[]>()
  for (const future of cancelled) {
    const { outcome } = claimOf(future).state
    const reason = outcome.status === 'cancelled' ? String(outcome.error.fields['reason']) : 'released'
    byReason.set(reason, [...(byReason.get(reason) ?? []), future.key])
  }
  const lines = [...byReason].map(([reason, keys]) => `${listed(keys)} (${reason})`)
  throw new PlimsollError(
    'TASK_CANCELLED',
    `${cancelled.length} of ${futures.length} futures were cancelled: ${lines.join('; ')}.`,
    {
      keys: cancelled.map((future) => future.key),
    },
  )
}

const LISTED_MAX = 5

function listed(keys: readonly string[]): string {
  const shown = keys
    .slice(0, LISTED_MAX)
    .map((key) => `"${key}"`)
    .join(', ')
  return keys.length > LISTED_MAX ? `${shown} and ${keys.length - LISTED_MAX} more` : shown
}
