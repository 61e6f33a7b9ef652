// Reads values from one worker: one `get-data`, and what the answer says about each value: in the answer itself, in a file
// of this host, or in the chunks that came with it. Every blob is checked before it is decoded.

import type { RunId, TaskKey } from '../base/ids.ts'
import { isErrorCode, PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { isShortage } from '../errors/shortage.ts'
import { hostToken } from '../native/host-token.ts'
import type { Holder } from '../protocol/tasks.ts'
import type { ServedValue } from '../protocol/worker-worker.ts'
import { decodeBlob } from '../values/decode.ts'
import { BlobStream, decodeReceived } from './blob-assembler.ts'
import { readBlobFile } from './blob-file.ts'
import type { FutureState } from './future-state.ts'
import type { Peers, WorkerConnection } from './peers.ts'

/** A replica that is to be read. */
export interface Located {
  readonly state: FutureState
  readonly runId: RunId
  readonly nbytes: number
  readonly holder: Holder
}

export type ReadOutcome =
  | { readonly kind: 'value'; readonly value: unknown }
  /** Not there, not whole, or not what it says: this replica counts as lost. */
  | { readonly kind: 'missing'; readonly error: Error }
  | { readonly kind: 'busy' }
  | { readonly kind: 'unreachable'; readonly error: Error }
  /** Arrived whole, but cannot be decoded here; another replica would not help. */
  | { readonly kind: 'undecodable'; readonly error: Error }

/** Without progress for this long a transfer is given up. */
const STALLED_MS = 60_000

/** Reads values that all live at one worker; one outcome per item, in order. Never rejects. */
export async function readValues(peers: Peers, items: readonly Located[]): Promise<readonly ReadOutcome[]> {
  const address = items[0]?.holder.address ?? ''
  try {
    return await peers.use(address, (connection) => readFrom(connection, items))
  } catch (thrown) {
    const error = toError(thrown)
    return items.map(() => ({ kind: 'unreachable', error }))
  }
}

/** Reads a value that came along with the news of it. */
export function readAttached(key: TaskKey, blob: Uint8Array): ReadOutcome {
  return attempt(() => {
    const { header, value } = decodeBlob(blob)
    checkIdentity(key, header.meta.runId as RunId, header.meta)
    return value
  })
}

async function readFrom(connection: WorkerConnection, items: readonly Located[]): Promise<readonly ReadOutcome[]> {
  const stream = new BlobStream()
  const { values } = await connection.request(
    'get-data',
    { keys: items.map((item) => item.state.key), hostToken: hostToken() },
    { timeoutMs: STALLED_MS, onChunk: (chunk) => stream.push(chunk) },
  )
  const served = new Map(values.map((value) => [value.key, value]))
  const outcomes: ReadOutcome[] = []
  for (const item of items) {
    const outcome = readOne(item, served.get(item.state.key), stream)
    // Small values come in the answer itself, by the thousand: no turn of the event loop for each.
    outcomes.push(outcome instanceof Promise ? await outcome : outcome)
  }
  const pins = values.flatMap((value) => (value.via === 'file' ? [value.pin] : []))
  if (pins.length > 0) await connection.request('release-pins', { pins })
  return outcomes
}

function readOne(
  item: Located,
  served: ServedValue | undefined,
  stream: BlobStream,
): ReadOutcome | Promise<ReadOutcome> {
  const { key } = item.state
  switch (served?.via) {
    case undefined:
    case 'missing':
      return missing(item, 'the worker does not have it')
    case 'busy':
      return { kind: 'busy' }
    case 'inline':
      return attempt(() => {
        const { header, value } = decodeBlob(served.bytes)
        checkIdentity(key, served.runId, header.meta)
        return value
      })
    case 'stream':
      return attempt(() => {
        const blob = stream.take(key)
        if (blob === undefined) throw notWhole(key)
        checkIdentity(key, served.runId, blob.header.meta)
        return decodeReceived(blob)
      })
    case 'file':
      return readBlobFile(served.path, served.offset, served.nbytes).then(
        (blob) =>
          attempt(() => {
            checkIdentity(key, served.runId, blob.header.meta)
            return decodeReceived(blob)
          }),
        failed,
      )
  }
}

function attempt(decode: () => unknown): ReadOutcome {
  try {
    return { kind: 'value', value: decode() }
  } catch (thrown) {
    return failed(thrown)
  }
}

/** An unreadable file is as good as a corrupt one: the replica cannot be used. Anything else is wrong with the value, or here. */
function failed(thrown: unknown): ReadOutcome {
  const error = toError(thrown)
  const lost = isErrorCode(error, 'BLOB_CORRUPT') || ('syscall' in error && !isShortage(error))
  return { kind: lost ? 'missing' : 'undecodable', error }
}

function notWhole(key: TaskKey): PlimsollError {
  return new PlimsollError('BLOB_CORRUPT', `The value of "${key}" did not arrive whole.`, { key })
}

function checkIdentity(key: TaskKey, runId: RunId, meta: { readonly key: string; readonly runId: number }): void {
  if (meta.key === key && meta.runId === runId) return
  const message = `Asked for "${key}" of run ${runId}, the blob says "${meta.key}" of run ${meta.runId}.`
  throw new PlimsollError('BLOB_CORRUPT', message, { key, runId, found: meta })
}

function missing(item: Located, why: string): ReadOutcome {
  const { key } = item.state
  return {
    kind: 'missing',
    error: new PlimsollError('BLOB_CORRUPT', `No value of "${key}" at ${item.holder.address}: ${why}.`, { key }),
  }
}
