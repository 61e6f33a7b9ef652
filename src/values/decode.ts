import { PlimsollError } from '../errors/plimsoll-error.ts'
import { parseBlobHeader, verifyFrames, type BlobHeader } from './blob.ts'
import { corrupt } from './body-reader.ts'
import { Decoder, copyOfBytes, decoding } from './decoder.ts'
import { FAMILY } from './encoded-value.ts'

/**
 * The value of a blob whose frames were read by someone else. An ArrayBuffer becomes the buffer of its view as it is; of a
 * Uint8Array that does not fill its buffer the bytes are copied. Frame 0 is the body.
 * @throws PlimsollError BLOB_CORRUPT; NOT_SERIALIZABLE when a class or a type is not known in this process.
 */
export function decodeFrames(header: BlobHeader, frames: readonly ArrayBuffer[] | readonly Uint8Array[]): unknown {
  if (header.family !== FAMILY) {
    throw new PlimsollError(
      'NOT_SERIALIZABLE',
      `the value of ${header.meta.key} has the encoding "${header.family}", which this version cannot read`,
      {
        family: header.family,
      },
    )
  }
  const [body, ...buffers] = frames
  if (body === undefined || frames.length !== header.frames.length) throw corrupt('frames of it are missing')
  for (const [index, frame] of frames.entries()) {
    if (frame.byteLength !== header.frames[index]?.length) throw corrupt(`frame ${index} has ${frame.byteLength} bytes`)
  }
  return decodeBody(body instanceof Uint8Array ? body : new Uint8Array(body), buffers)
}

function decodeBody(body: Uint8Array, frames: readonly (ArrayBuffer | Uint8Array)[]): unknown {
  return decoding(() => {
    const decoder = new Decoder(body, { frames })
    const value = decoder.read()
    decoder.end()
    return value
  })
}

/**
 * The value of a whole blob. Nothing of it points into `bytes` afterwards.
 * @param options.verify whether to compare the frames with their checksums (default true); without it, damage is found only where it breaks the encoding.
 * @throws PlimsollError BLOB_CORRUPT; NOT_SERIALIZABLE when a class or a type is not known in this process.
 */
export function decodeBlob(
  bytes: Uint8Array,
  options?: { readonly verify?: boolean },
): { header: BlobHeader; value: unknown } {
  const header = parseBlobHeader(bytes)
  if (bytes.length !== header.totalBytes)
    throw corrupt(`it should have ${header.totalBytes} bytes and has ${bytes.length}`)
  if (options?.verify !== false) verifyFrames(header, (offset, length) => bytes.subarray(offset, offset + length))
  const [body, ...others] = header.frames.map((frame) => bytes.subarray(frame.offset, frame.offset + frame.length))
  // Copied also where a frame fills its buffer: the value must not share memory with `bytes`.
  return { header, value: decodeFrames(header, [body as Uint8Array, ...others.map(copyOfBytes)]) }
}
