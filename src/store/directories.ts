// The directories of one worker: `<base>/plimsoll-<uid>/<worker id>/`, one on disk and, where there is one, one in a RAM file
// system. Claimed by whoever starts the worker, held by a lock beside each (`<worker id>.lock`), removed on release. Whoever
// claims also removes what dead owners left behind: after a SIGKILL of everything, nothing else would free the memory.
//
// D1. Bases are often world-writable (/tmp, /dev/shm): what we use there is a real directory, ours, and closed to others.
// D2. A directory exists only while its lock file does, in that order: lock, create; remove, unlock. So a directory whose lock
//     can be taken belongs to nobody.
// D3. Cleaning up never fails the claim.

import { randomBytes } from 'node:crypto'
import * as fsp from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatBytes } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { loadLibc } from '../native/libc.ts'
import { type DirectoryLock, takeStale, tryLock } from './directory-lock.ts'
import { systemCode } from './file-ops.ts'

export interface ClaimOptions {
  readonly workerId: string
  /** Default: the system's temporary directory, or /var/tmp when that one is in RAM. */
  readonly localBase?: string
  /** Default: /dev/shm where it suits; null = none. One that is named is used as it is, with a warning when it does not suit. */
  readonly memoryBase?: string | null
  /** Bytes; 0 = no limit. */
  readonly memoryLimit: number
}

export interface ClaimedDirectories {
  readonly local: string
  /** Null: no RAM file system; the store keeps its memory tier in the local directory. */
  readonly memory: string | null
  /** One line each, with the fix; to be logged once. */
  readonly warnings: readonly string[]
  /** Lets go of the directories; `remove` deletes them first. Repeated calls do nothing. */
  release(options: { readonly remove: boolean }): Promise<void>
}

const DEFAULT_MEMORY_BASE = '/dev/shm'
const TMPFS = 0x01021994
const RAMFS = 0x858458f6
const NETWORK_TYPES = new Set([0x6969, 0x517b, 0xff534d42, 0xfe534d42])
/**
 * A default RAM file system must hold this share of the memory limit. Most systems give /dev/shm half of the RAM; blobs
 * spill from 0.6 of the limit on, and a full one only means that the disk is used earlier.
 */
const MEMORY_SHARE_MIN = 0.5
/** Without a limit: containers give 64 MiB, which is not worth it. */
const MEMORY_BYTES_MIN = 2 ** 30
/** Another claimer may remove the empty root between our steps. */
const ATTEMPTS = 50
/** Whoever purges holds the lock for a moment. */
const BUSY_ATTEMPTS = 10
const BUSY_MS = 30

/**
 * Creates and locks the directories of one worker, and purges those of dead ones.
 * @throws INVALID_ARGUMENT when the worker id is in use or malformed; CONFIG_INVALID when a directory cannot be used.
 */
export async function claimDirectories(options: ClaimOptions): Promise<ClaimedDirectories> {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(options.workerId)) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `"${options.workerId}" cannot name a worker's directory: use letters, digits, - and _.`,
    )
  }
  const warnings: string[] = []
  const localBase = options.localBase ?? (await defaultLocalBase())
  const memoryBase = await chooseMemoryBase(options, warnings)
  await warnOfLocalBase(localBase, warnings)
  const local = await claimOne(localBase, options.workerId, 'worker local directory')
  let memory: Claim | null = null
  try {
    if (memoryBase !== null) memory = await claimOne(memoryBase, options.workerId, 'worker memory directory')
  } catch (error) {
    await local.release(true)
    throw error
  }
  return {
    local: local.path,
    memory: memory?.path ?? null,
    warnings,
    async release({ remove }) {
      await local.release(remove)
      await memory?.release(remove)
    },
  }
}

/** The kernel lets go of the locks of a dying process after it has closed its pipes: whoever heard of it by a pipe is early. */
const ABANDONED_ATTEMPTS = 20
const ABANDONED_PAUSE_MS = 50

/**
 * Removes the directory of a worker whose claimer has died, and its lock: for the worker process that outlived its nanny.
 * Leaves it alone while somebody holds the lock. Never throws.
 */
