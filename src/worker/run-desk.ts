// Runs between the core, the executors and the store: pins the inputs of each run while an executor may read them, keeps
// its result until the core says what becomes of it, and grants places.
//
// D1. A run's pins are taken before its request goes to the pool, and released at its end; an input that stays mapped after
//     that is released when the pool says that the mapping is gone.
// D2. A result is either stored or given back, exactly once.
// D3. The store is told how many bytes of results are going to come, so that it can make room while they are computed.

import type { Clock } from '../base/clock.ts'
import type { RunId, TaskKey } from '../base/ids.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { Pin, Place, Store, StoredValue } from '../store/store.ts'
import { encodeError } from '../values/error.ts'
import type { RunOrder } from './core/effects.ts'
import type { EventBody } from './core-driver.ts'
import type {
  ExecutorInput,
  ExecutorPool,
  ExecutorPoolEvents,
  FinishedRun,
  PlaceAnswer,
  PlaceRequest,
} from './executor/index.ts'

export interface RunDeskParts {
  readonly store: Store
  pool(): ExecutorPool
  readonly clock: Clock
  /** Cluster and generation that values belong to now. */
  identity(): { readonly clusterId: string; readonly generation: number }
  dispatch(event: EventBody): void
}

type PoolEvent<Name extends 'onErred' | 'onReturned' | 'onInputBad' | 'onCancelled' | 'onUnmapped'> = Parameters<
  ExecutorPoolEvents[Name]
>[0]

interface OpenRun {
  readonly key: TaskKey
  readonly name: string
  readonly pins: readonly Pin[]
  /** Size of its result, until a place was asked for. */
  expectedBytes: number
  /** How it ended, until the core says what becomes of its result. */
  finished: FinishedRun | null
}

const NO_PINS: readonly Pin[] = []
const NO_INPUTS: readonly ExecutorInput[] = []

export class RunDesk {
  readonly #parts: RunDeskParts
  readonly #open = new Map<RunId, OpenRun>()
  readonly #mapped = new Map<RunId, Map<TaskKey, Pin>>()
  #expectedBytes = 0

  constructor(parts: RunDeskParts) {
    this.#parts = parts
  }

  start(order: RunOrder): void {
    const { runId, key, inputs, name, fn, fnBytes, args, options, attempt, memory } = order
    const pins = inputs.length === 0 ? NO_PINS : this.#pinAll(runId, inputs)
    if (pins === null) return
    this.#open.set(runId, { key, name, pins, expectedBytes: memory.resultBytes, finished: null })
    this.#expect(memory.resultBytes)
    const { clusterId, generation } = this.#parts.identity()
    const sources = pins.length === 0 ? NO_INPUTS : pins.map((pin) => ({ key: pin.key, source: pin.source }))
    this.#parts
      .pool()
      .run({ runId, key, name, fn, fnBytes, args, inputs: sources, options, attempt, memory, clusterId, generation })
  }

