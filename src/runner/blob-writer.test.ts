import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { writeBlob } from './blob-writer.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-writer-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe('blob writer', () => {
  it('writes many parts in order, read-only', () => {
    const path = join(directory, 'many')
    const parts = Array.from({ length: 5000 }, (_, i) => new Uint8Array(i % 7).fill(i))
    expect(writeBlob(path, parts)).toBe(Buffer.concat(parts).byteLength)
    expect(readFileSync(path)).toEqual(Buffer.concat(parts))
    expect(statSync(path).mode & 0o777).toBe(0o400)
    expect(writeBlob(join(directory, 'empty'), [])).toBe(0)
  })

  it('fails with ENOSPC on a full file system, however short its writes were (needs root)', (context) => {
    const full = join(directory, 'full')
    mkdirSync(full)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', full], { stdio: 'ignore' })
    } catch {
      return context.skip()
    }
    try {
      const write = (): number => writeBlob(join(full, 'x'), [new Uint8Array(600_000), new Uint8Array(600_000)])
      expect(write).toThrow(expect.objectContaining({ code: 'ENOSPC' }))
    } finally {
      execFileSync('umount', [full])
    }
  })
})
