// Accepts connections on one TCP port, and on the local socket beside it (local-socket.ts). Covers the time until a peer is authenticated: first byte, TLS, handshake, their
// bounds in bytes, time and number. Whatever goes wrong with one connection ends that connection with one log line.

import { constants } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { Server as TlsServer, TLSSocket, TlsOptions } from 'node:tls'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { type Address, contactHost, formatAddress, isLoopback, plainHost } from './address.ts'
import type { Listener, ListenOptions } from './comm.ts'
import { answer, type HandshakeSide, refusal, wrongToken } from './handshake.ts'
import { HANDSHAKE_MS_MAX, PENDING_MAX } from './limits.ts'
import { localSocketName, localSocketOf } from './local-socket.ts'
import { commLogger } from './logger.ts'
import { requireCredentials } from './security.ts'
import { SocketComm, UNKNOWN_ROLE } from './socket-comm.ts'
import { certificateOptions, channelBinding, pskServerOptions, nodeTls } from './tls-options.ts'

const TLS_RECORD = 0x16
const BACKLOG = 2048
export const KEEP_ALIVE_MS = 30_000

/** A connection whose peer is not known yet. */
interface Pending {
  readonly socket: Socket
  readonly timer: NodeJS.Timeout
  /** Why it ends was logged: it is refused and has a moment to read that. */
  reported: boolean
}

/** Opens a listener for a `tcp://` or `tls://` address. */
export async function listenOnSocket(address: Address, options: ListenOptions): Promise<Listener> {
  requireCredentials(address, options.credentials)
  const listener = new SocketListener(address, options, await tlsOptionsFor(address, options))
  await listener.open()
  return listener
}

/** Null without token and files: then nobody can encrypt. */
async function tlsOptionsFor(address: Address, options: ListenOptions): Promise<TlsOptions | null> {
  const { tls, token } = options.credentials
  const common: TlsOptions = { handshakeTimeout: HANDSHAKE_MS_MAX }
  if (address.scheme === 'tls' && tls !== null) {
    return {
      ...common,
      ...(await certificateOptions(tls)),
      requestCert: true,
      rejectUnauthorized: false,
      secureOptions: constants.SSL_OP_NO_TICKET,
    }
  }
  return token === null ? null : { ...common, ...pskServerOptions(token) }
}

class SocketListener implements Listener {
  readonly #bind: Address
  readonly #options: ListenOptions
  readonly #server: Server
  readonly #tlsOptions: TlsOptions | null
  /** Never listens itself: it is handed the connections that start with a TLS record, and made for the first of them. */
  #tlsServer: TlsServer | null = null
  /** Oldest first. */
  readonly #pending = new Map<string, Pending>()
  readonly #handshakeMs: number
  #address = ''
  /** Null where there is none. */
  #localServer: Server | null = null
  #localCount = 0

