// Copies of large buffers. Most of what one costs is the first touch of each new page, one fault each; asked for in portions,
// pages cost half of that, and are in the processor's cache when they are filled.

import { isMainThread } from 'node:worker_threads'
import { loadLibc } from './libc.ts'

/** Smaller ones are not worth loading anything for. */
const LARGE_BYTES = 32 * 2 ** 20
const PORTION_BYTES = 2 ** 18

/** The bytes in a buffer of their own. */
export function freshCopy(bytes: Uint8Array): Uint8Array {
  const libc = bytes.byteLength >= LARGE_BYTES && isMainThread ? loadLibc() : null
  if (libc === null) return Uint8Array.prototype.slice.call(bytes)
  const copy = new Uint8Array(bytes.byteLength)
  for (let at = 0; at < copy.length; at += PORTION_BYTES) {
    const portion = copy.subarray(at, at + PORTION_BYTES)
    libc.populate(portion)
    portion.set(bytes.subarray(at, at + PORTION_BYTES))
  }
  return copy
}
