// Ends a process with all that it started: its group, its descendants in sessions of their own (`detached: true`), and those
// whose parents have ended since (daemons), which nothing but their environment still connects with it.
//
// F1. Who is found is stopped before anybody is killed: a stopped process starts no other, and the children of a dead one
//     are no longer found under it.
// F2. A process that was remembered is signalled only if it started when the remembered one did: numbers are used again.
// F3. Marks are in the environment of processes, so what they start has them too; a mark is a text that nobody else has.
//
// Not found: who was detached, given an environment without the mark, and has lost its parent. Elsewhere than on Linux, and
// where /proc cannot be read, only the group is ended.

import { closeSync, openSync, readSync, readdirSync } from 'node:fs'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { type KnownProcess, descendants, isRunning, knownProcess } from './process-tree.ts'

const LINUX = process.platform === 'linux'
/** Somebody who forks faster than that is left to the search for marks. */
const MAX_WALKS = 50
/** Looking at a process costs some 20 microseconds. */
const LOOKS_PER_TURN = 100
/** More than any real environment has. */
const ENVIRONMENT_BYTES_MAX = 2 ** 18
const SEARCH_MS_MAX = 1000
const SEARCH_PAUSE_MS = 2

/** Kills a process that exists, the group it leads, and all its descendants. */
export function killFamily(leader: number): void {
  const family = LINUX ? stopFamily(leader) : []
  for (const pid of [-leader, leader, ...family]) signal(pid, 'SIGKILL')
}

/** Kills those of these that still exist, with all their descendants. */
export function killKnown(processes: readonly KnownProcess[]): void {
  for (const { pid, started } of processes) if (knownProcess(pid)?.started === started) killFamily(pid)
}

/** Kills everybody who has one of these texts in the environment, until there is nobody. The result: those who are left after a second. */
export async function killMarked(marks: readonly string[]): Promise<number[]> {
  if (!LINUX || marks.length === 0) return []
  const deadline = performance.now() + SEARCH_MS_MAX
  const killed = new Map<number, KnownProcess>()
  for (;;) {
    for (const pid of await marked(marks)) {
      const known = knownProcess(pid)
      if (known !== null) killed.set(pid, known)
      signal(pid, 'SIGKILL')
    }
    // A dying process has no environment any more a moment before it is dead.
    for (const known of killed.values()) if (!isRunning(known)) killed.delete(known.pid)
    if (killed.size === 0 || performance.now() > deadline) return [...killed.keys()]
    await sleep(SEARCH_PAUSE_MS)
  }
}

/** F1. All descendants, stopped. */
function stopFamily(leader: number): Set<number> {
  const stopped = new Set<number>()
  signal(leader, 'SIGSTOP')
  for (let walks = 0; walks < MAX_WALKS; walks++) {
    const fresh = descendants(leader).filter((pid) => !stopped.has(pid))
    if (fresh.length === 0) break
    for (const pid of fresh) {
      stopped.add(pid)
      signal(pid, 'SIGSTOP')
    }
  }
  return stopped
}

async function marked(marks: readonly string[]): Promise<number[]> {
  const found: number[] = []
  const buffer = Buffer.allocUnsafe(ENVIRONMENT_BYTES_MAX)
  let looks = 0
  for (const name of processNames()) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    if (++looks % LOOKS_PER_TURN === 0) await turn()
    const environment = buffer.subarray(0, readEnvironment(pid, buffer))
    if (marks.some((mark) => environment.includes(mark, 0, 'latin1'))) found.push(pid)
  }
  return found
}

/** Empty where there is no /proc, or no descriptor left to read it with. */
function processNames(): string[] {
  try {
    return readdirSync('/proc')
  } catch {
    return []
  }
}

/** The bytes read: none for zombies, for processes of other users, and for those that ended meanwhile. */
function readEnvironment(pid: number, into: Buffer): number {
  let fd: number
  try {
    fd = openSync(`/proc/${pid}/environ`, 'r')
  } catch {
    return 0
  }
  try {
    return readSync(fd, into, 0, into.length, 0)
  } catch {
    return 0
  } finally {
    closeSync(fd)
  }
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGKILL'): void {
  try {
    process.kill(pid, name)
  } catch {
    // It is gone, or belongs to another user.
  }
}
