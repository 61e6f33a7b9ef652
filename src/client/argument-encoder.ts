// Arguments of calls as bytes, with the futures among them as references. Large arguments become references as well: to
// values that the client sends to workers ahead of the task (uploads.ts), once per content.
//
// The bytes of a large argument are copied here: a program may write into its buffer as soon as `submit` has returned.

import { taskKey, type TaskKey } from '../base/ids.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { freshCopy } from '../native/fresh-copy.ts'
import { encodeArgs, type EncodedArgs } from '../values/args.ts'
import { encodeValue, type EncodedValue } from '../values/encode.ts'
import { claimOf, Future, type FutureOwner } from './future.ts'
import { contentKey } from './keys.ts'
import { forEachLeaf } from './nested.ts'

/** Larger arguments do not travel in messages. */
export const LARGE_BYTES = 2 ** 20

/** Stands for an argument that is sent ahead. */
export class LargeArgument {
  readonly key: TaskKey
  readonly value: EncodedValue

  constructor(key: TaskKey, value: EncodedValue) {
    this.key = key
    this.value = value
  }
}

export interface EncodedCall {
  readonly bytes: Uint8Array
  readonly dependencies: readonly TaskKey[]
  /** Among the dependencies: those that have to be sent. */
  readonly large: readonly LargeArgument[]
}

const NONE: readonly never[] = []

/** Encodes the calls of one `submit` or `map`; an object passed to many calls is measured and copied once. */
export class ArgumentEncoder {
  readonly #owner: FutureOwner
  readonly #measured = new Map<unknown, LargeArgument | null>()
  #problem: Error | null = null

  constructor(owner: FutureOwner) {
    this.#owner = owner
  }

  /** Throws `NOT_SERIALIZABLE`; `INVALID_ARGUMENT` and `TASK_CANCELLED` for futures that cannot be used. */
  encode(args: readonly unknown[]): EncodedCall {
    let given = args.some(looksLarge) ? this.#replace(args, looksLarge) : args
    let encoded = this.#encode(given)
    if (encoded.bytes.length > LARGE_BYTES) {
      given = this.#replace(given, mayBeLarge)
      encoded = this.#encode(given)
    }
    if (encoded.dependencies.length === 0) return { bytes: encoded.bytes, dependencies: NONE, large: NONE }
    return {
      bytes: encoded.bytes,
      dependencies: encoded.dependencies.map(taskKey),
      large: given === args ? NONE : given.filter((arg) => arg instanceof LargeArgument),
    }
  }

  /** A structure as it is, however large; futures in it are references. Throws as `encode` does. */
  encodeStructure(structure: unknown): EncodedArgs {
    return this.#encode([structure])
  }

  #encode(args: readonly unknown[]): EncodedArgs {
    this.#problem = null
    try {
      return encodeArgs(args, this.#refOf)
    } catch (error) {
      // A future that cannot be used is its own error, not one of encoding.
      throw this.#problem ?? error
    }
  }

  readonly #refOf = (value: object): string | undefined => {
    if (value instanceof LargeArgument) return value.key
    if (!(value instanceof Future)) return undefined
    try {
      const { owner, state } = claimOf(value)
      if (owner !== this.#owner) throw otherClients(state.key)
      if (state.outcome.status === 'cancelled' || state.outcome.status === 'lost') throw state.outcome.error
      return state.key
    } catch (error) {
      this.#problem = toError(error)
      throw error
    }
  }

  #replace(args: readonly unknown[], candidate: (arg: unknown) => boolean): readonly unknown[] {
    return args.map((arg, index) => {
      if (!candidate(arg)) return arg
      let large = this.#measured.get(arg)
      if (large === undefined) this.#measured.set(arg, (large = measure(arg, index)))
      return large ?? arg
    })
  }
}

export function otherClients(key: string): PlimsollError {
  return new PlimsollError(
    'INVALID_ARGUMENT',
    `The future "${key}" belongs to another client: fetch its value there and pass that.`,
    { key },
  )
}

/** True when a structure has futures in it: such a value exists only on the cluster. */
export function containsFuture(value: unknown): boolean {
  let found = false
  forEachLeaf(value, (leaf) => {
    found ||= leaf instanceof Future
  })
  return found
}

/** The value with buffers of its own: what the program does to its objects from now on does not matter. */
export function snapshot(value: EncodedValue): EncodedValue {
  if (value.frames.length === 1) return value
  return {
    ...value,
    frames: value.frames.map((frame, index) => (index === 0 ? frame : freshCopy(frame))),
  }
}

function measure(arg: unknown, index: number): LargeArgument | null {
  if (containsFuture(arg)) return null
  const value = encodeValue(arg, { root: `argument ${index}` })
  return value.nbytes > LARGE_BYTES ? new LargeArgument(contentKey(value), snapshot(value)) : null
}

/** Large without looking into it. */
function looksLarge(arg: unknown): boolean {
  if (typeof arg === 'string') return arg.length > LARGE_BYTES
  if (typeof arg !== 'object' || arg === null) return false
  return (ArrayBuffer.isView(arg) || arg instanceof ArrayBuffer) && arg.byteLength > LARGE_BYTES
}

function mayBeLarge(arg: unknown): boolean {
  if (arg instanceof Future || arg instanceof LargeArgument) return false
  return typeof arg === 'string' || (typeof arg === 'object' && arg !== null)
}
