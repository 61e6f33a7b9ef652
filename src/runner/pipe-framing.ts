// Messages between a worker and an executor as bytes: a 32-bit length, then msgpack. One message per frame, so that each
// can be written on its own, at once. A sans-IO parser: it is fed chunks as they come.

import { Packr, Unpackr } from 'msgpackr'
import { PlimsollError } from '../errors/plimsoll-error.ts'

const PREFIX_BYTES = 4
/** A longer message is a bug: values beyond the inline limit travel in files, functions are source text. */
const MAX_MESSAGE_BYTES = 2 ** 31 - 1
const RESERVE_START_SPACE = 2048

const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })
// Small binaries are copied out, or each would keep the whole chunk it came in.
const unpackr = new Unpackr({ useRecords: false, copyBuffers: true })

/** The bytes of one message, valid until they are written or copied. */
export function frameMessage(message: object): Buffer {
  const bytes = packr.pack(message, RESERVE_START_SPACE + PREFIX_BYTES)
  bytes.writeUInt32LE(bytes.byteLength - PREFIX_BYTES, 0)
  return bytes
}

export class MessageParser<Message> {
  #pending: Buffer[] = []
  #pendingBytes = 0
  #needed = PREFIX_BYTES

  /** Hands over every message that is complete now. Throws PROTOCOL_ERROR for what cannot be one. */
  push(chunk: Buffer, onMessage: (message: Message) => void): void {
    this.#pending.push(chunk)
    this.#pendingBytes += chunk.byteLength
    if (this.#pendingBytes < this.#needed) return
    const bytes = this.#pending.length === 1 ? chunk : Buffer.concat(this.#pending, this.#pendingBytes)
    let start = 0
    for (;;) {
      const left = bytes.byteLength - start
      this.#needed = left < PREFIX_BYTES ? PREFIX_BYTES : PREFIX_BYTES + lengthAt(bytes, start)
      if (left < this.#needed) break
      const end = start + this.#needed
      const message = unpackr.unpack(bytes.subarray(start + PREFIX_BYTES, end)) as Message
      start = end
      onMessage(message)
    }
    this.#pendingBytes = bytes.byteLength - start
    this.#pending = this.#pendingBytes === 0 ? [] : [bytes.subarray(start)]
  }
}

function lengthAt(bytes: Buffer, start: number): number {
  const length = bytes.readUInt32LE(start)
  if (length > MAX_MESSAGE_BYTES) {
    throw new PlimsollError(
      'PROTOCOL_ERROR',
      `a message of ${length} bytes was announced between worker and executor`,
      { length },
    )
  }
  return length
}
