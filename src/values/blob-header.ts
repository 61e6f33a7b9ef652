// The header of a blob as bytes. Written by hand and into place, since every small result needs one: a small blob is sized
// and made in 1.4 us this way, and in 3.5 us with a general encoder.

import type { BlobMeta } from './blob.ts'
import type { SizedValue } from './encoded-value.ts'

/** Longer strings are left to the native encoder. */
const SHORT_TEXT = 64
const UINT32 = 2 ** 32
/** Of the checksum of a frame; they end the header. */
export const SUM_BYTES = 4
/** More than the markers of eight fields and of the two lists. */
const MARKERS_BYTES = 96
const LENGTH_BYTES = 9

let scratch = Buffer.allocUnsafeSlow(4096)
let end = 0

/** A header whose checksums are still zero, valid until the next one is made. */
export interface DraftHeader {
  readonly bytes: Uint8Array
  readonly length: number
  /** Where the checksums of the frames go: four bytes each, up to the end. */
  readonly sumsAt: number
}

/** Msgpack of [cluster id, generation, key, run id, family, type, lengths of the frames, checksums of the frames]. */
export function draftHeader(meta: BlobMeta, value: SizedValue): DraftHeader {
  const { frames, family, type } = value
  const chars = meta.clusterId.length + meta.key.length + family.length + type.length
  const most = MARKERS_BYTES + 3 * chars + (LENGTH_BYTES + SUM_BYTES) * frames.length
  if (most > scratch.length) scratch = Buffer.allocUnsafeSlow(2 * most)
  scratch[0] = 0x98
  end = 1
  text(meta.clusterId)
  count(meta.generation)
  text(meta.key)
  count(meta.runId)
  text(family)
  text(type)
  listOf(frames.length)
  for (const frame of frames) count(frame.byteLength)
  binaryOf(SUM_BYTES * frames.length)
  const sumsAt = end
  end += SUM_BYTES * frames.length
  scratch.fill(0, sumsAt, end)
  return { bytes: scratch, length: end, sumsAt }
}

function text(value: string): void {
  const { length } = value
  const start = end
  if (length < 32) {
    scratch[end++] = 0xa0 | length
  } else if (length < SHORT_TEXT) {
    scratch[end++] = 0xd9
    scratch[end++] = length
  } else return longText(value)
  for (let index = 0; index < length; index++) {
    const code = value.charCodeAt(index)
    if (code >= 0x80) {
      end = start
      return longText(value)
    }
    scratch[end++] = code
  }
}

function longText(value: string): void {
  const length = Buffer.byteLength(value)
  if (length < 32) scratch[end++] = 0xa0 | length
  else if (length < 0x100) {
    scratch[end++] = 0xd9
    scratch[end++] = length
  } else {
    scratch[end] = 0xdb
    end = scratch.writeUInt32BE(length, end + 1)
  }
  end += scratch.write(value, end)
}

function count(value: number): void {
  if (value < 0x80) scratch[end++] = value
  else if (value < UINT32) {
    scratch[end] = 0xce
    end = scratch.writeUInt32BE(value, end + 1)
  } else {
    scratch[end] = 0xcb
    end = scratch.writeDoubleBE(value, end + 1)
  }
}

function listOf(length: number): void {
  if (length < 16) scratch[end++] = 0x90 | length
  else {
    scratch[end] = 0xdd
    end = scratch.writeUInt32BE(length, end + 1)
  }
}

function binaryOf(length: number): void {
  if (length < 0x100) {
    scratch[end++] = 0xc4
    scratch[end++] = length
  } else {
    scratch[end] = 0xc6
    end = scratch.writeUInt32BE(length, end + 1)
  }
}
