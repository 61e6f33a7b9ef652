import { describe, expect, it } from 'vitest'
import { runId, taskKey } from '../base/ids.ts'
import { blobToBytes } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { ASIDE_BYTES_MIN, sumAside } from '../native/sum-aside.ts'
import { BlobVerifier, verifyBlob } from './blob-verifier.ts'

const meta = { clusterId: 'c', generation: 1, key: taskKey('a'), runId: runId(7) }
const bytes = blobToBytes(
  meta,
  encodeValue({
    text: 'x',
    numbers: new Float64Array(3000),
    empty: new Uint8Array(2048),
    more: [new Float32Array(700)],
  }),
)
const expected = { key: meta.key, runId: meta.runId, nbytes: bytes.length }

function pass(data: Uint8Array, chunkBytes: number): void {
  const verifier = new BlobVerifier(expected)
  for (let at = 0; at < data.length; at += chunkBytes) {
    const chunk = data.slice(at, at + chunkBytes)
    verifier.update(chunk)
    // As a connection does with the memory of a chunk.
    chunk.fill(0xff)
  }
  verifier.finish()
}

describe('BlobVerifier', () => {
  it('accepts a blob in pieces of any size', () => {
    for (const size of [1, 7, 16, 64, 100, 1000, bytes.length]) expect(() => pass(bytes, size)).not.toThrow()
    expect(verifyBlob(bytes, expected).type).toBe('Object')
  })

  it('refuses a blob with any byte of header or frames changed', () => {
    for (const at of [0, 20, bytes.length - 1, 500, 20_000]) {
      const damaged = Uint8Array.from(bytes)
      damaged[at] = (damaged[at] ?? 0) ^ 1
      expect(() => pass(damaged, 1000)).toThrowError(expect.objectContaining({ code: 'BLOB_CORRUPT' }) as Error)
      expect(() => verifyBlob(damaged, expected)).toThrowError(
        expect.objectContaining({ code: 'BLOB_CORRUPT' }) as Error,
      )
    }
  })

  it('refuses a blob that ends too early, or that is another one', () => {
    expect(() => pass(bytes.subarray(0, bytes.length - 1), 1000)).toThrowError(/too early/)
    expect(() => verifyBlob(bytes, { ...expected, runId: runId(8) })).toThrowError(/of run 7/)
  })

  it('sums large pieces elsewhere, across the ends of frames, and finds what is wrong in them', async () => {
    const arrays = [new Float64Array(100_000).fill(1.5), new Float64Array(70_000).fill(2), new Uint8Array(3000)]
    const large = blobToBytes(meta, encodeValue(arrays))
    const announced = { ...expected, nbytes: large.length }
    const passAside = async (data: Uint8Array, chunkBytes: number): Promise<void> => {
      const verifier = new BlobVerifier(announced)
      for (let at = 0; at < data.length; at += chunkBytes) {
        const chunk = data.slice(at, at + chunkBytes)
        await verifier.updateAside(chunk, sumAside)
        chunk.fill(0xff)
      }
      verifier.finish()
    }
    for (const size of [ASIDE_BYTES_MIN - 1, ASIDE_BYTES_MIN, ASIDE_BYTES_MIN + 7, large.length])
      await passAside(large, size)
    for (const at of [ASIDE_BYTES_MIN, 790_000, 810_000, large.length - 1]) {
      const damaged = Uint8Array.from(large)
      damaged[at] = (damaged[at] ?? 0) ^ 1
      await expect(passAside(damaged, ASIDE_BYTES_MIN)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
    }
  })
})
