import { PlimsollError } from '../../errors/plimsoll-error.ts'
import type { ResultPlace, RunRequest } from './executor-pool.ts'
import type { ExecutorProcess } from './executor-process.ts'

/** A run that the pool has and has not told the end of. */
export interface PoolRun {
  readonly request: RunRequest
  readonly inputBytes: number
  /** Null while it waits in the pool. */
  executor: ExecutorProcess | null
  /** Its number among the runs handed to that executor. */
  sequence: number
  cancelled: boolean
  /** Its time is up (io: it was asked to stop). */
  timedOut: boolean
  /** Where its result is being written. */
  place: ResultPlace | null
  /** Places that could not be written. */
  failedPlaces: number
  /** Why there is no place for its result. */
  placeError: PlimsollError | null
  /** Highest growth of its executor that was seen while it ran, bytes. */
  peakBytes: number
  /** Stops the timer of its timeout or of its cancellation. */
  stopTimer: (() => void) | null
}

export function newPoolRun(request: RunRequest): PoolRun {
  return {
    request,
    inputBytes: inputBytesOf(request),
    executor: null,
    sequence: 0,
    cancelled: false,
    timedOut: false,
    place: null,
    failedPlaces: 0,
    placeError: null,
    peakBytes: 0,
    stopTimer: null,
  }
}

/** A store that keeps on giving places that cannot be written is asked no more. */
const MAX_FAILED_PLACES = 4

/** Counts a place that could not be written; the error when it was the last one to try. */
export function placeFailed(run: PoolRun, code: string): PlimsollError | null {
  if (++run.failedPlaces < MAX_FAILED_PLACES) return null
  const { key, name } = run.request
  const message = `The result of task ${key} (${name}) could not be written: ${run.failedPlaces} places failed, the last one with ${code}.`
  return new PlimsollError('STORE_FULL', message, { key, function: name, code })
}

/** What a place takes of RAM from its grant on; the result that goes there is still in the executor as well. */
export function placedInRam(place: ResultPlace | null): number {
  return place?.tier === 'memory' ? place.nbytes : 0
}

function inputBytesOf(request: RunRequest): number {
  let total = 0
  for (const { source } of request.inputs) total += sourceBytes(source)
  return total
}

export function sourceBytes(source: RunRequest['inputs'][number]['source']): number {
  return source.via === 'inline' ? source.bytes.byteLength : source.nbytes
}
