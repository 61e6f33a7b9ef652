import { types } from 'node:util'
import {
  ARRAY_BUFFER_CODE,
  MAX_DEPTH,
  MAX_FRAME_BYTES,
  MAX_FRAMES,
  MAX_SHAPE_KEYS,
  MAX_SHAPES,
  OUT_OF_BAND_BYTES,
  SMALL_INT,
  TAG,
  viewCodeOf,
} from './body-format.ts'
import { BodyWriter } from './body-writer.ts'
import type { EncoderOptions } from './encoder-options.ts'
import { MAX_CAUSES, describeError } from './error-parts.ts'
import { Refusal, instanceRefusalOf, isBuiltinInstance, refusalOf } from './refusals.ts'
import { registeredByPrototype } from './registry.ts'

/** Where in a value: keys of objects and indices of arrays, or text such as `.get(key)` for members of maps and sets. */
export type PathStep = string | number | { readonly text: string }

/** Objects met so far are searched one by one up to here, then by a map. */
const LINEAR_OBJECTS = 8
/** Only the latest shapes are searched: values seldom mix more kinds of record. */
const SEARCHED_SHAPES = 16
/** Shorter arrays gain nothing from packing. */
const PACKED_LENGTH = 8
/** So many holes in a row make an array sparse. */
const SPARSE_RUN = 1024
/** Bytes; properties of an error beyond it are described (E3 in error-parts.ts). */
const MAX_ERROR_PROPERTY_BYTES = 256 * 1024
const MAX_ERROR_BYTES = 1024 * 1024

/** A point to go back to. */
interface Mark {
  readonly position: number
  readonly objects: number
  readonly shapes: number
  readonly frames: number
  readonly depth: number
  readonly steps: number
  readonly making: number
  readonly errorDepth: number
}

const OBJECT_PROTOTYPE: object = Object.prototype
const MAP_PROTOTYPE: object = Map.prototype
const SET_PROTOTYPE: object = Set.prototype

/** Writes one value after the other into one body. Format and invariants: body-format.ts. */
export class Encoder extends BodyWriter {
  /** Out-of-band buffers in order of appearance, not copied. */
  readonly frames: Uint8Array[] = []
  /** Keys of the tasks that values stood for, and the objects that stood for them. */
  readonly refs = new Map<string, object[]>()
  readonly path: PathStep[] | null
  readonly #options: EncoderOptions
  readonly #objects: object[] = []
  #objectIds: Map<object, number> | null = null
  readonly #shapes: (readonly string[])[] = []
  /** Instances of registered classes whose data is being written. */
  readonly #making: object[] = []
  #depth = 0
  #errorDepth = 0

  constructor(options: EncoderOptions) {
    super()
    this.#options = options
    this.path = options.trackPath === true ? [] : null
  }

  /** @throws Refusal; RangeError when the call stack is used up; whatever getters of the value throw. */
  write(value: unknown): void {
    switch (typeof value) {
      case 'number':
        return this.#number(value)
      case 'string':
        return this.string(value)
      case 'object':
        return value === null ? this.byte(TAG.NULL) : this.#object(value)
      case 'boolean':
        return this.byte(value ? TAG.TRUE : TAG.FALSE)
      case 'undefined':
        return this.byte(TAG.UNDEFINED)
      case 'bigint':
        this.byte(TAG.BIGINT)
        return this.string(value.toString(16))
      case 'symbol':
        throw new Refusal('is a symbol')
      default:
        throw new Refusal('is a function')
    }
  }

