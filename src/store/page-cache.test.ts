// What the kernel's cache keeps of the disk tier (page-cache.ts), over the simulated file system.

import { describe, expect, it } from 'vitest'
import { deferred, type Deferred } from '../base/deferred.ts'
import { taskKey } from '../base/ids.ts'
import { entryOf, fill, type Fixture, KiB, MiB, openStore } from './fixture.conformance.ts'
import type { StoreOptions } from './store.ts'

/** A value that is placed on disk at once. */
async function put({ store, fs }: Fixture, key: string, nbytes = MiB): Promise<void> {
  const place = await store.requestPlace(nbytes, { avoid: 'memory' })
  expect(place.tier).toBe('disk')
  fill(fs, place, key)
  await store.accept(place, entryOf(key))
}

function pathOf({ store }: Fixture, key: string): string {
  const pin = store.pin(taskKey(key))
  if (pin?.source.via !== 'file') throw new Error(`${key} is in no file`)
  pin.release()
  return pin.source.path
}

/** The keys whose files left the cache, in their order. */
function dropped({ fs, store }: Fixture): string[] {
  const keys = new Map([...store.values()].map(({ key }) => [key, store.pin(key)]))
  const byPath = new Map([...keys].map(([key, pin]) => [pin?.source.via === 'file' ? pin.source.path : '', key]))
  for (const pin of keys.values()) pin?.release()
  return fs.droppedFromCache.map(({ path }) => byPath.get(path) ?? path)
}

async function bounded(options: Partial<StoreOptions> = {}): Promise<Fixture> {
  return openStore({ pageCache: 3 * MiB, ...options })
}

/** Lets calls to drop a file begin, and end when the test says so. */
function holdDrops({ fs }: Fixture): { path: string; end: Deferred<void> }[] {
  const drops: { path: string; end: Deferred<void> }[] = []
  fs.delay = (operation, path) => {
    if (operation !== 'dropFromCache') return
    const end = deferred<void>()
    drops.push({ path, end })
    return end.promise
  }
  return drops
}

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function expectCounted({ store }: Fixture): Promise<void> {
  await store.settled()
  expect((await store.recount()).differences).toEqual([])
}

