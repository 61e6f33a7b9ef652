import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { ProcessMemoryReader, ProcessTreeReader, readProcessMemory } from './process-memory.ts'
import { descendants } from './process-tree.ts'

describe.skipIf(process.platform !== 'linux')('process memory', () => {
  it('grows with what the process touches', () => {
    const reader = new ProcessMemoryReader(process.pid)
    const before = reader.read()
    const ballast = Buffer.alloc(64 * 2 ** 20, 1)
    const after = reader.read()
    expect((after?.rssAnonBytes ?? 0) - (before?.rssAnonBytes ?? 0)).toBeGreaterThan(ballast.byteLength * 0.9)
    expect(after?.vmDataBytes).toBeGreaterThan(after?.rssAnonBytes ?? 0)
    reader.close()
    expect(readProcessMemory(process.pid)?.swapBytes).toBeGreaterThanOrEqual(0)
  })

  it('finds children of children, and nothing of the dead', async () => {
    const child = spawn('sh', ['-c', 'sleep 30 & echo; wait'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
    await once(child.stdout, 'data')
    const pid = child.pid as number
    const found = descendants(process.pid)
    expect(found).toContain(pid)
    expect(descendants(pid)).toHaveLength(1)
    expect(found).toContain(descendants(pid)[0])
    const reader = new ProcessMemoryReader(pid)
    expect(reader.read()?.rssAnonBytes).toBeGreaterThan(0)
    process.kill(-pid, 'SIGKILL')
    await once(child, 'exit')
    expect(reader.read()).toBeNull()
    expect(readProcessMemory(pid)).toBeNull()
  })

  it('of a tree has a new child at the next look, and has it no more once it ended', async () => {
    const reader = new ProcessTreeReader(process.pid)
    reader.read(0)
    const before = new Set(reader.descendants.map(({ pid }) => pid))
    const child = spawn('sh', ['-c', 'echo; sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] })
    await once(child.stdout, 'data')
    const look = reader.read(1)
    const added = reader.descendants.filter(({ pid }) => !before.has(pid)).map(({ pid }) => pid)
    expect(added).toContain(child.pid)
    expect(look?.privateBytes).toBeGreaterThan(look?.own.rssAnonBytes ?? Number.POSITIVE_INFINITY)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(reader.read(2)).not.toBeNull()
    expect(reader.descendants.map(({ pid }) => pid)).not.toContain(child.pid)
    reader.close()
  })
})
