// Opening connections and listeners by address: chooses the transport, and retries what may come right by itself.

import { setTimeout as sleep } from 'node:timers/promises'
import { formatDurationMs } from '../base/units.ts'
import { isErrorCode, PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { type Address, formatAddress, parseAddress, parsePeerAddress } from './address.ts'
import type { Comm, ConnectOptions, Listener, ListenOptions } from './comm.ts'
import { connectInproc, listenInproc, NoListenerError } from './inproc.ts'
import { requireCredentials } from './security.ts'
import { connectOnSocket } from './socket-connector.ts'
import { listenOnSocket } from './socket-listener.ts'

const BACKOFF_MS_FIRST = 10
const BACKOFF_MS_MAX = 500
/** One attempt gets at least this long: a packet may be lost on the way. */
const ATTEMPT_MS_MIN = 2000

/**
 * Opens a listener; port 0 takes a free one, `inproc://` a free name.
 * @throws PlimsollError AUTH_FAILED without credentials for the address, CONNECT_FAILED when it is taken, CONFIG_INVALID
 * for unreadable certificates.
 */
export async function listen(address: string, options: ListenOptions): Promise<Listener> {
  const parsed = parseAddress(address)
  return parsed.scheme === 'inproc' ? listenInproc(parsed, options) : listenOnSocket(parsed, options)
}

/**
 * Connects and authenticates. A listener that is not there yet is tried again until `timeoutMs` is over; a refusal for
 * token or version fails at once.
 * @throws PlimsollError CONNECT_FAILED, AUTH_FAILED, VERSION_MISMATCH, CONFIG_INVALID; or the reason of `signal`.
 */
export async function connect(address: string, options: ConnectOptions): Promise<Comm> {
  const parsed = parsePeerAddress(address)
  requireCredentials(parsed, options.credentials)
  const start = performance.now()
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted()
    const leftMs = options.timeoutMs - (performance.now() - start)
    try {
      const share = Math.max(ATTEMPT_MS_MIN, (options.timeoutMs / 5) * attempt)
      return await connectOnce(parsed, options, Math.max(1, Math.min(leftMs, share)))
    } catch (error) {
      options.signal?.throwIfAborted()
      if (isFinal(error)) throw error
      const elapsedMs = performance.now() - start
      const pauseMs = Math.random() * Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** attempt)
      const { retry = 'all', timeoutMs } = options
      const pointless = retry === 'nothing' || (retry === 'unless-refused' && isRefused(error))
      if (pointless || isErrorCode(error, 'PROTOCOL_ERROR') || elapsedMs + pauseMs >= timeoutMs) {
        throw connectFailed(parsed, elapsedMs, attempt, toError(error))
      }
      await sleep(pauseMs, undefined, options.signal && { signal: options.signal }).catch(() =>
        options.signal?.throwIfAborted(),
      )
    }
  }
}

async function connectOnce(address: Address, options: ConnectOptions, timeoutMs: number): Promise<Comm> {
  if (address.scheme === 'inproc') return connectInproc(address, options)
  return connectOnSocket(address, options, timeoutMs)
}

function isFinal(error: unknown): boolean {
  return (
    isErrorCode(error, 'AUTH_FAILED') || isErrorCode(error, 'VERSION_MISMATCH') || isErrorCode(error, 'CONFIG_INVALID')
  )
}

/** Nobody listens there: whoever did is gone, and what it knew with it. Also for the CONNECT_FAILED made from it. */
export function isRefused(error: unknown): boolean {
  if (isErrorCode(error, 'CONNECT_FAILED')) return isRefused(error.cause)
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isRefused)
  if (error instanceof NoListenerError) return true
  return (error as NodeJS.ErrnoException | null)?.code === 'ECONNREFUSED'
}

function connectFailed(address: Address, elapsedMs: number, attempts: number, last: Error): PlimsollError {
  const where = formatAddress(address)
  const tried = `tried ${attempts === 1 ? 'once' : `${attempts} times`} in ${formatDurationMs(elapsedMs)}`
  const reason = plainReason(last)
  return new PlimsollError(
    'CONNECT_FAILED',
    `cannot connect to ${where} (${tried}): ${reason}; is a scheduler running there? start one with: plimsoll scheduler`,
    { address: where, elapsedMs: Math.round(elapsedMs), attempts, reason },
    { cause: last },
  )
}

function plainReason(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ECONNREFUSED') return 'nothing listens there (connection refused)'
  if (code === 'ENOTFOUND') return 'the host name is unknown'
  // Several addresses were tried for one name: the error itself says nothing.
  if (error instanceof AggregateError) return plainReason(toError(error.errors[0]))
  return error.message.split('\n', 1)[0] ?? ''
}
