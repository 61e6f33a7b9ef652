// Values as one piece of bytes, and the classes that travel as themselves.

import { blobToBytes } from './blob.ts'
import { decodeBlob } from './decode.ts'
import { encodeValue } from './encode.ts'
import type { PlimsollError } from '../errors/plimsoll-error.ts'

export { registerSerializer, type ClassCodec } from './registry.ts'

const NO_META = { clusterId: '', generation: 0, key: '', runId: 0 }

/**
 * A value as bytes, readable by `loads` in any process of the same version.
 * @throws PlimsollError NOT_SERIALIZABLE with the path to what cannot be encoded.
 */
export function dumps(value: unknown): Uint8Array {
  return blobToBytes(NO_META, encodeValue(value))
}

/**
 * The value that `dumps` was given, or that of any stored blob.
 * @throws PlimsollError BLOB_CORRUPT.
 */
export function loads(bytes: Uint8Array): unknown {
  return decodeBlob(bytes).value
}

export type Serializability =
  | { readonly ok: true }
  | { readonly ok: false; readonly path: string; readonly reason: string }

/** Whether a value can be a result or an argument, and if not, what in it is in the way. Costs as much as encoding it. */
export function isSerializable(value: unknown): Serializability {
  try {
    encodeValue(value)
    return { ok: true }
  } catch (error) {
    const { path, reason } = (error as PlimsollError).fields as { readonly path: string; readonly reason: string }
    return { ok: false, path, reason }
  }
}
