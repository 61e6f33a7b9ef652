// More and fewer workers: `scale`, and `adapt`, which scales by itself. One change at a time; workers that go are emptied
// first, and stay when nobody can take what only they hold.

import { type Clock, systemClock } from '../base/clock.ts'
import { partLogger } from '../base/part-logger.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { AdaptiveDecision, type AdaptiveOptions } from './adaptive.ts'
import type { SchedulerQuestions } from './scheduler-questions.ts'

/** Emptying a worker means that what it runs ends, and copying what only it holds. The scheduler ends what does not progress. */
const RETIRE_MS = 15 * 60_000

/** The workers of a cluster, oldest first; without those that are about to end whatever happens. */
export interface ScalableWorkers {
  readonly ids: readonly string[]
  /** The id, or the name by which the scheduler knows the worker, for messages. */
  nameOf(id: string): string
  add(count: number): Promise<void>
  /** Ends these, whatever they hold. */
  end(ids: readonly string[], reason: string): Promise<void>
}

const log = partLogger('cluster')

export class Scaling {
  readonly #workers: ScalableWorkers
  readonly #scheduler: SchedulerQuestions
  readonly #clock: Clock
  #last: Promise<void> = Promise.resolve()
  #adapting: AbortController | null = null

  constructor(workers: ScalableWorkers, scheduler: SchedulerQuestions, clock: Clock = systemClock) {
    this.#clock = clock
    this.#workers = workers
    this.#scheduler = scheduler
  }

  /** Ends adapting. @throws PlimsollError STORE_FULL when workers stay because nobody can take what they hold. */
  scale(n: number): Promise<void> {
    this.stop()
    return this.#inTurn(() => this.#scaleTo(n))
  }

  adapt(options: AdaptiveOptions): void {
    this.stop()
    const stopping = new AbortController()
    this.#adapting = stopping
    void this.#keepAdapting(options, stopping.signal)
  }

  stop(): void {
    this.#adapting?.abort()
    this.#adapting = null
  }

  /** No more changes; the one in hand goes on. */
  close(): void {
    this.stop()
    void this.#scheduler.close()
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const changed = this.#last.then(change)
    this.#last = changed.catch(() => {})
    return changed
  }

  async #scaleTo(n: number): Promise<void> {
    const { ids } = this.#workers
    if (n >= ids.length) return await this.#workers.add(n - ids.length)
    // Without a worker that stays there is nowhere to copy to.
    if (n === 0) return await this.#workers.end(ids, 'the cluster was scaled down')
    await this.#letGo(ids.slice(n))
  }

  async #letGo(ids: readonly string[]): Promise<void> {
    const known = (await this.#scheduler.ask('identity', {})).workers
    // The scheduler knows nothing of these: they have nothing to lose.
    const unknown = ids.filter((id) => !Object.values(known).some((worker) => worker.id === id))
    const workers = ids.filter((id) => !unknown.includes(id))
    const { retired } = await this.#scheduler.ask('retire-workers', { workers, closeWorkers: true }, RETIRE_MS)
    const gone = new Set(Object.values(known).flatMap(({ id, address }) => (retired.includes(address) ? [id] : [])))
    const ending = ids.filter((id) => gone.has(id as never) || unknown.includes(id))
    await this.#workers.end(ending, 'the cluster was scaled down')
    const staying = ids.filter((id) => !ending.includes(id)).map((id) => this.#workers.nameOf(id))
    if (staying.length === 0) return
    const message = `${staying.length} workers stay, since no other can take what only they hold, or they are just being started again: ${staying.join(', ')}. Release futures, give workers a larger memory limit, or scale again.`
    throw new PlimsollError('STORE_FULL', message, { workers: staying })
  }

  async #keepAdapting(options: AdaptiveOptions, signal: AbortSignal): Promise<void> {
    const decision = new AdaptiveDecision(options.waitCount)
    while (!signal.aborted) {
      try {
        await this.#inTurn(() => (signal.aborted ? Promise.resolve() : this.#adaptOnce(options, decision)))
      } catch (error) {
        if (!signal.aborted) log.warn('adapting the cluster failed: {reason}', { reason: toError(error).message })
      }
      await this.#pause(options.intervalMs, signal)
    }
  }

  async #adaptOnce({ targetDurationMs, minimum, maximum }: AdaptiveOptions, decision: AdaptiveDecision): Promise<void> {
    const { ids } = this.#workers
    const question = { targetDurationMs, minimum, maximum }
    const next = decision.next(ids, await this.#scheduler.ask('adaptive-target', question))
    if (next.kind === 'up') {
      log.info('from {from} to {to} workers', { from: ids.length, to: next.n })
      await this.#workers.add(next.n - ids.length)
    } else if (next.kind === 'down') {
      log.info('from {from} to {to} workers', { from: ids.length, to: ids.length - next.workers.length })
      if (next.workers.length === ids.length) await this.#workers.end(ids, 'the cluster is not needed')
      else await this.#letGo(next.workers)
    }
  }

  /** Ends early when adapting does. */
  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        cancel()
        signal.removeEventListener('abort', end)
        resolve()
      }
      const cancel = this.#clock.after(ms, end)
      signal.addEventListener('abort', end)
    })
  }
}
