// The body: how a JavaScript value becomes bytes. A codec of our own in place of v8.Serializer, whose objects cost 5-30 us
// each to make and collect (a whole task may cost 15), whose bytes depend on engine internals (1 from a Float64Array and 1
// are written differently: useless for hashing arguments into keys) and on the Node major (errors), and which can not be
// told to treat an Error or a Future specially.
//
// Covers: what structured clone keeps, plus Buffers and classes of the registry. Does not cover: named properties of arrays
// other than those of regular expression matches, the link between several views of one ArrayBuffer, `lastIndex`.
//
// B1. Equal values (same types, same order of keys, same sharing) give equal bytes.
// B2. Every object gets the next index when it is first met, before its content; REF points back to it.
// B3. A shape (list of keys) gets the next index when SHAPE_NEW introduces it, before the values of that object.
// B4. A count is never larger than the bytes that follow it, so that a damaged one cannot allocate much.

export const TAG = {
  NULL: 0,
  UNDEFINED: 1,
  TRUE: 2,
  FALSE: 3,
  /** Zigzag varint. Integers outside of 32 bits, and -0, are FLOAT64. */
  INT: 4,
  FLOAT64: 5,
  /** Hexadecimal text, with a leading `-` when negative. */
  BIGINT: 6,
  LATIN1: 7,
  /** Whenever a character does not fit into a byte; keeps lone surrogates. */
  UTF16: 8,
  REF: 9,
  SHAPE_NEW: 10,
  SHAPE: 11,
  /** Keys in place, for objects that are dictionaries rather than records. */
  OBJECT: 12,
  ARRAY: 13,
  /** Arrays of numbers only, packed. */
  INT32_ARRAY: 14,
  FLOAT64_ARRAY: 15,
  /** Length, then pairs of key and value: sparse arrays and regular expression matches. */
  ARRAY_BY_KEYS: 16,
  HOLE: 17,
  MAP: 18,
  SET: 19,
  DATE: 20,
  REGEXP: 21,
  BOXED: 22,
  ERROR: 23,
  /** View kind, byte length, bytes. */
  VIEW_INLINE: 24,
  /** View kind, index of the out-of-band frame. */
  VIEW_FRAME: 25,
  /** Name in the registry, then the plain data. */
  CUSTOM: 26,
  TASK_REF: 27,
} as const

/** Tags from here to SMALL_INT - 1 are LATIN1 strings of 0 to 63 characters. */
export const SHORT_LATIN1 = 0x40
/** Tags from here on are the integers 0 to 127. */
export const SMALL_INT = 0x80

/** Containers within containers. The recursion of reader and writer stays far from the end of a default stack (984 KiB). */
export const MAX_DEPTH = 2000
/** Bytes. Buffers of any Node we run on can hold it; larger data belongs into typed arrays, which are not in the body. */
export const MAX_BODY_BYTES = 2 ** 31 - 1
/** Bytes. Node 20 aborts on a view above it. */
export const MAX_FRAME_BYTES = 2 ** 32
/** More buffers than this go into the body, so that the header of a blob stays readable. */
export const MAX_FRAMES = 2 ** 22
/** Bytes. Smaller buffers are cheaper in the body than as a frame of their own. */
export const OUT_OF_BAND_BYTES = 1024

/** Shapes have at most this many keys; more are dictionaries. */
export const MAX_SHAPE_KEYS = 64
export const MAX_SHAPES = 4096

interface ViewConstructor {
  new (buffer: ArrayBuffer): ArrayBufferView
  readonly BYTES_PER_ELEMENT?: number
}

/** Position = code on the wire: append only. `undefined` where this Node does not have the class. */
const VIEW_KINDS: readonly (readonly [name: string, make: ViewConstructor | undefined])[] = [
  ['ArrayBuffer', undefined],
  ['Buffer', undefined],
  ['DataView', DataView],
  ['Int8Array', Int8Array],
  ['Uint8Array', Uint8Array],
  ['Uint8ClampedArray', Uint8ClampedArray],
  ['Int16Array', Int16Array],
  ['Uint16Array', Uint16Array],
  ['Int32Array', Int32Array],
  ['Uint32Array', Uint32Array],
  ['Float32Array', Float32Array],
  ['Float64Array', Float64Array],
  ['BigInt64Array', BigInt64Array],
  ['BigUint64Array', BigUint64Array],
  ['Float16Array', (globalThis as { Float16Array?: ViewConstructor }).Float16Array],
]

const VIEW_CODES: ReadonlyMap<string, number> = new Map(VIEW_KINDS.map(([name], code) => [name, code]))

export const ARRAY_BUFFER_CODE = 0
const BUFFER_CODE = 1

/** The code of a view's class; of the nearest known one for a subclass. */
export function viewCodeOf(view: ArrayBufferView): number | undefined {
  if (Buffer.isBuffer(view)) return BUFFER_CODE
  if (view instanceof DataView) return VIEW_CODES.get('DataView')
  return VIEW_CODES.get((view as { readonly [Symbol.toStringTag]?: string })[Symbol.toStringTag] ?? '')
}

/** A name when this Node lacks the class, `undefined` when there is no such code. */
export function makeView(code: number, buffer: ArrayBuffer): ArrayBuffer | ArrayBufferView | string | undefined {
  if (code === ARRAY_BUFFER_CODE) return buffer
  if (code === BUFFER_CODE) return Buffer.from(buffer)
  const kind = VIEW_KINDS[code]
  if (kind === undefined) return undefined
  const [name, Make] = kind
  return Make === undefined ? name : new Make(buffer)
}
