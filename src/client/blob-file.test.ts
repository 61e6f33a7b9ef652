import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { blobToBytes, unsealedBlob } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { decodeReceived } from './blob-assembler.ts'
import { readBlobFile, writeBlobFile } from './blob-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-blob-file-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
const meta = { clusterId: 'c', generation: 1, key: 'k', runId: 300 }
/** Many pieces of a read and of a write, an empty frame, and padding between. */
const value = {
  long: Float64Array.from({ length: 2_500_000 }, (_, i) => i),
  none: new Uint8Array(0),
  short: new Uint8Array(3001).fill(7),
}

it('writes a file that is the blob, and reads it back', async () => {
  const path = join(directory, 'whole')
  const encoded = encodeValue(value)
  await writeBlobFile(path, meta, encoded)
  const bytes = blobToBytes(meta, encoded)
  expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
  expect(statSync(path).mode & 0o777).toBe(0o400)
  const back = decodeReceived(await readBlobFile(path, 0, bytes.length)) as typeof value
  expect(back.short).toEqual(value.short)
  expect(Buffer.compare(Buffer.from(back.long.buffer), Buffer.from(value.long.buffer))).toBe(0)
  structuredClone(back.long, { transfer: [back.long.buffer] })
  expect(back.long.length, 'what was gathered can be handed to a thread').toBe(0)
  await expect(writeBlobFile(path, meta, encoded)).rejects.toMatchObject({ code: 'EEXIST' })
})

it('refuses a file that was not finished, was cut, or was changed', async () => {
  const encoded = encodeValue(value)
  const bytes = Buffer.from(blobToBytes(meta, encoded))
  const path = join(directory, 'bad')
  const refused = async (): Promise<void> =>
    await expect(readBlobFile(path, 0, bytes.length)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
  const unfinished = Buffer.from(bytes)
  unsealedBlob(meta, encoded).head.forEach((byte, at) => (unfinished[at] = byte))
  writeFileSync(path, unfinished)
  await refused()
  // Wherever it was changed, at the seams of pieces too.
  for (const at of [5000, 2 ** 21, 2 ** 21 + 4096, 9_000_000, 19_999_999, bytes.length - 1]) {
    const changed = Buffer.from(bytes)
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
    writeFileSync(path, changed)
    await refused()
  }
  writeFileSync(path, bytes)
  truncateSync(path, bytes.length - 1)
  await refused()
})
