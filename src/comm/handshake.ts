// Mutual proof that both ends of a fresh connection hold the cluster's token, without sending it. Covers what is said
// and checked; what encrypts the connection, and which kind of proof an address needs, is decided in security.ts.
//
//   connecting side                         listener
//   hello(version, role, nonce, auth)  ->
//                                      <-   welcome(version, role, nonce, cluster id, address)   or   refused
//   proof                              ->
//                                      <-   proof   or   refused
//
// H1. A proof is HMAC-SHA256 over a label of its direction and the whole transcript: versions, roles, both nonces, the
//     listener's address, its cluster id and the channel binding. The labels differ, so no proof can be reflected.
// H2. On plain loopback the address in the transcript is the one the socket is really connected to: whoever squats a
//     port and relays to the real listener has another one, and is found out. Under TLS the exported keying material
//     takes its place (a connection may then cross address translation).
// H3. Versions are compared before any proof, so that a mismatch is never reported as a wrong token.
// H4. Neither side sends or accepts data before it has checked the other's proof.
// H5. How to authenticate is never negotiated: two different opinions end the connection.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { invariant } from '../base/invariant.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { PeerIdentity } from './comm.ts'
import type { SocketComm } from './socket-comm.ts'

/** `token`: HMAC both ways. `certificate`: TLS has proved both already. `none`: insecure plaintext without a token. */
export type AuthKind = 'token' | 'certificate' | 'none'

export interface HandshakeSide {
  readonly role: string
  readonly protocolVersion: number
  readonly auth: AuthKind
  /** Present iff `auth` is `token`. */
  readonly token: string | null
  /** The listener's address as this end of the socket sees it; empty where the channel binding counts instead. */
  readonly listenerAddress: string
  /** Exported keying material of the TLS session, hex; empty on plain connections. */
  readonly channel: string
}

interface Hello {
  readonly kind: 'hello'
  readonly version: number
  readonly role: string
  readonly nonce: string
  readonly auth: string
}

interface Welcome {
  readonly kind: 'welcome'
  readonly version: number
  readonly role: string
  readonly nonce: string
  readonly clusterId: string
  readonly address: string
}

interface Proof {
  readonly kind: 'proof'
  readonly mac: string
}

interface Refused {
  readonly kind: 'refused'
  readonly code: 'AUTH_FAILED' | 'VERSION_MISMATCH' | 'PROTOCOL_ERROR'
  readonly message: string
}

type HandshakeMessage = Hello | Welcome | Proof | Refused

const NONCE_BYTES = 32
const CONNECTOR_LABEL = 'plimsoll connector proof'
const LISTENER_LABEL = 'plimsoll listener proof'
const NO_PROOF = ''

/** Runs the connecting side; rejects with AUTH_FAILED, VERSION_MISMATCH, PROTOCOL_ERROR or COMM_CLOSED. */
export async function greet(comm: SocketComm, side: HandshakeSide): Promise<PeerIdentity> {
  const hello: Hello = {
    kind: 'hello',
    version: side.protocolVersion,
    role: side.role,
    nonce: randomBytes(NONCE_BYTES).toString('hex'),
    auth: side.auth,
  }
  comm.sendHello(encode(hello))
  const welcome = await receive(comm, 'welcome')
  requireSameVersion(hello.version, welcome.version, `the ${welcome.role} at ${comm.peerAddress}`)
  if (side.auth === 'token' && side.listenerAddress !== welcome.address) {
    throw new PlimsollError(
      'AUTH_FAILED',
      `${comm.peerAddress} answers for ${welcome.address}: something relays between them; connect to the listener's own address`,
      { address: comm.peerAddress },
    )
  }
  const transcript = transcriptOf(hello, welcome, side)
  comm.sendHello(encode({ kind: 'proof', mac: macOf(side, CONNECTOR_LABEL, transcript) }))
  const proof = await receive(comm, 'proof')
  if (!matches(proof.mac, macOf(side, LISTENER_LABEL, transcript))) {
    throw wrongToken(`the ${welcome.role} at ${comm.peerAddress} could not prove that it holds the same token`)
  }
  return { role: welcome.role, clusterId: welcome.clusterId }
}

/** Runs the listener's side; whoever is refused was told why when this rejects. */
export async function answer(comm: SocketComm, side: HandshakeSide, clusterId: string): Promise<PeerIdentity> {
  try {
    return await answerOrThrow(comm, side, clusterId)
  } catch (error) {
    if (error instanceof PlimsollError && isRefusal(error.code)) {
      comm.refuse(encode({ kind: 'refused', code: error.code, message: error.message }), error)
    }
    throw error
  }
}

