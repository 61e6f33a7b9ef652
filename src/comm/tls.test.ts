import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Credentials, TlsFiles } from './comm.ts'
import { describeComm } from './comm.conformance.ts'
import { connect, listen } from './connect.ts'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
const directory = mkdtempSync(join(tmpdir(), 'plimsoll-tls-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** An authority of its own with one certificate. */
function makeAuthority(name: string): TlsFiles {
  const file = (what: string): string => join(directory, `${name}-${what}.pem`)
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'ignore' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    file('ca-key'),
    '-out',
    file('ca'),
    '-subj',
    `/CN=${name} authority`,
    '-days',
    '2',
  )
  openssl('req', ...newKey, '-keyout', file('key'), '-out', file('request'), '-subj', `/CN=${name} member`)
  openssl(
    'x509',
    '-req',
    '-in',
    file('request'),
    '-CA',
    file('ca'),
    '-CAkey',
    file('ca-key'),
    '-set_serial',
    '7',
    '-out',
    file('cert'),
    '-days',
    '2',
  )
  return { caFile: file('ca'), certFile: file('cert'), keyFile: file('key') }
}

const withFiles = (tls: TlsFiles | null): Credentials => ({ token: null, tls, insecurePlaintext: false })

if (hasOpenssl) {
  const ours = withFiles(makeAuthority('ours'))
  describeComm('tls', () => ({ address: 'tls://127.0.0.1:0', credentials: ours }))

  describe('a tls:// listener', () => {
    const options = {
      role: 'scheduler',
      protocolVersion: 1,
      clusterId: 'c',
      credentials: ours,
      onComm: () => expect.unreachable(),
    }

    it('refuses a certificate of another authority, on both sides', async () => {
      const listener = await listen('tls://127.0.0.1:0', options)
      const theirs = makeAuthority('theirs')
      const mixed = { ...theirs, caFile: ours.tls?.caFile ?? '' }
      for (const tls of [theirs, mixed]) {
        const attempt = connect(listener.address, {
          role: 'client',
          protocolVersion: 1,
          timeoutMs: 5000,
          credentials: withFiles(tls),
        })
        await expect(attempt).rejects.toMatchObject({
          code: 'AUTH_FAILED',
          message: expect.stringContaining('certificate'),
        })
      }
      await listener.close()
    })

    it('is not satisfied by a token', async () => {
      const listener = await listen('tls://127.0.0.1:0', options)
      const credentials = { token: 'a'.repeat(64), tls: null, insecurePlaintext: true }
      await expect(
        connect(listener.address, { role: 'client', protocolVersion: 1, timeoutMs: 5000, credentials }),
      ).rejects.toMatchObject({ code: 'AUTH_FAILED' })
      await listener.close()
    })

    it('names a file that cannot be read', async () => {
      const files = { ...(ours.tls as TlsFiles), keyFile: join(directory, 'absent.pem') }
      await expect(listen('tls://127.0.0.1:0', { ...options, credentials: withFiles(files) })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('absent.pem'),
      })
      writeFileSync(join(directory, 'empty.pem'), '')
      const empty = { ...(ours.tls as TlsFiles), certFile: join(directory, 'empty.pem') }
      await expect(listen('tls://127.0.0.1:0', { ...options, credentials: withFiles(empty) })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
      })
    })
  })
} else {
  it.skip('tls:// needs the openssl program to make certificates, which is not installed', () => {})
}
