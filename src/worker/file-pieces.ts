import { open } from 'node:fs/promises'
import { pageStartBytes } from '../base/page-start.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'

/** One piece is with the caller while the next is read. */
const BUFFERS = 2

/**
 * Part of a file, piece by piece; the next is read while the caller is busy with one. A piece's memory is used again from
 * the moment the next one is asked for.
 * @throws the system's error, or BLOB_CORRUPT when the file ends too early.
 */
export async function* readInPieces(
  path: string,
  offset: number,
  length: number,
  pieceBytes: number,
): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r')
  const buffers: Buffer[] = []
  const read = async (index: number): Promise<Uint8Array> => {
    const start = index * pieceBytes
    buffers[index % BUFFERS] ??= pageStartBytes(Math.min(pieceBytes, length))
    const piece = (buffers[index % BUFFERS] as Buffer).subarray(0, Math.min(pieceBytes, length - start))
    for (let filled = 0; filled < piece.length;) {
      const { bytesRead } = await file.read(piece, filled, piece.length - filled, offset + start + filled)
      if (bytesRead === 0)
        throw new PlimsollError('BLOB_CORRUPT', `${path} ends after ${start + filled} of ${length} bytes`)
      filled += bytesRead
    }
    return piece
  }
  let ahead: Promise<Uint8Array> | null = null
  try {
    const count = Math.ceil(length / pieceBytes)
    for (let index = 0; index < count; index++) {
      const piece = await (ahead ?? read(index))
      ahead = index + 1 < count ? read(index + 1) : null
      // Whoever leaves early never asks for it.
      ahead?.catch(() => {})
      yield piece
    }
  } finally {
    await ahead?.catch(() => {})
    await file.close()
  }
}
