import { isIP } from 'node:net'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export interface HttpAddress {
  /** Interface to listen on. */
  readonly host: string
  /** 0 = any free one. */
  readonly port: number
}

/** Of a scheduler. */
export const DEFAULT_HTTP_ADDRESS = '127.0.0.1:8787'

/**
 * Reads "127.0.0.1:8787", ":8787" (loopback), "0.0.0.0:0", "[::1]:8787", "8787"; null for "none".
 * @throws PlimsollError INVALID_ARGUMENT
 */
export function parseHttpAddress(text: string): HttpAddress | null {
  if (text === 'none') return null
  const match = /^(?:(?:\[(?<v6>[^\]]*)\]|(?<name>[^:]*)):)?(?<port>\d{1,5})$/.exec(text.trim())
  const port = Number(match?.groups?.['port'] ?? Number.NaN)
  const host = match?.groups?.['v6'] ?? match?.groups?.['name'] ?? ''
  if (Number.isNaN(port) || port > 65_535 || (match?.groups?.['v6'] !== undefined && isIP(host) !== 6)) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `"${text}" is no address for HTTP: it takes HOST:PORT, :PORT for loopback, or none`,
      { address: text },
    )
  }
  return { host: host === '' ? '127.0.0.1' : host, port }
}

/** As in a link; any interface is reached by loopback from here. */
export function httpLink({ host, port }: HttpAddress): string {
  const reached = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
}
