import type { PlimsollError } from '../../errors/plimsoll-error.ts'
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
  /** Why there is no place for its result. */
  placeError: PlimsollError | null
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
    placeError: null,
    stopTimer: null,
  }
}

function inputBytesOf(request: RunRequest): number {
  let total = 0
  for (const { source } of request.inputs) total += source.via === 'inline' ? source.bytes.byteLength : source.nbytes
  return total
}
