// Where data and workers are: what a client may ask for beyond computing. The scheduler decides and carries out; every
// one of these questions ends by itself when nothing moves any more.

import { MEMORY_MEASURES, type MemoryMeasure } from '../base/memory-measure.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import type { SchedulerRequests } from '../protocol/scheduler-client.ts'
import { choiceOption, flagOption, textsOption, wholeNumberOption } from './checked-options.ts'
import type { ClientSession } from './client-session.ts'
import { futuresIn, keysIn, type Futures } from './futures-in.ts'
import { wait } from './wait.ts'
import { durationMs } from './wait-limits.ts'

export interface ReplicateOptions {
  /** How many workers are to hold each value; default, and at most: all of them. Copies that are too many are removed. */
  readonly n?: number
  /** Names, hosts or addresses of the workers that come into question. */
  readonly workers?: string | readonly string[]
  /** How many copies at a time one worker that has the value may be asked for; default 2. */
  readonly branchingFactor?: number
  /** Default: none; it ends by itself when there is no room and nothing moves. */
  readonly timeout?: number | string
}

export interface Replicated {
  /** Copies that were made, or are kept from now on. */
  readonly copies: number
  /** Values for which no worker had room: how many copies they have and should have. */
  readonly incomplete: readonly { readonly key: string; readonly copies: number; readonly wanted: number }[]
}

export interface RebalanceOptions {
  /** Names, hosts or addresses of the workers among which values move; default: all. */
  readonly workers?: string | readonly string[]
  /** What of their memory is compared; default: `worker.memory.rebalance.measure`. */
  readonly measure?: MemoryMeasure
  /** Default: none. */
  readonly timeout?: number | string
}

export interface Rebalanced {
  readonly moved: number
  /** Bytes. */
  readonly movedBytes: number
  /** Keys of values that were to move and stay where they were. */
  readonly notMoved: readonly string[]
}

export interface RetireOptions {
  /** Names, hosts, addresses or ids. Without them the scheduler chooses. */
  readonly workers?: string | readonly string[]
  /** How many: idle ones first, those that hold least first. Without it as many as the cluster can do without. */
  readonly n?: number
  /** Whether they end afterwards (default); otherwise they stay, without work. */
  readonly closeWorkers?: boolean
  /** Default: none. Workers that are not empty by then go back to work. */
  readonly timeout?: number | string
}

export type RestartOutcome = 'ok' | 'removed' | 'timed-out'

export async function replicate(
  session: ClientSession,
  futures: Futures,
  options: ReplicateOptions,
): Promise<Replicated> {
  refuseUnknown('replicate', options, ['n', 'workers', 'branchingFactor', 'timeout'])
  const n = wholeNumberOption('n', options.n)
  const branchingFactor = wholeNumberOption('branchingFactor', options.branchingFactor) ?? 2
  const question = { ...(n !== undefined && { n }), ...workersOf(options), branchingFactor }
  const patience = timeoutOf(options)
  const keys = await keysOfFinished(session, futures)
  return await session.askInTurn('replicate', { keys, ...question }, patience)
}

export async function rebalance(
  session: ClientSession,
  futures: Futures | undefined,
  options: RebalanceOptions,
): Promise<Rebalanced> {
  refuseUnknown('rebalance', options, ['workers', 'measure', 'timeout'])
  const measure = choiceOption('measure', options.measure, MEMORY_MEASURES)
  const workers = workersOf(options)
  const patience = timeoutOf(options)
  const keys = futures === undefined ? undefined : await keysOfFinished(session, futures)
  const question = {
    ...(keys !== undefined && { keys }),
    ...workers,
    ...(measure !== undefined && { measure }),
  }
  return await session.askInTurn('rebalance', question, patience)
}

export async function retireWorkers(session: ClientSession, options: RetireOptions): Promise<string[]> {
  refuseUnknown('retireWorkers', options, ['workers', 'n', 'closeWorkers', 'timeout'])
  const closeWorkers = flagOption('closeWorkers', options.closeWorkers) ?? true
  if (options.workers !== undefined && options.n !== undefined)
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      'retireWorkers takes the workers, or their number "n" and chooses itself: not both.',
    )
  const n = wholeNumberOption('n', options.n, 0)
  const question = { ...workersOf(options), ...(n !== undefined && { n }), closeWorkers }
  const { retired } = await session.askInTurn('retire-workers', question, timeoutOf(options))
  return [...retired]
}

export async function restartWorkers(
  session: ClientSession,
  workers: string | readonly string[],
  options: { readonly timeout?: number | string },
): Promise<Record<string, RestartOutcome>> {
  refuseUnknown('restartWorkers', options, ['timeout'])
  const timeoutMs = options.timeout === undefined ? 4 * session.settings.timeoutMs : durationMs(options.timeout)
  const question = { workers: requiredWorkers(workers), timeoutMs }
  const patience = { timeoutMs: timeoutMs + session.settings.timeoutMs }
  const { outcomes } = await session.askInTurn('restart-workers', question, patience)
  return { ...outcomes }
}

/** The active memory manager of the scheduler: moves and drops copies by its policies, now and then. */
export class MemoryManager {
  readonly #session: ClientSession

  /** `client.amm`. */
  constructor(session: ClientSession) {
    this.#session = session
  }

  /** Has it run every `scheduler.active-memory-manager.interval`. */
  async start(): Promise<void> {
    await this.#ask('start')
  }

  /** What it has ordered goes on. */
  async stop(): Promise<void> {
    await this.#ask('stop')
  }

  /** One pass now, whether it runs by itself or not. Resolves with what was ordered, before it is done. */
  async runOnce(): Promise<{ readonly copies: number; readonly removals: number }> {
    const { copies, removals } = await this.#ask('run-once')
    return { copies, removals }
  }

  /** Whether it runs by itself. */
  async running(): Promise<boolean> {
    return (await this.#ask('ask')).running
  }

  #ask(action: SchedulerRequests['memory-manager'][0]['action']): Promise<SchedulerRequests['memory-manager'][1]> {
    return this.#session.askInTurn('memory-manager', { action })
  }
}

/** Waits for them; throws the error of the first one that failed or was given up. */
async function keysOfFinished(session: ClientSession, futures: Futures) {
  const all = futuresIn(futures)
  await session.keepAlive.during(wait(all))
  for (const future of all) {
    const error = await future.exception()
    if (error !== undefined) throw error
  }
  return keysIn(all)
}

function workersOf(options: { readonly workers?: string | readonly string[] }): {
  readonly workers?: readonly string[]
} {
  const workers = textsOption('workers', options.workers)
  return workers === undefined ? {} : { workers }
}

function requiredWorkers(workers: string | readonly string[]): readonly string[] {
  const texts = textsOption('workers', workers)
  if (texts !== undefined) return texts
  throw new PlimsollError('INVALID_ARGUMENT', 'restartWorkers takes the names, hosts or addresses of workers.')
}

function timeoutOf({ timeout }: { readonly timeout?: number | string }): { readonly timeoutMs: number } {
  return { timeoutMs: timeout === undefined ? Infinity : durationMs(timeout) }
}
