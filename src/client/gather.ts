// `gather`: values in place of futures, whatever the structure. Waits for all tasks first, so that the sizes are known
// before a byte is fetched; then every key is fetched once (fetcher.ts).

import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { otherClients } from './argument-encoder.ts'
import { choiceOption, flagOption } from './checked-options.ts'
import type { ClientSession } from './client-session.ts'
import { gatherTooLarge, type FetchListener } from './fetcher.ts'
import { claimOf, Future } from './future.ts'
import type { FutureState } from './future-state.ts'
import { forEachLeaf, mapLeaves, OMIT } from './nested.ts'
import { WAIT_OPTIONS, waitWithin, type Settle, type WaitOptions } from './wait-limits.ts'

export interface GatherOptions extends WaitOptions {
  /**
   * What a failed or cancelled future does: `raise` (default) throws its error as soon as it is known, `skip` leaves it out
   * of its array, object, Map or Set, `return` puts the error in its place.
   */
  readonly errors?: 'raise' | 'skip' | 'return'
  /** Values always come straight from the workers; `false` is refused. */
  readonly direct?: boolean
}

type Result = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: Error }
type Results = ReadonlyMap<FutureState, Result>

/** The structure with every future replaced by its value. */
export async function gather(
  session: ClientSession,
  structure: unknown,
  options: GatherOptions = {},
): Promise<unknown> {
  session.assertOpen()
  refuseUnknown('gather', options, ['errors', 'direct', ...WAIT_OPTIONS])
  if (flagOption('direct', options.direct) === false) throw notDirect()
  const errors = choiceOption('errors', options.errors, ['raise', 'skip', 'return']) ?? 'raise'
  const futures = futuresIn(session, structure)
  const results = await session.keepAlive.during(
    getAll(session, new Set(futures.values()), errors === 'raise', options),
  )
  return mapLeaves(structure, (leaf) => {
    const state = leaf instanceof Future ? futures.get(leaf) : undefined
    if (state === undefined) return leaf
    const result = results.get(state) as Result
    if (result.ok) return result.value
    return errors === 'skip' ? OMIT : result.error
  })
}

/** There is no way through the scheduler: it never touches values. */
export function notDirect(): PlimsollError {
  const message = 'Values always travel straight between clients and workers; the scheduler does not relay them.'
  return new PlimsollError('INVALID_ARGUMENT', message)
}

function futuresIn(session: ClientSession, structure: unknown): Map<Future, FutureState> {
  const futures = new Map<Future, FutureState>()
  forEachLeaf(structure, (leaf) => {
    if (!(leaf instanceof Future)) return
    const { owner, state } = claimOf(leaf)
    if (owner !== session) throw otherClients(state.key)
    futures.set(leaf, state)
  })
  return futures
}

/** The states are held for the whole time: the caller may drop its futures meanwhile. */
async function getAll(
  session: ClientSession,
  states: ReadonlySet<FutureState>,
  raise: boolean,
  options: WaitOptions,
): Promise<Results> {
  for (const state of states) session.retain(state)
  try {
    return await waitWithin<Results>(
      options,
      () => `${states.size} values were not gathered`,
      (settle) => {
        const run = new GatherRun(session, states, raise, settle)
        run.start()
        return () => run.stop()
      },
    )
  } finally {
    for (const state of states) session.release(state)
  }
}

class GatherRun implements FetchListener {
  readonly #session: ClientSession
  readonly #states: ReadonlySet<FutureState>
  readonly #raise: boolean
  readonly #settle: Settle<Results>
  readonly #results = new Map<FutureState, Result>()
  readonly #fetching = new Set<FutureState>()
  #waiting: number
  #stopped = false

  constructor(session: ClientSession, states: ReadonlySet<FutureState>, raise: boolean, settle: Settle<Results>) {
    this.#session = session
    this.#states = states
    this.#raise = raise
    this.#settle = settle
    this.#waiting = states.size
  }

  start(): void {
    if (this.#states.size === 0) this.#settle.resolve(this.#results)
    for (const state of this.#states) state.whenSettled(this.#onSettled)
  }

  stop(): void {
    this.#stopped = true
    for (const state of this.#states) state.unlisten(this.#onSettled)
    for (const state of this.#fetching) this.#session.unfetch(state, this)
  }

  onValue(state: FutureState, value: unknown): void {
    this.#fetching.delete(state)
    this.#results.set(state, { ok: true, value })
    this.#checkComplete()
  }

  onFailure(state: FutureState, error: Error): void {
    this.#fetching.delete(state)
    this.#fail(state, error)
    this.#checkComplete()
  }

  readonly #onSettled = (state: FutureState): void => {
    if (this.#stopped) return
    this.#waiting--
    const { outcome } = state
    if (outcome.status === 'error' || outcome.status === 'cancelled' || outcome.status === 'lost')
      this.#fail(state, outcome.error)
    if (this.#waiting === 0 && !this.#stopped) this.#fetchAll()
  }

  #fetchAll(): void {
    const wanted = [...this.#states].filter((state) => !this.#results.has(state))
    const sizes = wanted.map(({ key, outcome }) => ({
      key,
      nbytes: outcome.status === 'finished' ? outcome.nbytes : 0,
    }))
    const limit = this.#session.gatherLimitBytes()
    if (sizes.reduce((sum, { nbytes }) => sum + nbytes, 0) > limit) {
      this.#settle.reject(gatherTooLarge(sizes, limit))
      return
    }
    for (const state of wanted) {
      this.#fetching.add(state)
      this.#session.fetchFor(state, this)
    }
    this.#checkComplete()
  }

  #fail(state: FutureState, error: Error): void {
    if (this.#raise) this.#settle.reject(error)
    else this.#results.set(state, { ok: false, error })
  }

  #checkComplete(): void {
    if (this.#results.size === this.#states.size) this.#settle.resolve(this.#results)
  }
}
