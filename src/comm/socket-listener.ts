// Accepts connections on one TCP port. Covers the time until a peer is authenticated: first byte, TLS, handshake, their
// bounds in bytes, time and number. Whatever goes wrong with one connection ends that connection with one log line.

import { once } from 'node:events'
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { type Address, contactHost, formatAddress, isLoopback, plainHost } from './address.ts'
import type { Listener, ListenOptions } from './comm.ts'
import { answer, type AuthKind, refusal, wrongToken } from './handshake.ts'
import { HANDSHAKE_MS_MAX, PENDING_MAX } from './limits.ts'
import { commLogger } from './logger.ts'
import { requireCredentials } from './security.ts'
import { SocketComm } from './socket-comm.ts'
import { certificateOptions, channelBinding, pskServerOptions } from './tls-options.ts'

const TLS_RECORD = 0x16
const BACKLOG = 2048
export const KEEP_ALIVE_MS = 30_000

/** A connection whose peer is not known yet. */
interface Pending {
  readonly socket: Socket
  readonly peer: string
  readonly timer: NodeJS.Timeout
}

/** Opens a listener for a `tcp://` or `tls://` address. */
export async function listenOnSocket(address: Address, options: ListenOptions): Promise<Listener> {
  requireCredentials(address, options.credentials)
  const listener = new SocketListener(address, options, await tlsServerFor(address, options))
  await listener.open()
  return listener
}

async function tlsServerFor(address: Address, options: ListenOptions): Promise<TlsServer | null> {
  const { tls, token } = options.credentials
  const common: TlsOptions = { handshakeTimeout: HANDSHAKE_MS_MAX }
  if (address.scheme === 'tls' && tls !== null) {
    return createTlsServer({
      ...common,
      ...(await certificateOptions(tls)),
      requestCert: true,
      rejectUnauthorized: true,
    })
  }
  return token === null ? null : createTlsServer({ ...common, ...pskServerOptions(token) })
}

class SocketListener implements Listener {
  readonly #bind: Address
  readonly #options: ListenOptions
  readonly #server: Server
  /** Never listens itself: it is handed the connections that start with a TLS record. Null without token and files. */
  readonly #tlsServer: TlsServer | null
  /** Oldest first. */
  readonly #pending = new Map<string, Pending>()
  #address = ''

