import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { runId } from '../base/ids.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-page-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
afterEach(() => vi.unstubAllEnvs())

async function load(koffi: boolean) {
  vi.resetModules()
  vi.stubEnv('PLIMSOLL_NO_KOFFI', koffi ? '0' : '1')
  return await import('./status-page.ts')
}

describe.each([
  ['mapped', true],
  ['through the file', false],
] as const)('status page, %s', (name, koffi) => {
  it('shows what one opener writes to the other, and to a plain reader', async () => {
    const { StatusPage, readStatusFile } = await load(koffi)
    const path = join(directory, `page-${name}`)
    const worker = StatusPage.create(path, 70)
    const executor = StatusPage.open(path)
    expect(worker.read(69)).toEqual({ runId: null, phase: 'idle', pid: 0, cancel: null })
    executor.setPid(3, 4711)
    executor.setRun(3, runId(2 ** 40 + 1), 'inputs')
    executor.setPhase(3, 'running')
    expect(worker.read(3)).toEqual({ runId: 2 ** 40 + 1, phase: 'running', pid: 4711, cancel: null })
    expect(readStatusFile(path)[3]).toEqual({
      slot: 3,
      runId: 2 ** 40 + 1,
      phase: 'running',
      pid: 4711,
      lastRun: null,
    })
    expect(readStatusFile(path)[2]).toEqual({ slot: 2, runId: null, phase: 'idle', pid: 0, lastRun: null })
    executor.begin(4, runId(7), 1)
    executor.end(4, runId(7))
    expect(readStatusFile(path)[4]).toMatchObject({ runId: null, phase: 'idle', lastRun: 7 })
    executor.begin(4, runId(8), 2)
    expect(readStatusFile(path)[4]).toMatchObject({ runId: 8, phase: 'inputs', lastRun: 7 })
    worker.clear(4)
    expect(readStatusFile(path)[4]).toMatchObject({ runId: null, lastRun: null })
    worker.setCancel(3, runId(9))
    expect(executor.isCancelled(3, runId(9))).toBe(true)
    expect(executor.isCancelled(3, runId(8))).toBe(false)
    expect(worker.raiseEpoch(3)).toBe(executor.epoch(3))
    worker.setTierBytes(5e12)
    expect(executor.tierBytes).toBe(5e12)
    worker.clear(3)
    expect(executor.read(3)).toEqual({ runId: null, phase: 'idle', pid: 0, cancel: null })
    worker.close()
    executor.close()
    // Last words at an exit come late.
    worker.setTierBytes(1)
    worker.setPid(3, 1)
    expect(() => worker.read(3)).not.toThrow()
  })

  it('has no holes and is private to its user', async () => {
    const { StatusPage } = await load(koffi)
    const path = join(directory, `solid-${name}`)
    StatusPage.create(path, 4).close()
    expect(statSync(path).size).toBe(4096 + 4 * 8192)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readFileSync(path).byteLength).toBe(4096 + 4 * 8192)
  })

  it('refuses other files', async () => {
    const { StatusPage, readStatusFile } = await load(koffi)
    const path = join(directory, `other-${name}`)
    writeFileSync(path, Buffer.alloc(4096))
    expect(() => StatusPage.open(path)).toThrow(/not a status page/)
    expect(readStatusFile(path)).toEqual([])
    expect(readStatusFile(join(directory, 'absent'))).toEqual([])
  })
})
