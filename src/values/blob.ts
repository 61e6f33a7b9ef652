// The blob: one file layout for a value in memory, on disk and on the wire.
//
//   prefix   16 bytes: magic "PLIM", version (u16), zero (u16), length of the header (u32), CRC-32 of the header (u32)
//   header   msgpack: [cluster id, generation, key, run id, family, type, lengths of the frames, their CRC-32s as bytes]
//   body     frame 0, right behind the header: it is parsed, so its alignment does not matter
//   frames   1 and up, each at the next multiple of 64 bytes from the start of the blob; zeros between; none at the end
//
// It does not cover what is in the body (body-format.ts) and does no I/O.
//
// L1. The header alone says how long the blob is; anything shorter or longer than that is not this blob.
// L2. Every byte but the padding is under a checksum. A header that does not check is BLOB_CORRUPT, always; frames are
//     checked when asked to, since reading them may cost more than using them.
// L3. The header's length depends on nothing that needs the frames' content, so sizes are known before anything is summed.

import type { Unpackr } from 'msgpackr'
import { msgpackr } from '../base/msgpack.ts'
import { pooledZeros } from '../base/pooled-bytes.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { MAX_FRAME_BYTES } from './body-format.ts'
import { type DraftHeader, draftHeader, SUM_BYTES } from './blob-header.ts'
import { corrupt } from './body-reader.ts'
import { checksum } from './checksum.ts'
import type { EncodedValue, SizedValue } from './encoded-value.ts'

export interface BlobMeta {
  /** The scheduler instance that assigned the run. */
  readonly clusterId: string
  /** Raised by `client.restart()`. */
  readonly generation: number
  readonly key: string
  readonly runId: number
}

export interface BlobFrame {
  /** Bytes from the start of the blob. */
  readonly offset: number
  readonly length: number
  readonly crc32: number
}

export interface BlobHeader {
  readonly meta: BlobMeta
  readonly family: string
  /** Type name of the value, for people. */
  readonly type: string
  readonly bodyLength: number
  /** The body, then the out-of-band buffers. */
  readonly frames: readonly BlobFrame[]
  readonly totalBytes: number
}

/** Enough of a blob to learn its header's length. */
export const BLOB_PREFIX_BYTES = 16
const MAGIC = 0x4d494c50 // "PLIM", little-endian
const VERSION = 1
const ALIGNMENT = 64
/** A header has up to 13 bytes per frame; this is room for MAX_FRAMES of them. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024
const PADDING = new Uint8Array(ALIGNMENT)

let unpackr: Unpackr | null = null

/** Bytes from the start of the blob to the end of the header. `prefix`: at least BLOB_PREFIX_BYTES of it. */
export function blobHeaderLength(prefix: Uint8Array): number {
  if (prefix.length < BLOB_PREFIX_BYTES) throw corrupt(`it has only ${prefix.length} bytes`)
  const view = new DataView(prefix.buffer, prefix.byteOffset, BLOB_PREFIX_BYTES)
  if (view.getUint32(0, true) !== MAGIC) throw corrupt('it does not start like a blob')
  const version = view.getUint16(4, true)
  if (version !== VERSION || view.getUint16(6, true) !== 0)
    throw corrupt(`its layout has version ${version}; this is version ${VERSION}`)
  const length = view.getUint32(8, true)
  if (length > MAX_HEADER_BYTES) throw corrupt(`its header claims ${length} bytes`)
  return BLOB_PREFIX_BYTES + length
}

/**
 * Reads and checks the header. `bytes` may end after it.
 * @throws PlimsollError BLOB_CORRUPT, also when `bytes` ends before the header does.
 */
export function parseBlobHeader(bytes: Uint8Array): BlobHeader {
  const end = blobHeaderLength(bytes)
  if (bytes.length < end) throw corrupt(`its header has ${end} bytes, of which ${bytes.length} are there`)
  const packed = bytes.subarray(BLOB_PREFIX_BYTES, end)
  const sum = new DataView(bytes.buffer, bytes.byteOffset, BLOB_PREFIX_BYTES).getUint32(12, true)
  if (checksum(packed) !== sum) throw corrupt('the checksum of its header is wrong')
  let row: unknown
  try {
    unpackr ??= new (msgpackr().Unpackr)({ useRecords: false, int64AsType: 'number' })
    row = unpackr.unpack(packed)
  } catch (cause) {
    throw new PlimsollError('BLOB_CORRUPT', 'a stored value cannot be read: its header is malformed', {}, { cause })
  }
  return headerOf(row, end)
}

