import { open, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { type BlobMeta, blobHeaderLength, BLOB_PREFIX_BYTES, parseBlobHeader, unsealedBlob } from '../values/blob.ts'
import type { EncodedValue } from '../values/encode.ts'
import { emptyFrames, type ReceivedBlob } from './blob-assembler.ts'

/** This thread sums a piece in half a millisecond, while others are being read. */
const READ_BYTES_MAX = 2 << 20
/** Most of what a read costs is giving new pages to the process, which threads can do at once. The pool has four by default. */
const READERS = 3
/** One thread of the pool is busy with a write, and this one with its checksum: 2 ms at a time. */
const WRITE_BYTES_MAX = 8 << 20
/** Enough for prefix and header of nearly every blob: one read. */
const HEAD_BYTES = 4096

/**
 * Reads a blob from a file that a worker of this host has pinned, and checks it.
 * @throws the system's error; BLOB_CORRUPT when the file is not a whole blob of this size.
 */
export async function readBlobFile(path: string, offset: number, nbytes: number): Promise<ReceivedBlob> {
  const file = await open(path, 'r')
  try {
    let head = await readFully(file, offset, Math.min(HEAD_BYTES, nbytes))
    if (head.length < BLOB_PREFIX_BYTES) throw tooShort(path)
    const headerLength = blobHeaderLength(head)
    if (headerLength > head.length) head = await readFully(file, offset, headerLength)
    const header = parseBlobHeader(head)
    if (header.totalBytes !== nbytes) throw tooShort(path)
    const frames = emptyFrames(header)
    for (const [index, frame] of header.frames.entries()) {
      const into = new Uint8Array(frames[index] as ArrayBuffer)
      const known = head.subarray(frame.offset, frame.offset + frame.length)
      into.set(known)
      const sum = await readSumming(file, offset + frame.offset, into, known.length)
      if (sum !== frame.crc32)
        throw new PlimsollError('BLOB_CORRUPT', `Frame ${index} in ${path} is damaged.`, { path })
    }
    return { header, frames, checked: true }
  } finally {
    await file.close()
  }
}

/**
 * Writes a blob to a file that a worker of this host has granted. Sequentially and never sized in advance, so that it has no
 * holes: a hole is a SIGBUS for whoever maps it. A thread writes one piece while this one sums it, so the head, which was
 * written without the checksums, is written once more at the end: until then the file is no blob.
 * @throws the system's error; the file may be there in part.
 */
export async function writeBlobFile(path: string, meta: BlobMeta, value: EncodedValue): Promise<void> {
  const { head, pieces, seal } = unsealedBlob(meta, value)
  const sums = value.frames.map(() => 0)
  const file = await open(path, 'wx', 0o400)
  try {
    await writeFully(file, head, 0)
    let position = head.length
    for (const { bytes, frame } of pieces) {
      for (let at = 0; at < bytes.length; at += WRITE_BYTES_MAX) {
        const piece = bytes.subarray(at, at + WRITE_BYTES_MAX)
        const writing = writeFully(file, piece, position)
        if (frame !== null) sums[frame] = crc32(piece, sums[frame])
        await writing
        position += piece.length
      }
    }
    seal(sums)
    await writeFully(file, head, 0)
  } finally {
    await file.close()
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at)
    if (bytesWritten === 0) throw Object.assign(new Error('a write wrote nothing'), { code: 'ENOSPC' })
    at += bytesWritten
  }
}

async function readFully(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  await readInto(file, position, bytes)
  return bytes
}

/** Fills `bytes` from `known` on, with several reads under way; returns the checksum of all of it. */
async function readSumming(file: FileHandle, position: number, bytes: Uint8Array, known: number): Promise<number> {
  let sum = crc32(bytes.subarray(0, known))
  let asked = known
  let summed = known
  /** Where pieces begin that are there, behind one that is not. */
  const read = new Set<number>()
  const pieceAt = (at: number): Uint8Array => bytes.subarray(at, at + READ_BYTES_MAX)
  const reader = async (): Promise<void> => {
    while (asked < bytes.length) {
      const at = asked
      asked += READ_BYTES_MAX
      await readInto(file, position + at, pieceAt(at))
      for (read.add(at); read.delete(summed); summed += READ_BYTES_MAX) sum = crc32(pieceAt(summed), sum)
    }
  }
  const readers = Array.from({ length: READERS }, reader)
  try {
    await Promise.all(readers)
  } finally {
    // Nobody may close the file while one of them reads.
    asked = bytes.length
    await Promise.allSettled(readers)
  }
  return sum
}

async function readInto(file: FileHandle, position: number, bytes: Uint8Array): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done)
    if (bytesRead === 0) throw tooShort('a pinned file')
    done += bytesRead
  }
}

function tooShort(path: string): PlimsollError {
  return new PlimsollError('BLOB_CORRUPT', `The value in ${path} does not have the length it should have.`, { path })
}
