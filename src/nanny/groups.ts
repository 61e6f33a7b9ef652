// Ends process groups: the executors of a dead worker, with the processes that tasks started. A group is gone when no
// process of it runs any more; what is left unreaped (a zombie whose new parent does not look) does not count.

import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS_FIRST = 2
const POLL_MS_MAX = 50
/** Processes that SIGKILL does not end within this time are stuck in the kernel; they cannot write any more. */
const GONE_MS_MAX = 5_000

/** Kills the groups led by these processes and waits until they are gone. The result: those that are not, after 5 s. */
export async function endGroups(leaders: readonly number[]): Promise<number[]> {
  let alive = leaders.filter((leader) => signalGroup(leader, 'SIGKILL'))
  const deadline = performance.now() + GONE_MS_MAX
  for (
    let pollMs = POLL_MS_FIRST;
    alive.length > 0 && performance.now() < deadline;
    pollMs = Math.min(POLL_MS_MAX, pollMs * 2)
  ) {
    await sleep(pollMs)
    alive = alive.filter(groupExists)
    // Only a group that outlives its kill is worth a look at all processes.
    if (alive.length > 0 && pollMs >= POLL_MS_MAX) alive = runningGroups(alive)
  }
  return alive.length > 0 ? runningGroups(alive) : []
}

/** False when there is no such group. */
function signalGroup(leader: number, signal: 'SIGKILL' | 0): boolean {
  if (!Number.isSafeInteger(leader) || leader <= 1) return false
  try {
    process.kill(-leader, signal)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function groupExists(leader: number): boolean {
  return signalGroup(leader, 0)
}

/** Those of the groups that have a member which is not a zombie. */
function runningGroups(leaders: readonly number[]): number[] {
  const running = new Set<number>()
  try {
    for (const name of readdirSync('/proc')) {
      if (/^\d+$/.test(name)) addRunning(running, name)
    }
  } catch {
    return [...leaders] // No /proc here: the signal's answer is all there is.
  }
  return leaders.filter((leader) => running.has(leader))
}

function addRunning(running: Set<number>, pid: string): void {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // pid (comm) state ppid pgrp …; comm may hold spaces and brackets.
    const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state !== 'Z' && state !== 'X') running.add(Number(group))
  } catch {
    // It ended meanwhile.
  }
}
