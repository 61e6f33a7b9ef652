import { inspect } from 'node:util'
import { formatBytes } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { flagOption, shown } from './checked-options.ts'
import type { FutureState, FutureStatus } from './future-state.ts'
import type { KeepAlive } from './keep-alive.ts'
import { WAIT_OPTIONS, type WaitOptions } from './wait-limits.ts'

/** What a Future asks of its client; `client-session.ts` has it. */
export interface FutureOwner {
  readonly keepAlive: KeepAlive
  retain(state: FutureState): void
  release(state: FutureState): void
  /** Waits for the value and fetches it. */
  fetch(state: FutureState, wait: WaitOptions): Promise<unknown>
  /** Waits for any outcome. */
  settled(state: FutureState, wait: WaitOptions): Promise<void>
  cancel(states: readonly FutureState[], force: boolean): void
  retry(states: readonly FutureState[]): Promise<void>
  fireAndForget(states: readonly FutureState[]): void
  report(error: unknown, what: string): void
}

/** One future's claim on its state. Also what the finalizer gets, so it must not lead back to the Future. */
class Claim {
  readonly owner: FutureOwner
  readonly state: FutureState
  live = true

  constructor(owner: FutureOwner, state: FutureState) {
    this.owner = owner
    this.state = state
    owner.retain(state)
  }

  drop(): void {
    if (!this.live) return
    this.live = false
    this.owner.release(this.state)
  }
}

/** `inspect.custom`, by its name: the types of this module need nothing of Node's. */
const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom')

// Not unregistered at `release()`: a token would double the cost of every future, and `drop` is idempotent.
const collected = new FinalizationRegistry<Claim>((claim) => claim.drop())

/** What stands behind a live future; throws for a released one. Not part of the public names. */
export let claimOf: (future: Future<unknown>) => { readonly owner: FutureOwner; readonly state: FutureState }

/**
 * A typed proxy of a value on the cluster. The value stays there for as long as a Future of it is held; release it with
 * `release()`, by `using`, or by dropping the last reference. Not thenable, since awaiting one by accident would fetch
 * its value: write `await future.result()`.
 */
export class Future<out T = unknown> {
  readonly #claim: Claim

  static {
    claimOf = (future) => future.#held()
  }

  /** Futures are made by clients. */
  constructor(owner: FutureOwner, state: FutureState) {
    this.#claim = new Claim(owner, state)
    collected.register(this, this.#claim)
  }

  get key(): string {
    return this.#claim.state.key
  }

  /** `lost`: the value cannot be computed again, and no copy of it is left. */
  get status(): FutureStatus {
    const { live, state } = this.#claim
    return live || state.settled ? state.outcome.status : 'cancelled'
  }

  /** Type name of the value, once it is there. */
  get type(): string | undefined {
    const { outcome } = this.#claim.state
    return outcome.status === 'finished' ? outcome.type : undefined
  }

  /** Size of the stored value in bytes, once it is there. */
  get nbytes(): number | undefined {
    const { outcome } = this.#claim.state
    return outcome.status === 'finished' ? outcome.nbytes : undefined
  }

  /**
   * Waits for the value and fetches it. Throws what the task threw; `TASK_CANCELLED`, `DATA_LOST`; `TIMEOUT`, which
   * cancels nothing; `GATHER_TOO_LARGE`.
   */
  async result(options: WaitOptions = {}): Promise<T> {
    refuseUnknown('result', options, WAIT_OPTIONS)
    const { owner, state } = this.#held()
    return (await owner.fetch(state, options)) as T
  }

  /** Waits, and gives the error of a task that failed, or undefined. A cancelled future throws. */
  async exception(options: WaitOptions = {}): Promise<Error | undefined> {
    refuseUnknown('exception', options, WAIT_OPTIONS)
    const { owner, state } = this.#held()
    await owner.settled(state, options)
    const { outcome } = state
    if (outcome.status === 'error') return outcome.error
    if (outcome.status === 'cancelled' || outcome.status === 'lost') throw outcome.error
    return undefined
  }

  /** True when there is nothing to wait for any more, whatever the outcome. */
  done(): boolean {
    return this.status !== 'pending'
  }

  cancelled(): boolean {
    return this.status === 'cancelled'
  }

  /** Gives the task up; what depends on it is cancelled too. With `force` also when other clients want it. */
  cancel(options: { readonly force?: boolean } = {}): void {
    refuseUnknown('cancel', options, ['force'])
    const { owner, state } = this.#held()
    owner.cancel([state], flagOption('force', options.force) ?? false)
  }

  /** Runs a failed task again, from the deepest input that failed. */
  async retry(): Promise<void> {
    const { owner, state } = this.#held()
    await owner.retry([state])
  }

  /** Gives up this claim on the value; the last one to go frees it. May be called again. */
  release(): void {
    this.#claim.drop()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  /** Calls back once, in a later turn, when the task is done, failed or cancelled. What it throws is logged. */
  addDoneCallback(callback: (future: Future<T>) => void): void {
    if (typeof callback !== 'function')
      throw new PlimsollError('INVALID_ARGUMENT', `A done callback is a function, not ${shown(callback)}.`)
    const { owner, state } = this.#held()
    state.whenSettled(() => {
      setImmediate(() => {
        try {
          callback(this)
        } catch (error) {
          owner.report(error, `a done callback of "${state.key}" threw`)
        }
      })
    })
  }

  toJSON(): { key: string; status: FutureStatus; type?: string; nbytes?: number } {
    const { type, nbytes } = this
    return {
      key: this.key,
      status: this.status,
      ...(type !== undefined && { type }),
      ...(nbytes !== undefined && { nbytes }),
    }
  }

  get [Symbol.toStringTag](): string {
    return 'Future'
  }

  [INSPECT](_depth: number, options: object): string {
    const details = this.nbytes === undefined ? '' : ` ${this.type} ${formatBytes(this.nbytes)}`
    return `Future { ${this.status}${details} ${inspect(this.key, options)} }`
  }

  #held(): Claim {
    if (this.#claim.live) return this.#claim
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `The future "${this.#claim.state.key}" was released and can no longer be used.`,
      {
        key: this.#claim.state.key,
      },
    )
  }
}