  /** As `write`, for a value whose class must survive: plain data, builtins and registered classes only. */
  writeWhole(value: unknown): void {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const prototype = Object.getPrototypeOf(value) as object | null
      if (prototype !== OBJECT_PROTOTYPE && prototype !== null && !this.#keepsClass(value, prototype)) {
        throw new Refusal(refusalOf(value) ?? instanceRefusalOf(value))
      }
    }
    this.write(value)
  }

  #keepsClass(value: object, prototype: object): boolean {
    return (
      types.isProxy(value) || // refused later, as what it is
      this.#options.refOf?.(value) !== undefined ||
      registeredByPrototype(prototype) !== undefined ||
      value instanceof Error ||
      isBuiltinInstance(value) // last: it looks at the text of the class
    )
  }

  #number(value: number): void {
    if ((value | 0) === value && !(value === 0 && 1 / value < 0)) {
      if (value >= 0 && value < 0x80) return this.byte(SMALL_INT + value)
      this.byte(TAG.INT)
      return this.varint(((value << 1) ^ (value >> 31)) >>> 0)
    }
    this.byte(TAG.FLOAT64)
    // One NaN of the many that there are (B1).
    this.float64(Number.isNaN(value) ? NaN : value)
  }

  #object(value: object): void {
    const id = this.#find(value)
    if (id !== undefined) {
      if (this.#making.includes(value))
        throw new Refusal('contains itself, which its registered serializer must not say')
      this.byte(TAG.REF)
      return this.varint(id)
    }
    if (types.isProxy(value)) throw new Refusal('is a Proxy')
    if (this.#depth >= MAX_DEPTH)
      throw new Refusal(`is nested more than ${MAX_DEPTH} levels deep: use a flat structure`)
    this.#depth++
    if (Array.isArray(value)) {
      this.#remember(value)
      this.#array(value)
    } else {
      const prototype = Object.getPrototypeOf(value) as object | null
      if (prototype === OBJECT_PROTOTYPE || prototype === null) {
        this.#remember(value)
        this.#record(value as Record<string, unknown>)
      } else if (prototype === MAP_PROTOTYPE && types.isMap(value)) {
        this.#remember(value)
        this.#map(value)
      } else if (prototype === SET_PROTOTYPE && types.isSet(value)) {
        this.#remember(value)
        this.#set(value)
      } else {
        this.#instance(value, prototype)
      }
    }
    this.#depth--
  }

  #find(value: object): number | undefined {
    if (this.#objectIds !== null) return this.#objectIds.get(value)
    const index = this.#objects.indexOf(value)
    return index < 0 ? undefined : index
  }

  #remember(value: object): void {
    const id = this.#objects.push(value) - 1
    if (this.#objectIds !== null) this.#objectIds.set(value, id)
    else if (id >= LINEAR_OBJECTS) this.#objectIds = new Map(this.#objects.map((object, index) => [object, index]))
  }

  #record(value: Record<string, unknown>): void {
    const keys = Object.keys(value)
    const { length } = keys
    const known = this.#findShape(keys)
    if (known >= 0) {
      this.byte(TAG.SHAPE)
      this.varint(known)
    } else {
      const isShape = length <= MAX_SHAPE_KEYS && this.#shapes.length < MAX_SHAPES
      this.byte(isShape ? TAG.SHAPE_NEW : TAG.OBJECT)
      this.varint(length)
      if (isShape) {
        this.#shapes.push(keys)
        for (let i = 0; i < length; i++) this.string(keys[i] as string)
      } else {
        for (const key of keys) {
          this.string(key)
          this.#property(value, key)
        }
        return
      }
    }
    const { path } = this
    for (let i = 0; i < length; i++) {
      const key = keys[i] as string
      if (path === null) this.write(value[key])
      else this.#property(value, key)
    }
  }

  #findShape(keys: readonly string[]): number {
    const shapes = this.#shapes
    const oldest = Math.max(0, shapes.length - SEARCHED_SHAPES)
    for (let index = shapes.length - 1; index >= oldest; index--) {
      const shape = shapes[index] as readonly string[]
      if (shape.length !== keys.length) continue
      let i = 0
      while (i < keys.length && shape[i] === keys[i]) i++
      if (i === keys.length) return index
    }
    return -1
  }

  #property(object: Readonly<Record<string, unknown>>, key: string): void {
    // Before it is read: a getter may throw.
    this.path?.push(key)
    this.write(object[key])
    this.path?.pop()
  }

  #member(step: PathStep, value: unknown): void {
    this.path?.push(step)
    this.write(value)
    this.path?.pop()
  }

  #array(array: readonly unknown[]): void {
    const { length } = array
    if (length >= PACKED_LENGTH && typeof array[0] === 'number' && this.#packed(array)) return
    // The result of a regular expression match: its properties are part of it.
    if (length < PACKED_LENGTH * 8 && 'index' in array) return this.#arrayByKeys(array)
    const start = this.#mark()
    this.byte(TAG.ARRAY)
    this.varint(length)
    let holes = 0
    const { path } = this
    for (let i = 0; i < length; i++) {
      const item = array[i]
      if (item === undefined && !(i in array)) {
        this.byte(TAG.HOLE)
        if (++holes < SPARSE_RUN) continue
        this.#rollBack(start)
        return this.#arrayByKeys(array)
      }
      holes = 0
      if (path === null) this.write(item)
      else this.#member(i, item)
    }
  }

  /** Numbers only: written as they lie in memory. False, and nothing written, when anything else is among them. */
  #packed(array: readonly unknown[]): boolean {
    const { length } = array
    let integers = true
    for (let i = 0; i < length; i++) {
      const item = array[i]
      if (typeof item !== 'number') return false
      if (integers && ((item | 0) !== item || (item === 0 && 1 / item < 0))) integers = false
    }
    const width = integers ? 4 : 8
    this.byte(integers ? TAG.INT32_ARRAY : TAG.FLOAT64_ARRAY)
    this.varint(length)
    this.ensure(length * width)
    const view = new DataView(this.buffer.buffer, this.buffer.byteOffset + this.position, length * width)
    if (integers) for (let i = 0; i < length; i++) view.setInt32(i * 4, array[i] as number, true)
    else
      for (let i = 0; i < length; i++) view.setFloat64(i * 8, Number.isNaN(array[i]) ? NaN : (array[i] as number), true)
    this.position += length * width
    return true
  }

  #arrayByKeys(array: readonly unknown[]): void {
    const keys = Object.keys(array)
    this.byte(TAG.ARRAY_BY_KEYS)
    this.varint(array.length)
    this.varint(keys.length)
    for (const key of keys) {
      this.string(key)
      this.#property(array as unknown as Record<string, unknown>, key)
    }
  }

  #instance(value: object, prototype: object): void {
    const registered = registeredByPrototype(prototype)
    if (registered !== undefined) {
      this.#remember(value)
      this.byte(TAG.CUSTOM)
      this.string(registered.name)
      this.#making.push(value)
      this.write(registered.serialize(value))
      this.#making.pop()
      return
    }
    const key = this.#options.refOf?.(value)
    if (key !== undefined) return this.#taskRef(value, key)
    const refusal = refusalOf(value)
    if (refusal !== undefined) throw new Refusal(refusal)
    this.#remember(value)
    if (ArrayBuffer.isView(value)) return this.#view(value)
    if (types.isArrayBuffer(value)) return this.#bytes(ARRAY_BUFFER_CODE, value, 0, value.byteLength)
    if (types.isMap(value)) return this.#map(value)
    if (types.isSet(value)) return this.#set(value)
    if (types.isDate(value)) {
      this.byte(TAG.DATE)
      return this.float64(value.getTime())
    }
    if (types.isRegExp(value)) {
      this.byte(TAG.REGEXP)
      this.string(value.source)
      return this.string(value.flags)
    }
    if (value instanceof Error || types.isNativeError(value)) return this.#error(value)
    if (types.isBoxedPrimitive(value)) {
      this.byte(TAG.BOXED)
      return this.write(value.valueOf())
    }
    // Structured clone: an instance of an unregistered class becomes a plain object of its own properties.
    this.#record(value as Record<string, unknown>)
  }

  #taskRef(value: object, key: string): void {
    const known = this.refs.get(key)
    if (known === undefined) this.refs.set(key, [value])
    else if (!known.includes(value)) known.push(value)
    this.byte(TAG.TASK_REF)
    this.string(key)
  }

  #map(map: ReadonlyMap<unknown, unknown>): void {
    this.byte(TAG.MAP)
    this.varint(map.size)
    // Keys and values as an array: `for of` over the map would need twice the stack, which limits nesting.
    const items = [...map].flat(1)
    for (let i = 0; i < items.length; i++) {
      if (this.path === null) this.write(items[i])
      else this.#member(i % 2 === 0 ? KEY_STEP : getStep(items[i - 1]), items[i])
    }
  }

  #set(set: ReadonlySet<unknown>): void {
    this.byte(TAG.SET)
    this.varint(set.size)
    const items = [...set]
    for (let i = 0; i < items.length; i++) {
      if (this.path === null) this.write(items[i])
      else this.#member(MEMBER_STEP, items[i])
    }
  }

  #view(view: ArrayBufferView): void {
    const code = viewCodeOf(view)
    if (code === undefined) throw new Refusal('is a kind of typed array that is not known here')
    if (types.isSharedArrayBuffer(view.buffer))
      throw new Refusal('is a view of a SharedArrayBuffer, which processes cannot share: copy it with slice()')
    this.#bytes(code, view.buffer as ArrayBuffer, view.byteOffset, view.byteLength)
  }

  #bytes(code: number, buffer: ArrayBuffer, offset: number, length: number): void {
    if (length > MAX_FRAME_BYTES) throw new Refusal('is larger than 4 GiB: split it')
    let bytes: Uint8Array
    try {
      bytes = new Uint8Array(buffer, offset, length)
    } catch (cause) {
      throw new Refusal('was transferred away (its ArrayBuffer is detached)', { cause })
    }
    if (this.#options.outOfBand && length >= OUT_OF_BAND_BYTES && this.frames.length < MAX_FRAMES) {
      this.byte(TAG.VIEW_FRAME)
      this.byte(code)
      this.varint(this.frames.push(bytes) - 1)
      return
    }
    this.byte(TAG.VIEW_INLINE)
    this.byte(code)
    this.varint(length)
    this.rawBytes(bytes)
  }

  #error(error: Error): void {
    this.byte(TAG.ERROR)
    this.#errorContent(error)
  }

  /** An error alone, without a tag in front. */
  writeThrown(error: object): void {
    this.#remember(error)
    this.#errorContent(error)
  }

  /** Never refuses: see E3 in error-parts.ts. */
  #errorContent(error: object): void {
    const start = this.position
    const parts = describeError(error)
    this.#errorDepth++
    for (const text of parts.texts) this.string(text)
    this.varint(parts.properties.length)
    for (const [key, value, description] of parts.properties) {
      this.string(key)
      const tooMuch =
        this.position - start > MAX_ERROR_BYTES || (this.#errorDepth >= MAX_CAUSES && value instanceof Error)
      if (tooMuch || !this.#tryWrite(key, value)) this.string(description())
    }
    this.#errorDepth--
  }

  #tryWrite(key: string, value: unknown): boolean {
    const mark = this.#mark()
    try {
      this.#member(key, value)
      if (this.position - mark.position <= MAX_ERROR_PROPERTY_BYTES) return true
    } catch {
      // Refused, too deep, or a getter that throws.
    }
    this.#rollBack(mark)
    return false
  }

  #mark(): Mark {
    return {
      position: this.position,
      objects: this.#objects.length,
      shapes: this.#shapes.length,
      frames: this.frames.length,
      depth: this.#depth,
      steps: this.path?.length ?? 0,
      making: this.#making.length,
      errorDepth: this.#errorDepth,
    }
  }

  #rollBack(mark: Mark): void {
    for (const object of this.#objects.splice(mark.objects)) this.#objectIds?.delete(object)
    this.position = mark.position
    this.#shapes.length = mark.shapes
    this.frames.length = mark.frames
    this.#depth = mark.depth
    this.#making.length = mark.making
    this.#errorDepth = mark.errorDepth
    if (this.path !== null) this.path.length = mark.steps
  }
}

const KEY_STEP: PathStep = { text: '.keys()' }
const MEMBER_STEP: PathStep = { text: '.values()' }
const getStep = (key: unknown): PathStep => {
  if (typeof key === 'string') return { text: `.get(${JSON.stringify(key)})` }
  return { text: typeof key === 'number' ? `.get(${key})` : '.get(…)' }
}
