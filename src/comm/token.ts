// The shared secret of a cluster and the file that lets one user's tools find it.

import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rm, stat as statFile, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'

type Environment = Readonly<Record<string, string | undefined>>

const TOKEN_BYTES = 32
const TOKEN_FORM = /^[\x21-\x7e]{16,256}$/

/** A new secret: 256 random bits, hex. */
export function createToken(): string {
  return randomBytes(TOKEN_BYTES).toString('hex')
}

/** `$XDG_CONFIG_HOME/plimsoll/token`, else `~/.config/plimsoll/token`. */
export function defaultTokenFile(env: Environment = process.env): string {
  return join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'plimsoll', 'token')
}

/**
 * The token to use: from `file` if given, else PLIMSOLL_TOKEN, else the file named by PLIMSOLL_TOKEN_FILE, else the
 * default file. Null when none of them exists; a file that was named but does not exist is an error.
 * @throws PlimsollError AUTH_FAILED for a file that others may read, another user's, or one without a token in it.
 */
export async function readToken(file?: string, env: Environment = process.env): Promise<string | null> {
  const fromEnv = env['PLIMSOLL_TOKEN']
  if (file === undefined && fromEnv !== undefined && fromEnv !== '') return checkedToken(fromEnv, 'PLIMSOLL_TOKEN')
  const named = file ?? (env['PLIMSOLL_TOKEN_FILE'] || undefined)
  const token = await readTokenFile(named ?? defaultTokenFile(env))
  if (token === null && named !== undefined) {
    throw new PlimsollError(
      'AUTH_FAILED',
      `the token file ${named} does not exist: copy it from the scheduler's host, with mode 0600`,
      { file: named },
    )
  }
  return token
}

/**
 * As `readToken`, but makes the file (mode 0600, its directory 0700) when it does not exist. Of several processes that
 * start at once, all end up with the same token.
 */
export async function readOrCreateToken(file?: string, env: Environment = process.env): Promise<string> {
  if (file === undefined && env['PLIMSOLL_TOKEN']) return checkedToken(env['PLIMSOLL_TOKEN'], 'PLIMSOLL_TOKEN')
  const path = file ?? (env['PLIMSOLL_TOKEN_FILE'] || defaultTokenFile(env))
  const found = await readTokenFile(path)
  if (found !== null) return found
  await createTokenFile(path)
  const token = await readTokenFile(path)
  if (token === null)
    throw new PlimsollError('AUTH_FAILED', `the token file ${path} vanished while it was made`, { file: path })
  return token
}

async function createTokenFile(path: string): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeFile(temporary, `${createToken()}\n`, { mode: 0o600, flag: 'wx' })
    // A link fails if the name exists: a complete file appears at once, and only the first one wins.
    await link(temporary, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw new PlimsollError(
      'AUTH_FAILED',
      `cannot make the token file ${path}: ${toError(error).message}`,
      { file: path },
      { cause: error },
    )
  } finally {
    await rm(temporary, { force: true })
  }
}

async function readTokenFile(path: string): Promise<string | null> {
  try {
    const stat = await statFile(path)
    const owner = process.getuid?.()
    if (owner !== undefined && stat.uid !== owner) {
      throw new PlimsollError(
        'AUTH_FAILED',
        `the token file ${path} belongs to another user (uid ${stat.uid}): chown ${owner} ${path}`,
        { file: path },
      )
    }
    if ((stat.mode & 0o077) !== 0) {
      throw new PlimsollError('AUTH_FAILED', `the token file ${path} can be read by other users: chmod 600 ${path}`, {
        file: path,
      })
    }
    return checkedToken(await readFile(path, 'utf8'), path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    if (error instanceof PlimsollError) throw error
    throw new PlimsollError(
      'AUTH_FAILED',
      `cannot read the token file ${path}: ${toError(error).message}`,
      { file: path },
      { cause: error },
    )
  }
}

function checkedToken(text: string, source: string): string {
  const token = text.trim()
  if (TOKEN_FORM.test(token)) return token
  throw new PlimsollError(
    'AUTH_FAILED',
    `${source} holds no token: it must be 16 to 256 characters without spaces; remove it to have a new one made`,
    { source },
  )
}
