// The arguments of one task, with the results of other tasks left open: bytes for messages, all inline, equal for equal
// arguments (they are hashed into keys).

import { Decoder, decoding } from './decoder.ts'
import { locate } from './encode.ts'
import { Encoder } from './encoder.ts'
import type { EncoderOptions } from './encoder-options.ts'
import { corrupt } from './body-reader.ts'

/** Stands for the result of another task among arguments. */
export class TaskRef {
  readonly key: string
  constructor(key: string) {
    this.key = key
  }
}

export interface EncodedArgs {
  readonly bytes: Uint8Array
  /** Keys of the results needed, each once, in order of appearance. */
  readonly dependencies: string[]
  /** The objects that stood for them (futures): hold on to them until the scheduler knows the task. */
  readonly pins: object[]
}

const FORMAT = 1

/**
 * Encodes the arguments of a call. `refOf` tells the key of an object that stands for a task's result (a Future); such
 * objects may be nested in arrays, plain objects, Maps and Sets. It is asked about objects that are neither plain nor arrays.
 * @throws PlimsollError NOT_SERIALIZABLE whose path starts with `argument 0`, `argument 1`, …
 */
export function encodeArgs(args: readonly unknown[], refOf: (value: object) => string | undefined): EncodedArgs {
  const options: EncoderOptions = {
    outOfBand: false,
    refOf: (value) => (value instanceof TaskRef ? value.key : refOf(value)),
  }
  const encoder = new ArgsEncoder(options)
  let index = 0
  try {
    encoder.begin(args.length)
    for (; index < args.length; index++) encoder.writeWhole(args[index])
    const bytes = encoder.finish()
    const { refs } = encoder
    if (refs.size === 0) return { bytes, dependencies: [], pins: [] }
    return { bytes, dependencies: [...refs.keys()], pins: [...refs.values()].flat() }
  } catch (thrown) {
    encoder.giveUp()
    throw locate(args[index], `argument ${index}`, options, thrown)
  }
}

/**
 * The arguments of a call, with `resolve(key)` in place of every reference.
 * @throws PlimsollError BLOB_CORRUPT when the bytes are damaged; whatever `resolve` throws.
 */
export function decodeArgs(bytes: Uint8Array, resolve: (key: string) => unknown): unknown[] {
  let failed: { readonly error: unknown } | null = null
  const guarded = (key: string): unknown => {
    try {
      return resolve(key)
    } catch (error) {
      failed = { error }
      throw error
    }
  }
  try {
    return decoding(() => new ArgsDecoder(bytes, { resolve: guarded }).readArgs())
  } catch (error) {
    throw failed === null ? error : (failed as { readonly error: unknown }).error
  }
}

class ArgsEncoder extends Encoder {
  begin(count: number): void {
    this.byte(FORMAT)
    this.varint(count)
  }
}

class ArgsDecoder extends Decoder {
  readArgs(): unknown[] {
    if (this.byte() !== FORMAT) throw corrupt('arguments in an unknown format')
    const args: unknown[] = []
    for (let left = this.count(1); left > 0; left--) args.push(this.read())
    this.end()
    return args
  }
}
