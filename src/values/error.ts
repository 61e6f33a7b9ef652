// An error as bytes of its own, for messages: what a task threw, on its way to `future.result()`.

import { toError } from '../errors/plimsoll-error.ts'
import { Decoder } from './decoder.ts'
import { Encoder } from './encoder.ts'

/** Encodes whatever was thrown: class name, message, stack, causes, own properties, within about 1 MiB. Never throws. */
export function encodeError(thrown: unknown): Uint8Array {
  try {
    return encoded(toError(thrown))
  } catch {
    return encoded(new Error('a task threw something that cannot be described'))
  }
}

function encoded(error: Error): Uint8Array {
  const encoder = new Encoder({ outOfBand: false })
  try {
    encoder.writeThrown(error)
    return encoder.finish()
  } catch (failure) {
    encoder.giveUp()
    throw failure
  }
}

/** The error again, an instance of the builtin class (or PlimsollError) that it was or descends from. Never throws. */
export function decodeError(bytes: Uint8Array): Error {
  try {
    return new Decoder(bytes).readError()
  } catch (cause) {
    return new Error('a task failed, and the error it threw could not be read', { cause })
  }
}
