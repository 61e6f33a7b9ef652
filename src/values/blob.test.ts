import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { BLOB_PREFIX_BYTES, blobHeaderLength, blobToBytes, layoutBlob, parseBlobHeader, verifyFrames } from './blob.ts'
import { decodeBlob } from './decode.ts'
import { encodeValue, encodedBlobBytes } from './encode.ts'

const meta = { clusterId: 'cluster', generation: 3, key: 'score-0123', runId: 2 ** 40 + 1 }
const rich = {
  id: 7,
  text: 'naïve ☃',
  list: [1, 2.5, null, undefined, true, 'x'],
  map: new Map<unknown, unknown>([['k', new Set([1])]]),
  when: new Date(1),
  error: new TypeError('bad', { cause: new Error('worse') }),
  small: new Uint8Array([1, 2, 3]),
  first: new Float64Array(200).map((_, i) => i),
  second: Buffer.alloc(1500, 7),
  big: 2n ** 70n,
  records: [{ a: 1 }, { a: 2 }],
  packed: Array.from({ length: 20 }, (_, i) => i),
}

function codeOf(act: () => unknown): string {
  try {
    act()
    return 'fine'
  } catch (error) {
    if (!(error instanceof PlimsollError)) throw error
    return error.code
  }
}

describe('a blob', () => {
  it('says who it belongs to and what is where', () => {
    const bytes = blobToBytes(meta, encodeValue(rich))
    const header = parseBlobHeader(bytes)
    expect(header.meta).toEqual(meta)
    expect(header).toMatchObject({ family: 'js1', type: 'Object', totalBytes: bytes.length })
    expect(header.frames.map((frame) => frame.length)).toEqual([header.bodyLength, 1600, 1500])
    expect(decodeBlob(bytes).value).toEqual(rich)
  })

  it('has its size known before it is written, whatever is in it', () => {
    const runIds = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
    fc.assert(
      fc.property(fc.array(fc.nat(3000), { maxLength: 5 }), fc.string(), runIds, (sizes, key, runId) => {
        const value = encodeValue(sizes.map((size) => new Uint8Array(size)))
        const own = { clusterId: 'c', generation: 1, key, runId }
        const bytes = blobToBytes(own, value)
        expect(encodedBlobBytes(own, value)).toBe(bytes.length)
        expect(layoutBlob(own, value).totalBytes).toBe(bytes.length)
        const header = parseBlobHeader(bytes)
        expect(header.meta).toEqual(own)
        expect(header.totalBytes).toBe(bytes.length)
        for (const frame of header.frames.slice(1)) expect(frame.offset % 64).toBe(0)
      }),
    )
  })

  it('is the same bytes in pieces as in one', () => {
    const value = encodeValue(rich)
    const { parts } = layoutBlob(meta, value)
    expect(Buffer.concat(parts).equals(blobToBytes(meta, value))).toBe(true)
  })

  it('tells its header’s length from its first bytes, and the header without the rest', () => {
    const bytes = blobToBytes(meta, encodeValue(rich))
    const length = blobHeaderLength(bytes.subarray(0, BLOB_PREFIX_BYTES))
    expect(parseBlobHeader(bytes.subarray(0, length)).totalBytes).toBe(bytes.length)
    expect(codeOf(() => parseBlobHeader(bytes.subarray(0, length - 1)))).toBe('BLOB_CORRUPT')
    expect(codeOf(() => blobHeaderLength(bytes.subarray(0, 3)))).toBe('BLOB_CORRUPT')
  })

  it('is small for small values', () => {
    expect(blobToBytes({ clusterId: '', generation: 0, key: '', runId: 0 }, encodeValue(1)).length).toBeLessThan(64)
  })

  it('gives out buffers that are not over itself', () => {
    const bytes = blobToBytes(meta, encodeValue(rich))
    const value = decodeBlob(bytes).value as typeof rich
    bytes.fill(0)
    expect(value.first[150]).toBe(150)
    expect(value.first.buffer.byteLength).toBe(1600)
    expect(value.text).toBe('naïve ☃')
  })

  it('checks frames one at a time through whoever can read them', () => {
    const bytes = blobToBytes(meta, encodeValue(rich))
    const header = parseBlobHeader(bytes)
    const read = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length)
    verifyFrames(header, read)
    bytes[(header.frames[2]?.offset ?? 0) + 5]! ^= 1
    expect(() => verifyFrames(header, read)).toThrow(/frame 2 of 3 .*score-0123.* checksum/)
    expect(codeOf(() => verifyFrames(header, () => new Uint8Array(0)))).toBe('BLOB_CORRUPT')
  })
})

describe('a damaged blob', () => {
  const bytes = blobToBytes(meta, encodeValue(rich))
  const header = parseBlobHeader(bytes)

  it('is detected wherever it was cut off, and when something follows', () => {
    for (let length = 0; length < bytes.length; length++)
      expect(codeOf(() => decodeBlob(bytes.slice(0, length)))).toBe('BLOB_CORRUPT')
    expect(codeOf(() => decodeBlob(Buffer.concat([bytes, bytes])))).toBe('BLOB_CORRUPT')
  })

  it('is detected for every byte that is not padding', () => {
    const isPadding = (at: number): boolean =>
      at >= BLOB_PREFIX_BYTES &&
      at >= (header.frames[0]?.offset ?? 0) &&
      !header.frames.some((frame) => at >= frame.offset && at < frame.offset + frame.length)
    for (let at = 0; at < bytes.length; at++) {
      const damaged = bytes.slice()
      damaged[at]! ^= 1 << (at % 8)
      expect(codeOf(() => decodeBlob(damaged))).toBe(isPadding(at) ? 'fine' : 'BLOB_CORRUPT')
    }
  })

  it('never does worse than BLOB_CORRUPT when its checksums are not looked at', () => {
    const start = header.frames[0]?.offset ?? 0
    for (let at = start; at < start + header.bodyLength; at++) {
      for (const change of [1, 0x40, 0xff]) {
        const damaged = bytes.slice()
        damaged[at]! ^= change
        expect(['fine', 'BLOB_CORRUPT', 'NOT_SERIALIZABLE']).toContain(
          codeOf(() => decodeBlob(damaged, { verify: false })),
        )
      }
    }
  })

  it('cannot be made up from random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (random) => codeOf(() => decodeBlob(random)) === 'BLOB_CORRUPT'),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (random) => {
        const value = { family: 'js1', type: 'x', frames: [random], nbytes: random.length }
        return ['fine', 'BLOB_CORRUPT', 'NOT_SERIALIZABLE'].includes(codeOf(() => decodeBlob(blobToBytes(meta, value))))
      }),
      { numRuns: 3000 },
    )
  })

  it('of another encoding is named, not guessed at', () => {
    const other = { family: 'arrow', type: 'Table', frames: [new Uint8Array(4)], nbytes: 4 }
    expect(() => decodeBlob(blobToBytes(meta, other))).toThrow(/score-0123 has the encoding "arrow"/)
  })
})
