// Messages of an executor that it has not written to its pipe yet, in memory that its worker maps as well. So they can be
// written together without being lost: neither a crash nor an endless loop of the next task keeps them from the worker.
//
// B1. One writes (`append`, `empty`), one reads (`peek`), at any time. A message counts from the moment its last byte is
//     there; what is emptied while it is read counts as not there, since it is in the pipe by then.

/** Of one executor. A power of two of at least a page's part, so that outboxes do not share cache lines. */
export const OUTBOX_BYTES = 8192

// Header: bytes in use u32, times it was emptied u32; the messages follow.
const HEADER_BYTES = 64
const USED = 0
const EMPTIED = 1

export class Outbox {
  readonly #words: Uint32Array
  readonly #bytes: Uint8Array

  constructor(memory: ArrayBuffer, offset: number) {
    this.#words = new Uint32Array(memory, offset, 2)
    this.#bytes = new Uint8Array(memory, offset + HEADER_BYTES, OUTBOX_BYTES - HEADER_BYTES)
  }

  get isEmpty(): boolean {
    return this.#words[USED] === 0
  }

  /** Everything in it, in place. */
  get contents(): Uint8Array {
    return this.#bytes.subarray(0, this.#words[USED])
  }

  /** False when there is no room for it. */
  append(message: Uint8Array): boolean {
    const used = this.#words[USED] as number
    const end = used + message.byteLength
    if (end > this.#bytes.byteLength) return false
    this.#bytes.set(message, used)
    Atomics.store(this.#words, USED, end)
    return true
  }

  /** Whoever wrote the contents elsewhere says so. */
  empty(): void {
    Atomics.store(this.#words, USED, 0)
    Atomics.add(this.#words, EMPTIED, 1)
  }

  /** A copy of everything in it, or null when that is nothing. */
  peek(): Uint8Array | null {
    const emptied = Atomics.load(this.#words, EMPTIED)
    const used = Atomics.load(this.#words, USED)
    if (used === 0 || used > this.#bytes.byteLength) return null
    const copy = this.#bytes.slice(0, used)
    return Atomics.load(this.#words, EMPTIED) === emptied ? copy : null
  }
}