  /** Null when one is not there: the core hears of it. */
  #pinAll(runId: RunId, inputs: readonly TaskKey[]): Pin[] | null {
    const pins: Pin[] = []
    for (const key of inputs) {
      const pin = this.#parts.store.pin(key)
      if (pin !== undefined) {
        pins.push(pin)
        continue
      }
      for (const taken of pins) taken.release()
      // No run id of a value: whatever the core thinks it holds is not there.
      this.#parts.dispatch({ kind: 'InputBad', runId, key, valueRunId: null, reason: 'it is not in the store' })
      return null
    }
    return pins
  }

  /** The events of the pool that concern runs. */
  readonly poolEvents = {
    onFinished: (run: FinishedRun): void => this.#onFinished(run),
    onErred: (run: PoolEvent<'onErred'>): void => {
      this.#end(run.runId, run.stillMapped)
      const { runId, kind, error, durationMs, peakBytes } = run
      const erred = { kind: 'RunErred', runId, failure: kind, error, durationMs } as const
      this.#parts.dispatch(peakBytes === undefined ? erred : { ...erred, peakBytes })
    },
    onReturned: ({ runId, reason }: PoolEvent<'onReturned'>): void => {
      this.#end(runId, [])
      this.#parts.dispatch({ kind: 'RunReturned', runId, reason })
    },
    onInputBad: ({ runId, key, reason, stillMapped }: PoolEvent<'onInputBad'>): void => {
      const open = this.#end(runId, stillMapped)
      const valueRunId = open?.pins.find((pin) => pin.key === key)?.runId ?? null
      this.#parts.dispatch({ kind: 'InputBad', runId, key, valueRunId, reason })
    },
    onCancelled: ({ runId, stillMapped }: PoolEvent<'onCancelled'>): void => {
      this.#end(runId, stillMapped)
      this.#parts.dispatch({ kind: 'RunCancelled', runId })
    },
    onUnmapped: ({ runId, key }: PoolEvent<'onUnmapped'>): void => {
      const pins = this.#mapped.get(runId)
      pins?.get(key)?.unmapped()
      pins?.delete(key)
      if (pins?.size === 0) this.#mapped.delete(runId)
    },
    onPlaceRequest: (run: PlaceRequest, answer: (reply: PlaceAnswer) => void): void => {
      void this.#grantPlace(run, answer)
    },
    onPlaceUnused: (place: Place): void => this.#parts.store.cancelPlace(place),
  }

  /** Back from the executors, as far as they have not been started. */
  withdraw(runIds: readonly RunId[]): void {
    const kept = this.#parts.pool().withdraw(runIds)
    if (kept.length > 0) this.#parts.dispatch({ kind: 'RunsKept', runIds: kept })
  }

  /** The core wants it: into the store with it. */
  storeResult(runId: RunId): void {
    const open = this.#takeFinished(runId)
    if (open === null) return
    const { key } = open
    const { result, type } = open.finished
    const { store } = this.#parts
    if (result.via === 'place') {
      const accepting = store.accept(result.place, { key, runId, type })
      accepting.then(
        (value) => this.#stored(value, runId),
        (error: unknown) => this.#refused(runId, error),
      )
      return
    }
    try {
      this.#stored(store.putInlineNow({ key, runId, type }, result.blob), runId)
    } catch (error) {
      this.#refused(runId, error)
    }
  }

  dropResult(runId: RunId): void {
    const result = this.#takeFinished(runId)?.finished.result
    if (result?.via === 'place') this.#parts.store.cancelPlace(result.place)
  }

  #takeFinished(runId: RunId): (OpenRun & { readonly finished: FinishedRun }) | null {
    const open = this.#open.get(runId)
    if (open === undefined || open.finished === null) return null
    this.#open.delete(runId)
    return open as OpenRun & { readonly finished: FinishedRun }
  }

  /** Everything that is still pinned is let go: the executors are gone. */
  close(): void {
    for (const [runId, { pins, finished }] of this.#open) {
      if (finished !== null) this.dropResult(runId)
      else for (const pin of pins) pin.release()
    }
    for (const pins of this.#mapped.values()) for (const pin of pins.values()) pin.unmapped()
    this.#open.clear()
    this.#mapped.clear()
  }

  #onFinished(run: FinishedRun): void {
    const { runId, durationMs, stillMapped, peakBytes } = run
    const open = this.#running(runId)
    if (open === undefined) {
      if (run.result.via === 'place') this.#parts.store.cancelPlace(run.result.place)
      return
    }
    this.#letGo(runId, open, stillMapped)
    open.finished = run
    const depth = this.#parts.pool().depthFor(open.name)
    const now = this.#parts.clock.now()
    if (peakBytes === undefined) this.#parts.dispatch({ kind: 'RunFinished', now, runId, durationMs, depth })
    else this.#parts.dispatch({ kind: 'RunFinished', now, runId, durationMs, depth, peakBytes })
  }

  /** Undefined when it has ended. */
  #running(runId: RunId): OpenRun | undefined {
    const open = this.#open.get(runId)
    return open?.finished === null ? open : undefined
  }

  /** It ended without a result. */
  #end(runId: RunId, stillMapped: readonly TaskKey[]): OpenRun | undefined {
    const open = this.#running(runId)
    if (open === undefined) return undefined
    this.#open.delete(runId)
    this.#letGo(runId, open, stillMapped)
    return open
  }

  /** D1. */
  #letGo(runId: RunId, open: OpenRun, stillMapped: readonly TaskKey[]): void {
    this.#stopExpecting(open)
    for (const pin of open.pins) {
      const mapped = stillMapped.includes(pin.key)
      pin.release(mapped)
      if (mapped) this.#keepMapped(runId, pin)
    }
  }

  /** D3. */
  #expect(nbytes: number): void {
    if (nbytes === 0) return
    this.#expectedBytes += nbytes
    this.#parts.store.expect(this.#expectedBytes)
  }

  #stopExpecting(open: OpenRun): void {
    const { expectedBytes } = open
    open.expectedBytes = 0
    this.#expect(-expectedBytes)
  }

  #keepMapped(runId: RunId, pin: Pin): void {
    let pins = this.#mapped.get(runId)
    if (pins === undefined) {
      pins = new Map()
      this.#mapped.set(runId, pins)
    }
    pins.set(pin.key, pin)
  }

  #stored(value: StoredValue, runId: RunId): void {
    const { nbytes, type, durable, tier } = value
    const onDisk = tier === 'disk'
    const now = this.#parts.clock.now()
    this.#parts.dispatch({ kind: 'ValueStored', now, runId, nbytes, type, durable, onDisk })
  }

  #refused(runId: RunId, thrown: unknown): void {
    this.#parts.dispatch({ kind: 'ValueRefused', runId, error: encodeError(thrown) })
  }

  async #grantPlace(run: PlaceRequest, answer: (reply: PlaceAnswer) => void): Promise<void> {
    const { store } = this.#parts
    const open = this.#running(run.runId)
    if (open !== undefined) this.#stopExpecting(open)
    if (run.failed !== undefined) store.cancelPlace(run.failed.place)
    try {
      const avoid = run.failed === undefined ? {} : { avoid: run.failed.place.tier }
      const place = await store.requestPlace(run.nbytes, avoid)
      // The run may have ended while it waited.
      if (this.#running(run.runId) !== undefined) answer({ place })
      else store.cancelPlace(place)
    } catch (thrown) {
      const error =
        thrown instanceof PlimsollError
          ? thrown
          : new PlimsollError('STORE_FULL', toError(thrown).message, {}, { cause: thrown })
      answer({ error })
    }
  }
}