  constructor(bind: Address, options: ListenOptions, tlsOptions: TlsOptions | null) {
    this.#bind = bind
    this.#options = options
    this.#tlsOptions = tlsOptions
    this.#handshakeMs = options.handshakeMs ?? HANDSHAKE_MS_MAX
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS })
    this.#server.on('connection', (socket) => this.#onTcpConnection(socket))
  }

  get address(): string {
    return this.#address
  }

  async open(): Promise<void> {
    const { host, port, scheme } = this.#bind
    try {
      this.#server.listen({ host, port, backlog: BACKLOG })
      await once(this.#server, 'listening')
    } catch (error) {
      const hint =
        (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
          ? '; another process listens there: choose another port, or 0 for any'
          : ''
      throw new PlimsollError(
        'CONNECT_FAILED',
        `cannot listen on ${formatAddress(this.#bind)}: ${toError(error).message}${hint}`,
        {},
        { cause: error },
      )
    }
    this.#server.on('error', (error) => this.#onServerError(error))
    const bound = this.#server.address()
    const real = typeof bound === 'object' && bound !== null ? bound : { address: host, port }
    this.#address = formatAddress({ scheme, host: contactHost(host), port: real.port })
    const path = localSocketOf({ scheme, host: real.address, port: real.port }, this.#options.credentials.token)
    if (path !== null) await this.#openLocal(path)
  }

  /** Best effort: without it everybody comes through TCP. */
  async #openLocal(path: string): Promise<void> {
    const server = createServer((socket) => this.#onLocalConnection(socket, localSocketName(path)))
    try {
      server.listen({ path, backlog: BACKLOG })
      await once(server, 'listening')
    } catch (error) {
      const reason = toError(error).message
      commLogger.debug('no local socket beside {address}: {reason}', { address: this.#address, reason })
      return
    }
    server.on('error', (error) => this.#onServerError(error))
    this.#localServer = server
  }

  async close(): Promise<void> {
    // The callback of close() waits for established connections as well, which are not ours any more.
    this.#server.close()
    this.#localServer?.close()
    for (const [peer, pending] of this.#pending) {
      this.#forget(peer)
      pending.socket.destroy()
    }
    await new Promise<void>((resolve) => setImmediate(resolve))
  }

  #onServerError(error: Error): void {
    commLogger.error('listener {address}: {reason}', { address: this.#address, reason: error.message })
  }

  #onTcpConnection(socket: Socket): void {
    const peer = socketName(socket)
    this.#admit(socket, peer)
    if (this.#bind.scheme === 'tls') this.#startTls(socket, peer)
    else socket.once('data', (chunk: Buffer) => this.#onFirstBytes(socket, peer, chunk))
  }

  #onLocalConnection(socket: Socket, listenerAddress: string): void {
    const peer = `local-socket:${++this.#localCount}`
    this.#admit(socket, peer)
    void this.#authenticate(this.#commOf(socket, peer), peer, { auth: 'token', listenerAddress, channel: '' })
  }

  /** One more whose peer is not known yet. */
  #admit(socket: Socket, peer: string): void {
    const timer = setTimeout(
      () => this.#end(peer, `not authenticated after ${this.#handshakeMs} ms`),
      this.#handshakeMs,
    )
    this.#pending.set(peer, { socket, timer, reported: false })
    socket.on('error', (error) => this.#end(peer, error.message))
    socket.on('close', () => setImmediate(() => this.#onGone(socket, peer)))
    const oldest = this.#pending.size > PENDING_MAX ? this.#pending.keys().next().value : undefined
    if (oldest !== undefined) this.#end(oldest, `more than ${PENDING_MAX} connections wait for authentication`)
  }

  #onFirstBytes(socket: Socket, peer: string, chunk: Buffer): void {
    socket.pause()
    socket.unshift(chunk)
    if (chunk[0] === TLS_RECORD) {
      this.#startTls(socket, peer)
      return
    }
    const local = isLocalConnection(socket)
    const { token, insecurePlaintext } = this.#options.credentials
    if (!local && !insecurePlaintext) {
      const remedy = 'give both sides the token, or both --insecure-plaintext'
      this.#refuse(
        this.#commOf(socket, peer),
        peer,
        `${this.#address} takes only encrypted connections from beyond its own host: ${remedy}`,
      )
      return
    }
    const listenerAddress = local ? endpoint(socket.localAddress, socket.localPort) : ''
    void this.#authenticate(this.#commOf(socket, peer), peer, {
      auth: token === null ? 'none' : 'token',
      listenerAddress,
      channel: '',
    })
  }

  #startTls(socket: Socket, peer: string): void {
    if (this.#tlsOptions === null) {
      this.#end(peer, 'it encrypts, but this listener has no token')
      return
    }
    this.#tlsServer ??= this.#createTlsServer(this.#tlsOptions)
    this.#tlsServer.emit('connection', socket)
  }

  #createTlsServer(options: TlsOptions): TlsServer {
    const server = nodeTls().createServer(options)
    server.on('secureConnection', (socket) => this.#onSecure(socket))
    server.on('tlsClientError', (error, socket) => this.#onTlsError(error, socket))
    return server
  }

  #refuse(comm: SocketComm, peer: string, message: string): void {
    const error = new PlimsollError('AUTH_FAILED', message)
    comm.refuse(refusal(error), error)
    this.#report(peer, message)
  }

  #onSecure(socket: TLSSocket): void {
    const peer = socketName(socket)
    const channel = bindingOrNull(socket)
    if (channel === null) {
      this.#end(peer, 'its TLS session ended at once')
      return
    }
    const comm = this.#commOf(socket, peer)
    if (this.#bind.scheme === 'tcp') {
      void this.#authenticate(comm, peer, { auth: 'token', listenerAddress: '', channel })
    } else if (hasProvedItsCertificate(socket)) {
      void this.#authenticate(comm, peer, { auth: 'certificate', listenerAddress: '', channel })
    } else {
      const why = socket.authorizationError?.toString() ?? 'it sent none'
      this.#refuse(
        comm,
        peer,
        `the ${this.#options.role} at ${this.#address} does not accept the certificate of ${peer}: ${why}`,
      )
    }
  }

  #onTlsError(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const code = error.code ?? error.message
    const ofKey = this.#bind.scheme === 'tcp' && code.startsWith('ERR_SSL_')
    this.#end(
      socketName(socket),
      ofKey ? wrongToken(`its key is not made from our token (${code})`).message : `TLS failed: ${code}`,
    )
  }

  async #authenticate(
    comm: SocketComm,
    peer: string,
    way: Pick<HandshakeSide, 'auth' | 'listenerAddress' | 'channel'>,
  ): Promise<void> {
    const { role, protocolVersion, credentials, clusterId } = this.#options
    const token = way.auth === 'token' ? credentials.token : null
    try {
      const id = typeof clusterId === 'string' ? clusterId : clusterId()
      const identity = await answer(comm, { role, protocolVersion, token, ...way }, id)
      if (comm.closed) return
      this.#forget(peer)
      comm.authenticated(identity)
      this.#options.onComm(comm, identity)
    } catch (thrown) {
      const error = toError(thrown)
      if (comm.peer.role === UNKNOWN_ROLE) this.#report(peer, error.message)
      else commLogger.error('cannot serve {peer}: {stack}', { peer, stack: error.stack })
      // One that was refused is closed already, and stays a moment to read why.
      if (!comm.closed) comm.abort(error)
    }
  }

  #commOf(socket: Socket, peer: string): SocketComm {
    return new SocketComm(socket, {
      scheme: this.#bind.scheme,
      local: this.#address,
      peer: `${this.#bind.scheme}://${peer}`,
    })
  }

  /** After TLS had its say about the reason. */
  #onGone(socket: Socket, peer: string): void {
    if (this.#pending.get(peer)?.socket === socket) this.#end(peer, 'it ended before it was authenticated')
  }

  /** Ends a connection that is not authenticated yet; nothing if it is, or has ended. */
  #end(peer: string, reason: string): void {
    const pending = this.#pending.get(peer)
    if (pending === undefined) return
    this.#report(peer, reason)
    this.#forget(peer)
    pending.socket.destroy()
  }

  /** One line for each connection that is not let in. */
  #report(peer: string, reason: string): void {
    const pending = this.#pending.get(peer)
    if (pending === undefined || pending.reported) return
    pending.reported = true
    commLogger.warn('{address} closed a connection from {peer}: {reason}', { address: this.#address, peer, reason })
  }

  #forget(peer: string): void {
    const pending = this.#pending.get(peer)
    if (pending === undefined) return
    clearTimeout(pending.timer)
    this.#pending.delete(peer)
  }
}

/** Null for a session that is over already. */
function bindingOrNull(socket: TLSSocket): string | null {
  try {
    return channelBinding(socket)
  } catch {
    return null
  }
}

/**
 * Node would drop a connection with a bad certificate without a word, so the check is ours, to tell the peer why. A
 * resumed session proves nothing by itself: Node calls one without a certificate authorized.
 */
function hasProvedItsCertificate(socket: TLSSocket): boolean {
  return socket.authorized && !socket.isSessionReused() && Object.keys(socket.getPeerCertificate() ?? {}).length > 0
}

/** True when both ends are loopback addresses: then the bytes never leave this host. */
export function isLocalConnection(socket: Socket): boolean {
  return isLoopback(socket.remoteAddress ?? '') && isLoopback(socket.localAddress ?? '')
}

export function remoteAddressOf(socket: Socket): string {
  return endpoint(socket.remoteAddress, socket.remotePort)
}

function socketName(socket: Socket): string {
  return remoteAddressOf(socket)
}

function endpoint(host = '', port = 0): string {
  const plain = plainHost(host)
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`
}
