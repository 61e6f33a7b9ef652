import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadLibc } from '../native/libc.ts'
import { blobToBytes, buffersAt, encodedBlobBytes } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { readBlobFile } from './blob-file.ts'
import { SnapshotFile } from './snapshot-file.ts'

const isPossible = process.platform === 'linux' && loadLibc() !== null && existsSync('/dev/shm')
const MIB = 2 ** 20
const meta = { clusterId: 'c', generation: 1, key: 'k', runId: 300 }
const value = () => ({
  long: Float64Array.from({ length: (30 * MIB) / 8 }, (_, i) => i),
  none: new Uint8Array(0),
  odd: new Uint8Array(5 * MIB + 3001).fill(7),
  last: new Uint8Array(2 * MIB + 1).fill(9),
})

it('is for large values of large buffers', () => {
  expect(SnapshotFile.suits(encodeValue(value()))).toBe(true)
  expect(SnapshotFile.suits(encodeValue(new Uint8Array(31 * MIB)))).toBe(false)
  expect(SnapshotFile.suits(encodeValue(Array.from({ length: 80 }, () => new Uint8Array(MIB / 2))))).toBe(false)
  expect(SnapshotFile.suits(encodeValue('x'.repeat(33 * MIB)))).toBe(false)
})

describe.skipIf(!isPossible)('a snapshot in a file', () => {
  const inRam = isPossible ? mkdtempSync('/dev/shm/plimsoll-snapshot-') : ''
  const elsewhere = mkdtempSync(join(tmpdir(), 'plimsoll-snapshot-'))
  afterAll(() => {
    for (const directory of [inRam, elsewhere]) rmSync(directory, { recursive: true, force: true })
  })
  const made = (encoded = encodeValue(value()), likely = meta): SnapshotFile => {
    const snapshot = SnapshotFile.of(encoded, likely)
    if (snapshot === null) throw new Error('no file')
    return snapshot
  }

  it('becomes the blob by a second name, as it was when it was made', async () => {
    const changing = value()
    const encoded = encodeValue(changing)
    const bytes = blobToBytes(meta, encoded)
    const snapshot = made(encoded)
    changing.long.fill(0)
    changing.odd.fill(0)
    expect(encodedBlobBytes(meta, snapshot)).toBe(bytes.length)
    const path = join(inRam, 'linked')
    await snapshot.writeTo(path, meta)
    expect(statSync(path)).toMatchObject({ nlink: 1, size: bytes.length })
    expect(statSync(path).mode & 0o777).toBe(0o400)
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
    expect((await readBlobFile(path, 0, bytes.length)).checked).toBe(true)
    // For a second worker.
    const other = { ...meta, runId: 70_000 }
    await snapshot.writeTo(join(inRam, 'copied'), other)
    const frames = (await snapshot.load()).frames
    expect(Buffer.compare(readFileSync(join(inRam, 'copied')), blobToBytes(other, await snapshot.load()))).toBe(0)
    expect(Buffer.compare(readFileSync(path), bytes), 'nobody writes to what has a name').toBe(0)
    expect(frames.map((frame) => frame.byteLength)).toEqual(encoded.frames.map((frame) => frame.byteLength))
    snapshot.close()
    snapshot.close()
    await expect(snapshot.writeTo(join(inRam, 'late'), meta)).rejects.toMatchObject({ code: 'INTERNAL' })
    expect(existsSync(join(inRam, 'late'))).toBe(false)
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
  })

  it('is copied where its header turns out longer than expected, to another file system, and never over a file', async () => {
    const encoded = encodeValue(value())
    const named = (key: string, runId: number) => ({ ...meta, key, runId })
    let key = 'k'
    while (buffersAt(named(key, 1), encoded) === buffersAt(named(key, 70_000), encoded)) key += 'k'
    const snapshot = made(encoded, named(key, 1))
    const path = join(inRam, 'misplaced')
    await snapshot.writeTo(path, named(key, 70_000))
    expect(Buffer.compare(readFileSync(path), blobToBytes(named(key, 70_000), encoded))).toBe(0)
    await expect(snapshot.writeTo(path, named(key, 1))).rejects.toMatchObject({ code: 'EEXIST' })
    const far = join(elsewhere, 'copied')
    await snapshot.writeTo(far, named(key, 1))
    expect(Buffer.compare(readFileSync(far), blobToBytes(named(key, 1), encoded))).toBe(0)
    snapshot.close()
  })
})
