import { TIMER_MS_MAX } from '../base/clock.ts'
import { parseDurationMs } from '../base/units.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { signalOption } from './checked-options.ts'

export interface WaitOptions {
  /** Milliseconds, or a text such as `"30s"`. Running out cancels nothing: the wait throws `TIMEOUT`. */
  readonly timeout?: number | string | undefined
  /** Aborting ends the wait, not the task: the wait throws the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Names in `WaitOptions`. */
export const WAIT_OPTIONS = ['timeout', 'signal'] as const satisfies readonly (keyof WaitOptions)[]

export interface Settle<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

/**
 * A promise that ends by itself, by its timeout or by its signal, whatever comes first. `start` is called at once and
 * returns what to undo when nobody waits any more.
 */
export function waitWithin<T>(
  options: WaitOptions,
  what: () => string,
  start: (settle: Settle<T>) => () => void,
): Promise<T> {
  const { timeout } = options
  const signal = signalOption('signal', options.signal)
  if (signal?.aborted === true) return Promise.reject(toError(signal.reason))
  const timeoutMs = timeout === undefined ? null : durationMs(timeout)
  return new Promise<T>((resolvePromise, rejectPromise) => {
    let over = false
    let timer: NodeJS.Timeout | null = null
    let stop: (() => void) | null = null
    const end = () => {
      over = true
      if (timer !== null) clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      stop?.()
    }
    const settle: Settle<T> = {
      resolve(value) {
        if (over) return
        end()
        resolvePromise(value)
      },
      reject(error) {
        if (over) return
        end()
        rejectPromise(error)
      },
    }
    const onAbort = () => settle.reject(toError(signal?.reason))
    signal?.addEventListener('abort', onAbort, { once: true })
    if (timeoutMs !== null && timeoutMs <= TIMER_MS_MAX)
      timer = setTimeout(() => settle.reject(timedOut(what(), timeoutMs)), timeoutMs)
    stop = start(settle)
    if (over) stop()
  })
}

export function timedOut(what: string, timeoutMs: number): PlimsollError {
  return new PlimsollError('TIMEOUT', `${what} within ${timeoutMs} ms; nothing was cancelled.`, { timeoutMs })
}

/** A duration option; `INVALID_ARGUMENT` when it is none. */
export function durationMs(value: number | string): number {
  try {
    return parseDurationMs(value)
  } catch (cause) {
    throw new PlimsollError('INVALID_ARGUMENT', toError(cause).message, { value }, { cause })
  }
}
