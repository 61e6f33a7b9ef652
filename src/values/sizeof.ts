// An estimate of the heap that a value takes in this process. It skews statistics at worst: what a stored value takes is
// known exactly (its blob). Long containers are sampled, so it costs microseconds whatever the value.

import { types } from 'node:util'

/** Elements looked at per container. */
const SAMPLE = 10
const MAX_DEPTH = 8
/** Assumed where the estimate fails. */
const FALLBACK_BYTES = 1_000_000
const OBJECT_BYTES = 24
const SLOT_BYTES = 8
const MAP_ENTRY_BYTES = 24

type SizeOf = (value: object) => number
const byPrototype = new WeakMap<object, SizeOf>()

/** Gives instances of `Class` (not of its subclasses) a size of their own, in bytes. */
export function registerSizeof<T extends object>(
  Class: abstract new (...args: never[]) => T,
  size: (value: T) => number,
): void {
  byPrototype.set(Class.prototype as object, size as SizeOf)
}

/** About how many bytes of memory `value` takes in this process; buffers count once. Never throws. */
export function sizeof(value: unknown): number {
  try {
    return sizeOf(value, new Set(), 0)
  } catch {
    return FALLBACK_BYTES
  }
}

function sizeOf(value: unknown, seen: Set<object>, depth: number): number {
  if (typeof value === 'string') return 16 + value.length
  if (typeof value === 'bigint') return 16 + value.toString(16).length / 2
  if (typeof value === 'function') return 64
  if (typeof value !== 'object' || value === null) return SLOT_BYTES
  if (seen.has(value)) return SLOT_BYTES
  seen.add(value)
  const prototype = Object.getPrototypeOf(value) as object | null
  const registered = prototype === null ? undefined : byPrototype.get(prototype)
  if (registered !== undefined) return registered(value)
  if (ArrayBuffer.isView(value)) return 64 + (seen.has(value.buffer) ? 0 : (seen.add(value.buffer), viewBytes(value)))
  if (types.isAnyArrayBuffer(value)) return 64 + value.byteLength
  if (depth >= MAX_DEPTH) return OBJECT_BYTES
  const next = (item: unknown): number => sizeOf(item, seen, depth + 1)
  if (Array.isArray(value)) return OBJECT_BYTES + SLOT_BYTES * value.length + sampled(value, value.length, next)
  if (types.isSet(value)) return OBJECT_BYTES + MAP_ENTRY_BYTES * value.size + sampled(value, value.size, next)
  if (types.isMap(value))
    return (
      OBJECT_BYTES + MAP_ENTRY_BYTES * value.size + sampled(value, value.size, ([key, item]) => next(key) + next(item))
    )
  const keys = Object.keys(value)
  const own = sampled(keys, keys.length, (key) => SLOT_BYTES + next((value as Record<string, unknown>)[key]))
  return OBJECT_BYTES + own + (value instanceof Error ? next(value.stack) : 0)
}

/** A small view of a pooled buffer is charged for itself, a view that has its buffer to itself for all of it. */
function viewBytes(view: ArrayBufferView): number {
  return Buffer.isBuffer(view) && view.buffer.byteLength <= Buffer.poolSize ? view.byteLength : view.buffer.byteLength
}

/** The sum over all items, extrapolated from the first few when there are many. */
function sampled<T>(items: Iterable<T>, count: number, size: (item: T) => number): number {
  let sum = 0
  let taken = 0
  for (const item of items) {
    sum += size(item)
    if (++taken === SAMPLE) break
  }
  return taken === 0 ? 0 : Math.ceil((sum * count) / taken)
}
