// File systems that are too small, as small tmpfs mounts: values go to the other tier, and when that is full too, a task fails
// and nothing else. Mounting needs root.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Future, task, wait } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

/** Why tmpfs cannot be mounted; null when it can. */
function obstacle(): string | null {
  if (process.platform !== 'linux') return 'needs Linux'
  if (process.getuid?.() !== 0) return 'needs root'
  const probe = mkdtempSync(join(tmpdir(), 'plimsoll-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'plimsoll-test', probe], { stdio: 'ignore' })
    execFileSync('umount', [probe])
    return null
  } catch {
    return 'mounting is not allowed here'
  } finally {
    rmSync(probe, { recursive: true })
  }
}

/** 4 MiB that say which they are. */
const block = (seed: number): Float64Array => new Float64Array(524_288).fill(seed)
const BLOCK_BYTES = 4 * MIB

async function checkBlock(faults: FaultCluster, future: Future<Float64Array>, seed: number): Promise<void> {
  const here = await future.result()
  expect([here.length, here[0], here.at(-1)]).toEqual([524_288, seed, seed])
  using there = faults.client.submit(
    task((values: Float64Array) => values.every((value) => value === values[0]) && values[0], { pure: false }),
    future,
  )
  expect(await there.result()).toBe(seed)
}

const reason = obstacle()
if (reason !== null) it.skip(`full file systems: this machine lacks what the test needs (${reason})`, () => {})
else {
  let folder: string
  let mounts: string[]
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'plimsoll-full-'))
    mounts = []
  })
  afterEach(() => {
    for (const path of mounts) execFileSync('umount', ['--lazy', path])
    rmSync(folder, { recursive: true })
  })

  const mount = (name: string, mib: number): string => {
    const path = join(folder, name)
    mkdirSync(path)
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m,mode=0755`, 'plimsoll-test', path])
    mounts.push(path)
    return path
  }

  describe('a RAM file system that is too small', () => {
    it('takes what it can, the rest goes to disk', async () => {
      await using faults = await FaultCluster.start({ nthreads: 2, memoryDirectory: mount('memory', 30) })
      const { client } = faults
      const seeds = Array.from({ length: 20 }, (_, index) => index + 1)
      const blocks = client.map(block, seeds)
      await wait(blocks)
      expect(blocks.map((future) => future.status)).toEqual(seeds.map(() => 'finished'))
      // The measures come with heartbeats.
      const { managed } = await until(
        'the rest is on disk',
        async () => (await client.memory()).cluster,
        ({ spilled }) => spilled > 45 * MIB,
      )
      expect(managed).toBeLessThan(30 * MIB)
      for (const [index, future] of blocks.entries()) await checkBlock(faults, future, seeds[index] as number)
      expect(await faults.runs('block')).toBe(seeds.length)
      client.release(blocks)
      await faults.emptied()
    })
  })

  describe('a RAM file system and a disk that are too small', () => {
    it('fail the tasks whose results fit nowhere; what is stored stays, and released room is used again', async () => {
      await using faults = await FaultCluster.start({
        nthreads: 2,
        memoryDirectory: mount('memory', 22),
        localDirectory: mount('local', 22),
      })
      const { client } = faults
      const seeds = Array.from({ length: 14 }, (_, index) => index + 1)
      const blocks = client.map(block, seeds)
      await wait(blocks)
      const failed = blocks.filter((future) => future.status === 'error')
      const stored = blocks.filter((future) => future.status === 'finished')
      expect(failed.length + stored.length).toBe(seeds.length)
      // Five fit into each; some room may be taken by what else is written there.
      expect(stored.length).toBeGreaterThanOrEqual(8)
      expect(failed.length).toBeGreaterThanOrEqual(4)
      for (const future of failed) {
        const error = await future.exception()
        expect(error).toMatchObject({ code: 'STORE_FULL' })
        expect(error?.message).toMatch(/MiB/)
      }
      for (const [index, future] of blocks.entries())
        if (future.status === 'finished') await checkBlock(faults, future, seeds[index] as number)
      expect(await client.submit((x: number) => x + 1, 1).result()).toBe(2)
      expect((await faults.worker()).restarts).toBe(0)

      await until(
        'everything stored is counted',
        async () => (await client.memory()).cluster,
        ({ managed, spilled }) => managed + spilled >= stored.length * BLOCK_BYTES,
      )
      client.release(stored)
      await Promise.all(failed.slice(0, 4).map((future) => future.retry()))
      for (const future of failed.slice(0, 4)) await checkBlock(faults, future, seeds[blocks.indexOf(future)] as number)
      client.release(blocks)
    })
  })
}