export async function removeAbandoned(path: string): Promise<void> {
  for (let attempt = 1; attempt <= ABANDONED_ATTEMPTS; attempt++) {
    await purgeOne(dirname(path), basename(path)).catch(() => {})
    if (!(await exists(path)) && !(await exists(`${path}.lock`))) break
    await sleep(ABANDONED_PAUSE_MS)
  }
  // Only when it is empty: others may use it.
  await fsp.rmdir(dirname(path)).catch(() => {})
}

async function exists(path: string): Promise<boolean> {
  return await fsp.lstat(path).then(
    () => true,
    () => false,
  )
}

interface Claim {
  readonly path: string
  release(remove: boolean): Promise<void>
}

async function claimOne(base: string, id: string, what: string): Promise<Claim> {
  const root = join(base, `plimsoll-${process.geteuid?.() ?? 'user'}`)
  const path = join(root, id)
  for (let attempt = 0; ; attempt++) {
    try {
      await makeDirectories(base)
      await makeOwnDirectory(root, what)
      const lock = await tryLock(`${path}.lock`, loadLibc())
      if (lock === null && attempt < BUSY_ATTEMPTS) {
        await new Promise((resolve) => setTimeout(resolve, BUSY_MS))
        continue
      }
      if (lock === null) {
        throw new PlimsollError(
          'INVALID_ARGUMENT',
          `${path} is in use by another worker: worker ids must differ on one host.`,
          { path },
        )
      }
      return await createLocked(root, path, lock, what)
    } catch (error) {
      if (systemCode(error) === 'ENOENT' && attempt < ATTEMPTS) continue
      throw asClaimError(error, path, what)
    }
  }
}

async function createLocked(root: string, path: string, lock: DirectoryLock, what: string): Promise<Claim> {
  try {
    await makeOwnDirectory(path, what)
  } catch (error) {
    await lock.release()
    throw error
  }
  await purgeUnlocked(root)
  let released = false
  return {
    path,
    async release(remove) {
      if (released) return
      released = true
      if (remove) await fsp.rm(path, { recursive: true, force: true }).catch(() => {})
      await lock.release()
      // Only when it is empty: others may use it.
      await fsp.rmdir(root).catch(() => {})
    },
  }
}

/** As with `recursive`, which never ends where a directory can have no members (Node, below /proc). */
async function makeDirectories(path: string): Promise<void> {
  for (let isSecond = false; ; isSecond = true) {
    try {
      return await fsp.mkdir(path)
    } catch (error) {
      const code = systemCode(error)
      // A link to a directory is as good.
      if (code === 'EEXIST' && (await fsp.stat(path)).isDirectory()) return
      if (code !== 'ENOENT' || isSecond || dirname(path) === path) throw error
    }
    await makeDirectories(dirname(path))
  }
}

/** D1 */
async function makeOwnDirectory(path: string, what: string): Promise<void> {
  try {
    await fsp.mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
  }
  const stat = await fsp.lstat(path)
  const uid = process.geteuid?.()
  const fault = stat.isSymbolicLink()
    ? 'it is a symbolic link'
    : !stat.isDirectory()
      ? 'it is not a directory'
      : uid !== undefined && stat.uid !== uid
        ? `it belongs to user ${stat.uid}, not to us (${uid})`
        : (stat.mode & 0o077) !== 0
          ? `others may enter it (mode ${(stat.mode & 0o777).toString(8)} instead of 700)`
          : null
  if (fault === null) return
  throw new PlimsollError(
    'CONFIG_INVALID',
    `${path} cannot be used as ${what}: ${fault}. Remove it, or name another directory.`,
    { path },
  )
}

/** Deletes what has no owner any more. Never throws (D3), never waits for a lock. */
async function purgeUnlocked(root: string): Promise<void> {
  let names: string[]
  try {
    names = await fsp.readdir(root)
  } catch {
    return
  }
  const ids = new Set<string>()
  for (const name of names) {
    if (name.endsWith('.lock')) ids.add(name.slice(0, -'.lock'.length))
    else if (/\.purged-[0-9a-f]+$/.test(name))
      await fsp.rm(join(root, name), { recursive: true, force: true }).catch(() => {})
    else if (!name.includes('.')) ids.add(name)
  }
  for (const id of ids) await purgeOne(root, id).catch(() => {})
  await purgeLockLeftovers(root, names)
}