async function answerOrThrow(comm: SocketComm, side: HandshakeSide, clusterId: string): Promise<PeerIdentity> {
  const hello = await receive(comm, 'hello')
  requireSameVersion(side.protocolVersion, hello.version, `a ${hello.role} at ${comm.peerAddress}`)
  if (hello.auth !== side.auth) {
    throw new PlimsollError(
      'AUTH_FAILED',
      `this ${side.role} asks for authentication by ${side.auth}, the ${hello.role} offers ${hello.auth}`,
      {
        expected: side.auth,
        offered: hello.auth,
      },
    )
  }
  const welcome: Welcome = {
    kind: 'welcome',
    version: side.protocolVersion,
    role: side.role,
    nonce: randomBytes(NONCE_BYTES).toString('hex'),
    clusterId,
    address: side.listenerAddress,
  }
  comm.sendHello(encode(welcome))
  const transcript = transcriptOf(hello, welcome, side)
  const proof = await receive(comm, 'proof')
  if (!matches(proof.mac, macOf(side, CONNECTOR_LABEL, transcript))) {
    throw wrongToken(`the ${hello.role} at ${comm.peerAddress} and this ${side.role} do not hold the same token`)
  }
  comm.sendHello(encode({ kind: 'proof', mac: macOf(side, LISTENER_LABEL, transcript) }))
  return { role: hello.role, clusterId: null }
}

/** What a peer is told that speaks plain text where this listener needs encryption. */
export function refusal(error: PlimsollError): Uint8Array {
  return encode({
    kind: 'refused',
    code: isRefusal(error.code) ? error.code : 'PROTOCOL_ERROR',
    message: error.message,
  })
}

/** AUTH_FAILED with the places to look at. */
export function wrongToken(what: string): PlimsollError {
  return new PlimsollError(
    'AUTH_FAILED',
    `${what}; compare ~/.config/plimsoll/token (or --token-file, PLIMSOLL_TOKEN_FILE, PLIMSOLL_TOKEN) on both sides`,
  )
}

function requireSameVersion(ours: number, theirs: number, who: string): void {
  if (ours === theirs) return
  throw new PlimsollError(
    'VERSION_MISMATCH',
    `this side speaks protocol version ${ours}, ${who} speaks version ${theirs}: install the same release of plimsoll on both`,
    { ours, theirs },
  )
}

function transcriptOf(hello: Hello, welcome: Welcome, side: HandshakeSide): string {
  const { version, role, nonce, auth } = hello
  // The address and the channel are this side's own knowledge, never what the peer said.
  return JSON.stringify([
    version,
    role,
    nonce,
    auth,
    welcome.version,
    welcome.role,
    welcome.nonce,
    welcome.clusterId,
    side.listenerAddress,
    side.channel,
  ])
}

function macOf(side: HandshakeSide, label: string, transcript: string): string {
  if (side.auth !== 'token') return NO_PROOF
  invariant(side.token !== null && side.token !== '', 'authentication by token without a token')
  return createHmac('sha256', Buffer.from(side.token, 'utf8')).update(`${label}\0${transcript}`).digest('hex')
}

function matches(given: string, expected: string): boolean {
  const a = Buffer.from(given, 'utf8')
  const b = Buffer.from(expected, 'utf8')
  return a.length === b.length && timingSafeEqual(a, b)
}

function encode(message: HandshakeMessage): Uint8Array {
  return Buffer.from(JSON.stringify({ plimsoll: 1, ...message }), 'utf8')
}

async function receive<K extends 'hello' | 'welcome' | 'proof'>(
  comm: SocketComm,
  kind: K,
): Promise<Extract<HandshakeMessage, { kind: K }>> {
  const message = parse(await comm.hello())
  if (message !== null && message.kind === kind) return message as Extract<HandshakeMessage, { kind: K }>
  if (message?.kind === 'refused') throw new PlimsollError(message.code, message.message, { by: comm.peerAddress })
  throw new PlimsollError('PROTOCOL_ERROR', `${comm.peerAddress} does not speak the protocol of plimsoll`, {
    expected: kind,
  })
}

const FIELDS: { readonly [K in HandshakeMessage['kind']]: Readonly<Record<string, 'string' | 'number'>> } = {
  hello: { version: 'number', role: 'string', nonce: 'string', auth: 'string' },
  welcome: { version: 'number', role: 'string', nonce: 'string', clusterId: 'string', address: 'string' },
  proof: { mac: 'string' },
  refused: { code: 'string', message: 'string' },
}

/** Names and messages of strangers end up in logs and on terminals. */
const CONTROL_CHARACTER = /\p{Cc}/u

/** Null for anything that is not a well-formed message of the handshake. */
function parse(bytes: Uint8Array): HandshakeMessage | null {
  let data: unknown
  try {
    data = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'))
  } catch {
    return null
  }
  if (typeof data !== 'object' || data === null) return null
  const record = data as Readonly<Record<string, unknown>>
  const kind = record['kind']
  if (record['plimsoll'] !== 1 || typeof kind !== 'string' || !Object.hasOwn(FIELDS, kind)) return null
  for (const [name, type] of Object.entries(FIELDS[kind as HandshakeMessage['kind']])) {
    const value = record[name]
    if (typeof value !== type || (typeof value === 'string' && CONTROL_CHARACTER.test(value))) return null
  }
  if (kind === 'refused' && !isRefusal(record['code'] as string)) return null
  return record as unknown as HandshakeMessage
}

function isRefusal(code: string): code is Refused['code'] {
  return code === 'AUTH_FAILED' || code === 'VERSION_MISMATCH' || code === 'PROTOCOL_ERROR'
}