  constructor(bind: Address, options: ListenOptions, tlsServer: TlsServer | null) {
    this.#bind = bind
    this.#options = options
    this.#tlsServer = tlsServer
    this.#server = createTcpServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS })
    this.#server.on('connection', (socket) => this.#onConnection(socket))
    tlsServer?.on('secureConnection', (socket) => this.#onSecure(socket))
    tlsServer?.on('tlsClientError', (error, socket) => this.#onTlsError(error, socket))
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
    this.#server.on('error', (error) =>
      commLogger.error('listener {address}: {reason}', { address: this.#address, reason: error.message }),
    )
    const bound = this.#server.address()
    const realPort = typeof bound === 'object' && bound !== null ? bound.port : port
    this.#address = formatAddress({ scheme, host: contactHost(host), port: realPort })
  }

  async close(): Promise<void> {
    // The callback of close() waits for established connections as well, which are not ours any more.
    this.#server.close()
    for (const pending of this.#pending.values()) pending.socket.destroy()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }

  #onConnection(socket: Socket): void {
    const peer = socketName(socket)
    socket.on('error', (error) => this.#log(peer, error.message))
    const timer = setTimeout(() => this.#drop(peer, `not authenticated after ${HANDSHAKE_MS_MAX} ms`), HANDSHAKE_MS_MAX)
    this.#pending.set(peer, { socket, peer, timer })
    socket.on('close', () => this.#forget(peer))
    const oldest = this.#pending.size > PENDING_MAX ? this.#pending.keys().next().value : undefined
    if (oldest !== undefined) this.#drop(oldest, `more than ${PENDING_MAX} unauthenticated connections`)
    if (this.#bind.scheme === 'tls') this.#tlsServer?.emit('connection', socket)
    else socket.once('data', (chunk: Buffer) => this.#onFirstBytes(socket, peer, chunk))
  }

  #onFirstBytes(socket: Socket, peer: string, chunk: Buffer): void {
    socket.pause()
    socket.unshift(chunk)
    if (chunk[0] === TLS_RECORD) {
      if (this.#tlsServer === null) this.#drop(peer, 'it encrypts, but this listener has no token')
      else this.#tlsServer.emit('connection', socket)
      return
    }
    const local = isLocalConnection(socket)
    const { token, insecurePlaintext } = this.#options.credentials
    if (!local && !insecurePlaintext) {
      this.#refusePlain(socket, peer)
      return
    }
    void this.#authenticate(
      this.#commOf(socket),
      peer,
      token === null ? 'none' : 'token',
      local ? localAddressOf(socket) : '',
      '',
    )
  }

  #refusePlain(socket: Socket, peer: string): void {
    const error = new PlimsollError(
      'AUTH_FAILED',
      `${this.#address} takes only encrypted connections from beyond its own host: give both sides the token, or both --insecure-plaintext`,
    )
    this.#log(peer, 'it came in plain text from beyond loopback')
    this.#commOf(socket).refuse(refusal(error), error)
  }

  #onSecure(socket: TLSSocket): void {
    const auth = this.#bind.scheme === 'tls' ? 'certificate' : 'token'
    void this.#authenticate(this.#commOf(socket), socketName(socket), auth, '', channelBinding(socket))
  }

  #onTlsError(error: Error, socket: TLSSocket): void {
    const why = this.#bind.scheme === 'tls' ? error.message : wrongToken('no encrypted connection').message
    this.#log(socketName(socket), `${why} (${(error as NodeJS.ErrnoException).code ?? error.message})`)
  }

  async #authenticate(
    comm: SocketComm,
    peer: string,
    auth: AuthKind,
    listenerAddress: string,
    channel: string,
  ): Promise<void> {
    const { role, protocolVersion, credentials, clusterId, onComm } = this.#options
    try {
      const side = {
        role,
        protocolVersion,
        auth,
        token: auth === 'token' ? credentials.token : null,
        listenerAddress,
        channel,
      }
      const identity = await answer(comm, side, typeof clusterId === 'string' ? clusterId : clusterId())
      this.#forget(peer)
      comm.authenticated(identity)
      onComm(comm, identity)
    } catch (error) {
      this.#log(peer, toError(error).message)
      if (!comm.closed) comm.abort(toError(error))
      if (!(error instanceof PlimsollError)) commLogger.error('{stack}', { stack: toError(error).stack })
    }
  }

  #commOf(socket: Socket): SocketComm {
    return new SocketComm(socket, {
      scheme: this.#bind.scheme,
      local: this.#address,
      peer: `${this.#bind.scheme}://${socketName(socket)}`,
    })
  }

  #drop(peer: string, reason: string): void {
    const pending = this.#pending.get(peer)
    if (pending === undefined) return
    this.#log(peer, reason)
    this.#forget(peer)
    pending.socket.destroy()
  }

  #forget(peer: string): void {
    const pending = this.#pending.get(peer)
    if (pending === undefined) return
    clearTimeout(pending.timer)
    this.#pending.delete(peer)
  }

  #log(peer: string, reason: string): void {
    commLogger.warn('{address} closed a connection from {peer}: {reason}', { address: this.#address, peer, reason })
  }
}

/** True when both ends are loopback addresses: then the bytes never leave this host. */
export function isLocalConnection(socket: Socket): boolean {
  return isLoopback(socket.remoteAddress ?? '') && isLoopback(socket.localAddress ?? '')
}

function localAddressOf(socket: Socket): string {
  return endpoint(socket.localAddress, socket.localPort)
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
