// Bytes to messages and back, without I/O. A message on the wire: frame count (u32), the length of each frame (u32),
// then the frames; little endian. No frames = the sender closes in good order and sends nothing more.
//
// F1. A length is checked against the limits before anything is allocated for it.
// F2. A byte is copied at most once, into the allocation of its own frame; frames that are small and lie within one
//     chunk are views of it. Who reads into `space()` spares that copy for all but the first bytes of a large frame.
// F3. After an error the parser is dead: the stream has no point to resume from.
// F4. Memory that was handed out is written to again only after it was given back.

import { PlimsollError } from '../errors/plimsoll-error.ts'
import { FramePool } from './frame-pool.ts'
import { FRAMES_MAX, MESSAGE_BYTES_MAX, OWN_FRAME_BYTES_MIN, RECEIVE_BYTES, RECEIVE_BYTES_MIN } from './limits.ts'

export interface FrameLimits {
  /** All frames of one message together. */
  readonly messageBytes: number
  readonly frames: number
}

export const AUTHENTICATED_LIMITS: FrameLimits = { messageBytes: MESSAGE_BYTES_MAX, frames: FRAMES_MAX }

type Stage =
  | { readonly kind: 'count' }
  | { readonly kind: 'lengths'; readonly count: number }
  | { readonly kind: 'frames'; readonly lengths: readonly number[]; readonly frames: Uint8Array[] }

/** A frame that began in an earlier chunk and is being filled. */
interface Partial {
  readonly bytes: Uint8Array
  filled: number
}

const COUNT: Stage = { kind: 'count' }
const NO_BYTES = new Uint8Array(0)

export class FrameParser {
  #limits: FrameLimits
  #stage: Stage = COUNT
  #partial: Partial | null = null
  readonly #chunks: Uint8Array[] = []
  #offset = 0
  #available = 0
  readonly #pool = new FramePool()
  /** What `space` gives between large frames: filled from the start to the end, then replaced, since frames are views of it. */
  #receiving: Uint8Array = NO_BYTES
  #received = 0

  constructor(limits: FrameLimits) {
    this.#limits = limits
  }

  /** Applies from the next header on. */
  set limits(limits: FrameLimits) {
    this.#limits = limits
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.#chunks.push(chunk)
    this.#available += chunk.length
  }

