// The contract of a transport: moves messages, each a list of byte frames, between two processes, in order, and knows
// nothing of what they mean (rpc/ does). Transports push: they call handlers, nobody reads.
//
// C1. Messages arrive whole, in the order of `send`, each at most once; a partial message is never delivered.
// C2. `onClose` is called exactly once, after the last message. `null` means that one side called `close()`; an error
//     means anything else: abort, a lost peer, malformed bytes.
// C3. Nothing is delivered before both sides have proved who they are (handshake.ts).
// C4. `send` never blocks and never throws because of the network. It is the sender who watches `bufferedBytes`, or
//     awaits `drained()` before the next large message; a comm itself sets no bound.
// C5. Frames given to `send` belong to the comm: they must not change afterwards. But when `drained()` has resolved, a
//     message of at least the low-water mark that was sent before is out of the comm's hands, and its frames are free.
//     Frames that arrive belong to the receiver, but small ones share the memory of one receive buffer, so whoever keeps
//     them for long copies them; a large one that was given back is written to again.

/** Bytes of an open file. */
export interface FilePart {
  readonly fd: number
  readonly offset: number
  readonly length: number
}

/** One authenticated connection between two processes. */
export interface Comm {
  readonly scheme: string
  readonly localAddress: string
  readonly peerAddress: string
  readonly peer: PeerIdentity
  /** Queues one message of at least one frame, at most 256 MiB in all. Dropped silently once the comm is closed. */
  send(frames: readonly Uint8Array[]): void
  /** `sendFile` may be called: a plain socket of a system that can do it. */
  readonly takesFiles: boolean
  /**
   * As `send`, with part of a file as the last frame, which never enters this process; the file should be in RAM, since its
   * bytes are read on the main thread. Resolves when the file may be closed: it was sent, or the comm is closed. Rejects when
   * the file could not be read to its end; then the rest of the message was sent as zeros.
   */
  sendFile(frames: readonly Uint8Array[], part: FilePart): Promise<void>
  /** Bytes queued here that the operating system (or, for inproc, the peer) has not taken yet. */
  readonly bufferedBytes: number
  /** Resolves when `bufferedBytes` is below the low-water mark (1 MiB), or when the comm is closed. Never rejects. */
  drained(): Promise<void>
  /** Sets the one handler; messages that came before are delivered then. A handler that throws aborts the comm. */
  onMessage(handler: (frames: Uint8Array[]) => void): void
  /** The receiver is done with a frame that came whole in a message: its memory may be used again. Never required. */
  giveBack(frame: Uint8Array): void
  /** Adds a handler for the end; called at once when the comm is closed already. */
  onClose(handler: (reason: Error | null) => void): void
  /** Stops delivering and reading. While paused, the end of the connection is not noticed either. */
  pause(): void
  resume(): void
  /** Sends what is queued, then closes; nothing is delivered any more. Resolves when closed, at the latest after 5 s. */
  close(): Promise<void>
  /** Closes at once; what is queued is lost. */
  abort(reason?: Error): void
  readonly closed: boolean
  /** From now on this connection alone does not keep the process alive. */
  unref(): void
}

/** Who is at the other end. */
export interface PeerIdentity {
  readonly role: string
  /** Of a listener; null for the side that connected. */
  readonly clusterId: string | null
}

/** Something that accepts connections. */
export interface Listener {
  /** Where others reach it, with the real port; for a wildcard, the address of a real interface. */
  readonly address: string
  /** Accepts nothing from now on and drops connections that are not authenticated yet. Established ones stay. */
  close(): Promise<void>
}

/** Paths of PEM files; peers must hold a certificate of the same authority. Host names are not compared. */
export interface TlsFiles {
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
}

/** What proves that a process may take part in a cluster. */
export interface Credentials {
  /** The cluster's shared secret, hex. */
  readonly token: string | null
  /** For `tls://` addresses. */
  readonly tls: TlsFiles | null
  /** Allows `tcp://` beyond loopback without encryption; both ends must set it. */
  readonly insecurePlaintext: boolean
}

export interface ListenOptions {
  /** What this side is, such as `scheduler`; part of the proof. */
  readonly role: string
  readonly credentials: Credentials
  readonly protocolVersion: number
  /** A function when the id becomes known only after the listener is open. */
  readonly clusterId: string | (() => string)
  /** How long a peer may take to prove itself; default 5 s. */
  readonly handshakeMs?: number
  /** A new, authenticated connection. */
  onComm(comm: Comm, peer: PeerIdentity): void
}

export interface ConnectOptions {
  readonly role: string
  readonly credentials: Credentials
  readonly protocolVersion: number
  /** For everything together: attempts, pauses between them and the handshake. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /**
   * What is tried again within `timeoutMs`: everything that may come right by itself (default); the same without a refused
   * connection, for addresses where something is known to have listened; nothing, for callers with a rhythm of their own.
   */
  readonly retry?: 'all' | 'unless-refused' | 'nothing'
  /** The attempt alone does not keep the process alive, nor does the connection. */
  readonly unref?: boolean
  /** `psk` encrypts with the token also on loopback; default: as the address says. */
  readonly security?: 'auto' | 'psk'
  /** `tcp`: no way past TCP, not even to a listener on this machine (local-socket.ts). */
  readonly transport?: 'auto' | 'tcp'
}
