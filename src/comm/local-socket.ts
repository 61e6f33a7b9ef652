// The way past TCP for two processes of one machine: a listener that takes plain connections on a loopback address also
// listens on a Unix socket, where a message costs half of what it costs on the loopback interface. Nobody is told of it: its
// name follows from the address and the token, so whoever dials the address finds it, or falls back to TCP without it.
//
// L1. The name is in Linux's abstract namespace: it is no file, ends with its process however that ends, and reaches as far
//     as the loopback interface does, to the end of the network namespace.
// L2. Abstract names have no permissions. Nobody without the token can tell the name before it is taken, and the same proofs
//     are exchanged as on TCP, bound to the name (handshake.ts H2): who took it gains nothing, and TCP is left.

import { createHmac } from 'node:crypto'
import { type Address, isLoopback, isWildcard, plainHost } from './address.ts'

const LOCALHOST = '127.0.0.1'

/** The path of the socket beside a `tcp://` address that is bound or dialled; null where there is none. */
export function localSocketOf({ scheme, host, port }: Address, token: string | null): string | null {
  const loopback = hostOf(host)
  if (process.platform !== 'linux' || scheme !== 'tcp' || token === null || loopback === null) return null
  const name = createHmac('sha256', Buffer.from(token, 'utf8'))
    .update(`plimsoll local socket\0${loopback}:${port}`)
    .digest('hex')
  return `\0plimsoll-${name.slice(0, 32)}`
}

/** The same without its mark of the namespace, for texts. */
export function localSocketName(path: string): string {
  return path.slice(1)
}

/** A listener on every interface is reached through loopback as well. */
function hostOf(host: string): string | null {
  if (isWildcard(host)) return LOCALHOST
  if (!isLoopback(host)) return null
  const plain = plainHost(host)
  return plain === 'localhost' ? LOCALHOST : plain
}
