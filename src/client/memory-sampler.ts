// The memory of a cluster over time: asks the scheduler again and again for what the heartbeats of its workers told, and keeps
// the sums. It runs in the client, beside the program: while that computes without a break, no sample is taken.

import { MEMORY_MEASURES, type MemoryMeasure } from '../base/memory-measure.ts'
import type { Clock } from '../base/clock.ts'
import { RingLog } from '../base/ring-log.ts'
import { isErrorCode, PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import type { MemoryMeasures } from '../protocol/scheduler-client.ts'
import { durationMs } from './wait-limits.ts'

/** One of the five measures, or one that data is spread by. */
export type SampledMeasure = Exclude<keyof MemoryMeasures, 'limit'> | MemoryMeasure

export interface MemorySamplingOptions {
  /** What is sampled, of the whole cluster. Default `process`. */
  readonly measure?: SampledMeasure
  /** Time between two samples, milliseconds or text; at least 10 ms. Default `500ms`, as often as workers tell. */
  readonly interval?: number | string
}

export interface MemorySample {
  /** Milliseconds since 1970; aligned: since the first sample of its series. */
  readonly at: number
  readonly bytes: number
}

/** Samples are taken until it is stopped. */
export interface MemorySampling extends AsyncDisposable {
  /** Takes a last sample. Never rejects; stopping twice does nothing. */
  stop(): Promise<void>
}

const OPTIONS = ['measure', 'interval'] as const satisfies readonly (keyof MemorySamplingOptions)[]
const MEASURES: readonly SampledMeasure[] = [
  ...new Set([...MEMORY_MEASURES, 'unmanaged', 'unmanagedRecent', 'spilled'] as const),
]
const INTERVAL_MS = 500
const SHORTEST_INTERVAL_MS = 10
/** Half a day at the default interval; of a longer series the end is kept. */
const SAMPLES_MAX = 100_000

export interface MemorySamplerParts {
  readonly clock: Clock
  /** Milliseconds since 1970. */
  readonly date: () => number
  /** The measures of the cluster now. */
  readonly ask: () => Promise<MemoryMeasures>
}

/** Series of samples by label; made by `client.memorySampler()`. */
export class MemorySampler {
  readonly #parts: MemorySamplerParts
  readonly #series = new Map<string, RingLog<MemorySample>>()

  constructor(parts: MemorySamplerParts) {
    this.#parts = parts
  }

  /**
   * Samples while `body` runs, and resolves with what that gives. Throws what it throws, or `INVALID_ARGUMENT` when there
   * is a series with this label.
   */
  async sample<T>(label: string, body: () => T, options: MemorySamplingOptions = {}): Promise<Awaited<T>> {
    const sampling = await this.start(label, options)
    try {
      return await body()
    } finally {
      await sampling.stop()
    }
  }

  /** Resolves when the first sample was taken; the next ones follow until it is stopped, or the client closes. */
  async start(label: string, options: MemorySamplingOptions = {}): Promise<MemorySampling> {
    refuseUnknown('A memory sampling', options, OPTIONS)
    const { measure = 'process' } = options
    if (!MEASURES.includes(measure))
      throw invalid(`the measure ${JSON.stringify(measure)} is none of ${MEASURES.join(', ')}`)
    const intervalMs = durationMs(options.interval ?? INTERVAL_MS)
    if (intervalMs < SHORTEST_INTERVAL_MS)
      throw invalid(`an interval of ${intervalMs} ms is too short, the least is ${SHORTEST_INTERVAL_MS} ms`)
    if (typeof label !== 'string' || label === '') throw invalid('a series needs a label')
    if (this.#series.has(label)) throw invalid(`there is a series ${JSON.stringify(label)} already`)
    const samples = new RingLog<MemorySample>(SAMPLES_MAX)
    this.#series.set(label, samples)
    const sampling = new Sampling(this.#parts, samples, measure, intervalMs)
    try {
      await sampling.begin()
    } catch (error) {
      this.#series.delete(label)
      throw error
    }
    return sampling
  }

  /** All samples by label. `align`: times count from the first sample of each series, so that runs can be laid on one another. */
  series(options: { readonly align?: boolean } = {}): Record<string, MemorySample[]> {
    const all = [...this.#series].map(([label, log]): [string, MemorySample[]] => {
      const samples = [...log]
      const from = options.align === true ? (samples[0]?.at ?? 0) : 0
      return [label, samples.map(({ at, bytes }) => ({ at: at - from, bytes }))]
    })
    return Object.fromEntries(all)
  }
}

class Sampling implements MemorySampling {
  readonly #parts: MemorySamplerParts
  readonly #samples: RingLog<MemorySample>
  readonly #measure: SampledMeasure
  readonly #intervalMs: number
  #cancelTimer = (): void => {}
  #taking: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(parts: MemorySamplerParts, samples: RingLog<MemorySample>, measure: SampledMeasure, intervalMs: number) {
    this.#parts = parts
    this.#samples = samples
    this.#measure = measure
    this.#intervalMs = intervalMs
  }

  async begin(): Promise<void> {
    await this.#take()
    this.#next()
  }

  async stop(): Promise<void> {
    if (this.#stopped) return await this.#taking
    this.#stopped = true
    this.#cancelTimer()
    this.#taking = this.#taking.then(() => this.#take()).catch(() => {})
    await this.#taking
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #next(): void {
    if (this.#stopped) return
    this.#cancelTimer = this.#parts.clock.after(this.#intervalMs, () => {
      this.#taking = this.#take().then(
        () => this.#next(),
        // The scheduler may be back in a moment; a closed client will not.
        (error: unknown) => {
          if (!isErrorCode(error, 'CLIENT_CLOSED')) this.#next()
        },
      )
    })
  }

  async #take(): Promise<void> {
    const bytes = bytesOf(await this.#parts.ask(), this.#measure)
    this.#samples.push({ at: this.#parts.date(), bytes })
  }
}

function bytesOf(measures: MemoryMeasures, measure: SampledMeasure): number {
  switch (measure) {
    case 'optimistic':
      return measures.managed + measures.unmanaged
    case 'managedInMemory':
      return measures.managed
    case 'managedTotal':
      return measures.managed + measures.spilled
    default:
      return measures[measure]
  }
}

function invalid(message: string): PlimsollError {
  return new PlimsollError('INVALID_ARGUMENT', message)
}
