// The store on real file systems: small tmpfs mounts where this user may mount (root), an ordinary directory otherwise. What
// the simulated file system cannot show: short writes, statfs, hard links, mappings of unlinked files, and time.

import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { taskKey } from '../base/ids.ts'
import { type Libc, loadLibc } from '../native/libc.ts'
import {
  baseOptions,
  blobOf,
  CLUSTER,
  entryOf,
  fetchValue,
  KiB,
  MiB,
  recorder,
  type Recorded,
} from './fixture.conformance.ts'
import type { Place, StoreOptions } from './store.ts'
import { nodeStoreFs } from './store-fs.ts'
import { TieredStore } from './tiered-store.ts'

const key = taskKey
let base = ''
let mounts: string[] = []
let stores: TieredStore[] = []

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'plimsoll-store-'))
})
afterEach(async () => {
  for (const store of stores) await store.close({ keep: false })
  stores = []
  for (const path of mounts) execFileSync('umount', [path])
  mounts = []
  rmSync(base, { recursive: true, force: true })
})

function mountTmpfs(name: string, size: string): string {
  const path = join(base, name)
  mkdirSync(path)
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'plimsoll-test', path], { stdio: 'pipe' })
  mounts.push(path)
  return path
}

function mayMount(): boolean {
  const path = mkdtempSync(join(tmpdir(), 'plimsoll-mount-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'plimsoll-test', path], { stdio: 'pipe' })
    execFileSync('umount', [path])
    return true
  } catch {
    return false
  } finally {
    rmSync(path, { recursive: true })
  }
}

async function open(options: Partial<StoreOptions>): Promise<{ store: TieredStore; recorded: Recorded }> {
  const { recorded, events } = recorder()
  const store = new TieredStore(
    { ...baseOptions, localDirectory: join(base, 'local'), memoryDirectory: null, ...options },
    events,
  )
  stores.push(store)
  await store.open()
  if (store.identity === null) await store.setIdentity(CLUSTER, 1)
  return { store, recorded }
}

async function put(store: TieredStore, name: string, nbytes: number): Promise<Place['tier']> {
  const place = await store.requestPlace(nbytes)
  writeFileSync(place.path, blobOf(name, 1, nbytes), { mode: 0o400, flag: 'wx' })
  await store.accept(place, entryOf(name))
  return place.tier
}

function read(store: TieredStore, name: string): Uint8Array {
  const pin = store.pin(key(name))
  if (pin === undefined) throw new Error(`${name} is not here`)
  const { source } = pin
  const bytes =
    source.via === 'inline'
      ? source.bytes
      : readFileSync(source.path).subarray(source.offset, source.offset + source.nbytes)
  pin.release()
  return bytes
}

/** How the file of a value begins. */
const hashOf = (name: string): string => hash('sha256', name, 'hex').slice(0, 24)

const canMount = mayMount()

describe.skipIf(!canMount)('on small tmpfs mounts (needs the right to mount)', () => {
  it('places on disk what a full RAM file system cannot take', async () => {
    const memoryDirectory = mountTmpfs('ram', '8m')
    const { store } = await open({ memoryDirectory })
    const tiers: string[] = []
    for (let i = 0; i < 4; i++) tiers.push(await put(store, `k${i}`, 3 * MiB))
    expect(tiers).toEqual(['memory', 'memory', 'disk', 'disk'])
    for (let i = 0; i < 4; i++) expect(Buffer.compare(read(store, `k${i}`), blobOf(`k${i}`, 1, 3 * MiB))).toBe(0)
    await store.settled()
    expect((await store.recount()).differences).toEqual([])
  })

  it('keeps values in memory when the disk is full, then refuses only the request, then recovers', async () => {
    const memoryDirectory = mountTmpfs('ram', '64m')
    const disk = mountTmpfs('disk', '4m')
    const limits = { target: 8 * MiB, memoryLimit: 20 * MiB }
    const { store, recorded } = await open({ memoryDirectory, localDirectory: join(disk, 'w'), ...limits })
    for (let i = 0; i < 6; i++) expect(await put(store, `k${i}`, 3 * MiB)).toBe('memory')
    await store.settled()
    expect(recorded.spillFailing).toEqual([expect.stringContaining(disk)])
    await expect(store.requestPlace(6 * MiB)).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect([...store.values()]).toHaveLength(6)
    expect((await store.recount()).differences).toEqual([])
    execFileSync('mount', ['-o', 'remount,size=64m', disk])
    await store.makeRoom(8 * MiB)
    await expect.poll(() => store.totals.managed, { timeout: 5000 }).toBeLessThanOrEqual(8 * MiB)
    expect(recorded.spillFailing.at(-1)).toBeNull()
    for (let i = 0; i < 6; i++) expect(await store.check(key(`k${i}`))).toBe(true)
    await store.settled()
    expect((await store.recount()).differences).toEqual([])
  })

  it('meets the end of a disk in the middle of a segment and of a copy, and loses nothing', async () => {
    const memoryDirectory = mountTmpfs('ram', '64m')
    const disk = mountTmpfs('disk', '3m')
    // It believes in a free disk, as it may when others fill it at the same time.
    const fs = { ...nodeStoreFs, freeBytes: async () => 1024 * MiB }
    const { store, recorded } = await open({ memoryDirectory, localDirectory: join(disk, 'w'), target: 1 * MiB, fs })
    for (let i = 0; i < 200; i++) store.putInlineNow(entryOf(`s${i}`), blobOf(`s${i}`, 1, 30_000))
    await store.settled()
    expect(recorded.spillFailing[0]).toContain('ENOSPC')
    expect((await store.recount()).differences).toEqual([])
    execFileSync('mount', ['-o', 'remount,size=64m', disk])
    await expect.poll(() => store.totals.managed, { timeout: 5000 }).toBeLessThanOrEqual(1 * MiB)
    for (let i = 0; i < 200; i++) expect(Buffer.compare(read(store, `s${i}`), blobOf(`s${i}`, 1, 30_000))).toBe(0)
    expect(recorded.lost).toEqual([])
  })

  it('reports a chunk that a full file system cuts short', async () => {
    const memoryDirectory = mountTmpfs('ram', '2m')
    const fs = { ...nodeStoreFs, freeBytes: async () => 1024 * MiB }
    const { store } = await open({ memoryDirectory, fs })
    const place = await store.requestPlace(4 * MiB)
    const writer = await store.openPlace(place)
    await expect(writer.write(new Uint8Array(4 * MiB))).rejects.toMatchObject({ code: 'STORE_FULL' })
    await writer.close()
    store.cancelPlace(place)
    await store.settled()
    expect(statfsSync(memoryDirectory).bavail * statfsSync(memoryDirectory).bsize).toBeGreaterThan(1.9 * MiB)
    const again = await store.requestPlace(4 * MiB, { avoid: place.tier })
    expect(again.tier).toBe('disk')
  })

  it('writes a fetched value over the file of one that was given up', async () => {
    const memoryDirectory = mountTmpfs('ram', '64m')
    // Spare files do not age here, however long this takes.
    const clock = new VirtualClock()
    const { store } = await open({ memoryDirectory, clock, target: 256 * MiB, memoryLimit: 512 * MiB })
    const fileOf = async (name: string, nbytes: number): Promise<number> => {
      await fetchValue({ store }, name, nbytes)
      expect(Buffer.compare(read(store, name), blobOf(name, 1, nbytes))).toBe(0)
      const pin = store.pin(key(name))
      if (pin?.source.via !== 'file') throw new Error('not a file')
      pin.release()
      const { ino, mode } = statSync(pin.source.path)
      expect(mode & 0o777).toBe(0o400)
      return ino
    }
    const first = await fileOf('a', 8 * MiB)
    for (const nbytes of [8 * MiB, 5 * MiB, 9 * MiB]) {
      store.free([key('a')])
      await store.settled()
      expect(await fileOf('a', nbytes)).toBe(first)
      expect((await store.recount()).differences).toEqual([])
    }
  })

  it('frees the RAM of a spilled value, and of a mapped one only when its mapping is gone', async () => {
    const memoryDirectory = mountTmpfs('ram', '64m')
    const { store } = await open({ memoryDirectory, target: 40 * MiB })
    const usedMiB = (): number => {
      const stat = statfsSync(memoryDirectory)
      return Math.round(((stat.blocks - stat.bfree) * stat.bsize) / MiB)
    }
    await put(store, 'a', 16 * MiB)
    await put(store, 'b', 16 * MiB)
    expect(usedMiB()).toBe(32)
    await store.makeRoom(16 * MiB)
    expect(usedMiB()).toBe(16)
    const libc = loadLibc()
    if (libc === null) return
    const pin = store.pin(key('b'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    const mapping = libc.mapFile(pin.source.path, 0, pin.source.nbytes)
    pin.release(true)
    store.free([key('b')])
    await store.settled()
    expect(usedMiB()).toBe(16)
    expect(store.totals).toMatchObject({ memory: 16 * MiB, deadMapped: 16 * MiB })
    mapping.seal()
    pin.unmapped()
    expect(store.totals).toMatchObject({ memory: 0, deadMapped: 0, memoryTierFileBytes: 0 })
  })

  it('hands a blob over by hard link in one RAM file system, and says EXDEV between two', async () => {
    const one = mountTmpfs('ram1', '32m')
    const two = mountTmpfs('ram2', '32m')
    const a = await open({ localDirectory: join(base, 'a'), memoryDirectory: join(one, 'a') })
    const b = await open({ localDirectory: join(base, 'b'), memoryDirectory: join(one, 'b') })
    const c = await open({ localDirectory: join(base, 'c'), memoryDirectory: join(two, 'c') })
    await put(a.store, 'x', 8 * MiB)
    const pin = a.store.pin(key('x'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    const entry = { ...entryOf('x'), mtimeNs: pin.source.mtimeNs as string }
    expect(await b.store.link(pin.source.path, 8 * MiB, entry)).toMatchObject({ borrowed: true, tier: 'memory' })
    await expect(c.store.link(pin.source.path, 8 * MiB, entryOf('x'))).rejects.toMatchObject({ code: 'EXDEV' })
    pin.release()
    a.store.free([key('x')])
    await a.store.settled()
    expect(Buffer.compare(read(b.store, 'x'), blobOf('x', 1, 8 * MiB))).toBe(0)
    expect(b.store.pin(key('x'))?.source).toMatchObject({ verify: false })
  })
})

describe('on an ordinary directory', () => {
  it('adopts what an earlier store left, from files and segments, and leaves nothing behind when it closes', async () => {
    const before = await open({ target: 6 * MiB })
    for (let i = 0; i < 4; i++) await put(before.store, `big${i}`, 2 * MiB)
    for (let i = 0; i < 100; i++) before.store.putInlineNow(entryOf(`small${i}`), blobOf(`small${i}`, 1, 20 * KiB))
    await before.store.putInline(entryOf('scattered'), blobOf('scattered', 1, 1000), { durable: true })
    await before.store.makeRoom(0)
    await before.store.settled()
    expect((await before.store.recount()).differences).toEqual([])
    await before.store.close({ keep: true })
    const { events } = recorder()
    const after = new TieredStore(
      { ...baseOptions, localDirectory: join(base, 'local'), memoryDirectory: null, incarnation: 2 },
      events,
    )
    stores.push(after)
    expect(await after.open()).toHaveLength(105)
    for (const { key: name } of after.values()) expect(await after.check(name)).toBe(true)
    expect((await after.recount()).differences).toEqual([])
    await after.close({ keep: false })
    expect(readdirSync(join(base, 'local', 'disk'))).toEqual([])
    expect(readdirSync(join(base, 'local', 'memory'))).toEqual([])
  })

  // Neither tmpfs, which is nothing but cache, nor overlayfs, which cannot be told to write a file back.
  const hasCache = ![0x01021994, 0x794c7630].includes(statfsSync(tmpdir()).type)
  it.skipIf(process.platform !== 'linux' || loadLibc() === null || !hasCache)(
    'takes what is beyond the bound out of the cache of the kernel, and reads it back whole',
    async () => {
      const stat: typeof nodeStoreFs.stat = async (path) => {
        const found = await nodeStoreFs.stat(path)
        return path.endsWith('/memory') ? { ...found, dev: found.dev + 1 } : found
      }
      const { store } = await open({ target: 0, pageCache: 6 * MiB, fs: { ...nodeStoreFs, stat } })
      const cached = (name: string): boolean => {
        const file = readdirSync(join(base, 'local', 'disk', 'blobs')).filter((each) => each.startsWith(hashOf(name)))
        const mapping = (loadLibc() as Libc).mapFile(
          join(base, 'local', 'disk', 'blobs', file[0] as string),
          0,
          4 * MiB,
        )
        const answer = mapping.isCached()
        mapping.seal()
        return answer
      }
      for (const name of ['a', 'b', 'c']) {
        await put(store, name, 4 * MiB)
        await store.makeRoom(0)
        await store.settled()
      }
      expect(['a', 'b', 'c'].map(cached)).toEqual([false, false, true])
      expect(Buffer.compare(read(store, 'a'), blobOf('a', 1, 4 * MiB))).toBe(0)
      await store.settled()
      expect((await store.recount()).differences).toEqual([])
    },
  )

  it('does not block the event loop while it spills', async () => {
    const memoryDirectory = join(base, 'memory')
    // Two devices, so that it copies.
    const stat: typeof nodeStoreFs.stat = async (path) => {
      const found = await nodeStoreFs.stat(path)
      return path === memoryDirectory ? { ...found, dev: found.dev + 1 } : found
    }
    const limits = { memoryLimit: 1024 * MiB, target: 512 * MiB }
    const { store } = await open({ memoryDirectory, ...limits, fs: { ...nodeStoreFs, stat } })
    for (let i = 0; i < 4; i++) await put(store, `k${i}`, 32 * MiB)
    let turns = 0
    let spilling = true
    const turn = (): void => {
      turns++
      if (spilling) setImmediate(turn)
    }
    turn()
    await store.makeRoom(0)
    spilling = false
    expect(store.totals).toMatchObject({ managed: 0, disk: 128 * MiB })
    // Copying in the loop would leave it a handful of turns.
    expect(turns).toBeGreaterThan(50)
  })
})
