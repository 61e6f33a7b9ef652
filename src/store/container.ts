// A container of the user's in place of the tiers: what it has to offer, and the check of what was given.

import { PlimsollError } from '../errors/plimsoll-error.ts'

/**
 * Where a worker keeps its values when it is given one: a Map, or anything like it. Keys are task keys; values are encoded
 * values (blobs), to be given back byte for byte.
 */
export interface DataContainer {
  readonly size: number
  /** The bytes under this key; undefined when there are none. What it throws makes this copy of the value a lost one. */
  get(key: string): Uint8Array | undefined
  /** Whether it is done at once or with a promise; the value counts as stored then. What it throws fails the task. */
  set(key: string, blob: Uint8Array): unknown
  has(key: string): boolean
  delete(key: string): unknown
  /** With `evict`: whether there is something in memory that could leave it; a collection says so by its size. */
  readonly fast?: unknown
  /** Moves one value out of memory: the bytes that this freed, or -1 when it cannot. Never throws. */
  evict?(): number | Promise<number>
  /** Of the values that are not in memory now: their sizes, and what they take on disk. Nothing, if absent. */
  readonly spilledTotal?: { readonly memory: number; readonly disk: number }
  /** Called when the worker closes. */
  close?(): unknown
}

const METHODS = ['get', 'set', 'has', 'delete'] as const

/** @throws PlimsollError INVALID_ARGUMENT for what is no container, or has something in it. */
export function checkContainer(given: unknown): DataContainer {
  if (typeof given !== 'object' || given === null) throw refused(`it is ${shownType(given)}`)
  const container = given as Partial<Record<string, unknown>>
  const missing = METHODS.filter((name) => typeof container[name] !== 'function')
  if (missing.length > 0) throw refused(`it has no ${missing.map((name) => `${name}()`).join(', ')}`)
  if (typeof container['size'] !== 'number') throw refused('its `size` is not a number')
  if (container['size'] > 0) {
    const message = `The container for values (option \`data\`) is not empty: it has ${container['size']} entries. What is in it would be taken for values of this cluster; give an empty one.`
    throw new PlimsollError('INVALID_ARGUMENT', message, { option: 'data', size: container['size'] })
  }
  return given as DataContainer
}

/** Both parts of the protocol by which a worker asks for room. */
export function canEvict(container: DataContainer): boolean {
  return typeof container.evict === 'function' && 'fast' in container
}

/** Whether `fast` says that something could leave memory. */
export function hasEvictable({ fast }: DataContainer): boolean {
  if (typeof fast !== 'object' || fast === null) return Boolean(fast)
  const { size, length } = fast as { readonly size?: unknown; readonly length?: unknown }
  return size !== 0 && length !== 0
}

function refused(why: string): PlimsollError {
  const message = `The container for values (option \`data\`) has to be a Map, or to have get, set, has, delete and size as one has: ${why}.`
  return new PlimsollError('INVALID_ARGUMENT', message, { option: 'data' })
}

function shownType(value: unknown): string {
  if (value === null) return 'null'
  return value === undefined ? 'undefined' : `of type ${typeof value}`
}
