import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createToken, defaultTokenFile, readOrCreateToken, readToken } from './token.ts'

let home: string
let env: NodeJS.ProcessEnv

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'plimsoll-token-'))
  env = { XDG_CONFIG_HOME: home }
})
afterEach(() => rm(home, { recursive: true, force: true }))

describe('the token file', () => {
  it('is made once, readable by its owner alone', async () => {
    expect(await readToken(undefined, env)).toBe(null)
    const token = await readOrCreateToken(undefined, env)
    expect(token).toMatch(/^[0-9a-f]{64}$/)
    expect(await readOrCreateToken(undefined, env)).toBe(token)
    expect(await readToken(undefined, env)).toBe(token)
    expect((await stat(defaultTokenFile(env))).mode & 0o777).toBe(0o600)
    expect((await stat(join(home, 'plimsoll'))).mode & 0o777).toBe(0o700)
  })

  it('is the same for all processes that make it at once', async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, () => readOrCreateToken(undefined, env)))
    expect(new Set(tokens).size).toBe(1)
  })

  it('is refused when others can read it, with the command that repairs it', async () => {
    const file = join(home, 'token')
    await writeFile(file, createToken(), { mode: 0o600 })
    await chmod(file, 0o644)
    await expect(readToken(file, env)).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining(`chmod 600 ${file}`),
    })
  })

  it.skipIf(process.getuid?.() !== 0)('is refused when it belongs to another user', async () => {
    const file = join(home, 'token')
    await writeFile(file, createToken(), { mode: 0o600 })
    const { chown } = await import('node:fs/promises')
    await chown(file, 12_345, 12_345)
    await expect(readToken(file, env)).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining('uid 12345'),
    })
  })

  it('is refused when it holds no token, and left alone', async () => {
    const file = join(home, 'token')
    await writeFile(file, 'two words here and more', { mode: 0o600 })
    await expect(readOrCreateToken(file, env)).rejects.toMatchObject({ code: 'AUTH_FAILED' })
    expect(await readFile(file, 'utf8')).toBe('two words here and more')
  })

  it('must exist when it was named', async () => {
    await expect(readToken(join(home, 'none'), env)).rejects.toMatchObject({ code: 'AUTH_FAILED' })
    await expect(readToken(undefined, { ...env, PLIMSOLL_TOKEN_FILE: join(home, 'none') })).rejects.toMatchObject({
      code: 'AUTH_FAILED',
    })
  })
})

describe('the environment', () => {
  it('gives the token itself, or its file; an argument goes first', async () => {
    const file = join(home, 'elsewhere')
    await writeFile(file, `${'f'.repeat(64)}\n`, { mode: 0o600 })
    const both = { ...env, PLIMSOLL_TOKEN: 'e'.repeat(64), PLIMSOLL_TOKEN_FILE: file }
    expect(await readToken(undefined, both)).toBe('e'.repeat(64))
    expect(await readOrCreateToken(undefined, both)).toBe('e'.repeat(64))
    expect(await readToken(file, both)).toBe('f'.repeat(64))
    expect(await readToken(undefined, { ...env, PLIMSOLL_TOKEN_FILE: file })).toBe('f'.repeat(64))
  })
})
