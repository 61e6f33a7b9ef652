import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { checksum } from './checksum.ts'

describe('checksum', () => {
  it('is CRC-32, of few bytes and of many', () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (i * 31) ^ (i >> 3))
    for (const length of [0, 1, 2, 63, 255, 256, 257, 5000]) {
      expect(checksum(bytes.subarray(0, length))).toBe(crc32(bytes.subarray(0, length)))
      expect(checksum(bytes, 7, Math.max(7, length))).toBe(crc32(bytes.subarray(7, Math.max(7, length))))
    }
  })
})
