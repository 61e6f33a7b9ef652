// Writes a result to the place its worker gave it: one new file, sequentially, never sized in advance and never mapped, so
// that it has no holes (a hole is a SIGBUS for whoever maps it). Renaming it into place is the worker's business.

import { closeSync, openSync, writevSync } from 'node:fs'

/** Some systems refuse or miscount larger single writes. */
const MAX_WRITE_BYTES = 2 ** 30
/** The kernel takes at most 1024 pieces in one call. */
const MAX_PIECES = 1024

/**
 * Writes all parts to a new file (mode 0400).
 * @throws an error with the system's `code`, such as ENOSPC; the file may be there in part.
 */
export function writeBlob(path: string, parts: readonly Uint8Array[]): number {
  const fd = openSync(path, 'w', 0o400)
  let total = 0
  try {
    let batch: Uint8Array[] = []
    let batchBytes = 0
    for (const piece of pieces(parts)) {
      if (batch.length === MAX_PIECES || batchBytes + piece.byteLength > MAX_WRITE_BYTES) {
        total += writeBatch(fd, batch)
        batch = []
        batchBytes = 0
      }
      batch.push(piece)
      batchBytes += piece.byteLength
    }
    return total + writeBatch(fd, batch)
  } finally {
    closeSync(fd)
  }
}

/** Loops on short counts: a full RAM file system first writes what fits, without an error. */
function writeBatch(fd: number, batch: readonly Uint8Array[]): number {
  let pending = batch.filter((piece) => piece.byteLength > 0)
  let total = 0
  while (pending.length > 0) {
    const count = writevSync(fd, pending)
    if (count <= 0) throw Object.assign(new Error('a write wrote nothing'), { code: 'ENOSPC' })
    total += count
    pending = skip(pending, count)
  }
  return total
}

function skip(pieces: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  const rest: Uint8Array[] = []
  for (const piece of pieces) {
    if (left >= piece.byteLength) left -= piece.byteLength
    else {
      rest.push(left === 0 ? piece : piece.subarray(left))
      left = 0
    }
  }
  return rest
}

function* pieces(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  for (const part of parts) {
    if (part.byteLength <= MAX_WRITE_BYTES) yield part
    else for (let at = 0; at < part.byteLength; at += MAX_WRITE_BYTES) yield part.subarray(at, at + MAX_WRITE_BYTES)
  }
}
