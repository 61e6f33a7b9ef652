import { isErrorCode, PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { RemoteFailure } from './bad-outcomes.ts'
import { choiceOption } from './checked-options.ts'
import { claimOf, type Future, type FutureOwner } from './future.ts'
import type { FutureState } from './future-state.ts'
import { futuresIn } from './futures-in.ts'
import { WAIT_OPTIONS, waitWithin, type WaitOptions } from './wait-limits.ts'

export interface WaitForOptions extends WaitOptions {
  /** Default `ALL_COMPLETED`. */
  readonly returnWhen?: 'ALL_COMPLETED' | 'FIRST_COMPLETED'
}

export interface Waited<T> {
  readonly done: Future<T>[]
  readonly notDone: Future<T>[]
}

/** A future with what it stands for, looked up once: it may be released while it is waited for. */
interface Waiting<T> {
  readonly future: Future<T>
  readonly owner: FutureOwner
  readonly state: FutureState
}

/**
 * Waits until all futures (or the first one) are done: finished, failed or lost. Fetches nothing. Throws `TIMEOUT`, and
 * `TASK_CANCELLED` when any of them was cancelled, `COMM_CLOSED` when the scheduler is gone before they are done.
 */
export function wait<T>(futures: Iterable<Future<T>>, options?: WaitForOptions): Promise<Waited<T>>
/** Futures of several types. */
export function wait(futures: Iterable<Future>, options?: WaitForOptions): Promise<Waited<unknown>>
export async function wait(futures: Iterable<Future>, options: WaitForOptions = {}): Promise<Waited<unknown>> {
  refuseUnknown('wait', options, ['returnWhen', ...WAIT_OPTIONS])
  const returnWhen = choiceOption('returnWhen', options.returnWhen, ['ALL_COMPLETED', 'FIRST_COMPLETED'])
  const all = futuresIn(futures).map((future): Waiting<unknown> => ({ future, ...claimOf(future) }))
  const pending = new Set(all.filter(({ state }) => !state.settled).map(({ state }) => state))
  const anyDone = () => all.some(({ state }) => state.settled)
  const enough = () => pending.size === 0 || (returnWhen === 'FIRST_COMPLETED' && anyDone())
  const [first] = all
  if (first !== undefined && !enough()) {
    await first.owner.keepAlive.during(waitForStates(all, pending, enough, options))
  }
  refuseCancelled(all)
  refuseDisconnected(all)
  return {
    done: all.filter(({ state }) => state.settled).map(({ future }) => future),
    notDone: all.filter(({ state }) => !state.settled).map(({ future }) => future),
  }
}

function waitForStates(
  all: readonly Waiting<unknown>[],
  pending: Set<FutureState>,
  enough: () => boolean,
  options: WaitOptions,
): Promise<void> {
  const total = pending.size
  for (const { owner, state } of all) owner.retain(state)
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
        for (const { owner, state } of all) owner.release(state)
      }
    },
  )
}

function refuseCancelled(all: readonly Waiting<unknown>[]): void {
  const keys: string[] = []
  const byReason = new Map<string, string[]>()
  for (const { key, outcome } of all.map(({ state }) => state)) {
    if (outcome.status !== 'cancelled') continue
    keys.push(key)
    byReason.set(outcome.reason, [...(byReason.get(outcome.reason) ?? []), key])
  }
  if (keys.length === 0) return
  const groups = [...byReason].map(([reason, members]) => `${listed(members)} (${reason})`)
  const message = `${keys.length} of ${all.length} futures were cancelled: ${groups.join('; ')}.`
  throw new PlimsollError('TASK_CANCELLED', message, { keys })
}

/** A future whose client lost the scheduler is not done: what became of its task is not known. */
function refuseDisconnected(all: readonly Waiting<unknown>[]): void {
  for (const { outcome } of all.map(({ state }) => state)) {
    if (outcome.status !== 'error' || outcome instanceof RemoteFailure) continue
    if (isErrorCode(outcome.error, 'COMM_CLOSED')) throw outcome.error
  }
}

const LISTED_MAX = 5

function listed(keys: readonly string[]): string {
  const shown = keys
    .slice(0, LISTED_MAX)
    .map((key) => `"${key}"`)
    .join(', ')
  return keys.length > LISTED_MAX ? `${shown} and ${keys.length - LISTED_MAX} more` : shown
}
