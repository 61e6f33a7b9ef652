import { PlimsollError } from '../errors/plimsoll-error.ts'
import { SHORT_LATIN1, SMALL_INT, TAG } from './body-format.ts'

export function corrupt(what: string): PlimsollError {
  return new PlimsollError('BLOB_CORRUPT', `a stored value cannot be read: ${what}`, { what })
}

/** Reads what BodyWriter wrote; anything that cannot be is BLOB_CORRUPT. */
export class BodyReader {
  protected readonly bytes: Buffer
  protected position = 0

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get remaining(): number {
    return this.bytes.length - this.position
  }

  protected byte(): number {
    const value = this.bytes[this.position]
    if (value === undefined) throw corrupt('it ends too early')
    this.position++
    return value
  }

  protected varint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte()
      value += shift === 28 ? (byte & 0x7f) * 2 ** 28 : (byte & 0x7f) << shift
      if (byte < 0x80) {
        if (value > 0xffffffff) break
        return value
      }
    }
    throw corrupt('a number in it is too long')
  }

  /** The position of the next `length` bytes, which are taken. */
  protected take(length: number): number {
    const start = this.position
    if (length > this.remaining) throw corrupt('it ends too early')
    this.position = start + length
    return start
  }

  /** A count of things of at least `bytesEach` bytes. */
  protected count(bytesEach: number): number {
    const count = this.varint()
    if (count * bytesEach > this.remaining) throw corrupt('it ends too early')
    return count
  }

  protected float64(): number {
    return this.bytes.readDoubleLE(this.take(8))
  }

  /** A string that must be one. */
  protected string(): string {
    const text = this.stringOf(this.byte())
    if (text === undefined) throw corrupt('a name in it is not a string')
    return text
  }

  /** `undefined` when the tag is not that of a string. */
  protected stringOf(tag: number): string | undefined {
    if (tag >= SHORT_LATIN1 && tag < SMALL_INT) return this.#latin1(tag - SHORT_LATIN1)
    if (tag === TAG.LATIN1) return this.#latin1(this.varint())
    if (tag !== TAG.UTF16) return undefined
    const length = 2 * this.varint()
    const start = this.take(length)
    return this.bytes.toString('utf16le', start, start + length)
  }

  #latin1(length: number): string {
    const start = this.take(length)
    if (length > 12) return this.bytes.toString('latin1', start, start + length)
    const { bytes } = this
    let text = ''
    for (let i = start; i < start + length; i++) text += String.fromCharCode(bytes[i] as number)
    return text
  }
}
