import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { blobToBytes } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { BlobStream, decodeReceived, type ReceivedBlob } from './blob-assembler.ts'
import { readBlobFile } from './blob-file.ts'

const VALUES: Record<string, unknown> = {
  empty: new Float64Array(0),
  small: { a: 1 },
  arrays: [new Float64Array(1000).fill(2), new Uint8Array(3), new Uint16Array(5000).fill(9)],
}

const blobOf = (key: string): Uint8Array =>
  blobToBytes({ clusterId: 'c', generation: 0, key, runId: 1 }, encodeValue(VALUES[key]))

describe('blobs in pieces', () => {
  it.each([1, 7, 64, 4096, 1e6])('are put together from chunks of %i bytes', (size) => {
    const bytes = Buffer.concat(Object.keys(VALUES).map(blobOf))
    const stream = new BlobStream()
    for (let at = 0; at < bytes.length; at += size) stream.push(bytes.subarray(at, at + size))
    for (const [key, value] of Object.entries(VALUES))
      expect(decodeReceived(stream.take(key) as ReceivedBlob)).toEqual(value)
    expect(stream.take('small')).toBeUndefined()
  })

  it('are never returned when a byte is wrong or the end is missing', () => {
    const good = blobOf('arrays')
    const damaged = Uint8Array.from(good)
    damaged[damaged.length - 1] = 0xff
    const stream = new BlobStream()
    stream.push(damaged)
    expect(() => decodeReceived(stream.take('arrays') as ReceivedBlob)).toThrow(
      expect.objectContaining({ code: 'BLOB_CORRUPT' }),
    )
    stream.push(good.subarray(0, good.length - 1))
    expect(stream.take('arrays')).toBeUndefined()
  })

  it('end with bytes that are no blob', () => {
    const stream = new BlobStream()
    stream.push(Buffer.concat([blobOf('small'), Buffer.alloc(100, 7), blobOf('empty')]))
    expect([stream.take('small') === undefined, stream.take('empty')]).toEqual([false, undefined])
  })
})

describe('blobs in files', () => {
  it('are read at their offset, and refused when the length differs', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'plimsoll-blob-'))
    try {
      const bytes = blobOf('arrays')
      const path = join(directory, 'b')
      writeFileSync(path, Buffer.concat([Buffer.alloc(100), bytes]))
      expect(decodeReceived(await readBlobFile(path, 100, bytes.length))).toEqual(VALUES['arrays'])
      await expect(readBlobFile(path, 100, bytes.length - 1)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      await expect(readBlobFile(path, 100, bytes.length + 1)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      writeFileSync(path, bytes.subarray(0, bytes.length - 10))
      await expect(readBlobFile(path, 0, bytes.length)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      await expect(readBlobFile(join(directory, 'gone'), 0, 10)).rejects.toMatchObject({ code: 'ENOENT' })
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  it('are read in pieces, and refused when a byte of any piece was changed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'plimsoll-blob-'))
    try {
      const value = Float64Array.from({ length: 2.5 * 2 ** 20 }, (_, index) => index)
      const meta = { clusterId: 'c', generation: 0, key: 'large', runId: 1 }
      const bytes = Buffer.from(blobToBytes(meta, encodeValue(value)))
      const path = join(directory, 'b')
      writeFileSync(path, bytes)
      const read = decodeReceived(await readBlobFile(path, 0, bytes.length)) as Float64Array
      expect(Buffer.compare(Buffer.from(read.buffer), Buffer.from(value.buffer))).toBe(0)
      for (const at of [200, 5000, 8 * 2 ** 20 + 4096, bytes.length - 1]) {
        const damaged = Buffer.from(bytes)
        damaged[at] = (damaged[at] as number) ^ 1
        writeFileSync(path, damaged)
        await expect(readBlobFile(path, 0, bytes.length)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      }
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
