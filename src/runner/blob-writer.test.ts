import { execFileSync } from 'node:child_process'
import { fstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parseBlobHeader, type UnsealedBlob, unsealedBlob, verifyFrames } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { writeBlob } from './blob-writer.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-writer-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** Bytes that are no blob. */
function loose(parts: readonly Uint8Array[]): UnsealedBlob {
  const totalBytes = parts.reduce((sum, part) => sum + part.byteLength, 0)
  const pieces = parts.map((bytes) => ({ bytes, frame: null }))
  return { totalBytes, head: new Uint8Array(0), frames: 0, pieces, seal: () => {} }
}

describe('blob writer', () => {
  it('writes many parts in order, read-only', () => {
    const path = join(directory, 'many')
    const parts = Array.from({ length: 5000 }, (_, i) => new Uint8Array(i % 7).fill(i))
    expect(writeBlob(path, loose(parts))).toBe(Buffer.concat(parts).byteLength)
    expect(readFileSync(path)).toEqual(Buffer.concat(parts))
    expect(statSync(path).mode & 0o777).toBe(0o400)
    expect(writeBlob(join(directory, 'empty'), loose([]))).toBe(0)
  })

  it('sums what it writes, in frames of any length, also a second time', () => {
    const lengths = [1024, 65_535, 65_536, 65_537, 1_000_003]
    const arrays = lengths.map((length, at) => new Uint8Array(length).fill(at))
    const blob = unsealedBlob({ clusterId: 'c', generation: 1, key: 'k', runId: 1 }, encodeValue(arrays))
    for (const name of ['first', 'second']) {
      // A task may have left something running that goes on writing to its result.
      for (const array of arrays) array[array.length - 1] = name.length
      const path = join(directory, name)
      expect(writeBlob(path, blob)).toBe(blob.totalBytes)
      const bytes = readFileSync(path)
      const header = parseBlobHeader(bytes)
      expect(bytes.byteLength).toBe(header.totalBytes)
      expect(header.frames.length).toBe(1 + lengths.length)
      verifyFrames(header, (offset, length) => bytes.subarray(offset, offset + length))
      for (const [at, { offset, length }] of header.frames.slice(1).entries())
        expect(bytes.subarray(offset, offset + length).equals(arrays[at] as Uint8Array)).toBe(true)
    }
  })

  it('has room reserved while the file is still empty', () => {
    const path = join(directory, 'reserved')
    const sizes: number[] = []
    writeBlob(path, loose([new Uint8Array(1 << 20)]), (fd) => sizes.push(fstatSync(fd).size))
    expect([...sizes, statSync(path).size]).toEqual([0, 1 << 20])
  })

  it('leaves no blob when it does not come to the end', () => {
    const path = join(directory, 'torn')
    const blob = unsealedBlob(
      { clusterId: 'c', generation: 1, key: 'k', runId: 1 },
      encodeValue(new Uint8Array(1 << 20)),
    )
    writeBlob(join(directory, 'whole'), blob)
    const torn = {
      ...blob,
      seal: () => {
        throw new Error('the end')
      },
    }
    expect(() => writeBlob(path, torn)).toThrow('the end')
    expect(readFileSync(path).byteLength).toBe(blob.totalBytes)
    expect(() => parseBlobHeader(readFileSync(path))).toThrow(expect.objectContaining({ code: 'BLOB_CORRUPT' }))
  })

  it('fails with ENOSPC on a full file system, however short its writes were (needs root)', (context) => {
    const full = join(directory, 'full')
    mkdirSync(full)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', full], { stdio: 'ignore' })
    } catch {
      return context.skip()
    }
    try {
      const write = (): number => writeBlob(join(full, 'x'), loose([new Uint8Array(600_000), new Uint8Array(600_000)]))
      expect(write).toThrow(expect.objectContaining({ code: 'ENOSPC' }))
    } finally {
      execFileSync('umount', [full])
    }
  })
})
