// A comm over a connected socket, plain or TLS. Covers writing, reading, flow control and the end; who the peer is, is
// found out by handshake.ts through `hello()` before `authenticated()` opens the comm for messages.
//
// Small messages of one turn are joined into one write; large frames are written as they are. Nothing is read ahead
// while the comm is paused, beyond what the socket had taken from the operating system already.

import type { Socket } from 'node:net'
import { deferred, type Deferred } from '../base/deferred.ts'
import { invariant } from '../base/invariant.ts'
import { isErrorCode, PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { Comm, FilePart, PeerIdentity } from './comm.ts'
import { FileOnTheWay, takesFiles } from './file-on-the-way.ts'
import { AUTHENTICATED_LIMITS, encodeHeader, encodeMessage, FrameParser, messageBytes } from './framing.ts'
import {
  CLOSE_MS_MAX,
  FRAMES_MAX,
  HELLO_BYTES_MAX,
  JOIN_BYTES_MAX,
  LOW_WATER_BYTES,
  MESSAGE_BYTES_MAX,
  REFUSAL_MS_MAX,
} from './limits.ts'
import { commLogger } from './logger.ts'
import type { SocketInlet } from './socket-inlet.ts'

const NO_FRAMES: readonly Uint8Array[] = []
/** The peer's role until it has proved one. */
export const UNKNOWN_ROLE = 'unknown'
const NOBODY: PeerIdentity = { role: UNKNOWN_ROLE, clusterId: null }

/** `handshake`: one hello at a time. `closing`: our goodbye is written, nothing is delivered. `closed`: over. */
type State = 'handshake' | 'open' | 'closing' | 'closed'

export interface SocketAddresses {
  readonly scheme: string
  readonly local: string
  readonly peer: string
}

export class SocketComm implements Comm {
  readonly scheme: string
  readonly localAddress: string
  readonly peerAddress: string
  readonly #socket: Socket
  readonly #parser = new FrameParser({ messageBytes: HELLO_BYTES_MAX, frames: 1 })
  #state: State = 'handshake'
  #peer: PeerIdentity = NOBODY
  #paused = false
  #delivering = false
  /** The peer's half is over; what it sent before may still wait in the parser. */
  #ended = false
  #reason: Error | null = null
  #handler: ((frames: Uint8Array[]) => void) | null = null
  #closeHandlers: ((reason: Error | null) => void)[] = []
  #hello: Deferred<Uint8Array> | null = null
  /** Messages to be joined into one write at the end of this turn. */
  #small: (readonly Uint8Array[])[] = []
  #smallBytes = 0
  /** Part of a file that is being written. */
  #file: FileOnTheWay | null = null
  /** What comes behind it. */
  #behind: (readonly Uint8Array[] | FileOnTheWay)[] = []
  #behindBytes = 0
  #drainWaiters: (() => void)[] = []
  readonly #socketClosed = deferred()
  readonly #onWritten = (): void => {
    if (this.#file !== null) this.#advanceFile()
    this.#checkDrained()
  }

  /** `inlet`: of a socket that reads through one. */
  constructor(socket: Socket, addresses: SocketAddresses, inlet: SocketInlet | null = null) {
    this.scheme = addresses.scheme
    this.localAddress = addresses.local
    this.peerAddress = addresses.peer
    this.#socket = socket
    if (inlet === null) socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    socket.on('end', () => this.#onEnd())
    socket.on('error', (error) => this.#finish(this.#lost(error.message, error)))
    socket.on('close', () => this.#onSocketClose())
    // Gone before we got it: no event will tell.
    if (socket.destroyed) this.#onSocketClose()
    inlet?.attach({
      space: () => this.#parser.space(),
      filled: (space, count) => this.#onFilled(space, count),
    })
  }

  get peer(): PeerIdentity {
    return this.#peer
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  get bufferedBytes(): number {
    if (this.#state === 'closed') return 0
    const fileBytes = this.#file === null ? 0 : this.#file.missingBytes + this.#behindBytes
    return this.#smallBytes + fileBytes + this.#socket.writableLength
  }

  /** The next message of the handshake; rejects when the connection ends first. */
  hello(): Promise<Uint8Array> {
    invariant(this.#state === 'handshake' || this.#state === 'closed', 'hello() after the handshake')
    const hello = deferred<Uint8Array>()
    if (this.closed) {
      // A refusal may have come together with the end of the connection.
      const last = this.#parser.next()?.[0]
      if (last === undefined) hello.reject(this.#reason ?? this.#lost('closed during the handshake'))
      else hello.resolve(last)
      return hello.promise
    }
    this.#hello = hello
    this.#deliver()
    return hello.promise
  }

  sendHello(bytes: Uint8Array): void {
    if (!this.closed) this.#socket.write(encodeMessage([bytes]))
  }

  /** Tells the peer why it is refused, and closes when it has read that. */
  refuse(bytes: Uint8Array, reason: Error): void {
    if (this.closed) return
    this.#socket.end(encodeMessage([bytes]))
    this.#finish(reason)
    this.#socket.resume()
    this.#endWithin(REFUSAL_MS_MAX)
  }

  /** Both sides are proved: messages may flow. */
  authenticated(peer: PeerIdentity): void {
    if (this.closed) return
    this.#peer = peer
    this.#state = 'open'
    this.#parser.limits = AUTHENTICATED_LIMITS
  }

  send(frames: readonly Uint8Array[]): void {
    if (this.#state !== 'open') return
    const bytes = messageBytes(frames)
    invariant(frames.length > 0 && frames.length <= FRAMES_MAX, () => `a message of ${frames.length} frames`)
    invariant(bytes <= MESSAGE_BYTES_MAX, () => `a message of ${bytes} bytes: send it in chunks`)
    if (this.#file !== null) {
      this.#behind.push(frames)
      this.#behindBytes += bytes
      return
    }
    if (bytes > JOIN_BYTES_MAX) {
      this.#flushSmall()
      this.#writeLarge(frames)
      return
    }
    if (this.#small.length === 0) process.nextTick(() => this.#flushSmall())
    this.#small.push(frames)
    this.#smallBytes += bytes
    if (this.#smallBytes >= JOIN_BYTES_MAX) this.#flushSmall()
  }

  get takesFiles(): boolean {
    return takesFiles(this.#socket)
  }

  sendFile(frames: readonly Uint8Array[], part: FilePart): Promise<void> {
    if (this.#state !== 'open') return Promise.resolve()
    const file = new FileOnTheWay(frames, part)
    const bytes = file.messageBytes
    invariant(frames.length < FRAMES_MAX && bytes <= MESSAGE_BYTES_MAX, () => `part of a file in ${bytes} bytes`)
    if (this.#file === null) {
      this.#flushSmall()
      this.#startFile(file)
      this.#advanceFile()
    } else {
      this.#behind.push(file)
      this.#behindBytes += bytes
    }
    return file.done
  }

  drained(): Promise<void> {
    if (this.bufferedBytes < LOW_WATER_BYTES) return Promise.resolve()
    return new Promise((resolve) => this.#drainWaiters.push(resolve))
  }

  onMessage(handler: (frames: Uint8Array[]) => void): void {
    this.#handler = handler
    this.#deliver()
  }

  onClose(handler: (reason: Error | null) => void): void {
    if (this.closed) handler(this.#reason)
    else this.#closeHandlers.push(handler)
  }

  giveBack(frame: Uint8Array): void {
    this.#parser.giveBack(frame)
  }

  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    this.#paused = false
    this.#deliver()
  }

  async close(): Promise<void> {
    if (this.#state === 'handshake') this.abort()
    if (this.#state === 'open') {
      this.#flushSmall()
      this.#state = 'closing'
      if (this.#file === null) this.#socket.end(encodeHeader(NO_FRAMES))
      this.#endWithin(CLOSE_MS_MAX)
      this.#socket.resume()
    }
    await this.#socketClosed.promise
    this.#finish(null)
  }

  abort(reason?: Error): void {
    this.#finish(reason ?? new PlimsollError('COMM_CLOSED', `the connection to ${this.peerAddress} was aborted`))
    this.#socket.destroy()
  }

  unref(): void {
    this.#socket.unref()
  }

  #writeLarge(frames: readonly Uint8Array[]): void {
    const socket = this.#socket
    socket.cork()
    let joined: Uint8Array[] = [encodeHeader(frames)]
    for (const frame of frames) {
      if (frame.length < JOIN_BYTES_MAX) {
        joined.push(frame)
        continue
      }
      socket.write(joined.length === 1 ? (joined[0] as Uint8Array) : Buffer.concat(joined))
      joined = [frame]
    }
    socket.write(joined.length === 1 ? (joined[0] as Uint8Array) : Buffer.concat(joined), this.#onWritten)
    socket.uncork()
  }

  #startFile(file: FileOnTheWay): void {
    this.#file = file
    this.#socket.write(file.start(), this.#onWritten)
  }

  /** The file as far as the socket takes it, then what comes behind it. */
  #advanceFile(): void {
    const socket = this.#socket
    for (;;) {
      if (this.#file !== null) {
        // Not ours any more, or Node is not done: it tells.
        if (this.#state === 'closed' || socket.writableLength > 0) return
        const piece = this.#file.advance(socket)
        if (piece !== null) {
          socket.write(piece, this.#onWritten)
          continue
        }
        this.#file = null
      }
      const next = this.#behind.shift()
      if (next === undefined) break
      if (next instanceof FileOnTheWay) {
        this.#behindBytes -= next.messageBytes
        this.#startFile(next)
      } else {
        this.#behindBytes -= messageBytes(next)
        this.#writeLarge(next)
      }
    }
    if (this.#state === 'closing') socket.end(encodeHeader(NO_FRAMES))
  }

  #forgetFiles(): void {
    this.#file?.forget()
    for (const next of this.#behind) if (next instanceof FileOnTheWay) next.forget()
    this.#file = null
    this.#behind = []
    this.#behindBytes = 0
  }

  #flushSmall(): void {
    if (this.#small.length === 0) return
    const messages = this.#small
    const joined = Buffer.allocUnsafe(this.#smallBytes)
    this.#small = []
    this.#smallBytes = 0
    if (this.#state !== 'open') return
    let offset = 0
    for (const frames of messages) {
      offset = joined.writeUInt32LE(frames.length, offset)
      for (const frame of frames) offset = joined.writeUInt32LE(frame.length, offset)
      for (const frame of frames) {
        joined.set(frame, offset)
        offset += frame.length
      }
    }
    this.#socket.write(joined, this.#onWritten)
  }

  #checkDrained(): void {
    if (this.#drainWaiters.length === 0 || this.bufferedBytes >= LOW_WATER_BYTES) return
    const waiters = this.#drainWaiters
    this.#drainWaiters = []
    for (const resolve of waiters) resolve()
  }

  #onData(chunk: Buffer): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    this.#parser.push(chunk)
    this.#deliver()
  }

  #onFilled(space: Uint8Array, count: number): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    this.#parser.filled(space, count)
    this.#deliver()
  }

  /** Hands out whole messages until there is none, the handler pauses, or (in the handshake) nobody asks for one. */
  #deliver(): void {
    if (this.#delivering) return
    this.#delivering = true
    try {
      while (this.#wantsMessage()) {
        const frames = this.#parser.next()
        if (frames === null) break
        this.#dispatch(frames)
      }
    } catch (error) {
      // Before that, the listener reports it.
      if (this.#state === 'open') this.#logBroken(toError(error))
      this.abort(toError(error))
    }
    this.#delivering = false
    if (this.#ended && this.#wantsMessage()) this.#finishAfterEnd()
    else if (this.#wantsMessage()) this.#socket.resume()
    else if (this.#state === 'handshake' || this.#state === 'open') this.#socket.pause()
  }

  #logBroken(error: Error): void {
    const properties = { peer: this.peerAddress, reason: error.message, stack: error.stack }
    if (isErrorCode(error, 'PROTOCOL_ERROR')) commLogger.warn('closed the connection to {peer}: {reason}', properties)
    else commLogger.error('closed the connection to {peer}, its handler failed: {reason}', properties)
  }

  #wantsMessage(): boolean {
    if (this.#paused) return false
    return this.#state === 'handshake' ? this.#hello !== null : this.#state === 'open' && this.#handler !== null
  }

  #dispatch(frames: Uint8Array[]): void {
    const hello = this.#hello
    if (hello !== null) {
      this.#hello = null
      const [bytes] = frames
      if (bytes !== undefined) hello.resolve(bytes)
      else hello.reject(this.#lost('closed during the handshake'))
    } else if (frames.length === 0) {
      this.#finish(null)
      this.#socket.end()
      this.#socket.resume()
      this.#endWithin(CLOSE_MS_MAX)
    } else {
      this.#handler?.(frames)
    }
  }

  #onEnd(): void {
    this.#ended = true
    this.#deliver()
  }

  #finishAfterEnd(): void {
    const half = this.#parser.idle ? 'ended without a goodbye' : 'ended in the middle of a message'
    this.#finish(this.#lost(`${half}: its process is gone or gave up`))
    this.#socket.destroy()
  }

  #onSocketClose(): void {
    this.#socketClosed.resolve()
    if (this.#state === 'open' && !this.#wantsMessage() && !this.#parser.idle) {
      // What came before the end is delivered when the receiver goes on, and the end after it.
      this.#ended = true
      return
    }
    this.#finish(this.#state === 'closing' ? null : this.#lost('closed'))
  }

  #endWithin(ms: number): void {
    const timer = setTimeout(() => this.#socket.destroy(), ms)
    timer.unref()
    void this.#socketClosed.promise.then(() => clearTimeout(timer))
  }

  #lost(what: string, cause?: Error): PlimsollError {
    return new PlimsollError(
      'COMM_CLOSED',
      `lost the connection to ${this.peerAddress}: ${what}`,
      {},
      cause && { cause },
    )
  }

  #finish(reason: Error | null): void {
    if (this.#state === 'closed') return
    this.#reason = this.#state === 'closing' ? null : reason
    this.#state = 'closed'
    this.#handler = null
    this.#hello?.reject(this.#reason ?? this.#lost('closed'))
    this.#forgetFiles()
    this.#checkDrained()
    const handlers = this.#closeHandlers
    this.#closeHandlers = []
    // Not from within abort(): whoever aborts is often in the middle of changing its own state.
    queueMicrotask(() => {
      for (const handler of handlers) handler(this.#reason)
    })
  }
}
