// Part of a file on its way into a socket, without a copy in this process (sendfile(2)): half the price of reading it into
// memory and writing that. Called from the main thread only, for files in RAM.
//
// F1. It goes straight into the socket only while Node has nothing to write there: what was said before leaves before.
// F2. When the socket takes no more, the next few bytes go through Node, which waits for room and tells when they have left.
// F3. Pages lie in the queue of the socket itself until the peer has taken them: such a file is never written to in place.
// F4. The peer knows the length already: what cannot be read is sent as zeros, and who asked for it is told.

import { readSync } from 'node:fs'
import type { Socket } from 'node:net'
import { isMainThread } from 'node:worker_threads'
import { deferred } from '../base/deferred.ts'
import { toError } from '../errors/plimsoll-error.ts'
import { loadLibc } from '../native/libc.ts'
import type { FilePart } from './comm.ts'
import { encodeHeader, messageBytes } from './framing.ts'
import { FILE_PIECE_BYTES } from './limits.ts'

/** What Node keeps of the socket; no API gives its descriptor. */
interface SocketHandle {
  readonly fd?: number
}

/** One message whose last frame is part of a file. */
export class FileOnTheWay {
  readonly #frames: readonly Uint8Array[]
  readonly #part: FilePart
  readonly #done = deferred()
  #sent = 0
  #failure: Error | null = null

  constructor(frames: readonly Uint8Array[], part: FilePart) {
    this.#frames = frames
    this.#part = part
  }

  /** Settled when the file is not needed any more (comm.ts). */
  get done(): Promise<void> {
    return this.#done.promise
  }

  /** Of the whole message. */
  get messageBytes(): number {
    return messageBytes([...this.#frames, this.#part])
  }

  get missingBytes(): number {
    return this.#part.length - this.#sent
  }

  /** The message up to the part of the file. */
  start(): Uint8Array {
    return Buffer.concat([encodeHeader([...this.#frames, this.#part]), ...this.#frames])
  }

  /** The comm is closed. */
  forget(): void {
    this.#done.resolve()
  }

  /** Sends what the socket takes now. Returns what to write to it next (F2), or null: that was all. */
  advance(socket: Socket): Uint8Array | null {
    const { fd, offset } = this.#part
    if (this.missingBytes > 0 && this.#failure === null) {
      const target = descriptorOf(socket)
      if (target !== null) this.#sent += loadLibc()?.sendFile(target, fd, offset + this.#sent, this.missingBytes) ?? 0
    }
    if (this.missingBytes > 0) return this.#nextPiece()
    if (this.#failure === null) this.#done.resolve()
    else this.#done.reject(this.#failure)
    return null
  }

  #nextPiece(): Uint8Array {
    const piece = Buffer.allocUnsafeSlow(Math.min(FILE_PIECE_BYTES, this.missingBytes))
    const filled = this.#failure === null ? this.#read(piece) : 0
    piece.fill(0, filled)
    this.#sent += piece.length
    return piece
  }

  #read(piece: Uint8Array): number {
    const { fd, offset } = this.#part
    let filled = 0
    try {
      while (filled < piece.length) {
        const count = readSync(fd, piece, filled, piece.length - filled, offset + this.#sent + filled)
        if (count === 0) throw new Error(`the file ends after ${offset + this.#sent + filled} bytes`)
        filled += count
      }
    } catch (error) {
      this.#failure = toError(error)
    }
    return filled
  }
}

/** True for a socket that files can be sent into. */
export function takesFiles(socket: Socket): boolean {
  return process.platform === 'linux' && isMainThread && descriptorOf(socket) !== null && loadLibc() !== null
}

function descriptorOf(socket: Socket): number | null {
  if ('encrypted' in socket) return null
  const fd = (socket as unknown as { readonly _handle: SocketHandle | null })._handle?.fd
  return fd !== undefined && fd >= 0 ? fd : null
}