describe('files on disk beyond the bound', () => {
  it('leave the cache, the oldest first, and are read as before', async () => {
    const fixture = await bounded()
    for (const key of ['a', 'b', 'c']) await put(fixture, key)
    await expectCounted(fixture)
    expect(fixture.fs.droppedFromCache).toEqual([])
    for (const key of ['d', 'e']) await put(fixture, key)
    await expectCounted(fixture)
    expect(dropped(fixture)).toEqual(['a', 'b'])
    for (const key of 'abcde') expect(await fixture.store.check(taskKey(key))).toBe(true)
  })

  it('leave it whatever way they came: spilled, or in a segment', async () => {
    const fixture = await bounded({ pageCache: 0 })
    const { store, fs } = fixture
    const place = await store.requestPlace(2 * MiB)
    expect(place.tier).toBe('memory')
    fill(fs, place, 'a')
    await store.accept(place, entryOf('a'))
    await store.settled()
    expect(fs.droppedFromCache).toEqual([])
    await store.makeRoom(0)
    await store.settled()
    expect(dropped(fixture)).toEqual(['a'])
    const small = new Uint8Array(60 * KiB)
    for (let i = 0; i < 150; i++) store.putInlineNow(entryOf(`small-${i}`), small)
    await store.makeRoom(0)
    await expectCounted(fixture)
    // The first one is full; the second is still written to.
    const segments = fs.droppedFromCache.filter(({ path }) => path.includes('seg-'))
    expect(segments.map(({ path }) => path)).toEqual([fs.paths('/disk/w/disk/blobs/seg-')[0]])
  })

  it('are those that nobody has read for the longest time', async () => {
    const fixture = await bounded()
    for (const key of ['a', 'b', 'c']) await put(fixture, key)
    pathOf(fixture, 'a')
    await put(fixture, 'd')
    await fixture.store.settled()
    expect(fixture.fs.droppedFromCache).toHaveLength(1)
    expect(dropped(fixture)).toEqual(['b'])
  })

  it('count again when they are read, and when a mapping of them ends', async () => {
    const fixture = await bounded()
    for (const key of ['a', 'b', 'c', 'd']) await put(fixture, key)
    await fixture.store.settled()
    const pin = fixture.store.pin(taskKey('a'))
    pin?.release(true)
    await put(fixture, 'e')
    await fixture.store.settled()
    expect(fixture.fs.droppedFromCache).toHaveLength(3)
    pin?.unmapped()
    for (const key of ['f', 'g']) await put(fixture, key)
    await expectCounted(fixture)
    expect(dropped(fixture)).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  it('go two at a time, one with the small thread pool', async () => {
    for (const [threadPool, atATime] of [
      [16, 2],
      [4, 1],
    ] as const) {
      const fixture = await bounded({ threadPool, pageCache: 0 })
      const drops = holdDrops(fixture)
      for (let i = 0; i < 5; i++) await put(fixture, `k${i}`)
      await turns()
      for (let ended = 0; ended < 5; ended++) {
        expect(drops).toHaveLength(Math.min(5, ended + atATime))
        drops[ended]?.end.resolve()
        await turns()
      }
      await expectCounted(fixture)
      expect(dropped(fixture)).toEqual(['k0', 'k1', 'k2', 'k3', 'k4'])
    }
  })

  it('leave it in pieces, and no further once they are given up or the store closes', async () => {
    const fixture = await bounded({ pageCache: 0, memoryLimit: 0 })
    const { store, fs } = fixture
    await put(fixture, 'whole', 70 * MiB)
    await store.settled()
    expect(fs.droppedFromCache.map(({ offset }) => offset)).toEqual([0, 64 * MiB])
    const drops = holdDrops(fixture)
    await put(fixture, 'freed', 70 * MiB)
    await put(fixture, 'kept', 70 * MiB)
    await turns()
    expect(drops).toHaveLength(2)
    // Its reader keeps the file there.
    const pin = store.pin(taskKey('freed'))
    store.free([taskKey('freed')])
    drops[0]?.end.resolve()
    await turns()
    expect(drops).toHaveLength(2)
    pin?.release()
    const closed = store.close({ keep: true })
    drops[1]?.end.resolve()
    await closed
    expect(drops).toHaveLength(2)
  })
})

describe('files that do not count', () => {
  it('were given up, also while they waited for their turn', async () => {
    const fixture = await bounded({ threadPool: 4 })
    const drops = holdDrops(fixture)
    for (const key of ['a', 'b', 'c', 'd', 'e']) await put(fixture, key)
    await turns()
    expect(drops).toHaveLength(1)
    // Now the rest is within the bound.
    fixture.store.free([taskKey('b')])
    drops[0]?.end.resolve()
    await expectCounted(fixture)
    expect(dropped(fixture)).toEqual(['a'])
  })

  it('do not make others leave it once they are given up', async () => {
    const fixture = await bounded()
    for (const key of ['a', 'b', 'c']) await put(fixture, key)
    fixture.store.free([taskKey('a'), taskKey('c')])
    await expectCounted(fixture)
    for (const key of ['d', 'e']) await put(fixture, key)
    await expectCounted(fixture)
    expect(fixture.fs.droppedFromCache).toEqual([])
    await put(fixture, 'f')
    await expectCounted(fixture)
    expect(dropped(fixture)).toEqual(['b'])
  })

  it('are in memory, or on the device of the memory tier, or all of them where there is no bound', async () => {
    const shared = await openStore({ pageCache: 0, memoryDirectory: '/disk/memory' })
    await put(shared, 'a')
    const unbounded = await openStore()
    for (let i = 0; i < 20; i++) await put(unbounded, `k${i}`)
    for (const fixture of [shared, unbounded]) {
      await expectCounted(fixture)
      expect(fixture.fs.droppedFromCache).toEqual([])
    }
  })

  it('were adopted and not read yet', async () => {
    const before = await openStore()
    for (const key of ['a', 'b']) await put(before, key)
    await before.store.settled()
    const after = await openStore({ pageCache: 0, incarnation: 2 }, before.fs)
    await after.store.settled()
    expect(after.adopted).toHaveLength(2)
    expect(after.fs.droppedFromCache).toEqual([])
    const path = pathOf(after, 'b')
    await expectCounted(after)
    expect(after.fs.droppedFromCache.map((drop) => drop.path)).toEqual([path])
  })
})

it('a file that cannot be dropped does no harm, and the next one is', async () => {
  const fixture = await bounded()
  fixture.fs.fault = (operation) => (operation === 'dropFromCache' ? 'EIO' : null)
  for (const key of ['a', 'b', 'c', 'd']) await put(fixture, key)
  await fixture.store.settled()
  fixture.fs.fault = () => null
  await put(fixture, 'e')
  await expectCounted(fixture)
  expect(dropped(fixture)).toEqual(['b'])
  for (const key of 'abcde') expect(await fixture.store.check(taskKey(key))).toBe(true)
  expect(fixture.recorded.lost).toEqual([])
})
