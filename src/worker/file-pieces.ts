import { open } from 'node:fs/promises'
import { PlimsollError } from '../errors/plimsoll-error.ts'

/**
 * Part of a file, piece by piece, each in a buffer of its own, read when it is asked for.
 * @throws the system's error, or BLOB_CORRUPT when the file ends too early.
 */
export async function* readInPieces(
  path: string,
  offset: number,
  length: number,
  pieceBytes: number,
): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r')
  try {
    for (let done = 0; done < length;) {
      const piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, length - done))
      let filled = 0
      while (filled < piece.length) {
        const { bytesRead } = await file.read(piece, filled, piece.length - filled, offset + done + filled)
        if (bytesRead === 0)
          throw new PlimsollError('BLOB_CORRUPT', `${path} ends after ${done + filled} of ${length} bytes`)
        filled += bytesRead
      }
      done += piece.length
      yield piece
    }
  } finally {
    await file.close()
  }
}
