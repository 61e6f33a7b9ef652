// Checksums of large pieces on another thread, so that this one goes on receiving meanwhile.

import { isMainThread } from 'node:worker_threads'
import { crc32 } from 'node:zlib'
import { loadLibc } from './libc.ts'

/** CRC-32, continued from `sum`. The bytes must not change before it resolves. */
export type SumAside = (bytes: Uint8Array, sum: number) => Promise<number>

/** A trip to another thread costs as much as summing this. */
export const ASIDE_BYTES_MIN = 2 ** 18

/** On a thread of the pool; where that is impossible, here and at once. */
export const sumAside: SumAside = async (bytes, sum) => {
  const native = (isMainThread ? loadLibc()?.crc32 : null) ?? null
  return native === null ? crc32(bytes, sum) : await native(bytes, sum)
}
