import { expect, it } from 'vitest'
import { freshCopy } from './fresh-copy.ts'

it.each([0, 1000, 33 * 2 ** 20 + 5])('copies %d bytes, all of them, into a buffer of that size', (length) => {
  const source = new Uint8Array(length + 3).subarray(3).map((_, at) => at % 251)
  const copy = freshCopy(source)
  expect(copy.buffer.byteLength).toBe(length)
  expect(Buffer.compare(copy, source)).toBe(0)
})
