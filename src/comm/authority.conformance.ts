// Certificates for tests, made with the program `openssl`.

import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { TlsFiles } from './comm.ts'

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** An authority of its own with one certificate, as files in this directory. */
export function makeAuthority(directory: string, name: string): TlsFiles {
  const file = (what: string): string => join(directory, `${name}-${what}.pem`)
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'ignore' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const subject = ['-subj', `/CN=${name} authority`, '-days', '2']
  openssl('req', '-x509', ...newKey, '-keyout', file('ca-key'), '-out', file('ca'), ...subject)
  openssl('req', ...newKey, '-keyout', file('key'), '-out', file('request'), '-subj', `/CN=${name} member`)
  const signed = ['-CA', file('ca'), '-CAkey', file('ca-key'), '-set_serial', '7', '-days', '2']
  openssl('x509', '-req', '-in', file('request'), ...signed, '-out', file('cert'))
  return { caFile: file('ca'), certFile: file('cert'), keyFile: file('key') }
}
