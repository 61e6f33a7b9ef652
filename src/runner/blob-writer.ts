// Writes a result to the place its worker gave it: one new file, sequentially, never sized in advance and never mapped, so
// that it has no holes (a hole is a SIGBUS for whoever maps it). Renaming it into place is the worker's business.
//
// Each piece is summed right before it is written: it comes out of memory once for both, and what the task left running
// cannot change it in between. The head, which has the sums, is written last, in the room that was left for it: a file that
// was not finished is no blob.
//
// Large parts go out in pieces of 64 KiB. For a larger write a disk file system takes larger blocks of pages for its cache,
// and those come from memory that was free as a whole: on a virtual machine whose host takes back free memory each of them
// has to be fetched again, at five times the price of the write. Small ones are found among pages used a moment ago.
//
// A file on disk may have its room reserved first, beyond its end: it still grows with what is written.

import { closeSync, openSync, writeSync, writevSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { pooledZeros } from '../base/pooled-bytes.ts'
import type { UnsealedBlob } from '../values/blob.ts'

const PIECE_BYTES = 2 ** 16
/** The kernel takes at most 1024 pieces in one call. */
const MAX_PIECES = 1024

/**
 * Writes a blob to a new file (mode 0400). Returns its bytes. `reserve`: called before anything is written.
 * @throws an error with the system's `code`, such as ENOSPC; the file may be there in part.
 */
export function writeBlob(
  path: string,
  { head, pieces, frames, seal }: UnsealedBlob,
  reserve?: (fd: number) => unknown,
): number {
  const fd = openSync(path, 'w', 0o400)
  const sums = Array.from({ length: frames }, () => 0)
  let small: Uint8Array[] = [pooledZeros(head.byteLength)]
  let total = 0
  const flush = (): void => {
    total += writeTogether(fd, small)
    small = []
  }
  try {
    reserve?.(fd)
    for (const { bytes, frame } of pieces) {
      if (bytes.byteLength < PIECE_BYTES) {
        if (frame !== null) sums[frame] = crc32(bytes, sums[frame])
        small.push(bytes)
        if (small.length === MAX_PIECES) flush()
        continue
      }
      flush()
      for (let at = 0; at < bytes.byteLength;) {
        // Each piece ends where one of the file's pieces does, so that no page is written twice.
        const piece = bytes.subarray(at, at + PIECE_BYTES - ((total + at) % PIECE_BYTES))
        if (frame !== null) sums[frame] = crc32(piece, sums[frame])
        writeFully(fd, piece)
        at += piece.byteLength
      }
      total += bytes.byteLength
    }
    flush()
    seal(sums)
    writeFully(fd, head, 0)
    return total
  } finally {
    closeSync(fd)
  }
}

/** Without a position: where the last write ended. */
function writeFully(fd: number, bytes: Uint8Array, position: number | null = null): void {
  for (let done = 0; done < bytes.byteLength;) {
    const at = position === null ? null : position + done
    done += progress(writeSync(fd, bytes, done, bytes.byteLength - done, at))
  }
}

/** Loops on short counts: a full RAM file system first writes what fits, without an error. */
function writeTogether(fd: number, parts: readonly Uint8Array[]): number {
  let pending = parts.filter((part) => part.byteLength > 0)
  let total = 0
  while (pending.length > 0) {
    const count = progress(writevSync(fd, pending))
    total += count
    pending = skip(pending, count)
  }
  return total
}

function progress(count: number): number {
  if (count <= 0) throw Object.assign(new Error('a write wrote nothing'), { code: 'ENOSPC' })
  return count
}

function skip(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  const rest: Uint8Array[] = []
  for (const part of parts) {
    if (left >= part.byteLength) left -= part.byteLength
    else {
      rest.push(left === 0 ? part : part.subarray(left))
      left = 0
    }
  }
  return rest
}
