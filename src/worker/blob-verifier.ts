// Checks a blob while its bytes pass by in chunks: that it is the one that was announced, and that every frame is whole.

import { crc32 } from 'node:zlib'
import type { RunId, TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { ASIDE_BYTES_MIN, type SumAside } from '../native/sum-aside.ts'
import {
  BLOB_PREFIX_BYTES,
  type BlobFrame,
  type BlobHeader,
  blobHeaderLength,
  parseBlobHeader,
  verifyFrames,
} from '../values/blob.ts'

export interface ExpectedBlob {
  readonly key: TaskKey
  readonly runId: RunId
  /** Of the whole blob. */
  readonly nbytes: number
}

/** One blob, from its first byte to its last. */
export class BlobVerifier {
  readonly #expected: ExpectedBlob
  #header: BlobHeader | null = null
  /** What came of prefix and header so far. */
  #head: Uint8Array = new Uint8Array(0)
  #position = 0
  #frame = 0
  #sum = 0

  constructor(expected: ExpectedBlob) {
    this.#expected = expected
  }

  /** @throws BLOB_CORRUPT. */
  update(chunk: Uint8Array): void {
    const header = this.#header ?? this.#readHead(chunk)
    if (header !== null) this.#sumFrames(header, chunk, this.#position)
    this.#position += chunk.length
  }

  /** The same with large chunks summed elsewhere; the next call waits for this one. */
  async updateAside(chunk: Uint8Array, sumAside: SumAside): Promise<void> {
    if (this.#header === null || chunk.length < ASIDE_BYTES_MIN) {
      this.update(chunk)
      return
    }
    for (const part of this.#parts(this.#header, chunk, this.#position)) this.#sum = await sumAside(part, this.#sum)
    this.#position += chunk.length
  }

  /** @throws BLOB_CORRUPT when something is missing. */
  finish(): BlobHeader {
    if (this.#header === null || this.#frame < this.#header.frames.length)
      throw corruptArrival(this.#expected, 'it ends too early')
    return this.#header
  }

  /** Null until the header is complete. */
  #readHead(chunk: Uint8Array): BlobHeader | null {
    const head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk])
    if (head.length < BLOB_PREFIX_BYTES || head.length < blobHeaderLength(head)) {
      // A chunk's memory is used again.
      this.#head = head === chunk ? Uint8Array.from(chunk) : head
      return null
    }
    this.#header = checkHeader(head, this.#expected)
    // The bytes behind the header belong to frames that were not summed yet; this chunk is summed by the caller.
    this.#sumFrames(this.#header, head.subarray(0, this.#position), 0)
    this.#head = new Uint8Array(0)
    return this.#header
  }

  #sumFrames(header: BlobHeader, chunk: Uint8Array, position: number): void {
    for (const part of this.#parts(header, chunk, position)) this.#sum = crc32(part, this.#sum)
  }

  /** What is to be summed, up to the end of a frame at a time; the sum of each whole frame is checked. */
  *#parts(header: BlobHeader, chunk: Uint8Array, position: number): Generator<Uint8Array, void> {
    const end = position + chunk.length
    for (; ; this.#frame++) {
      const frame = header.frames[this.#frame]
      if (frame === undefined || frame.offset > end) return
      const from = Math.max(frame.offset, position)
      const to = Math.min(frame.offset + frame.length, end)
      if (to > from) yield chunk.subarray(from - position, to - position)
      if (frame.offset + frame.length > end) return
      this.#endFrame(frame)
    }
  }

  #endFrame(frame: BlobFrame): void {
    if (this.#sum !== frame.crc32) throw corruptArrival(this.#expected, 'a checksum is wrong')
    this.#sum = 0
  }
}

/** The same for a blob that is here as a whole. @throws BLOB_CORRUPT. */
export function verifyBlob(bytes: Uint8Array, expected: ExpectedBlob): BlobHeader {
  if (bytes.length !== expected.nbytes) throw corruptArrival(expected, `it has ${bytes.length} bytes`)
  const header = checkHeader(bytes, expected)
  verifyFrames(header, (offset, length) => bytes.subarray(offset, offset + length))
  return header
}

function checkHeader(bytes: Uint8Array, expected: ExpectedBlob): BlobHeader {
  const header = parseBlobHeader(bytes)
  const { meta, totalBytes } = header
  if (meta.key !== expected.key || meta.runId !== expected.runId) {
    throw corruptArrival(expected, `it is ${meta.key} of run ${meta.runId}`)
  }
  if (totalBytes !== expected.nbytes) throw corruptArrival(expected, `it has ${totalBytes} bytes`)
  return header
}

export function corruptArrival(expected: ExpectedBlob, what: string): PlimsollError {
  const { key, runId, nbytes } = expected
  const text = `what arrived as ${key} (run ${runId}, ${nbytes} bytes) is not that value: ${what}`
  return new PlimsollError('BLOB_CORRUPT', text, { key, runId, nbytes })
}
