// The lock of one worker's directory: says whether somebody is responsible for it. Held by whoever starts the worker (its
// nanny), until that process ends, however it ends.
//
// With flock (through koffi) the kernel holds the lock. Without it, and between processes of both kinds, the lock file says
// who holds it: boot, process and when that started, and the pid namespace, since a pid means nothing in another one.
//
// K1. A lock file appears under its name only with its whole content (linked into place), so nobody judges a half-written one.
// K2. Where flock works on both sides it alone decides. Else the named process decides; who it was cannot be judged from
//     another pid namespace, and then the directory counts as held.
// K3. A lock file is unlinked only by who holds its lock; a lock taken on a file that was unlinked meanwhile is void.

import { randomBytes } from 'node:crypto'
import * as fsp from 'node:fs/promises'
import { readFileSync, readlinkSync } from 'node:fs'
import type { Libc } from '../native/libc.ts'
import { systemCode } from './file-ops.ts'
import { currentBootId } from './identity.ts'

interface Holder {
  readonly pid: number
  /** Clock ticks since boot; null where /proc does not tell. */
  readonly startTime: string | null
  readonly boot: string | null
  readonly pidNamespace: string | null
  /** The holder keeps a flock on the file. */
  readonly flock: boolean
}

export interface DirectoryLock {
  /** Unlinks the lock file and lets go. */
  release(): Promise<void>
}

/**
 * Takes the lock at `path`, or returns null when somebody holds it.
 * @throws the system's error when the lock file cannot be made, ENOENT when its directory is gone.
 */
export async function tryLock(path: string, libc: Pick<Libc, 'flock'> | null): Promise<DirectoryLock | null> {
  const mine = `${path}.${process.pid}.${randomBytes(6).toString('hex')}`
  const handle = await fsp.open(mine, 'wx', 0o600)
  try {
    // Locked before it can be seen under its name: nobody ever finds it unlocked.
    const locked = takeFlock(libc, handle.fd) === 'taken'
    await handle.writeFile(JSON.stringify(describeSelf(locked)))
    if (await linkNew(mine, path)) return heldLock(path, handle)
    await handle.close()
    return (await breakStale(path, libc)) ? await tryLock(path, libc) : null
  } catch (error) {
    await handle.close().catch(() => {})
    throw error
  } finally {
    await fsp.unlink(mine).catch(() => {})
  }
}

function heldLock(path: string, handle: fsp.FileHandle): DirectoryLock {
  let held = true
  return {
    async release() {
      if (!held) return
      held = false
      await fsp.unlink(path).catch(() => {})
      await handle.close()
    },
  }
}

async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await fsp.link(from, to)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

/** Removes the lock file of a holder that is gone. True when there is none any more. */
async function breakStale(path: string, libc: Pick<Libc, 'flock'> | null): Promise<boolean> {
  const taken = await takeStale(path, libc)
  if (taken === 'gone') return true
  if (taken === null) return false
  await taken.release()
  return true
}

/**
 * Becomes the holder of a stale lock file, in order to clean up behind its dead holder: 'gone' when there is no such
 * file, null when it is held or cannot be judged.
 */
export async function takeStale(
  path: string,
  libc: Pick<Libc, 'flock'> | null,
): Promise<DirectoryLock | 'gone' | null> {
  let handle: fsp.FileHandle
  try {
    handle = await fsp.open(path, fsp.constants.O_RDWR | fsp.constants.O_NOFOLLOW)
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? 'gone' : null
  }
  const flock = takeFlock(libc, handle.fd)
  if (flock !== 'busy' && isStale(await readHolder(handle), flock) && (await isStillNamed(handle, path))) {
    if (flock === 'taken') return heldLock(path, handle)
    const moved = await moveAside(path, handle)
    if (moved !== null) return moved
  }
  await handle.close()
  return null
}

/** `unknown` without koffi, and on file systems that have no such locks. */
function takeFlock(libc: Pick<Libc, 'flock'> | null, fd: number): 'taken' | 'busy' | 'unknown' {
  if (libc === null) return 'unknown'
  try {
    return libc.flock(fd, true, true) ? 'taken' : 'busy'
  } catch {
    return 'unknown'
  }
}

/** Without flock, renaming decides which of several cleaners it is. */
async function moveAside(path: string, handle: fsp.FileHandle): Promise<DirectoryLock | null> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.stale`
  try {
    await fsp.rename(path, aside)
    if (await isStillNamed(handle, aside)) return heldLock(aside, handle)
    // Somebody was faster and a new holder came: give it its name back.
    await fsp.rename(aside, path)
  } catch {
    // Another cleaner has it.
  }
  return null
}

async function isStillNamed(handle: fsp.FileHandle, path: string): Promise<boolean> {
  try {
    const [opened, named] = await Promise.all([handle.stat(), fsp.lstat(path)])
    return opened.ino === named.ino && opened.dev === named.dev
  } catch {
    return false
  }
}

async function readHolder(handle: fsp.FileHandle): Promise<Holder | null> {
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(4096), 0, 4096, 0)
    const found: unknown = JSON.parse(buffer.subarray(0, bytesRead).toString('utf8'))
    const holder = found as Partial<Holder> | null
    return typeof holder === 'object' && holder !== null && Number.isSafeInteger(holder.pid) ? (holder as Holder) : null
  } catch {
    return null
  }
}

/** `flock`: whether the kernel's lock on the file could be taken. */
function isStale(holder: Holder | null, flock: 'taken' | 'unknown'): boolean {
  // Nobody writes such a file (K1): it is rubbish.
  if (holder === null) return true
  if (holder.boot !== currentBootId()) return true
  if (holder.flock && flock === 'taken') return true
  if (holder.pidNamespace !== pidNamespace()) return false
  if (!isRunning(holder.pid)) return true
  const startTime = startTimeOf(holder.pid)
  return holder.startTime !== null && startTime !== null && holder.startTime !== startTime
}

function describeSelf(flock: boolean): Holder {
  const { pid } = process
  return { pid, startTime: startTimeOf(pid), boot: currentBootId(), pidNamespace: pidNamespace(), flock }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}

function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in parentheses may hold anything; field 22 counts from behind it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null
  }
}

function pidNamespace(): string | null {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return null
  }
}
