import { formatBytes } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { ARRAY_BUFFER_CODE, MAX_DEPTH, MAX_SHAPE_KEYS, SMALL_INT, TAG, makeView } from './body-format.ts'
import { BodyReader, corrupt } from './body-reader.ts'
import { makeError, setErrorProperty, type ErrorParts } from './error-parts.ts'
import { isStackOverflow } from './not-serializable.ts'
import { registeredByName } from './registry.ts'

export interface DecoderOptions {
  /** Out-of-band buffers. Each becomes the buffer of one view, without a copy where it is an ArrayBuffer. */
  readonly frames?: readonly (ArrayBuffer | Uint8Array)[]
  /** The value that a reference to a task stands for. */
  readonly resolve?: (key: string) => unknown
}

/** Stands in the list of objects for one that its registered class has not made yet. */
const UNMADE = Symbol('unmade')

/** Reads what Encoder wrote; anything malformed is BLOB_CORRUPT, never a crash. */
export class Decoder extends BodyReader {
  readonly #options: DecoderOptions
  readonly #objects: unknown[] = []
  readonly #shapes: (readonly string[])[] = []
  #depth = 0

  constructor(bytes: Uint8Array, options: DecoderOptions = {}) {
    super(bytes)
    this.#options = options
  }

  read(): unknown {
    const tag = this.byte()
    if (tag >= SMALL_INT) return tag - SMALL_INT
    switch (tag) {
      case TAG.NULL:
        return null
      case TAG.UNDEFINED:
        return undefined
      case TAG.TRUE:
        return true
      case TAG.FALSE:
        return false
      case TAG.INT: {
        const zigzag = this.varint()
        return (zigzag >>> 1) ^ -(zigzag & 1)
      }
      case TAG.FLOAT64:
        return this.float64()
      case TAG.BIGINT:
        return this.#bigint()
      case TAG.REF:
        return this.#ref()
      case TAG.TASK_REF:
        return this.#taskRef()
      default: {
        const text = this.stringOf(tag)
        if (text !== undefined) return text
        if (++this.#depth > MAX_DEPTH) throw corrupt('it is nested too deeply')
        const value = this.#object(tag)
        this.#depth--
        return value
      }
    }
  }

  /** After the last value: nothing may be left. */
  end(): void {
    if (this.remaining > 0) throw corrupt(`${this.remaining} bytes are left over after its end`)
  }

  #object(tag: number): unknown {
    switch (tag) {
      case TAG.SHAPE:
        return this.#record(this.#shapes[this.varint()])
      case TAG.SHAPE_NEW:
        return this.#record(this.#newShape())
      case TAG.OBJECT:
        return this.#dictionary()
      case TAG.ARRAY:
        return this.#array()
      case TAG.INT32_ARRAY:
        return this.#packed(4)
      case TAG.FLOAT64_ARRAY:
        return this.#packed(8)
      case TAG.ARRAY_BY_KEYS:
        return this.#arrayByKeys()
      case TAG.VIEW_INLINE:
        return this.#viewInline()
      case TAG.VIEW_FRAME:
        return this.#viewFrame()
      case TAG.MAP:
        return this.#map()
      case TAG.SET:
        return this.#set()
      case TAG.DATE:
        return this.#remember(new Date(this.float64()))
      case TAG.REGEXP:
        return this.#regexp()
      case TAG.BOXED:
        return this.#boxed()
      case TAG.ERROR:
        return this.readError()
      case TAG.CUSTOM:
        return this.#custom()
      default:
        throw corrupt(`it has an unknown tag (${tag})`)
    }
  }

