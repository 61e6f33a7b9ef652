import { crc32 } from 'node:zlib'
import { expect, it } from 'vitest'
import { loadLibc } from './libc.ts'
import { sumAside } from './sum-aside.ts'

const bytes = Uint8Array.from({ length: 1_000_003 }, (_, i) => (i * i) % 251)

it('sums as zlib does, also what begins anywhere and continues', async () => {
  expect(await sumAside(bytes, 0)).toBe(crc32(bytes))
  const [first, second] = [bytes.subarray(3, 500_000), bytes.subarray(500_000)]
  expect(await sumAside(second, await sumAside(first, 0))).toBe(crc32(bytes.subarray(3)))
  expect(await sumAside(new Uint8Array(0), 7)).toBe(7)
})

it('sums many at a time', async () => {
  const parts = Array.from({ length: 500 }, (_, i) => bytes.subarray(i))
  expect(await Promise.all(parts.map((part) => sumAside(part, 5)))).toEqual(parts.map((part) => crc32(part, 5)))
})

it.skipIf(loadLibc() === null)('finds the function that Node exports', () => {
  expect(loadLibc()?.crc32).toBeTypeOf('function')
})
