import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { hasOpenssl, makeAuthority } from './authority.conformance.ts'
import type { Credentials, TlsFiles } from './comm.ts'
import { describeComm } from './comm.conformance.ts'
import { connect, listen } from './connect.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-tls-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const withFiles = (tls: TlsFiles | null): Credentials => ({ token: null, tls, insecurePlaintext: false })

if (hasOpenssl) {
  const ours = withFiles(makeAuthority(directory, 'ours'))
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
      const theirs = makeAuthority(directory, 'theirs')
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
