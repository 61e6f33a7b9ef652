import { hkdfSync } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type * as Tls from 'node:tls'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { TlsFiles } from './comm.ts'

const PSK_IDENTITY = 'plimsoll'
const KEY_BYTES = 32
const BINDING_LABEL = 'EXPORTER-plimsoll-channel-binding'

/** TLS 1.3 only; an external pre-shared key goes with the hash of this suite. */
const TLS_13 = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' } as const

/** Loaded with the first connection that is encrypted: 5 ms of CPU that a cluster on one host need not take in each process. */
export function nodeTls(): typeof Tls {
  return process.getBuiltinModule('node:tls')
}

function preSharedKey(token: string): Buffer {
  return Buffer.from(hkdfSync('sha256', token, '', 'plimsoll tls 1.3 pre-shared key', KEY_BYTES))
}

export function pskServerOptions(token: string) {
  const key = preSharedKey(token)
  return { ...TLS_13, pskCallback: (_socket: TLSSocket, identity: string) => (identity === PSK_IDENTITY ? key : null) }
}

/** No authority is trusted and a certificate is an error: the key is the only way in. */
export function pskClientOptions(token: string) {
  const key = preSharedKey(token)
  return {
    ...TLS_13,
    ca: [],
    pskCallback: () => ({ psk: key, identity: PSK_IDENTITY }),
    checkServerIdentity: () => new Error('the listener sent a certificate instead of using the token'),
  }
}

/**
 * The PEM files as options of node:tls.
 * @throws PlimsollError CONFIG_INVALID that names the file.
 */
export async function certificateOptions(files: TlsFiles): Promise<SecureContextOptions> {
  const [ca, cert, key] = await Promise.all([
    pem('--tls-ca-file', files.caFile),
    pem('--tls-cert', files.certFile),
    pem('--tls-key', files.keyFile),
  ])
  const options: SecureContextOptions = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ca, cert, key }
  try {
    nodeTls().createSecureContext(options)
  } catch (error) {
    const names = `${files.caFile}, ${files.certFile} and ${files.keyFile}`
    const message = `${names} are not an authority, a certificate and its key in PEM form: ${toError(error).message}`
    throw new PlimsollError('CONFIG_INVALID', message, { ...files }, { cause: error })
  }
  return options
}

/** Names this very TLS session on both of its ends, hex. */
export function channelBinding(socket: TLSSocket): string {
  return socket.exportKeyingMaterial(KEY_BYTES, BINDING_LABEL, Buffer.alloc(0)).toString('hex')
}

async function pem(option: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new PlimsollError(
      'CONFIG_INVALID',
      `cannot read ${file} (${option}): ${toError(error).message}`,
      { file },
      { cause: error },
    )
  }
}