async function purgeOne(root: string, id: string): Promise<void> {
  const path = join(root, id)
  const libc = loadLibc()
  // A directory without a lock file has no owner (D2); holding its lock keeps a new owner out meanwhile.
  const stale = await takeStale(`${path}.lock`, libc)
  const lock = stale === 'gone' ? await tryLock(`${path}.lock`, libc) : stale
  if (lock === null) return
  try {
    const aside = `${path}.purged-${randomBytes(6).toString('hex')}`
    await fsp.rename(path, aside)
    await fsp.rm(aside, { recursive: true, force: true })
  } finally {
    await lock.release()
  }
}

/** Lock files under their first or their last name, of claimers that died in between. */
async function purgeLockLeftovers(root: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    if (!/\.lock\.\d+\.[0-9a-f]+$/.test(name) && !name.endsWith('.stale')) continue
    try {
      const path = join(root, name)
      if (Date.now() - (await fsp.lstat(path)).mtimeMs > 60_000) await fsp.unlink(path)
    } catch {
      // Gone already.
    }
  }
}

async function defaultLocalBase(): Promise<string> {
  const base = tmpdir()
  if (!(await isRam(base)) || (await isRam('/var/tmp'))) return base
  try {
    await fsp.access('/var/tmp', fsp.constants.W_OK)
    return '/var/tmp'
  } catch {
    return base
  }
}

async function chooseMemoryBase(options: ClaimOptions, warnings: string[]): Promise<string | null> {
  const { memoryBase, memoryLimit } = options
  if (memoryBase === null) return null
  const base = memoryBase ?? DEFAULT_MEMORY_BASE
  const fault = await faultOfMemoryBase(base, memoryLimit)
  if (fault === null) return base
  if (memoryBase !== undefined) {
    warnings.push(`The memory directory ${base} ${fault}; it is used because it was named.`)
    return base
  }
  if (process.platform === 'linux') {
    warnings.push(
      `${base} ${fault}, so values in memory are kept as files in the local directory: give it more room ` +
        '(mount -o remount,size=..., docker run --shm-size=...), or name a RAM file system with --memory-directory.',
    )
  }
  return null
}

/** What makes `base` unfit for the memory tier, or null. */
async function faultOfMemoryBase(base: string, memoryLimit: number): Promise<string | null> {
  let stat: Awaited<ReturnType<typeof fsp.statfs>>
  try {
    stat = await fsp.statfs(base)
  } catch (error) {
    return `cannot be used (${systemCode(error) ?? String(error)})`
  }
  if (stat.type !== TMPFS && stat.type !== RAMFS) return 'is not a RAM file system'
  const size = stat.blocks === 0 ? Infinity : stat.blocks * stat.bsize
  const needed = memoryLimit === 0 ? MEMORY_BYTES_MIN : memoryLimit * MEMORY_SHARE_MIN
  if (size >= needed) return null
  const limit = memoryLimit === 0 ? '' : ` for a memory limit of ${formatBytes(memoryLimit)}`
  return `has only ${formatBytes(size)}${limit}`
}

async function warnOfLocalBase(base: string, warnings: string[]): Promise<void> {
  try {
    const { type } = await fsp.statfs(base)
    if (type === TMPFS || type === RAMFS) {
      warnings.push(
        `${base} is in RAM, so spilling to it frees no memory: name a directory on a disk with --local-directory.`,
      )
    } else if (NETWORK_TYPES.has(type)) {
      warnings.push(
        `${base} is on a network file system, which makes spilling slow: name a local disk with --local-directory.`,
      )
    }
  } catch {
    // It is made later, or refused then.
  }
}

async function isRam(base: string): Promise<boolean> {
  try {
    const { type } = await fsp.statfs(base)
    return type === TMPFS || type === RAMFS
  } catch {
    return true
  }
}

function asClaimError(error: unknown, path: string, what: string): Error {
  if (error instanceof PlimsollError) return error
  const text = `${path} cannot be made as ${what} (${systemCode(error) ?? String(error)}): name a directory that we may write to.`
  return new PlimsollError('CONFIG_INVALID', text, { path }, { cause: error })
}
