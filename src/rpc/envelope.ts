// What one message of a comm carries: frame 0 is a msgpack list of envelopes in the order they were made, the other
// frames are the raw bytes of its `chunk` and `body` envelopes, in the same order.
//
// A request is known by an id that its asker counts; the two sides count apart. The life of one request:
//
//   asker                                 server
//   request(id, op, question, hasBody) ->
//   body(id)*, body-end(id)            ->                                 only with hasBody
//                                      <- chunk(id)*                      may come before or after the answer
//                                      <- answer(id, answer, more)        more: chunks and `end` follow
//                                      <- end(id)    or   error(id, e)    either is the last word
//   cancel(id)                         ->                                 instead of waiting; nobody answers it
//
// Raw bytes flow under credit: a side may have STREAM_WINDOW_BYTES unconsumed at the other, which returns `credit` (for
// chunks) or `body-credit` as they are consumed. So a slow consumer stops its own stream and nothing else.

import type { Packr, Unpackr } from 'msgpackr'
import { msgpackr, nativeMsgpackr } from '../base/msgpack.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { packMessages, unpackMessages } from '../protocol/message-rows.ts'
import type { WireError } from './remote-error.ts'

export type Envelope =
  | readonly [kind: 'batch', messages: readonly unknown[]]
  | readonly [kind: 'request', id: number, op: string, question: unknown, hasBody: boolean]
  | readonly [kind: 'answer', id: number, answer: unknown, more: boolean]
  | readonly [kind: 'error', id: number, error: WireError]
  | readonly [kind: 'chunk' | 'body' | 'end' | 'body-end' | 'cancel', id: number]
  | readonly [kind: 'credit' | 'body-credit', id: number, bytes: number]

/** Unconsumed bytes of one stream of chunks: 1 GB/s over 8 ms. */
export const STREAM_WINDOW_BYTES = 8 * 1024 * 1024

// - useRecords off: records would make, and compile a reader for, a class out of every dictionary keyed by task.
// - copyBuffers: bytes inside messages are small next to the receive buffer that views would keep alive.
// - int64AsType auto: integers up to 2^53 are numbers whatever their encoding; the typings lag behind the option.
// - undefined stays undefined (an extension type), since readers test for it.
const OPTIONS = { useRecords: false, copyBuffers: true, int64AsType: 'auto' as 'number' } as const
let packr: Packr | null = null
let reader: Unpackr | null = null
let heardBytes = 0

function sharedPackr(): Packr {
  packr ??= new (msgpackr().Packr)(OPTIONS)
  return packr
}

/** The native part takes 10 ms to load, and saves a few nanoseconds per byte: whoever hears little, never loads it. */
const NATIVE_BYTES_MIN = 2 ** 20

function readerOf(frame: Uint8Array): Unpackr {
  if (reader !== null) return reader
  heardBytes += frame.length
  if (heardBytes < NATIVE_BYTES_MIN) return sharedPackr()
  reader = new (nativeMsgpackr().Unpackr)(OPTIONS)
  return reader
}

/** Messages are slices of buffers of this size. */
const POOL_BYTES = 256 * 1024

export function encodeEnvelopes(envelopes: readonly Envelope[]): Uint8Array {
  const packr = sharedPackr()
  const bytes = packr.pack(envelopes.map(packed))
  // A buffer that grew for one large message would serve, and be kept alive by, all small ones after it.
  if (bytes.buffer.byteLength > POOL_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(POOL_BYTES))
  return bytes
}

/** @throws PlimsollError PROTOCOL_ERROR for anything that is not a list of well-formed envelopes. */
export function decodeEnvelopes(frame: Uint8Array): readonly Envelope[] {
  let data: unknown
  try {
    data = readerOf(frame).unpack(frame) as unknown
  } catch (error) {
    throw malformed(`not msgpack (${toError(error).message})`)
  }
  if (!Array.isArray(data)) throw malformed('not a list of envelopes')
  for (const envelope of data as unknown[]) {
    if (!Array.isArray(envelope) || !isWellFormed(envelope)) throw malformed('an unknown or incomplete envelope')
    if (envelope[0] === 'batch') envelope[1] = unpackBatch(envelope[1] as readonly unknown[])
  }
  return data as readonly Envelope[]
}

/** Frequent messages travel as rows (protocol/message-rows.ts). */
function packed(envelope: Envelope): readonly unknown[] {
  return envelope[0] === 'batch' ? ['batch', packMessages(envelope[1])] : envelope
}

function unpackBatch(messages: readonly unknown[]): readonly unknown[] {
  try {
    return unpackMessages(messages)
  } catch (error) {
    throw malformed(toError(error).message)
  }
}

export function malformed(what: string): PlimsollError {
  return new PlimsollError('PROTOCOL_ERROR', `a malformed message: ${what}`)
}

function isWellFormed(envelope: readonly unknown[]): boolean {
  const [kind, id, third] = envelope
  if (kind === 'batch') return Array.isArray(id)
  if (typeof id !== 'number') return false
  switch (kind) {
    case 'request':
      return typeof third === 'string' && typeof envelope[4] === 'boolean'
    case 'answer':
      return typeof envelope[3] === 'boolean'
    case 'error':
      return typeof third === 'object' && third !== null
    case 'credit':
    case 'body-credit':
      return typeof third === 'number' && third > 0
    case 'chunk':
    case 'body':
    case 'end':
    case 'body-end':
    case 'cancel':
      return true
    default:
      return false
  }
}
