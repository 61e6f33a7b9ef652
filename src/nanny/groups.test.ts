import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { endGroups } from './groups.ts'

describe('endGroups', () => {
  it('ends a leader that ignores everything, and the children it started', async () => {
    const leader = spawn('sh', ['-c', 'trap "" TERM INT HUP; sleep 300 & echo $!; wait; sleep 300'], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [chunk] = (await once(leader.stdout, 'data')) as [Buffer]
    const child = Number(chunk.toString())
    expect(isRunning(child)).toBe(true)
    expect(await endGroups([leader.pid ?? 0])).toEqual([])
    expect(isRunning(child)).toBe(false)
  })

  it('takes groups that are gone, and numbers that are no group, as ended', async () => {
    expect(await endGroups([2 ** 22 - 1, 0, 1, -5, Number.NaN])).toEqual([])
  })
})

/** Not only there: a killed child may stay a zombie until somebody collects it. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readStatus(pid))
  } catch {
    return false
  }
}

function readStatus(pid: number): string {
  return readFileSync(`/proc/${pid}/status`, 'latin1')
}