  /** Where the next bytes are best read to; `filled` says how many there were. */
  space(): Uint8Array {
    const partial = this.#partial
    if (partial !== null && this.#available === 0) return partial.bytes.subarray(partial.filled)
    if (this.#receiving.length - this.#received < RECEIVE_BYTES_MIN) {
      this.#receiving = Buffer.allocUnsafeSlow(RECEIVE_BYTES)
      this.#received = 0
    }
    return this.#receiving.subarray(this.#received)
  }

  /** As `push`, for bytes that are in what `space` gave last. */
  filled(space: Uint8Array, count: number): void {
    if (space.buffer !== this.#receiving.buffer) {
      ;(this.#partial as Partial).filled += count
      return
    }
    this.#received += count
    this.push(space.subarray(0, count))
  }

  /** The receiver of a large frame is done with it: its memory serves a later one. */
  giveBack(frame: Uint8Array): void {
    this.#pool.giveBack(frame)
  }

  /** True between two messages: an end here cuts nothing off. */
  get idle(): boolean {
    return this.#available === 0 && this.#partial === null && this.#stage === COUNT
  }

  /**
   * The next whole message, or null when more bytes are needed.
   * @throws PlimsollError PROTOCOL_ERROR when a length is beyond the limits.
   */
  next(): Uint8Array[] | null {
    for (;;) {
      const stage = this.#stage
      if (stage.kind === 'count') {
        const bytes = this.#take(4)
        if (bytes === null) return null
        this.#stage = this.#afterCount(readU32(bytes, 0))
        if (this.#stage === COUNT) return []
      } else if (stage.kind === 'lengths') {
        const bytes = this.#take(stage.count * 4)
        if (bytes === null) return null
        this.#stage = { kind: 'frames', lengths: this.#readLengths(bytes, stage.count), frames: [] }
      } else {
        if (!this.#fillFrames(stage)) return null
        this.#stage = COUNT
        return stage.frames
      }
    }
  }

  #afterCount(count: number): Stage {
    if (count > this.#limits.frames) {
      throw new PlimsollError(
        'PROTOCOL_ERROR',
        `a message announces ${count} frames; ${this.#limits.frames} are allowed`,
        { frames: count },
      )
    }
    return count === 0 ? COUNT : { kind: 'lengths', count }
  }

  #readLengths(bytes: Uint8Array, count: number): number[] {
    const lengths: number[] = []
    let total = 0
    for (let i = 0; i < count; i++) {
      const length = readU32(bytes, i * 4)
      total += length
      lengths.push(length)
    }
    if (total > this.#limits.messageBytes) {
      throw new PlimsollError(
        'PROTOCOL_ERROR',
        `a message announces ${total} bytes; ${this.#limits.messageBytes} are allowed`,
        {
          bytes: total,
        },
      )
    }
    return lengths
  }

  #fillFrames(stage: { readonly lengths: readonly number[]; readonly frames: Uint8Array[] }): boolean {
    while (stage.frames.length < stage.lengths.length) {
      const length = stage.lengths[stage.frames.length] as number
      const frame = this.#take(length)
      if (frame === null) return false
      stage.frames.push(frame)
    }
    return true
  }

  /** Exactly `length` bytes: a view of the chunk where that is cheap, else an own allocation filled over several calls. */
  #take(length: number): Uint8Array | null {
    if (length === 0) return NO_BYTES
    if (this.#partial === null) {
      const chunk = this.#chunks[0]
      if (chunk === undefined) return null
      if (length < OWN_FRAME_BYTES_MIN && chunk.length - this.#offset >= length) {
        const view = chunk.subarray(this.#offset, this.#offset + length)
        this.#consume(length)
        return view
      }
      this.#partial = { bytes: this.#pool.take(length), filled: 0 }
    }
    const partial = this.#partial
    while (partial.filled < length) {
      const chunk = this.#chunks[0]
      if (chunk === undefined) return null
      const part = Math.min(length - partial.filled, chunk.length - this.#offset)
      partial.bytes.set(chunk.subarray(this.#offset, this.#offset + part), partial.filled)
      partial.filled += part
      this.#consume(part)
    }
    this.#partial = null
    return partial.bytes
  }

  #consume(length: number): void {
    this.#offset += length
    this.#available -= length
    if (this.#offset < (this.#chunks[0] as Uint8Array).length) return
    this.#chunks.shift()
    this.#offset = 0
  }
}

/** A frame, as far as the header knows it. */
interface Sized {
  readonly length: number
}

/** What stands before the frames of a message; for no frames, the mark of a good end. */
export function encodeHeader(frames: readonly Sized[]): Buffer {
  const header = Buffer.allocUnsafe(4 + 4 * frames.length)
  writeHeader(header, frames)
  return header
}

/** One message in one buffer. */
export function encodeMessage(frames: readonly Uint8Array[]): Buffer {
  const message = Buffer.allocUnsafe(messageBytes(frames))
  let offset = writeHeader(message, frames)
  for (const frame of frames) {
    message.set(frame, offset)
    offset += frame.length
  }
  return message
}

/** Size of a message on the wire. */
export function messageBytes(frames: readonly Sized[]): number {
  let total = 4 + 4 * frames.length
  for (const frame of frames) total += frame.length
  return total
}

function writeHeader(target: Buffer, frames: readonly Sized[]): number {
  let offset = target.writeUInt32LE(frames.length, 0)
  for (const frame of frames) offset = target.writeUInt32LE(frame.length, offset)
  return offset
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  )
}
