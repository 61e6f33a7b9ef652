import { refuseUnknown } from '../errors/unknown-option.ts'
import { flagOption } from './checked-options.ts'
import { claimOf, type Future } from './future.ts'
import type { FutureState } from './future-state.ts'
import { futuresIn } from './futures-in.ts'

export interface AsCompletedOptions {
  /** Yields `[future, value]`; the iteration throws the error of a task that failed. */
  readonly withResults?: boolean
}

/** How many values are fetched ahead of the loop that takes them, and of how many bytes: large ones come one at a time. */
const AHEAD_MAX = 8
const AHEAD_BYTES_MAX = 8 * 2 ** 20

interface Ready<T> {
  readonly future: Future<T>
  value: Promise<T> | null
}

/** Futures in the order in which they are done; ends when all that were added have been yielded. */
export class AsCompleted<T, Item> implements AsyncIterableIterator<Item> {
  readonly #waiting = new Map<FutureState, Future<T>[]>()
  readonly #ready: Ready<T>[] = []
  readonly #toItem: (ready: Ready<T>) => Item | Promise<Item>
  readonly #fetchAhead: boolean
  #takers: (() => void)[] = []

  constructor(futures: Iterable<Future<T>>, fetchAhead: boolean, toItem: (ready: Ready<T>) => Item | Promise<Item>) {
    this.#toItem = toItem
    this.#fetchAhead = fetchAhead
    this.#add(futuresIn(futures) as Future<T>[])
  }

  /** Adds futures, also while the loop runs. One added twice is yielded twice. */
  add(...futures: readonly Future<T>[]): void {
    this.#add(futuresIn(futures) as Future<T>[])
  }

  #add(futures: readonly Future<T>[]): void {
    for (const future of futures) {
      const { state } = claimOf(future)
      const waiting = this.#waiting.get(state)
      if (waiting !== undefined) waiting.push(future)
      else {
        this.#waiting.set(state, [future])
        state.whenSettled(this.#onSettled)
      }
    }
  }

  /** How many have not been yielded yet. */
  get size(): number {
    let count = this.#ready.length
    for (const futures of this.#waiting.values()) count += futures.length
    return count
  }

  async next(): Promise<IteratorResult<Item, undefined>> {
    for (;;) {
      const ready = this.#ready.shift()
      if (ready !== undefined) {
        this.#prefetch()
        return { done: false, value: await this.#toItem(ready) }
      }
      const [waiting] = this.#waiting.values()
      if (waiting === undefined) return { done: true, value: undefined }
      const { owner } = claimOf(waiting[0] as Future<T>)
      await owner.keepAlive.during(new Promise<void>((resolve) => this.#takers.push(resolve)))
    }
  }

  /** Leaving the loop early lets go of what was still waited for. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    for (const state of this.#waiting.keys()) state.unlisten(this.#onSettled)
    this.#waiting.clear()
    this.#ready.length = 0
    this.#wake()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  readonly #onSettled = (state: FutureState): void => {
    for (const future of this.#waiting.get(state) ?? []) this.#ready.push({ future, value: null })
    this.#waiting.delete(state)
    this.#wake()
  }

  #wake(): void {
    const takers = this.#takers
    this.#takers = []
    for (const take of takers) take()
  }

  #prefetch(): void {
    if (!this.#fetchAhead) return
    let bytes = 0
    for (const ready of this.#ready.slice(0, AHEAD_MAX)) {
      bytes += ready.future.nbytes ?? 0
      if (bytes > AHEAD_BYTES_MAX) return
      void startFetch(ready)
    }
  }
}

function startFetch<T>(ready: Ready<T>): Promise<T> {
  if (ready.value === null) {
    ready.value = ready.future.result()
    // It is thrown when its turn has come, which may be never.
    ready.value.catch(() => {})
  }
  return ready.value
}

/**
 * Iterates over futures as they complete, whatever their outcome (cancelled ones too); with `withResults` over pairs of
 * future and value. `add()` takes more while the loop runs.
 */
export function asCompleted<T>(
  futures: Iterable<Future<T>>,
  options: { readonly withResults: true },
): AsCompleted<T, [Future<T>, T]>
export function asCompleted<T>(futures: Iterable<Future<T>>, options?: AsCompletedOptions): AsCompleted<T, Future<T>>
export function asCompleted<T>(
  futures: Iterable<Future<T>>,
  options: AsCompletedOptions = {},
): AsCompleted<T, Future<T>> | AsCompleted<T, [Future<T>, T]> {
  refuseUnknown('asCompleted', options, ['withResults'])
  if (flagOption('withResults', options.withResults) !== true)
    return new AsCompleted(futures, false, ({ future }) => future)
  return new AsCompleted(futures, true, async (ready): Promise<[Future<T>, T]> => [
    ready.future,
    await startFetch(ready),
  ])
}
