import { networkInterfaces } from 'node:os'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export type Scheme = 'tcp' | 'tls' | 'inproc'

export interface Address {
  readonly scheme: Scheme
  /** Without brackets; the name of an inproc address. */
  readonly host: string
  /** 0 when the text names none. */
  readonly port: number
}

const FORM = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/i
const HOST_PORT = /^(?:\[([^\]]+)\]|([^:/[\]]+))?(?::(\d{1,5}))?\/?$/

/**
 * `tcp://host:port`, `tls://host:port` or `inproc://name`. Without a scheme: tcp; IPv6 stands in brackets.
 * @throws PlimsollError INVALID_ARGUMENT that names the text and the expected form.
 */
export function parseAddress(text: string): Address {
  const [, rawScheme = 'tcp', rest = ''] = FORM.exec(text.trim()) ?? []
  const scheme = rawScheme.toLowerCase()
  if (scheme === 'inproc') return { scheme, host: rest, port: 0 }
  if (scheme !== 'tcp' && scheme !== 'tls') throw invalid(text, `unknown scheme "${scheme}"`)
  const match = HOST_PORT.exec(rest)
  const host = match?.[1] ?? match?.[2]
  if (match === null || host === undefined) throw invalid(text, 'no host and port in it')
  const port = match[3] === undefined ? 0 : Number(match[3])
  if (port > 65_535) throw invalid(text, `port ${port} is larger than 65535`)
  return { scheme, host, port }
}

/** An address to connect to. @throws PlimsollError INVALID_ARGUMENT, also when it names no port. */
export function parsePeerAddress(text: string): Address {
  const parsed = parseAddress(text)
  if (parsed.scheme !== 'inproc' && parsed.port === 0) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `"${text}" names no port; a scheduler's is 8786 unless it was told otherwise`,
      { address: text },
    )
  }
  return parsed
}

export function formatAddress(address: Address): string {
  if (address.scheme === 'inproc') return `inproc://${address.host}`
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return `${address.scheme}://${host}:${address.port}`
}

/** True for 127.0.0.0/8, ::1 and `localhost`; any other name counts as beyond loopback, wherever it resolves to. */
export function isLoopback(host: string): boolean {
  const plain = plainHost(host)
  return plain === 'localhost' || plain === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(plain)
}

/** True for addresses that mean "every interface". */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === ''
}

/** An IPv4 address that a socket reports in IPv6 form, in its own form. */
export function plainHost(host: string): string {
  const lower = host.toLowerCase()
  return lower.startsWith('::ffff:') && lower.includes('.') ? lower.slice(7) : lower
}

/** The host under which others reach a listener bound to `host`: for a wildcard the first outward interface. */
export function contactHost(host: string): string {
  if (!isWildcard(host)) return host
  const outward = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter((entry) => !entry.internal && !entry.address.startsWith('fe80:'))
  const best = outward.find((entry) => entry.family === 'IPv4') ?? (host === '::' ? outward[0] : undefined)
  return best?.address ?? '127.0.0.1'
}

function invalid(text: string, why: string): PlimsollError {
  return new PlimsollError(
    'INVALID_ARGUMENT',
    `"${text}" is not an address: ${why}; write tcp://host:port, tls://host:port or inproc://name`,
    { address: text },
  )
}
