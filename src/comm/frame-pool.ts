// Memory for the frames of large data, used again and again: a fresh megabyte costs as much in page faults as copying it.
// A frame that is not given back is left to the garbage collector.

import { PAGE_LEAD_BYTES, pageStartBytes } from '../base/page-start.ts'
import { CHUNK_BYTES, POOLED_FRAMES_MAX } from './limits.ts'

/** Smaller frames are no chunks of anything: a message is read and forgotten. */
const POOLED_BYTES_MIN = CHUNK_BYTES / 4

export class FramePool {
  readonly #free: ArrayBuffer[] = []

  /** Memory for one frame; its content is undefined. */
  take(length: number): Uint8Array {
    if (length < POOLED_BYTES_MIN || length > CHUNK_BYTES) return Buffer.allocUnsafeSlow(length)
    return Buffer.from(this.#free.pop() ?? pageStartBytes(CHUNK_BYTES).buffer, PAGE_LEAD_BYTES, length)
  }

  /** `frame`: what `take` gave, which nobody looks at any more; anything else is ignored. */
  giveBack(frame: Uint8Array): void {
    const { buffer, byteOffset, length } = frame
    if (byteOffset !== PAGE_LEAD_BYTES || length < POOLED_BYTES_MIN) return
    if (buffer.byteLength !== PAGE_LEAD_BYTES + CHUNK_BYTES) return
    if (this.#free.length < POOLED_FRAMES_MAX && !this.#free.includes(buffer as ArrayBuffer))
      this.#free.push(buffer as ArrayBuffer)
  }
}
