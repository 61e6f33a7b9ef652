// A value becomes an EncodedValue. The path to what cannot be sent is found by a second attempt that keeps track of it, so
// that the first one need not.

import type { EncodedValue } from './encoded-value.ts'
import { FAMILY } from './encoded-value.ts'
import { Encoder } from './encoder.ts'
import type { EncoderOptions } from './encoder-options.ts'
import { notSerializable, pathText } from './not-serializable.ts'
import { typeNameOf } from './refusals.ts'

export type { EncodedValue } from './encoded-value.ts'
export { encodedBlobBytes } from './blob.ts'

export interface EncodeOptions {
  /** What the value is called in messages: `result`, `argument 0`. */
  readonly root?: string
}

const OUT_OF_BAND: EncoderOptions = { outOfBand: true }

/**
 * Encodes any value that structured clone can copy, and instances of registered classes. Large buffers are not copied: the
 * frames point into the value.
 * @throws PlimsollError NOT_SERIALIZABLE with `fields.path` and `fields.reason`.
 */
export function encodeValue(value: unknown, options?: EncodeOptions): EncodedValue {
  const encoder = new Encoder(OUT_OF_BAND)
  try {
    encoder.writeWhole(value)
    const body = encoder.finish()
    let nbytes = body.byteLength
    for (const frame of encoder.frames) nbytes += frame.byteLength
    return { family: FAMILY, type: typeNameOf(value), frames: [body, ...encoder.frames], nbytes }
  } catch (thrown) {
    encoder.giveUp()
    throw locate(value, options?.root ?? 'value', OUT_OF_BAND, thrown)
  }
}

/** The error that says where in `value` the encoder failed. */
export function locate(value: unknown, root: string, options: EncoderOptions, thrown: unknown): Error {
  const encoder = new Encoder({ ...options, trackPath: true })
  try {
    encoder.writeWhole(value)
  } catch (again) {
    return notSerializable(pathText(root, encoder.path ?? []), again)
  } finally {
    encoder.giveUp()
  }
  // A getter that threw once only.
  return notSerializable(root, thrown)
}