  #remember<T>(value: T): T {
    this.#objects.push(value)
    return value
  }

  #ref(): unknown {
    const id = this.varint()
    if (id >= this.#objects.length) throw corrupt('it refers to an object that is not there')
    const value = this.#objects[id]
    if (value === UNMADE) throw corrupt('an instance of a registered class contains itself')
    return value
  }

  #taskRef(): unknown {
    const key = this.string()
    if (this.#options.resolve === undefined) throw corrupt(`it refers to task ${key}`)
    return this.#options.resolve(key)
  }

  #bigint(): bigint {
    const text = this.string()
    if (!/^-?[0-9a-f]+$/.test(text)) throw corrupt('a bigint in it is malformed')
    return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`)
  }

  #newShape(): readonly string[] {
    const count = this.count(1)
    if (count > MAX_SHAPE_KEYS) throw corrupt('a record in it has too many keys')
    const keys: string[] = []
    for (let i = 0; i < count; i++) keys.push(this.string())
    this.#shapes.push(keys)
    return keys
  }

  #record(keys: readonly string[] | undefined): object {
    if (keys === undefined) throw corrupt('a record in it has unknown keys')
    const record: Record<string, unknown> = this.#remember({})
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string
      if (key === '__proto__') setOwn(record, key, this.read())
      else record[key] = this.read()
    }
    return record
  }

  #dictionary(): object {
    const record: Record<string, unknown> = this.#remember({})
    for (let left = this.count(2); left > 0; left--) setOwn(record, this.string(), this.read())
    return record
  }

  #array(): unknown[] {
    const length = this.count(1)
    const array: unknown[] = this.#remember([])
    for (let i = 0; i < length; i++) {
      if (this.bytes[this.position] === TAG.HOLE) {
        this.position++
        array.length = i + 1
      } else {
        array.push(this.read())
      }
    }
    return array
  }

  #packed(width: 4 | 8): number[] {
    const length = this.count(width)
    const start = this.take(length * width)
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset + start, length * width)
    const array: number[] = this.#remember([])
    array.length = length
    if (width === 4) for (let i = 0; i < length; i++) array[i] = view.getInt32(i * 4, true)
    else for (let i = 0; i < length; i++) array[i] = view.getFloat64(i * 8, true)
    return array
  }

  #arrayByKeys(): unknown[] {
    const array: unknown[] = this.#remember([])
    array.length = this.varint()
    for (let left = this.count(2); left > 0; left--) setOwn(array, this.string(), this.read())
    return array
  }

  #viewInline(): unknown {
    const code = this.byte()
    const length = this.varint()
    const start = this.take(length)
    return this.#view(code, copyOf(this.bytes.subarray(start, start + length)))
  }

  #viewFrame(): unknown {
    const code = this.byte()
    const frame = this.#options.frames?.[this.varint()]
    if (frame === undefined) throw corrupt('one of its buffers is missing')
    return this.#view(code, frame instanceof Uint8Array ? ownBufferOf(frame) : frame)
  }

  #view(code: number, buffer: ArrayBuffer): unknown {
    const view = code === ARRAY_BUFFER_CODE ? buffer : makeView(code, buffer)
    if (view === undefined) throw corrupt('a typed array in it has an unknown class')
    if (typeof view === 'string') {
      throw new PlimsollError(
        'NOT_SERIALIZABLE',
        `the value contains a ${view}, which Node ${process.version} does not have`,
        { type: view },
      )
    }
    return this.#remember(view)
  }

  #map(): Map<unknown, unknown> {
    const map = this.#remember(new Map<unknown, unknown>())
    for (let left = this.count(2); left > 0; left--) map.set(this.read(), this.read())
    return map
  }

  #set(): Set<unknown> {
    const set = this.#remember(new Set<unknown>())
    for (let left = this.count(1); left > 0; left--) set.add(this.read())
    return set
  }

  #regexp(): RegExp {
    const source = this.string()
    return this.#remember(new RegExp(source, this.string()))
  }

  #boxed(): unknown {
    const index = this.#objects.length
    this.#remember(UNMADE)
    const value = this.read()
    if (value === null || typeof value === 'object' || value === undefined)
      throw corrupt('a boxed value in it is malformed')
    return (this.#objects[index] = Object(value))
  }

  /** The content of an error, as written by `Encoder.writeThrown`. */
  readError(): Error {
    const texts: string[] = []
    for (let i = 0; i < 5; i++) texts.push(this.string())
    const error = this.#remember(makeError(texts as unknown as ErrorParts['texts']))
    for (let left = this.count(2); left > 0; left--) setErrorProperty(error, this.string(), this.read())
    return error
  }

  #custom(): unknown {
    const name = this.string()
    const index = this.#objects.length
    this.#remember(UNMADE)
    const data = this.read()
    const registered = registeredByName(name)
    if (registered === undefined) {
      const message = `a value of class ${name} cannot be read here: this process did not call registerSerializer(${name}, …); do it in a module that the program and the task's function import`
      throw new PlimsollError('NOT_SERIALIZABLE', message, { type: name })
    }
    try {
      return (this.#objects[index] = registered.deserialize(data))
    } catch (cause) {
      throw new PlimsollError(
        'NOT_SERIALIZABLE',
        `the registered deserializer of class ${name} threw: ${String(cause)}`,
        { type: name },
        { cause },
      )
    }
  }
}

/** Keys such as `__proto__` are data. */
function setOwn(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true })
}

function copyOf(bytes: Uint8Array): ArrayBuffer {
  return copyOfBytes(bytes).buffer
}

/** @throws PlimsollError TASK_OUT_OF_MEMORY rather than an error that looks like damaged bytes. */
export function copyOfBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let copy: Uint8Array<ArrayBuffer>
  try {
    copy = new Uint8Array(bytes.length)
  } catch (cause) {
    throw new PlimsollError(
      'TASK_OUT_OF_MEMORY',
      `process ${process.pid} has no memory for a buffer of ${formatBytes(bytes.length)} of a value`,
      { bytes: bytes.length },
      { cause },
    )
  }
  copy.set(bytes)
  return copy
}

/** An ArrayBuffer of exactly these bytes: their own where it is that already, else a copy. */
export function ownBufferOf(bytes: Uint8Array): ArrayBuffer {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && bytes.byteOffset === 0 && bytes.byteLength === buffer.byteLength) return buffer
  return copyOf(bytes)
}

/** Runs a decoder; whatever it throws that is no error of ours means damaged bytes. */
export function decoding<T>(decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    if (error instanceof PlimsollError) throw error
    if (isStackOverflow(error)) {
      throw new PlimsollError(
        'NOT_SERIALIZABLE',
        'the value is nested too deeply for what is left of the call stack: read it nearer to its start',
        {},
        { cause: error },
      )
    }
    throw new PlimsollError('BLOB_CORRUPT', `a stored value cannot be read: ${String(error)}`, {}, { cause: error })
  }
}
