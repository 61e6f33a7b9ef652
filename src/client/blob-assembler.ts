// Puts the bytes of blobs, which arrive in pieces, straight into the buffers their values will live in: one copy, whatever
// the size. Knows the layout only through values/blob.ts.

import { blobHeaderLength, BLOB_PREFIX_BYTES, parseBlobHeader, verifyFrames, type BlobHeader } from '../values/blob.ts'
import { decodeFrames } from '../values/decode.ts'
import { isErrorCode, PlimsollError } from '../errors/plimsoll-error.ts'

export interface ReceivedBlob {
  readonly header: BlobHeader
  readonly frames: readonly ArrayBuffer[]
  /** The frames were compared with their checksums as they came. */
  readonly checked?: true
}

/** The value of a blob whose frames are here; throws `BLOB_CORRUPT` before anything of it is looked at. */
export function decodeReceived({ header, frames, checked }: ReceivedBlob): unknown {
  if (checked === true) return decodeFrames(header, frames)
  const byOffset = new Map(header.frames.map((frame, index) => [frame.offset, frames[index] as ArrayBuffer]))
  verifyFrames(header, (offset, length) => new Uint8Array(byOffset.get(offset) ?? new ArrayBuffer(0), 0, length))
  return decodeFrames(header, frames)
}

/** Allocates the frames of a header that has been read. */
export function emptyFrames(header: BlobHeader): ArrayBuffer[] {
  return header.frames.map((frame) => new ArrayBuffer(frame.length))
}

/** One blob from consecutive pieces. */
export class BlobAssembler {
  #head: Uint8Array = new Uint8Array(0)
  #header: BlobHeader | null = null
  #frames: ArrayBuffer[] = []
  #position = 0

  /** Takes the bytes that belong to this blob and returns the rest, which belongs to the next one. */
  push(bytes: Uint8Array): Uint8Array {
    if (this.#header === null) {
      this.#head = Buffer.concat([this.#head, bytes])
      if (!this.#readHeader()) return bytes.subarray(bytes.length)
      const head = this.#head
      this.#head = new Uint8Array(0)
      return this.#place(head)
    }
    return this.#place(bytes)
  }

  get complete(): boolean {
    return this.#header !== null && this.#position >= this.#header.totalBytes
  }

  take(): ReceivedBlob {
    if (this.#header === null || !this.complete)
      throw new PlimsollError('BLOB_CORRUPT', 'A value ended before all its bytes were sent.')
    return { header: this.#header, frames: this.#frames }
  }

  #readHeader(): boolean {
    if (this.#head.length < BLOB_PREFIX_BYTES) return false
    if (this.#head.length < blobHeaderLength(this.#head)) return false
    this.#header = parseBlobHeader(this.#head)
    this.#frames = emptyFrames(this.#header)
    return true
  }

  #place(bytes: Uint8Array): Uint8Array {
    const header = this.#header as BlobHeader
    const taken = Math.min(bytes.length, header.totalBytes - this.#position)
    const start = this.#position
    const end = start + taken
    header.frames.forEach((frame, index) => {
      const from = Math.max(start, frame.offset)
      const to = Math.min(end, frame.offset + frame.length)
      if (from >= to) return
      new Uint8Array(this.#frames[index] as ArrayBuffer).set(
        bytes.subarray(from - start, to - start),
        from - frame.offset,
      )
    })
    this.#position = end
    return bytes.subarray(taken)
  }
}

/**
 * Any number of blobs, one after the other, as the chunks of one answer; found again by key. Bytes that are no blob end
 * the stream: that value and those behind it did not arrive, which their reader finds out from `take`.
 */
export class BlobStream {
  readonly #done = new Map<string, ReceivedBlob>()
  #current: BlobAssembler | null = new BlobAssembler()

  push(chunk: Uint8Array): void {
    try {
      for (let rest = chunk; rest.length > 0 && this.#current !== null;) {
        rest = this.#current.push(rest)
        if (!this.#current.complete) return
        const blob = this.#current.take()
        this.#done.set(blob.header.meta.key, blob)
        this.#current = new BlobAssembler()
      }
    } catch (error) {
      if (!isErrorCode(error, 'BLOB_CORRUPT')) throw error
      this.#current = null
    }
  }

  /** Hands the blob out; undefined when it did not come whole. */
  take(key: string): ReceivedBlob | undefined {
    const blob = this.#done.get(key)
    this.#done.delete(key)
    return blob
  }
}
