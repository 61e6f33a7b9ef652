// Messages between a worker and an executor as bytes: a 32-bit length, then a msgpack list of messages, the frequent ones as
// rows (pipe-rows.ts). What is said in one turn travels as one list. A sans-IO parser: it is fed chunks as they come.

import type { Packr, Unpackr } from 'msgpackr'
import { msgpackr } from '../base/msgpack.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { type PipeMessage, RowReader, RowWriter } from './pipe-rows.ts'

const PREFIX_BYTES = 4
/** A longer message is a bug: values beyond the inline limit travel in files, functions are source text. */
const MAX_MESSAGE_BYTES = 2 ** 31 - 1
const RESERVE_START_SPACE = 2048

/** One end of one pipe, writing. */
export class MessageWriter<Message extends PipeMessage = PipeMessage> {
  readonly #rows = new RowWriter()
  readonly #packr: Packr = new (msgpackr().Packr)({ useRecords: false, encodeUndefinedAsNil: true })

  /** The bytes of these messages; every frame has to be written, in order. */
  frame(messages: readonly Message[]): Buffer {
    const rows: object[] = []
    for (const message of messages) rows.push(this.#rows.rowOf(message))
    const bytes = this.#packr.pack(rows, RESERVE_START_SPACE + PREFIX_BYTES)
    bytes.writeUInt32LE(bytes.byteLength - PREFIX_BYTES, 0)
    return bytes
  }
}

/** One end of one pipe, reading. */
export class MessageParser<Message extends PipeMessage = PipeMessage> {
  readonly #rows = new RowReader()
  readonly #unpackr: Unpackr = new (msgpackr().Unpackr)({ useRecords: false, copyBuffers: false })
  #pending: Buffer[] = []
  #pendingBytes = 0
  #needed = PREFIX_BYTES

  /**
   * Hands over every message that is complete now. Binaries are views of the chunk: whoever keeps one for longer copies it.
   * @throws PlimsollError PROTOCOL_ERROR for a length that cannot be one; other errors for what is not a list of messages.
   */
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
      const rows = this.#unpackr.unpack(bytes.subarray(start + PREFIX_BYTES, end)) as readonly object[]
      start = end
      for (const row of rows) onMessage(this.#rows.messageOf(row) as Message)
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
