import { readdirSync, readlinkSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { MemoryGuard } from './memory-guard.ts'

function start(terminateBytes: number) {
  const clock = new VirtualClock()
  const now = { pid: 7 as number | null, bytes: 0 }
  const exceeded: number[] = []
  const guard = new MemoryGuard({
    clock,
    intervalMs: 100,
    terminateBytes,
    pid: () => now.pid,
    read: () => now.bytes,
    onExceeded: (bytes) => exceeded.push(bytes),
  })
  guard.start()
  return { clock, now, exceeded, guard }
}

describe('the memory guard', () => {
  it('speaks up when memory stays above the rung, not at a peak', () => {
    const { clock, now, exceeded } = start(950)
    now.bytes = 951
    clock.advance(100)
    now.bytes = 900
    clock.advance(100)
    now.bytes = 960
    clock.advance(100)
    expect(exceeded).toEqual([])
    now.bytes = 970
    clock.advance(100)
    expect(exceeded).toEqual([970])
  })

  it('does not take one process for another', () => {
    const { clock, now, exceeded } = start(950)
    now.bytes = 951
    clock.advance(100)
    now.pid = 8
    clock.advance(100)
    expect(exceeded).toEqual([])
    now.pid = null
    clock.advance(1000)
    expect(exceeded).toEqual([])
  })

  it('is silent when the rung is off, and after it was stopped', () => {
    const off = start(Number.POSITIVE_INFINITY)
    off.now.bytes = 2 ** 40
    off.clock.advance(1000)
    expect(off.exceeded).toEqual([])
    const stopped = start(950)
    stopped.now.bytes = 951
    stopped.clock.advance(100)
    stopped.guard.stop()
    stopped.clock.advance(1000)
    expect(stopped.exceeded).toEqual([])
  })

  it.skipIf(process.platform !== 'linux')(
    'measures a process as /proc tells, and keeps nothing open once stopped',
    () => {
      const clock = new VirtualClock()
      const exceeded: number[] = []
      const guard = new MemoryGuard({
        clock,
        intervalMs: 100,
        terminateBytes: 1,
        pid: () => process.ppid,
        onExceeded: (bytes) => exceeded.push(bytes),
      })
      guard.start()
      clock.advance(200)
      expect(exceeded).toHaveLength(1)
      expect(openFilesOf(process.ppid)).not.toEqual([])
      guard.stop()
      expect(openFilesOf(process.ppid)).toEqual([])
    },
  )
})

/** Files about this process that ours has open. */
function openFilesOf(pid: number): string[] {
  const open = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return open.filter((path) => path.startsWith(`/proc/${pid}/`))
}
