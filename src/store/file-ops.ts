// File work in the large: looping on short counts, checking without holding a whole blob, and what errors mean.

import { crc32 } from 'node:zlib'
import { PlimsollError, isErrorCode } from '../errors/plimsoll-error.ts'
import { isShortage } from '../errors/shortage.ts'
import { BLOB_PREFIX_BYTES, blobHeaderLength, parseBlobHeader, type BlobHeader } from '../values/blob.ts'
import { Permits } from './permits.ts'
import type { StoreFs, WritableFile } from './store-fs.ts'

/** write(2) refuses more than 2^31-1 bytes, and a writev above that reports a negative count. */
const WRITE_BYTES_MAX = 2 ** 30
const WRITEV_BUFFERS_MAX = 512
const CHECK_CHUNK_BYTES = 4 * 2 ** 20
/** Read with the prefix, so that most headers come with the first read. */
export const HEADER_GUESS_BYTES = 4096

const PAGE_BYTES = 4096

/** What a file of this size takes from a RAM file system. */
export const pageRounded = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES

/** Bounds on concurrent file work (S3). Metadata calls are bounded on their own: thousands of unlinks come at once. */
export interface FilePermits {
  readonly writes: Permits
  readonly reads: Permits
  readonly unlinks: Permits
}

export function filePermits(threadPool: number): FilePermits {
  const small = threadPool <= 4
  return { writes: new Permits(small ? 1 : 3), reads: new Permits(small ? 2 : 8), unlinks: new Permits(small ? 1 : 4) }
}

/** Writes all of `buffers` from `position` on. A full file system first gives a short count, then ENOSPC. */
export async function writeFully(file: WritableFile, buffers: readonly Uint8Array[], position: number): Promise<void> {
  const parts = buffers.filter((part) => part.byteLength > 0)
  let index = 0
  let skip = 0
  let at = position
  while (index < parts.length) {
    const batch = nextBatch(parts, index, skip)
    const written = await file.write(batch, at)
    if (written <= 0) throw Object.assign(new Error('write made no progress'), { code: 'EIO' })
    at += written
    skip += written
    while (index < parts.length && skip >= (parts[index] as Uint8Array).byteLength) {
      skip -= (parts[index] as Uint8Array).byteLength
      index++
    }
  }
}

function nextBatch(parts: readonly Uint8Array[], start: number, skip: number): Uint8Array[] {
  const batch: Uint8Array[] = []
  let bytes = 0
  for (let i = start; i < parts.length && batch.length < WRITEV_BUFFERS_MAX && bytes < WRITE_BYTES_MAX; i++) {
    const part = parts[i] as Uint8Array
    const from = i === start ? skip : 0
    const piece = part.subarray(from, Math.min(part.byteLength, from + WRITE_BYTES_MAX - bytes))
    batch.push(piece)
    bytes += piece.byteLength
    if (from + piece.byteLength < part.byteLength) break
  }
  return batch
}

/**
 * Reads and parses the header of the blob at `offset`; `known`: its first bytes, when they are here already.
 * @throws BLOB_CORRUPT when there is no whole header; the file system's own errors as they are.
 */
export async function readBlobHeader(fs: StoreFs, path: string, offset = 0, known?: Uint8Array): Promise<BlobHeader> {
  const first = known ?? (await fs.read(path, offset, Math.max(BLOB_PREFIX_BYTES, HEADER_GUESS_BYTES)))
  const needed = blobHeaderLength(first)
  return parseBlobHeader(needed <= first.byteLength ? first : await fs.read(path, offset, needed))
}

/**
 * Checks a stored blob as a whole: header, identity, length, and the checksum of every frame, in chunks.
 * @returns what is wrong with it, or null.
 * @throws a shortage (errors/shortage.ts): then nothing is known.
 */
export async function findBlobFault(
  fs: StoreFs,
  at: { readonly path: string; readonly offset: number; readonly nbytes: number; readonly wholeFile: boolean },
  expected: { readonly key: string; readonly runId: number },
): Promise<string | null> {
  try {
    if (at.wholeFile) {
      const { size } = await fs.stat(at.path)
      if (size !== at.nbytes) return `its file has ${size} bytes instead of ${at.nbytes}`
    }
    const header = await readBlobHeader(fs, at.path, at.offset)
    if (header.meta.key !== expected.key || header.meta.runId !== expected.runId)
      return 'its header names another value'
    if (header.totalBytes !== at.nbytes) return `its header says ${header.totalBytes} bytes instead of ${at.nbytes}`
    for (const [index, frame] of header.frames.entries()) {
      const sum = await checksum(fs, at.path, at.offset + frame.offset, frame.length)
      if (sum !== frame.crc32) return `frame ${index} of ${header.frames.length} fails its checksum`
    }
    return null
  } catch (error) {
    if (isShortage(error)) throw error
    return isErrorCode(error, 'BLOB_CORRUPT')
      ? error.message
      : `reading it failed (${systemCode(error) ?? String(error)})`
  }
}

async function checksum(fs: StoreFs, path: string, offset: number, length: number): Promise<number | null> {
  let sum = 0
  for (let done = 0; done < length;) {
    const chunk = await fs.read(path, offset + done, Math.min(CHECK_CHUNK_BYTES, length - done))
    if (chunk.byteLength === 0) return null
    sum = crc32(chunk, sum)
    done += chunk.byteLength
  }
  return sum
}

/** The operating system's code of an error, such as `ENOSPC`. */
export function systemCode(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}

/** True for errors that mean "no room here": another tier may still take it. */
export function isNoSpace(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
}

/** A write error as its caller should see it. */
export function asStoreError(error: unknown, what: string): Error {
  if (isNoSpace(error)) {
    return new PlimsollError('STORE_FULL', `${what}: no space left (${systemCode(error)}).`, {}, { cause: error })
  }
  return error instanceof Error ? error : new Error(String(error))
}
