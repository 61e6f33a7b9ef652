import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { encodeValue } from '../values/encode.ts'
import { containsFuture, snapshot } from './argument-encoder.ts'
import { flagOption, shown, someTextsOption } from './checked-options.ts'
import type { ClientSession } from './client-session.ts'
import { Future } from './future.ts'
import type { FutureState } from './future-state.ts'
import { contentKey, freshKey } from './keys.ts'
import type { Upload } from './uploads.ts'
import { durationMs } from './wait-limits.ts'

export interface ScatterOptions {
  /** Names, hosts or addresses of the workers that may get the value. */
  readonly workers?: string | readonly string[]
  /**
   * On how many workers: `true` for every one of them (default: one). Of a value that the cluster has already no copies are
   * made: see `client.replicate`.
   */
  readonly broadcast?: boolean | number
  /** `true` (default): the key is made of the content, so the same value scattered twice is stored once. */
  readonly hash?: boolean
  /** How long to wait for a worker; default: the client's timeout. */
  readonly timeout?: number | string
}

/**
 * Puts values on the cluster: one future each, `pending` until a worker has the value in a file. The values are copied
 * when this is called. Throws `NOT_SERIALIZABLE` for what cannot be sent.
 */
export function scatterValues(
  session: ClientSession,
  values: readonly unknown[],
  options: ScatterOptions,
  root: (index: number) => string,
): Future[] {
  session.assertOpen()
  refuseUnknown('scatter', options, ['workers', 'broadcast', 'hash', 'timeout'])
  const { broadcast = false } = options
  const workers = someTextsOption('workers', options.workers)
  const hash = flagOption('hash', options.hash) ?? true
  if (typeof broadcast !== 'boolean' && !(Number.isSafeInteger(broadcast) && broadcast >= 1)) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `The option "broadcast" is true, false or a number of workers from 1; it was ${shown(broadcast)}.`,
      { option: 'broadcast' },
    )
  }
  const timeoutMs = options.timeout === undefined ? session.settings.timeoutMs : durationMs(options.timeout)
  const encoded = values.map((value, index) => {
    if (containsFuture(value)) throw hasFuture(root(index))
    return encodeValue(value, { root: root(index) })
  })
  const fresh: { readonly state: FutureState; readonly value: Upload['value'] }[] = []
  const futures = encoded.map((value) => {
    const key = hash ? contentKey(value) : freshKey(value.type)
    let state = session.registry.reusable(key)
    if (state === undefined) {
      state = session.registry.create(key, value.type)
      fresh.push({ state, value: session.snapshotFile(key, value) ?? snapshot(value) })
    }
    return new Future(session, state)
  })
  if (fresh.length > 0) {
    session.upload(fresh, { broadcast, timeoutMs, ...(workers !== undefined && { workers }) })
  }
  return futures
}

function hasFuture(what: string): PlimsollError {
  const message = `The ${what} has a future in it; only values can be scattered. Submit a task that takes the futures, or scatter what gather() returns.`
  return new PlimsollError('INVALID_ARGUMENT', message)
}
