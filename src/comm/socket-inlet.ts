// Reading from a socket into memory of the receiver's choice: without it Node allocates 64 KiB for every read. Node offers
// it for sockets that connect, not for those that were accepted; those give their bytes through 'data' events.

import type { OnReadOpts } from 'node:net'

/** Who takes the bytes. */
export interface InletReader {
  /** Where the next bytes go. */
  space(): Uint8Array
  /** `count` bytes are at the start of what `space` gave last. */
  filled(space: Uint8Array, count: number): void
}

/** A hello fits in. */
const EARLY_BYTES = 4096

/** Made with the socket; its reader comes when the connection is there. */
export class SocketInlet {
  #reader: InletReader | null = null
  /** What came before there was a reader. */
  readonly #early: Uint8Array[] = []

  /** For the options of the socket. */
  readonly onread: OnReadOpts = {
    buffer: () => this.#reader?.space() ?? new Uint8Array(EARLY_BYTES),
    callback: (count, bytes) => this.#onRead(bytes, count),
  }

  attach(reader: InletReader): void {
    this.#reader = reader
    for (const bytes of this.#early.splice(0)) {
      for (let rest = bytes; rest.length > 0;) {
        const space = reader.space()
        const count = Math.min(space.length, rest.length)
        space.set(rest.subarray(0, count))
        reader.filled(space, count)
        rest = rest.subarray(count)
      }
    }
  }

  /** The reader pauses its socket itself. Bytes read into what was given before there was one are copied once more. */
  #onRead(bytes: Uint8Array, count: number): boolean {
    if (this.#reader === null || this.#early.length > 0 || bytes.buffer.byteLength === EARLY_BYTES) {
      this.#early.push(bytes.slice(0, count))
      if (this.#reader !== null) this.attach(this.#reader)
    } else {
      this.#reader.filled(bytes, count)
    }
    return true
  }
}
