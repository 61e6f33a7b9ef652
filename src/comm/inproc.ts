// Comms within one process, for tests and for clusters that live in it. Messages are delivered asynchronously and in
// order, and frames are copied on `send`: as over a socket, the two ends never share memory that one of them may change.

import { invariant } from '../base/invariant.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { Address } from './address.ts'
import type { Comm, ConnectOptions, Listener, ListenOptions, PeerIdentity } from './comm.ts'
import { CLOSE_MS_MAX, LOW_WATER_BYTES } from './limits.ts'
import { commLogger } from './logger.ts'

/** Listeners of this process by name: what the port table of the operating system is for sockets. */
const listeners = new Map<string, InprocListener>()
let counter = 0

/** What a refused connection is for sockets. */
export class NoListenerError extends Error {}

export function listenInproc(address: Address, options: ListenOptions): Listener {
  const name = address.host === '' ? `${process.pid}-${++counter}` : address.host
  if (listeners.has(name))
    throw new PlimsollError('CONNECT_FAILED', `cannot listen on inproc://${name}: the name is taken in this process`)
  const listener = new InprocListener(name, options)
  listeners.set(name, listener)
  return listener
}

export function connectInproc(address: Address, options: ConnectOptions): Comm {
  const listener = listeners.get(address.host)
  if (listener === undefined) throw new NoListenerError('no listener of that name in this process')
  return listener.accept(options)
}

class InprocListener implements Listener {
  readonly address: string
  readonly #name: string
  readonly #options: ListenOptions

  constructor(name: string, options: ListenOptions) {
    this.#name = name
    this.#options = options
    this.address = `inproc://${name}`
  }

