import { describe, expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { entryOf, blobOf, fill, KiB, MiB, openStore, store1, type Fixture } from './fixture.conformance.ts'
import { SimFs } from './sim-fs.ts'

const key = taskKey
const tierOf = ({ store }: Fixture, name: string): string => store.get(key(name))?.tier ?? 'none'
const clean = async ({ store }: Fixture): Promise<void> => {
  await store.settled()
  expect((await store.recount()).differences).toEqual([])
}

describe('spilling at target', () => {
  it('moves the least recently used blobs to disk, byte for byte, and stops at target', async () => {
    const fixture = await openStore({ target: 30 * MiB })
    const { store, fs } = fixture
    for (const name of ['a', 'b', 'c']) await store1(fixture, name, 10 * MiB)
    await clean(fixture)
    expect(store.totals).toMatchObject({ managed: 30 * MiB, disk: 0 })
    store.touch(key('a'))
    await store1(fixture, 'd', 5 * MiB)
    await clean(fixture)
    expect(['a', 'b', 'c', 'd'].map((name) => tierOf(fixture, name))).toEqual(['memory', 'disk', 'memory', 'memory'])
    const pin = store.pin(key('b'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    expect(pin.source).toMatchObject({ tier: 'disk' })
    expect(Buffer.compare(fs.contents(pin.source.path), blobOf('b', 1, 10 * MiB))).toBe(0)
    expect(fs.paths('/shm/w/blobs')).toHaveLength(3)
    expect(store.totals).toMatchObject({ managed: 25 * MiB, disk: 10 * MiB, spilledTotal: 10 * MiB, spilling: 0 })
  })

  it('has a copy on disk checked by its readers when the file in memory was written to since it was whole', async () => {
    const fixture = await openStore({ target: 10 * MiB })
    await store1(fixture, 'a', 10 * MiB)
    const pin = fixture.store.pin(key('a'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    const written = await fixture.fs.reopen(pin.source.path, pin.source.nbytes)
    await written.write([blobOf('b', 1, 10 * MiB)], 0)
    await written.close()
    pin.release()
    await store1(fixture, 'b', 10 * MiB)
    await clean(fixture)
    const source = fixture.store.pin(key('a'))?.source
    if (source?.via !== 'file') throw new Error('not a file')
    expect(source.tier).toBe('disk')
    // A reader takes another time than the file's for a change.
    expect((await fixture.fs.stat(source.path)).mtimeNs).not.toBe(source.mtimeNs)
  })

  it('never brings a spilled blob back, and deletes its file when it is freed', async () => {
    const fixture = await openStore({ target: 10 * MiB })
    await store1(fixture, 'a', 10 * MiB)
    await store1(fixture, 'b', 10 * MiB)
    await clean(fixture)
    fixture.store.free([key('b')])
    fixture.store.pin(key('a'))?.release()
    await clean(fixture)
    expect(tierOf(fixture, 'a')).toBe('disk')
    fixture.store.free([key('a')])
    await clean(fixture)
    expect(fixture.store.totals.disk).toBe(0)
  })

  it('places on disk what process memory has no room for, and leaves in memory what is there', async () => {
    const fixture = await openStore({ target: 60 * MiB })
    const { store } = fixture
    for (const name of ['a', 'b']) await store1(fixture, name, 10 * MiB)
    store.allow(25 * MiB)
    expect((await store1(fixture, 'c', 10 * MiB)).tier).toBe('disk')
    expect((await store1(fixture, 'small', 5 * MiB)).tier).toBe('memory')
    await clean(fixture)
    expect(['a', 'b'].map((name) => tierOf(fixture, name))).toEqual(['memory', 'memory'])
    expect(store.totals).toMatchObject({ managed: 25 * MiB, disk: 10 * MiB, spilledTotal: 10 * MiB })
  })

  it('refuses what would pass the limit together with everything else, where the disk takes nothing', async () => {
    const fixture = await openStore({ target: 40 * MiB, maxSpill: 0 })
    const { store } = fixture
    store.allow(30 * MiB, 55 * MiB)
    for (const name of ['a', 'b', 'c', 'd', 'e']) expect((await store1(fixture, name, 10 * MiB)).tier).toBe('memory')
    await expect(store1(fixture, 'f', 10 * MiB)).rejects.toMatchObject({
      code: 'STORE_FULL',
      fields: { memoryUsed: 50 * MiB, memoryCeiling: 55 * MiB },
    })
    store.allow(50 * MiB, 75 * MiB)
    expect((await store1(fixture, 'f', 10 * MiB)).tier).toBe('memory')
  })

  it('leaves in memory what is there when values are given up that lived as long', async () => {
    const fixture = await openStore({ target: 60 * MiB })
    const { store, clock } = fixture
    for (const name of ['a', 'b', 'c']) await store1(fixture, name, 10 * MiB)
    store.allow(30 * MiB)
    clock.advance(1000)
    await store1(fixture, 'd', 10 * MiB)
    clock.advance(500)
    store.free([key('d')])
    await clean(fixture)
    expect(['a', 'b', 'c'].map((name) => tierOf(fixture, name))).toEqual(['memory', 'memory', 'memory'])
  })

  it('makes room in memory for values that come and go, once one was written to disk in vain', async () => {
    const fixture = await openStore({ target: 60 * MiB })
    const { store } = fixture
    for (const name of ['kept 1', 'kept 2', 'kept 3']) await store1(fixture, name, 10 * MiB)
    store.allow(30 * MiB)
    expect((await store1(fixture, 'short 1', 10 * MiB)).tier).toBe('disk')
    store.free([key('short 1')])
    await clean(fixture)
    expect(['kept 1', 'kept 2', 'kept 3'].map((name) => tierOf(fixture, name))).toEqual(['disk', 'memory', 'memory'])
    for (const name of ['short 2', 'short 3', 'short 4']) {
      expect((await store1(fixture, name, 10 * MiB)).tier).toBe('memory')
      store.free([key(name)])
      await store.settled()
    }
    await clean(fixture)
    expect(store.totals.spilledTotal).toBe(20 * MiB)
  })

  it('packs small values into segments and tells that they are durable now', async () => {
    const fixture = await openStore({ target: 1 * MiB })
    const { store, fs, recorded } = fixture
    for (let i = 0; i < 4000; i++) store.putInlineNow(entryOf(`k${i}`), blobOf(`k${i}`, 1, 1000))
    await clean(fixture)
    expect(store.totals.inline).toBeLessThanOrEqual(1 * MiB)
    expect(recorded.durable.length).toBeGreaterThan(2900)
    expect(fs.paths('/disk/w/disk/blobs').length).toBeLessThan(5)
    const pin = store.pin(key('k7'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    const { path, offset, nbytes } = pin.source
    expect(fs.contents(path).subarray(offset, offset + nbytes)).toEqual(blobOf('k7', 1, 1000))
    expect(tierOf(fixture, 'k3999')).toBe('inline')
  })

  it('compacts segments that are more than half dead, and deletes empty ones', async () => {
    const fixture = await openStore({ target: 1 * MiB })
    const { store, fs } = fixture
    const names = Array.from({ length: 20_000 }, (_, i) => `k${i}`)
    for (const name of names) store.putInlineNow(entryOf(name), blobOf(name, 1, 1000))
    await clean(fixture)
    const before = store.totals.disk
    const pin = store.pin(key('k10'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    store.free(names.filter((_, i) => i % 10 !== 0).map(key))
    await clean(fixture)
    // A reader of the old file still finds its bytes there.
    const { path, offset, nbytes } = pin.source
    expect(fs.contents(path).subarray(offset, offset + nbytes)).toEqual(blobOf('k10', 1, 1000))
    pin.release()
    await clean(fixture)
    expect(store.totals.disk).toBeLessThan(before / 3)
    const moved = store.pin(key('k20'))
    if (moved?.source.via !== 'file') throw new Error('not a file')
    const bytes = fs
      .contents(moved.source.path)
      .subarray(moved.source.offset, moved.source.offset + moved.source.nbytes)
    expect(bytes).toEqual(blobOf('k20', 1, 1000))
    moved.release()
    store.free(names.map(key))
    await clean(fixture)
    expect(store.totals).toMatchObject({ managed: 0, disk: 0 })
    expect(fs.paths('/disk/w/disk/blobs')).toEqual([])
  })

  it('keeps no file for small values that are all gone, and writes a new one afterwards', async () => {
    const fixture = await openStore()
    const { store, fs } = fixture
    for (const name of ['a', 'b']) {
      const puts = [name, `${name}${name}`].map((each) =>
        store.putInline(entryOf(each), blobOf(each, 1, 1000), { durable: true }),
      )
      await Promise.all(puts)
      expect(fs.paths('/shm/w/blobs')).toHaveLength(1)
      store.free([key(name)])
      store.free([key(`${name}${name}`)])
      await clean(fixture)
      expect(fs.paths('/shm/w/blobs')).toEqual([])
      expect(store.totals).toMatchObject({ managed: 0, memory: 0 })
    }
  })

  it('gives up the inline half of a durable value first, then moves its file half to disk', async () => {
    const fixture = await openStore({ target: 10 * KiB })
    const { store } = fixture
    await store.putInline(entryOf('a'), blobOf('a', 1, 4000), { durable: true })
    expect(store.totals.managed).toBe(4000 + 64 + 4032)
    await store.makeRoom(5000)
    expect(tierOf(fixture, 'a')).toBe('memory')
    await store.makeRoom(0)
    await clean(fixture)
    expect(tierOf(fixture, 'a')).toBe('disk')
    expect(store.totals.managed).toBeLessThan(5000)
  })

  it('leaves pinned and mapped blobs alone, and readers on the old file while it moves', async () => {
    const fixture = await openStore({ target: 20 * MiB })
    const { store, fs } = fixture
    await store1(fixture, 'pinned', 8 * MiB)
    await store1(fixture, 'mapped', 8 * MiB)
    await store1(fixture, 'moving', 4 * MiB)
    const pinned = store.pin(key('pinned'))
    const mapped = store.pin(key('mapped'))
    mapped?.release(true)
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => (open = resolve))
    fs.delay = (operation) => (operation === 'copy' ? gate : undefined)
    const waiting = store.requestPlace(4 * MiB)
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(store.totals.spilling).toBe(4 * MiB)
    const late = store.pin(key('moving'))
    open()
    await new Promise((resolve) => setTimeout(resolve, 10))
    if (late?.source.via !== 'file') throw new Error('not a file')
    expect(tierOf(fixture, 'moving')).toBe('disk')
    expect(fs.contents(late.source.path)).toHaveLength(4 * MiB)
    expect(store.totals.memory).toBe(20 * MiB)
    late.release()
    // Nothing else could leave, and a reader may take its time: waiting for it could be waiting for ever.
    expect((await waiting).tier).toBe('disk')
    expect(['pinned', 'mapped'].map((name) => tierOf(fixture, name))).toEqual(['memory', 'memory'])
    pinned?.release()
    mapped?.unmapped()
    await clean(fixture)
  })

  it('drops a blob that is freed while it moves, in both places', async () => {
    const fixture = await openStore({ target: 10 * MiB })
    const { store, fs } = fixture
    await store1(fixture, 'a', 8 * MiB)
    for (let i = 0; i < 50; i++) store.putInlineNow(entryOf(`s${i}`), blobOf(`s${i}`, 1, 10_000))
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => (open = resolve))
    fs.delay = (operation) => (operation === 'copy' || operation === 'write' ? gate : undefined)
    const room = store.makeRoom(0)
    await new Promise((resolve) => setTimeout(resolve, 10))
    store.free([key('a'), ...Array.from({ length: 50 }, (_, i) => key(`s${i}`))])
    open()
    await room
    await clean(fixture)
    expect(store.totals).toMatchObject({ managed: 0 })
    expect(fs.paths('/disk/w/disk/tmp')).toEqual([])
  })

  it('runs at most three writes at a time, and one with the default thread pool', async () => {
    for (const [threadPool, most] of [
      [16, 3],
      [4, 1],
    ] as const) {
      const fixture = await openStore({ target: 50 * MiB, threadPool })
      for (let i = 0; i < 10; i++) await store1(fixture, `k${i}`, 5 * MiB)
      let running = 0
      let peak = 0
      fixture.fs.delay = async (operation) => {
        if (operation !== 'copy') return
        peak = Math.max(peak, ++running)
        await new Promise((resolve) => setTimeout(resolve, 5))
        running--
      }
      await fixture.store.makeRoom(0)
      expect(peak).toBe(most)
      expect(fixture.store.totals).toMatchObject({ managed: 0, disk: 50 * MiB })
    }
  })

  it('renames instead of copying where both tiers are on one file system', async () => {
    const fixture = await openStore({ memoryDirectory: null, target: 10 * MiB })
    let copies = 0
    fixture.fs.fault = (operation) => (operation === 'copy' ? String(++copies) : null)
    await store1(fixture, 'a', 10 * MiB)
    await store1(fixture, 'b', 10 * MiB)
    await clean(fixture)
    expect([copies, tierOf(fixture, 'a'), tierOf(fixture, 'b')]).toEqual([0, 'disk', 'memory'])
  })

  it('drops replicas before it spills, but spares one that just came', async () => {
    const fixture = await openStore({ target: 30 * MiB })
    const { store, clock, recorded } = fixture
    await store1(fixture, 'own', 10 * MiB)
    await store1(fixture, 'old', 10 * MiB, 1, true)
    store.pin(key('old'))?.release()
    await store1(fixture, 'fresh', 10 * MiB, 1, true)
    await store1(fixture, 'more', 10 * MiB)
    await clean(fixture)
    expect(recorded.evicted.map((value) => value.key)).toEqual(['old'])
    expect(store.totals.disk).toBe(0)
    await store1(fixture, 'even-more', 10 * MiB)
    await clean(fixture)
    expect(tierOf(fixture, 'own')).toBe('disk')
    clock.advance(2000)
    await store1(fixture, 'last', 10 * MiB)
    await clean(fixture)
    expect(recorded.evicted.map((value) => value.key)).toEqual(['old', 'fresh'])
    expect(tierOf(fixture, 'more')).toBe('memory')
  })

  it('keeps replicas that it was told to keep', async () => {
    const fixture = await openStore({ target: 10 * MiB })
    await store1(fixture, 'a', 10 * MiB, 1, true)
    fixture.store.keepReplicas([key('a')])
    await store1(fixture, 'b', 10 * MiB)
    await clean(fixture)
    expect([tierOf(fixture, 'a'), fixture.recorded.evicted]).toEqual(['disk', []])
  })

  it('never spills with the target off, and takes the disk when the tier is full', async () => {
    const fs = new SimFs({ '/shm': 30 * MiB, '/disk': 100 * MiB })
    const fixture = await openStore({ target: Infinity }, fs)
    for (const name of ['a', 'b', 'c', 'd']) await store1(fixture, name, 10 * MiB - 4096)
    expect(['a', 'b', 'c', 'd'].map((name) => tierOf(fixture, name))).toEqual(['memory', 'memory', 'memory', 'disk'])
    const unlimited = await openStore({ memoryLimit: 0, target: 0 })
    expect((await store1(unlimited, 'a', 200 * MiB)).tier).toBe('memory')
  })
})

describe('when there is no room', () => {
  it('acceptance 11: keeps blobs in memory when the disk is full, says so, and goes on when there is room again', async () => {
    const fs = new SimFs({ '/shm': 1000 * MiB, '/disk': 12 * MiB })
    const fixture = await openStore({ target: 30 * MiB, memoryLimit: 50 * MiB }, fs)
    const { store, recorded, clock } = fixture
    for (let i = 0; i < 3; i++) await store1(fixture, `k${i}`, 10 * MiB)
    await store1(fixture, 'k3', 10 * MiB)
    await clean(fixture)
    expect(tierOf(fixture, 'k0')).toBe('disk')
    await store1(fixture, 'k4', 10 * MiB)
    await clean(fixture)
    expect(store.totals.managed).toBe(40 * MiB)
    expect(recorded.spillFailing).toHaveLength(1)
    expect(recorded.spillFailing[0]).toContain('/disk/w')
    const error = await store.requestPlace(10 * MiB).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'STORE_FULL', fields: { nbytes: 10 * MiB } })
    expect(store.totals.managed).toBe(40 * MiB)
    fs.setCapacity('/disk', 100 * MiB)
    clock.advance(1000)
    await clean(fixture)
    expect(recorded.spillFailing.at(-1)).toBeNull()
    expect(store.totals.managed).toBe(30 * MiB)
    expect((await store.requestPlace(10 * MiB)).tier).toBe('memory')
  })

  it('acceptance 10: honours max-spill like a full disk, dead space included', async () => {
    const fixture = await openStore({ target: 20 * MiB, memoryLimit: 30 * MiB, maxSpill: 10 * MiB })
    const { store, recorded } = fixture
    for (let i = 0; i < 3; i++) await store1(fixture, `k${i}`, 9 * MiB)
    await clean(fixture)
    expect([tierOf(fixture, 'k0'), tierOf(fixture, 'k1')]).toEqual(['disk', 'memory'])
    expect((await store.requestPlace(9 * MiB)).tier).toBe('memory')
    const error = await store.requestPlace(9 * MiB).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'STORE_FULL' })
    expect(String(recorded.spillFailing[0])).toContain('max-spill')
    store.free([key('k0')])
    await store.settled()
    expect((await store.requestPlace(9 * MiB)).tier).toBe('memory')
    await clean(fixture)
    expect(tierOf(fixture, 'k1')).toBe('disk')
  })

  it('survives a disk that fails in the middle of a copy or of a segment', async () => {
    const fixture = await openStore({ target: 20 * MiB })
    const { store, fs, recorded, clock } = fixture
    fs.fault = (operation, path) =>
      (operation === 'copy' || operation === 'write') && path.startsWith('/disk') ? 'EIO' : null
    await store1(fixture, 'a', 10 * MiB)
    for (let i = 0; i < 1000; i++) store.putInlineNow(entryOf(`s${i}`), blobOf(`s${i}`, 1, 10_000))
    await store1(fixture, 'b', 9 * MiB)
    await clean(fixture)
    expect(recorded.spillFailing).toEqual([expect.stringContaining('EIO')])
    expect(recorded.lost).toEqual([])
    fs.fault = () => null
    clock.advance(1001)
    await clean(fixture)
    expect(recorded.spillFailing.at(-1)).toBeNull()
    expect(store.totals.managed).toBeLessThanOrEqual(20 * MiB)
    expect(recorded.lost).toEqual([])
  })

  it('tries again after the last of several failures, not only after the first', async () => {
    const fixture = await openStore({ target: 20 * MiB })
    const { store, fs, clock } = fixture
    await store1(fixture, 'a', 10 * MiB)
    await store1(fixture, 'b', 10 * MiB)
    let copies = 0
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => (open = resolve))
    fs.delay = (operation) => (operation === 'copy' && ++copies === 2 ? gate : undefined)
    fs.fault = (operation) => (operation === 'copy' ? 'EIO' : null)
    const room = store.makeRoom(0)
    while (copies < 2) await new Promise((resolve) => setTimeout(resolve, 1))
    await new Promise((resolve) => setTimeout(resolve, 20))
    clock.advance(500)
    open()
    await room
    fs.fault = () => null
    store.putInlineNow(entryOf('c'), blobOf('c', 1, 1000))
    await store.settled()
    for (let ms = 0; ms < 3000; ms += 500) {
      clock.advance(500)
      await store.settled()
    }
    await clean(fixture)
    expect(store.totals.managed).toBeLessThanOrEqual(20 * MiB)
  })

  it('counts a half-written segment as dead space and loses nothing', async () => {
    const fs = new SimFs({ '/shm': 1000 * MiB, '/disk': 500 * KiB })
    const fixture = await openStore({ target: 1 * MiB, memoryLimit: 100 * MiB }, fs)
    const { store, clock } = fixture
    // The answer to "how much is free" may be old: writing meets the end of the disk anyway.
    fs.freeBytes = async () => 100 * MiB
    for (let i = 0; i < 200; i++) store.putInlineNow(entryOf(`s${i}`), blobOf(`s${i}`, 1, 10_000))
    await clean(fixture)
    expect(store.totals.managed).toBe(200 * 10_000)
    fs.setCapacity('/disk', 100 * MiB)
    clock.advance(1001)
    await clean(fixture)
    expect(store.totals.managed).toBeLessThanOrEqual(1 * MiB)
    for (let i = 0; i < 200; i++) expect(await store.check(key(`s${i}`))).toBe(true)
  })

  it('takes nothing for lost that it cannot read for want of descriptors, and spills it later', async () => {
    const fixture = await openStore({ target: 1 * MiB })
    const { store, fs, clock, recorded } = fixture
    for (let i = 0; i < 30; i++) await store.putInline(entryOf(`s${i}`), blobOf(`s${i}`, 1, 60_000), { durable: true })
    fs.fault = (operation) => (operation === 'read' ? 'EMFILE' : null)
    const room = store.makeRoom(0)
    await clean(fixture)
    expect(await store.check(key('s0'))).toBe(true)
    expect(recorded.lost).toEqual([])
    fs.fault = () => null
    for (let ms = 0; ms < 3000; ms += 500) {
      clock.advance(500)
      await clean(fixture)
    }
    await room
    expect(recorded.lost).toEqual([])
    expect(store.totals.managed).toBeLessThan(1 * MiB)
    for (let i = 0; i < 30; i++) expect(await store.check(key(`s${i}`))).toBe(true)
  })

  it('finds out while spilling that a file is gone, and says that the value is lost', async () => {
    const fixture = await openStore({ target: 10 * MiB })
    const { store, fs, recorded } = fixture
    await store1(fixture, 'a', 10 * MiB)
    await fs.unlink(fs.paths('/shm/w/blobs')[0] as string)
    await store1(fixture, 'b', 10 * MiB)
    await clean(fixture)
    expect(recorded.lost.map(({ value }) => value.key)).toEqual(['a'])
    expect(recorded.spillFailing).toEqual([])
    expect(store.get(key('a'))).toBeUndefined()
  })

  it('places on disk when the RAM file system is full, and fails only the request when both are', async () => {
    const fs = new SimFs({ '/shm': 8 * MiB, '/disk': 20 * MiB })
    const fixture = await openStore({}, fs)
    const tiers: string[] = []
    for (let i = 0; i < 6; i++) tiers.push((await store1(fixture, `k${i}`, 4 * MiB - 64 * KiB)).tier)
    expect(tiers).toEqual(['memory', 'memory', 'disk', 'disk', 'disk', 'disk'])
    await store1(fixture, 'k6', 4 * MiB - 64 * KiB)
    await expect(fixture.store.requestPlace(4 * MiB)).rejects.toMatchObject({ code: 'STORE_FULL' })
    fixture.store.free([key('k0')])
    await fixture.store.settled()
    const place = await fixture.store.requestPlace(4 * MiB - 64 * KiB)
    expect(place.tier).toBe('memory')
    fill(fs, place, 'x')
    await fixture.store.accept(place, entryOf('x'))
    await clean(fixture)
  })

  it('drops replicas on disk when the disk is wanted', async () => {
    const fixture = await openStore({ target: 1 * MiB, maxSpill: 20 * MiB, memoryLimit: 2 * MiB })
    const { store, recorded } = fixture
    expect((await store1(fixture, 'copy', 12 * MiB, 1, true)).tier).toBe('disk')
    expect((await store1(fixture, 'own', 12 * MiB)).tier).toBe('disk')
    expect(recorded.evicted.map((value) => value.key)).toEqual(['copy'])
    await clean(fixture)
    await expect(store.requestPlace(12 * MiB)).rejects.toMatchObject({ code: 'STORE_FULL' })
  })

  it('ends makeRoom when nothing more can leave', async () => {
    const fixture = await openStore()
    const { store } = fixture
    await store1(fixture, 'a', 10 * MiB)
    const pin = store.pin(key('a'))
    await store.makeRoom(0)
    expect(store.totals.managed).toBe(10 * MiB)
    pin?.release()
    await store.makeRoom(0)
    expect(store.totals.managed).toBe(0)
  })

  it('ends makeRoom when only copies are left that came after it was asked for, however often they come', async () => {
    const fixture = await openStore({ target: 100 * MiB })
    const { store, clock } = fixture
    await store1(fixture, 'own', 10 * MiB)
    const pin = store.pin(key('own'))
    await store1(fixture, 'copy', 4 * MiB, 1, true)
    let ended = false
    const room = store.makeRoom(0).then(() => (ended = true))
    await store.settled()
    expect(ended).toBe(false)
    clock.advance(1990)
    await store1(fixture, 'fetched again', 4 * MiB, 1, true)
    expect([ended, store.get(key('copy')) !== undefined]).toEqual([false, true])
    clock.advance(20)
    await room
    expect(store.get(key('copy'))).toBeUndefined()
    expect(store.get(key('fetched again'))?.tier).toBe('memory')
    pin?.release()
  })
})
