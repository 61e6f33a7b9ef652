// Which protection a connection gets. Decided by the address that is bound or dialled, never negotiated:
//
//   tls://                          certificates of one authority on both sides
//   tcp://, loopback                plain, mutual proof of the token
//   tcp://, beyond loopback         TLS 1.3 with a key derived from the token, then the same proof, bound to the session
//   the same, insecurePlaintext     plain, the proof if there is a token; both ends must set it
//
// A listener looks at the first byte of each connection (a TLS record starts with 0x16, a plain hello never does), and
// takes a plain one only when both ends of the socket are loopback addresses, which the kernel does not route, or when
// plain text is allowed. So a listener on a wildcard address serves its own host like a loopback one and everybody else
// encrypted.

import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { Address } from './address.ts'
import { isLoopback } from './address.ts'
import type { Credentials, TlsFiles } from './comm.ts'
import type { AuthKind } from './handshake.ts'

export type Protection =
  | { readonly kind: 'certificates'; readonly files: TlsFiles }
  | { readonly kind: 'psk'; readonly token: string }
  | { readonly kind: 'plain'; readonly auth: Exclude<AuthKind, 'certificate'>; readonly token: string | null }

/**
 * The protection for dialling an address.
 * @throws PlimsollError AUTH_FAILED when the credentials have nothing that the address asks for.
 */
export function protectionFor(address: Address, credentials: Credentials, forcePsk = false): Protection {
  requireCredentials(address, credentials)
  if (address.scheme === 'tls') return { kind: 'certificates', files: credentials.tls as TlsFiles }
  const { token } = credentials
  const plain = !forcePsk && (isLoopback(address.host) || credentials.insecurePlaintext)
  if (!plain && token !== null) return { kind: 'psk', token }
  return { kind: 'plain', auth: token === null ? 'none' : 'token', token }
}

/** @throws PlimsollError AUTH_FAILED that says which option is missing. */
export function requireCredentials(address: Address, credentials: Credentials): void {
  if (address.scheme === 'inproc') return
  if (address.scheme === 'tls') {
    if (credentials.tls !== null) return
    throw new PlimsollError(
      'AUTH_FAILED',
      'a tls:// address needs certificates: give --tls-ca-file, --tls-cert and --tls-key',
    )
  }
  if (credentials.token !== null || credentials.insecurePlaintext) return
  throw new PlimsollError(
    'AUTH_FAILED',
    'there is no token for a tcp:// address: start a scheduler as this user (it makes ~/.config/plimsoll/token), or give --token-file, PLIMSOLL_TOKEN_FILE or PLIMSOLL_TOKEN',
  )
}
