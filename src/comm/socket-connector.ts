import { connect as connectSocket, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { timerMs } from '../base/clock.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { type Address, formatAddress } from './address.ts'
import type { ConnectOptions } from './comm.ts'
import { greet, type HandshakeSide, wrongToken } from './handshake.ts'
import { localSocketName, localSocketOf } from './local-socket.ts'
import { type Protection, protectionFor } from './security.ts'
import { SocketComm } from './socket-comm.ts'
import { SocketInlet } from './socket-inlet.ts'
import { isLocalConnection, KEEP_ALIVE_MS, remoteAddressOf } from './socket-listener.ts'
import { certificateOptions, channelBinding, pskClientOptions, nodeTls } from './tls-options.ts'

/** One attempt: connects, encrypts where the address asks for it, and proves both sides. Rejects with what stopped it. */
export async function connectOnSocket(
  address: Address,
  options: ConnectOptions,
  timeoutMs: number,
): Promise<SocketComm> {
  const protection = protectionFor(address, options.credentials, options.security === 'psk')
  const path =
    protection.kind === 'plain' && options.transport !== 'tcp' ? localSocketOf(address, protection.token) : null
  if (path === null) return attempt(address, null, protection, options, timeoutMs)
  const start = performance.now()
  try {
    return await attempt(address, path, protection, options, timeoutMs / 2)
  } catch {
    options.signal?.throwIfAborted()
    // Whatever is wrong there: TCP says what is wrong with the listener.
    return attempt(address, null, protection, options, timeoutMs - (performance.now() - start))
  }
}

/** `path`: of the listener's local socket; null: through TCP. */
async function attempt(
  address: Address,
  path: string | null,
  protection: Protection,
  options: ConnectOptions,
  timeoutMs: number,
): Promise<SocketComm> {
  const inlet = new SocketInlet()
  const { onread } = inlet
  const socket = path === null ? await openSocket(address, protection, inlet) : connectSocket({ path, onread })
  const timer = setTimeout(
    () => socket.destroy(new Error(`no answer within ${Math.round(timeoutMs)} ms`)),
    timerMs(timeoutMs),
  )
  if (options.unref === true) {
    socket.unref()
    timer.unref()
  }
  const abort = (): void => void socket.destroy(toError(options.signal?.reason))
  options.signal?.addEventListener('abort', abort, { once: true })
  try {
    await connected(socket)
    const side = sideOf(socket, path, protection, options)
    const host = path === null ? socket.localAddress : address.host
    const local = `${address.scheme}://${host}:${socket.localPort ?? 0}`
    const comm = new SocketComm(socket, { scheme: address.scheme, local, peer: formatAddress(address) }, inlet)
    comm.authenticated(await greet(comm, side))
    if (options.unref === true) comm.unref()
    return comm
  } catch (error) {
    socket.destroy()
    throw explained(error, protection, address)
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', abort)
  }
}

async function openSocket({ host, port }: Address, protection: Protection, inlet: SocketInlet): Promise<Socket> {
  const { onread } = inlet
  const tcp = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, onread }
  if (protection.kind === 'plain') return connectSocket(tcp)
  const encryption =
    protection.kind === 'psk' ? pskClientOptions(protection.token) : await certificateOptions(protection.files)
  // Members of a cluster are told apart by their authority alone: their host names change too often for certificates.
  return nodeTls().connect({ checkServerIdentity: () => undefined, ...encryption, ...tcp })
}

function isEncrypted(socket: Socket): socket is TLSSocket {
  return 'encrypted' in socket
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(isEncrypted(socket) ? 'secureConnect' : 'connect', resolve)
    // Stays for good: an error after the last listener left would end the process.
    socket.on('error', reject)
    socket.once('close', () => reject(new Error('closed while connecting')))
  })
}

function sideOf(socket: Socket, path: string | null, protection: Protection, options: ConnectOptions): HandshakeSide {
  const common = { role: options.role, protocolVersion: options.protocolVersion }
  if (isEncrypted(socket)) {
    const channel = channelBinding(socket)
    if (protection.kind === 'psk')
      return { ...common, auth: 'token', token: protection.token, listenerAddress: '', channel }
    return { ...common, auth: 'certificate', token: null, listenerAddress: '', channel }
  }
  const local = path !== null || isLocalConnection(socket)
  if (!local && !options.credentials.insecurePlaintext) {
    throw new PlimsollError(
      'AUTH_FAILED',
      `"localhost" leads to ${remoteAddressOf(socket)}, which is not this host: use 127.0.0.1`,
    )
  }
  const { auth, token } = protection as Extract<Protection, { kind: 'plain' }>
  const listenerAddress = path === null ? remoteAddressOf(socket) : localSocketName(path)
  return { ...common, auth, token, listenerAddress: local ? listenerAddress : '', channel: '' }
}

/** A failure of TLS in terms of tokens and certificates; everything else as it is. */
function explained(error: unknown, protection: Protection, address: Address): Error {
  const cause = error instanceof PlimsollError && error.cause !== undefined ? error.cause : error
  const code = (cause as NodeJS.ErrnoException).code ?? ''
  const fromSystem = /^E[A-Z]+$/.test(code)
  if (protection.kind === 'plain' || fromSystem || code === '' || cause instanceof PlimsollError) return toError(error)
  const where = formatAddress(address)
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return new PlimsollError(
      'PROTOCOL_ERROR',
      `${where} does not answer with TLS (a plain listener, or another service)`,
      {},
      { cause },
    )
  }
  if (protection.kind === 'psk') return wrongToken(`${where} refused the key made from this token (${code})`)
  return new PlimsollError(
    'AUTH_FAILED',
    `${where}: the certificates do not fit together: ${toError(cause).message.trim()} (${code})`,
    {},
    { cause },
  )
}
