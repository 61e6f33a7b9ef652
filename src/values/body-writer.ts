import { MAX_BODY_BYTES, SHORT_LATIN1, TAG } from './body-format.ts'
import { Refusal } from './refusals.ts'

const SCRATCH_BYTES = 16 * 1024
const SCRATCH_KEPT_BYTES = 1024 * 1024
const NOT_LATIN1 = /[\u0100-\uffff]/

// One buffer is reused from body to body: allocating one costs more than encoding a small value. A writer takes it and
// puts it back; a second writer in between (a registered serializer that calls `dumps`) makes its own.
let scratch: Buffer | null = null

/** Grows as needed. `finish` gives the bytes, after which the writer is spent. */
export class BodyWriter {
  protected buffer: Buffer
  protected position = 0
  #fromScratch = true

  constructor() {
    this.buffer = scratch ?? Buffer.allocUnsafeSlow(SCRATCH_BYTES)
    scratch = null
  }

  get byteLength(): number {
    return this.position
  }

  finish(): Uint8Array {
    const { buffer, position } = this
    if (!this.#fromScratch && position > buffer.length / 2) return buffer.subarray(0, position)
    const bytes = Buffer.allocUnsafe(position)
    bytes.set(buffer.subarray(0, position))
    this.giveUp()
    return bytes
  }

  /** Ends without a result; the memory can be reused. */
  giveUp(): void {
    if (this.buffer.length <= SCRATCH_KEPT_BYTES) scratch = this.buffer
  }

  protected ensure(bytes: number): void {
    if (this.position + bytes > this.buffer.length) this.#grow(this.position + bytes)
  }

  #grow(needed: number): void {
    if (needed > MAX_BODY_BYTES)
      throw new Refusal('makes the value larger than 2 GiB without its typed arrays: split it, or use typed arrays')
    const grown = Buffer.allocUnsafeSlow(Math.min(MAX_BODY_BYTES, Math.max(needed, 2 * this.buffer.length)))
    this.buffer.copy(grown, 0, 0, this.position)
    this.buffer = grown
    this.#fromScratch = false
  }

  protected byte(value: number): void {
    if (this.position >= this.buffer.length) this.#grow(this.position + 1)
    this.buffer[this.position++] = value
  }

  /** An integer from 0 to 2^32 - 1, 7 bits at a time. */
  protected varint(value: number): void {
    this.ensure(5)
    const { buffer } = this
    let at = this.position
    let rest = value
    while (rest > 0x7f) {
      buffer[at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    buffer[at++] = rest
    this.position = at
  }

  protected float64(value: number): void {
    this.ensure(8)
    this.position = this.buffer.writeDoubleLE(value, this.position)
  }

  protected rawBytes(bytes: Uint8Array): void {
    this.ensure(bytes.length)
    this.buffer.set(bytes, this.position)
    this.position += bytes.length
  }

  protected string(text: string): void {
    const { length } = text
    if (length < 32) {
      if (this.#shortLatin1(text)) return
    } else if (!NOT_LATIN1.test(text)) {
      this.ensure(length + 6)
      if (length < 64) {
        this.buffer[this.position++] = SHORT_LATIN1 + length
      } else {
        this.buffer[this.position++] = TAG.LATIN1
        this.varint(length)
      }
      this.position += this.buffer.write(text, this.position, length, 'latin1')
      return
    }
    this.byte(TAG.UTF16)
    this.varint(length)
    this.ensure(2 * length)
    this.position += this.buffer.write(text, this.position, 2 * length, 'utf16le')
  }

  /** A loop beats the native call for short strings. False, and nothing written, when a character needs two bytes. */
  #shortLatin1(text: string): boolean {
    const { length } = text
    this.ensure(length + 1)
    const { buffer } = this
    let at = this.position
    buffer[at++] = SHORT_LATIN1 + length
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0xff) return false
      buffer[at++] = code
    }
    this.position = at
    return true
  }
}