function headerOf(row: unknown, headerEnd: number): BlobHeader {
  if (!Array.isArray(row)) throw corrupt('its header is malformed')
  const [clusterId, generation, key, runId, family, type, lengths, sums] = row as unknown[]
  const texts = [clusterId, key, family, type].every((text) => typeof text === 'string')
  const frameCount = Array.isArray(lengths) ? lengths.length : 0
  if (
    !texts ||
    !isCount(generation) ||
    !isCount(runId) ||
    frameCount < 1 ||
    !(sums instanceof Uint8Array) ||
    sums.length !== 4 * frameCount
  ) {
    throw corrupt('its header is malformed')
  }
  const sumView = new DataView(sums.buffer, sums.byteOffset, sums.length)
  const frames: BlobFrame[] = []
  let at = headerEnd
  for (const [index, length] of (lengths as unknown[]).entries()) {
    if (!isCount(length) || length > MAX_FRAME_BYTES) throw corrupt('its header is malformed')
    if (index > 0) at = align(at)
    frames.push({ offset: at, length, crc32: sumView.getUint32(4 * index, true) })
    at += length
  }
  return {
    meta: { clusterId: clusterId as string, generation, key: key as string, runId },
    family: family as string,
    type: type as string,
    bodyLength: (frames[0] as BlobFrame).length,
    frames,
    totalBytes: at,
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const align = (offset: number): number => Math.ceil(offset / ALIGNMENT) * ALIGNMENT

/** A whole blob starts at byte 0 of `blob`: prefix and header are written, with all checksums. Returns where the body begins. */
function writeHead(blob: Uint8Array, draft: DraftHeader, value: EncodedValue): number {
  const end = BLOB_PREFIX_BYTES + draft.length
  for (let at = 0; at < draft.length; at++) blob[BLOB_PREFIX_BYTES + at] = draft.bytes[at] as number
  let at = BLOB_PREFIX_BYTES + draft.sumsAt
  for (const frame of value.frames) at = writeUint32(blob, at, checksum(frame))
  writePrefix(blob, draft.length)
  writeUint32(blob, 12, checksum(blob.subarray(BLOB_PREFIX_BYTES, end)))
  return end
}

/** All of it but the checksum of the header. */
function writePrefix(blob: Uint8Array, headerLength: number): void {
  writeUint32(blob, 0, MAGIC)
  writeUint32(blob, 4, VERSION)
  writeUint32(blob, 8, headerLength)
}

/** The checksums of a head that was copied from a draft. */
function sealHead(head: Uint8Array, sums: readonly number[]): void {
  let at = head.length - SUM_BYTES * sums.length
  for (const sum of sums) at = writeUint32(head, at, sum)
  writeUint32(head, 12, checksum(head.subarray(BLOB_PREFIX_BYTES)))
}

/** Little-endian; returns the end. */
function writeUint32(target: Uint8Array, at: number, value: number): number {
  target[at] = value
  target[at + 1] = value >>> 8
  target[at + 2] = value >>> 16
  target[at + 3] = value >>> 24
  return at + 4
}

/** The end of the blob whose header has `headerLength` bytes. */
function endOf(value: SizedValue, headerLength: number): number {
  let end = BLOB_PREFIX_BYTES + headerLength
  let index = 0
  for (const frame of value.frames) end = (index++ > 0 ? align(end) : end) + frame.byteLength
  return end
}

/** The blob's exact size in bytes, without reading the frames. */
export function encodedBlobBytes(meta: BlobMeta, value: SizedValue): number {
  return endOf(value, draftHeader(meta, value).length)
}

/** Where the first buffer behind the body begins. Where the others begin, from there, depends on lengths alone. */
export function buffersAt(meta: BlobMeta, value: SizedValue): number {
  const body = value.frames[0] as { readonly byteLength: number }
  return align(BLOB_PREFIX_BYTES + draftHeader(meta, value).length + body.byteLength)
}

/** Where the buffer behind one that ends here begins. */
export const nextBufferAt = (end: number): number => align(end)

/** The blob up to its first buffer; `sums`: of all frames. */
export function blobStart(meta: BlobMeta, value: SizedValue, body: Uint8Array, sums: readonly number[]): Uint8Array {
  const start = Buffer.alloc(buffersAt(meta, value))
  const draft = draftHeader(meta, value)
  const head = start.subarray(0, BLOB_PREFIX_BYTES + draft.length)
  head.set(draft.bytes.subarray(0, draft.length), BLOB_PREFIX_BYTES)
  writePrefix(head, draft.length)
  sealHead(head, sums)
  start.set(body, head.length)
  return start
}

/** A blob that is written first and summed meanwhile. */
export interface UnsealedBlob {
  readonly totalBytes: number
  /** Prefix and header; no blob before `seal`. */
  readonly head: Uint8Array
  readonly frames: number
  /** What follows the head, without gaps; frames are not copied. `frame`: null for padding. */
  readonly pieces: readonly { readonly bytes: Uint8Array; readonly frame: number | null }[]
  /** Puts the checksums into the head, one for each frame of the value. */
  readonly seal: (sums: readonly number[]) => void
}

export function unsealedBlob(meta: BlobMeta, value: EncodedValue): UnsealedBlob {
  const draft = draftHeader(meta, value)
  const head = pooledZeros(BLOB_PREFIX_BYTES + draft.length)
  head.set(draft.bytes.subarray(0, draft.length), BLOB_PREFIX_BYTES)
  writePrefix(head, draft.length)
  const pieces: UnsealedBlob['pieces'][number][] = []
  let at = head.length
  for (const [index, bytes] of value.frames.entries()) {
    const gap = index > 0 ? align(at) - at : 0
    if (gap > 0) pieces.push({ bytes: PADDING.subarray(0, gap), frame: null })
    if (bytes.byteLength > 0) pieces.push({ bytes, frame: index })
    at += gap + bytes.byteLength
  }
  return { totalBytes: at, head, frames: value.frames.length, pieces, seal: (sums) => sealHead(head, sums) }
}

/** The blob in pieces, to be written one after the other; frames are not copied. */
export function layoutBlob(
  meta: BlobMeta,
  value: EncodedValue,
): { readonly totalBytes: number; readonly parts: readonly Uint8Array[] } {
  const { totalBytes, head, pieces, seal } = unsealedBlob(meta, value)
  seal(value.frames.map(checksum))
  return { totalBytes, parts: [head, ...pieces.map(({ bytes }) => bytes)] }
}

/** The blob as one buffer of its own. */
export function blobToBytes(meta: BlobMeta, value: EncodedValue): Uint8Array {
  const draft = draftHeader(meta, value)
  return filled(new Uint8Array(endOf(value, draft.length)), draft, value)
}

/**
 * The blob as bytes that are soon copied or written (they share a buffer with others), if it has at most `limit` bytes.
 * The way of every small result.
 */
export function smallBlobToBytes(meta: BlobMeta, value: EncodedValue, limit: number): Uint8Array | null {
  // The size of the frames alone is a lower bound.
  if (value.nbytes > limit) return null
  const draft = draftHeader(meta, value)
  const totalBytes = endOf(value, draft.length)
  if (totalBytes > limit) return null
  const padded = value.frames.length > 1
  return filled(padded ? Buffer.alloc(totalBytes) : Buffer.allocUnsafe(totalBytes), draft, value)
}

/** `bytes`: zero where there is padding. */
function filled(bytes: Uint8Array, draft: DraftHeader, value: EncodedValue): Uint8Array {
  let at = writeHead(bytes, draft, value)
  let index = 0
  for (const frame of value.frames) {
    if (index++ > 0) at = align(at)
    bytes.set(frame, at)
    at += frame.byteLength
  }
  return bytes
}

/**
 * Checks every frame against its checksum.
 * @throws PlimsollError BLOB_CORRUPT that names the frame.
 */
export function verifyFrames(header: BlobHeader, read: (offset: number, length: number) => Uint8Array): void {
  for (const [index, frame] of header.frames.entries()) {
    const bytes = read(frame.offset, frame.length)
    if (bytes.byteLength !== frame.length || checksum(bytes) !== frame.crc32) {
      throw corrupt(
        `frame ${index} of ${header.frames.length} (${frame.length} bytes at ${frame.offset}) of key ${header.meta.key} does not match its checksum`,
      )
    }
  }
}
