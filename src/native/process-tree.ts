// Who started whom, as /proc tells; nothing elsewhere than on Linux.

import { readFileSync, readdirSync } from 'node:fs'

/** A process, whatever becomes of its number. */
export interface KnownProcess {
  readonly pid: number
  /** `Z`: dead, and not reaped by its parent yet. */
  readonly state: string
  /** In ticks since the machine started. */
  readonly started: string
}

/** Null when there is no such process. */
export function knownProcess(pid: number): KnownProcess | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // pid (comm) state ppid …, the start is the 22nd; comm may hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return { pid, state: fields[0] ?? '', started: fields[19] ?? '' }
  } catch {
    return null
  }
}

/** It exists and is not dead: a zombie, whose parent does not look, is. */
export function isRunning({ pid, started }: KnownProcess): boolean {
  const now = knownProcess(pid)
  return now !== null && now.started === started && now.state !== 'Z' && now.state !== 'X'
}

/** All children of a process, and theirs; empty where /proc does not tell. */
export function descendants(pid: number): number[] {
  const found: number[] = []
  const pending = [pid]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const child of childrenOf(next)) {
      found.push(child)
      pending.push(child)
    }
  }
  return found
}

function childrenOf(pid: number): number[] {
  const children: number[] = []
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      for (const child of childrenText(pid, thread).split(' ')) if (child.trim() !== '') children.push(Number(child))
    }
  } catch {
    // The process ended while it was read.
  }
  return children
}

/** Empty where /proc does not tell, and when the process or its thread has ended. */
function childrenText(pid: number, thread: string): string {
  try {
    return readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1')
  } catch {
    return ''
  }
}
