// Writes a result to the place its worker gave it: one new file, sequentially, never sized in advance and never mapped, so
// that it has no holes (a hole is a SIGBUS for whoever maps it). Renaming it into place is the worker's business.
//
// Large parts go out in pieces of 64 KiB. For a larger write a disk file system takes larger blocks of pages for its cache,
// and those come from memory that was free as a whole: on a virtual machine whose host takes back free memory each of them
// has to be fetched again, at five times the price of the write. Small ones are found among pages used a moment ago.

import { closeSync, openSync, writeSync, writevSync } from 'node:fs'

const PIECE_BYTES = 2 ** 16
/** The kernel takes at most 1024 pieces in one call. */
const MAX_PIECES = 1024

/**
 * Writes all parts to a new file (mode 0400).
 * @throws an error with the system's `code`, such as ENOSPC; the file may be there in part.
 */
export function writeBlob(path: string, parts: readonly Uint8Array[]): number {
  const fd = openSync(path, 'w', 0o400)
  let total = 0
  let small: Uint8Array[] = []
  const flush = (): void => {
    total += writeTogether(fd, small)
    small = []
  }
  try {
    for (const part of parts) {
      if (part.byteLength < PIECE_BYTES) {
        small.push(part)
        if (small.length === MAX_PIECES) flush()
      } else {
        flush()
        total += writeInPieces(fd, part, total)
      }
    }
    flush()
    return total
  } finally {
    closeSync(fd)
  }
}

/** Each piece ends where one of the file's pieces does, so that no page is written twice. */
function writeInPieces(fd: number, part: Uint8Array, position: number): number {
  let done = 0
  while (done < part.byteLength) {
    const room = PIECE_BYTES - ((position + done) % PIECE_BYTES)
    done += progress(writeSync(fd, part, done, Math.min(room, part.byteLength - done)))
  }
  return done
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
