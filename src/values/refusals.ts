// What cannot be sent, and why, in words.

import { EventEmitter } from 'node:events'
import { types } from 'node:util'

/** Thrown inside the encoder; the callers turn it into NOT_SERIALIZABLE with the path. `reason` continues a sentence that starts with the path. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly reason: string

  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.reason = reason
  }
}

/** Classes of the platform whose state is not in their properties: a copy of the properties would be an empty object. */
const OPAQUE_CLASSES: ReadonlySet<string> = new Set(
  (
    'AbortController AbortSignal Blob BroadcastChannel ByteLengthQueuingStrategy CompressionStream CountQueuingStrategy Crypto CryptoKey ' +
    'DecompressionStream DisposableStack AsyncDisposableStack Event EventSource EventTarget File FinalizationRegistry FormData Headers ' +
    'KeyObject MessageChannel MessagePort Performance ReadableStream Request Response SubtleCrypto TextDecoder TextEncoder TransformStream ' +
    'WeakMap WeakRef WeakSet WebSocket WritableStream Collator DateTimeFormat DisplayNames DurationFormat ListFormat Locale NumberFormat ' +
    'PluralRules RelativeTimeFormat Segmenter Instance Memory Module Table Iterator'
  ).split(' '),
)

const NATIVE_CODE = /\{\s*\[native code\]\s*\}$/

/** The class name of an object as people know it. */
export function classNameOf(value: object): string {
  const { constructor } = value as { readonly constructor?: unknown }
  const name: unknown = typeof constructor === 'function' ? constructor.name : ''
  return typeof name === 'string' && name !== '' ? name : 'Object'
}

/** `type` of a value for people: `number`, `null`, `Array`, `Float64Array`, `Object`, the name of a class. */
export function typeNameOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  const name = classNameOf(value)
  return name.length > 100 ? `${name.slice(0, 100)}…` : name
}

/** Why an object that is neither plain nor a known builtin must not be taken apart; `undefined` when it may. */
export function refusalOf(value: object): string | undefined {
  if (types.isPromise(value)) return 'is a promise: await it first'
  if (types.isSharedArrayBuffer(value))
    return 'is a SharedArrayBuffer, which processes cannot share: copy it into an ArrayBuffer'
  if (types.isGeneratorObject(value))
    return 'is a generator: collect what it gives into an array first, with Array.from'
  const tag = Object.prototype.toString.call(value).slice(8, -1)
  if (tag.endsWith(' Iterator')) return 'is an iterator: collect what it gives into an array first, with Array.from'
  const name = classNameOf(value)
  if (value instanceof EventEmitter)
    return `is a ${name}, which belongs to this process (it has listeners and perhaps open handles)`
  if (types.isExternal(value)) return 'is memory of a native library'
  const named = OPAQUE_CLASSES.has(name) ? name : OPAQUE_CLASSES.has(tag) ? tag : undefined
  if (named !== undefined && isOpaque(value, named))
    return `is ${/^[AEIOU]/.test(named) ? 'an' : 'a'} ${named}, whose content cannot be sent`
  return undefined
}

/** A class of the user may have the name of one of the platform. */
function isOpaque(value: object, name: string): boolean {
  const platform: unknown =
    (globalThis as Record<string, unknown>)[name] ?? (Intl as unknown as Record<string, unknown>)[name]
  if (typeof platform === 'function' && value instanceof platform) return true
  const { constructor } = value as { readonly constructor?: unknown }
  return typeof constructor === 'function' && NATIVE_CODE.test(Function.prototype.toString.call(constructor))
}

/** Why a class instance is refused where its class matters: as a whole result or argument. */
export function instanceRefusalOf(value: object): string {
  const name = classNameOf(value)
  if (name === 'Future') return 'is a Future: send its value, from await future.result()'
  if (name === 'Delayed') return 'is a Delayed: compute it first, or pass it to another delayed function'
  return `is an instance of class ${name}, which would lose its class: return plain data, or call registerSerializer(${name}, …)`
}

/** True for objects whose class is part of the language or of Node. */
export function isBuiltinInstance(value: object): boolean {
  if (Buffer.isBuffer(value)) return true
  const { constructor } = value as { readonly constructor?: unknown }
  return typeof constructor === 'function' && NATIVE_CODE.test(Function.prototype.toString.call(constructor))
}