  accept(options: ConnectOptions): Comm {
    const { role, protocolVersion, clusterId } = this.#options
    if (protocolVersion !== options.protocolVersion) {
      throw new PlimsollError(
        'VERSION_MISMATCH',
        `this side speaks protocol version ${options.protocolVersion}, ${this.address} speaks version ${protocolVersion}`,
        { ours: options.protocolVersion, theirs: protocolVersion },
      )
    }
    const id = typeof clusterId === 'string' ? clusterId : clusterId()
    const near = new InprocComm(`inproc://${process.pid}-${++counter}`, this.address, { role, clusterId: id })
    const far = new InprocComm(this.address, near.localAddress, { role: options.role, clusterId: null })
    near.join(far)
    far.join(near)
    setImmediate(() => this.#options.onComm(far, far.peer))
    return near
  }

  close(): Promise<void> {
    listeners.delete(this.#name)
    return Promise.resolve()
  }
}

interface Parcel {
  readonly frames: Uint8Array[]
  readonly bytes: number
}

class InprocComm implements Comm {
  readonly scheme = 'inproc'
  readonly localAddress: string
  readonly peerAddress: string
  readonly peer: PeerIdentity
  #other!: InprocComm
  #state: 'open' | 'closing' | 'closed' = 'open'
  #reason: Error | null = null
  #handler: ((frames: Uint8Array[]) => void) | null = null
  #closeHandlers: ((reason: Error | null) => void)[] = []
  #paused = false
  /** What arrived and was not delivered; counted as the sender's `bufferedBytes`. */
  #inbox: Parcel[] = []
  #inboxBytes = 0
  #deliveryDue = false
  /** The peer closed in good order: the end comes after the inbox. */
  #goodbye = false
  #drainWaiters: (() => void)[] = []
  #closeWaiters: (() => void)[] = []
  #closeTimer: NodeJS.Timeout | undefined

  constructor(localAddress: string, peerAddress: string, peer: PeerIdentity) {
    this.localAddress = localAddress
    this.peerAddress = peerAddress
    this.peer = peer
  }

  join(other: InprocComm): void {
    this.#other = other
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  get bufferedBytes(): number {
    return this.closed ? 0 : this.#other.#inboxBytes
  }

  send(frames: readonly Uint8Array[]): void {
    if (this.#state !== 'open' || this.#other.closed) return
    invariant(frames.length > 0, 'a message without frames')
    this.#other.#arrive(frames.map(copyOf))
  }

  readonly takesFiles = false

  sendFile(): Promise<void> {
    return Promise.reject(new Error('there is no socket for a file'))
  }

  drained(): Promise<void> {
    if (this.bufferedBytes < LOW_WATER_BYTES) return Promise.resolve()
    return new Promise((resolve) => this.#drainWaiters.push(resolve))
  }

  onMessage(handler: (frames: Uint8Array[]) => void): void {
    this.#handler = handler
    this.#schedule()
  }

  onClose(handler: (reason: Error | null) => void): void {
    if (this.closed) handler(this.#reason)
    else this.#closeHandlers.push(handler)
  }

  /** Every frame is a copy of its own: nothing is reused. */
  giveBack(): void {}

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#schedule()
  }

  close(): Promise<void> {
    if (this.closed) return Promise.resolve()
    return new Promise((resolve) => {
      this.#closeWaiters.push(resolve)
      if (this.#state === 'closing') return
      this.#state = 'closing'
      this.#other.#goodbye = true
      this.#other.#schedule()
      this.#closeTimer = setTimeout(() => this.#finish(null), CLOSE_MS_MAX).unref()
    })
  }

  abort(reason?: Error): void {
    const lost = new PlimsollError('COMM_CLOSED', `the connection to ${this.peerAddress} was aborted`)
    this.#finish(reason ?? lost)
    const other = this.#other
    setImmediate(() => other.#finish(new PlimsollError('COMM_CLOSED', `${other.peerAddress} aborted the connection`)))
  }

  /** Nothing here keeps the process alive. */
  unref(): void {}

  #arrive(frames: Uint8Array[]): void {
    let bytes = 0
    for (const frame of frames) bytes += frame.length
    this.#inbox.push({ frames, bytes })
    this.#inboxBytes += bytes
    this.#schedule()
  }

  #schedule(): void {
    if (this.#deliveryDue || this.closed) return
    this.#deliveryDue = true
    setImmediate(() => this.#deliver())
  }

  #deliver(): void {
    this.#deliveryDue = false
    let delivered = 0
    while (delivered < this.#inbox.length && this.#state === 'open' && !this.#paused && this.#handler !== null) {
      const parcel = this.#inbox[delivered++] as Parcel
      this.#inboxBytes -= parcel.bytes
      this.#hand(parcel.frames)
    }
    this.#inbox.splice(0, delivered)
    this.#other.#checkDrained()
    const quiet = this.#inbox.length === 0 && this.#handler !== null && !this.#paused
    if (this.#goodbye && (quiet || this.#state === 'closing')) {
      this.#finish(null)
      this.#other.#finish(null)
    }
  }

  #hand(frames: Uint8Array[]): void {
    try {
      this.#handler?.(frames)
    } catch (error) {
      const { message, stack } = toError(error)
      commLogger.error('closed the connection to {peer}, its handler failed: {reason}', {
        peer: this.peerAddress,
        reason: message,
        stack,
      })
      this.abort(toError(error))
    }
  }

  #checkDrained(): void {
    if (this.#drainWaiters.length === 0 || this.bufferedBytes >= LOW_WATER_BYTES) return
    for (const resolve of this.#drainWaiters.splice(0)) resolve()
  }

  #finish(reason: Error | null): void {
    if (this.closed) return
    this.#reason = this.#state === 'closing' ? null : reason
    this.#state = 'closed'
    clearTimeout(this.#closeTimer)
    this.#handler = null
    this.#inbox = []
    this.#inboxBytes = 0
    this.#checkDrained()
    this.#other.#checkDrained()
    for (const resolve of this.#closeWaiters.splice(0)) resolve()
    const handlers = this.#closeHandlers.splice(0)
    queueMicrotask(() => {
      for (const handler of handlers) handler(this.#reason)
    })
  }
}

function copyOf(frame: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(frame.length)
  copy.set(frame)
  return copy
}
