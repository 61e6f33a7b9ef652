import { describe, expect, it } from 'vitest'
import { runId, taskKey } from '../base/ids.ts'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { decodeBlob } from '../values/decode.ts'
import { blobToBytes } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { blobOf, entryOf, fill, KiB, MiB, openStore, store1 } from './fixture.conformance.ts'
import { SimFs } from './sim-fs.ts'

const key = taskKey
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: { code?: string }) => error.code ?? 'no code',
  )

describe('TieredStore: inline values', () => {
  it('keeps a copy, so that the receive buffer it came in is not held', async () => {
    const { store } = await openStore()
    const receiveBuffer = new Uint8Array(1 * MiB)
    const meta = { clusterId: 'cluster-1', generation: 1, key: 'a', runId: 1 }
    const blob = blobToBytes(meta, encodeValue({ x: [1, 2, 3] }))
    receiveBuffer.set(blob, 1000)
    store.putInlineNow(entryOf('a'), receiveBuffer.subarray(1000, 1000 + blob.byteLength))
    receiveBuffer.fill(0)
    const pin = store.pin(key('a'))
    if (pin?.source.via !== 'inline') throw new Error('not inline')
    expect(pin.source.bytes.buffer).not.toBe(receiveBuffer.buffer)
    expect(decodeBlob(pin.source.bytes).value).toEqual({ x: [1, 2, 3] })
    expect(store.totals).toMatchObject({ managed: blob.byteLength, inline: blob.byteLength, memory: 0 })
    pin.release()
    store.free([key('a')])
    expect(store.totals.managed).toBe(0)
    expect((await store.recount()).differences).toEqual([])
  })

  it('counts a freed value until its last reader is done, and shows it to nobody', async () => {
    const { store } = await openStore()
    store.putInlineNow(entryOf('a'), blobOf('a', 1, 1000))
    const pin = store.pin(key('a'))
    store.free([key('a')])
    expect(store.get(key('a'))).toBeUndefined()
    expect(store.pin(key('a'))).toBeUndefined()
    expect(store.totals.inline).toBe(1000)
    pin?.release()
    pin?.release()
    expect(store.totals.inline).toBe(0)
  })

  it('writes a durable value to a segment before it resolves', async () => {
    const { store, fs } = await openStore()
    const value = await store.putInline(entryOf('a'), blobOf('a', 1, 1000), { durable: true })
    expect(value).toMatchObject({ durable: true, tier: 'inline', nbytes: 1000 })
    expect(fs.paths('/shm/w/blobs')).toHaveLength(1)
    expect(store.totals).toMatchObject({ inline: 1000, memory: 64 + 1024, managed: 1000 + 64 + 1024 })
    expect((await store.recount()).differences).toEqual([])
  })

  it('writes to a segment what was only in memory, when it is to last, and keeps it at hand', async () => {
    const { store, fs, recorded } = await openStore()
    store.putInlineNow(entryOf('a', 1, true), blobOf('a', 1, 1000))
    store.putInlineNow(entryOf('b', 1, true), blobOf('b', 1, 1000))
    store.putInlineNow(entryOf('gone', 1, true), blobOf('gone', 1, 1000))
    const persisting = store.persist([key('a'), key('gone'), key('never')])
    store.free([key('gone')])
    await persisting
    expect(recorded.durable).toMatchObject([{ key: 'a', durable: true, tier: 'inline' }])
    expect(store.get(key('b'))).toMatchObject({ durable: false })
    await store.persist([key('a')])
    expect(recorded.durable).toHaveLength(1)
    await store.settled()
    expect((await store.recount()).differences).toEqual([])
    fs.fault = (operation) => (operation === 'write' ? 'ENOSPC' : null)
    await store.persist([key('b')])
    expect(store.get(key('b'))).toMatchObject({ durable: false, tier: 'inline' })
  })

  it('writes many durable values that come together in few writes', async () => {
    const { store, fs } = await openStore()
    let writes = 0
    fs.fault = (operation) => (operation === 'write' && writes++ < 0 ? 'EIO' : null)
    const puts = Array.from({ length: 500 }, (_, i) =>
      store.putInline(entryOf(`k${i}`), blobOf(`k${i}`, 1, 1000), { durable: true }),
    )
    await Promise.all(puts)
    expect(writes).toBeLessThan(20)
    expect((await store.recount()).differences).toEqual([])
  })

  it('puts a durable value on disk when the memory tier is full', async () => {
    const fs = new SimFs({ '/shm': 10 * KiB, '/disk': 100 * MiB })
    const { store } = await openStore({}, fs)
    const value = await store.putInline(entryOf('a'), blobOf('a', 1, 20 * KiB), { durable: true })
    expect(value.durable).toBe(true)
    expect(store.totals.disk).toBe(64 + 20 * KiB)
    fs.setCapacity('/disk', 1000)
    expect(await codeOf(store.putInline(entryOf('b'), blobOf('b', 1, 20 * KiB), { durable: true }))).toBe('STORE_FULL')
    expect(store.get(key('b'))).toBeUndefined()
  })
})

describe('TieredStore: places', () => {
  it('reserves from the grant, counts from the acceptance, and makes the file read-only', async () => {
    const { store, fs } = await openStore()
    const place = await store.requestPlace(1 * MiB)
    expect(place).toMatchObject({ tier: 'memory', nbytes: 1 * MiB })
    expect(store.totals).toMatchObject({ reserved: 1 * MiB, memory: 0, memoryTierFileBytes: 1 * MiB })
    fill(fs, place, 'a')
    const value = await store.accept(place, entryOf('a'))
    expect(value).toMatchObject({ tier: 'memory', durable: true, nbytes: 1 * MiB })
    expect(store.totals).toMatchObject({ reserved: 0, memory: 1 * MiB, memoryTierFileBytes: 1 * MiB })
    const pin = store.pin(key('a'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    expect((await fs.stat(pin.source.path)).mode).toBe(0o400)
    expect(pin.source).toMatchObject({ offset: 0, verify: false, mtimeNs: (await fs.stat(pin.source.path)).mtimeNs })
    expect((await store.recount()).differences).toEqual([])
  })

  it('refuses a file that is shorter than announced, and deletes it', async () => {
    const { store, fs } = await openStore()
    const place = await store.requestPlace(1 * MiB)
    fs.write(place.path, new Uint8Array(1000))
    expect(await codeOf(store.accept(place, entryOf('a')))).toBe('STORE_FULL')
    expect(store.totals.reserved).toBe(0)
    const longer = await store.requestPlace(1000)
    fs.write(longer.path, new Uint8Array(2000))
    expect(await codeOf(store.accept(longer, entryOf('a')))).toBe('BLOB_CORRUPT')
    const missing = await store.requestPlace(1000)
    expect(await codeOf(store.accept(missing, entryOf('a')))).toBe('BLOB_CORRUPT')
    await store.settled()
    expect(fs.paths('/shm/w/tmp')).toEqual([])
    expect((await store.recount()).differences).toEqual([])
  })

  it('unlinks a cancelled place once, and ignores it afterwards', async () => {
    const { store, fs } = await openStore()
    const place = await store.requestPlace(1 * MiB)
    fill(fs, place, 'a')
    store.cancelPlace(place)
    store.cancelPlace(place)
    await store.settled()
    expect(fs.paths('/shm/w/tmp')).toEqual([])
    expect(store.totals.reserved).toBe(0)
    expect(await codeOf(store.accept(place, entryOf('a')))).toBe('STORE_CLOSED')
  })

  it('keeps the newest run: an older one that arrives late is dropped, the same one again is ignored', async () => {
    const fixture = await openStore()
    const { store, fs } = fixture
    await store1(fixture, 'a', 100 * KiB, 5)
    expect(await store1(fixture, 'a', 200 * KiB, 5)).toMatchObject({ runId: 5, nbytes: 100 * KiB })
    expect(await store1(fixture, 'a', 200 * KiB, 4)).toMatchObject({ runId: 5, nbytes: 100 * KiB })
    const pin = store.pin(key('a'))
    expect(await store1(fixture, 'a', 300 * KiB, 6)).toMatchObject({ runId: 6, nbytes: 300 * KiB })
    await store.settled()
    expect(fs.paths('/shm/w/blobs')).toHaveLength(2)
    pin?.release()
    await store.settled()
    expect(fs.paths('/shm/w/blobs')).toHaveLength(1)
    expect((await store.recount()).differences).toEqual([])
  })

  it('drops a value that was freed while it was being accepted', async () => {
    const { store, fs } = await openStore()
    const place = await store.requestPlace(1 * MiB)
    fill(fs, place, 'a')
    const accepting = store.accept(place, entryOf('a'))
    store.free([key('a')])
    expect(await codeOf(accepting)).toBe('TASK_CANCELLED')
    await store.settled()
    expect(fs.paths('/shm/w')).toEqual(['/shm/w/identity.json'])
    expect((await store.recount()).differences).toEqual([])
  })

  it('places a result above target alone on disk', async () => {
    const fixture = await openStore()
    expect((await store1(fixture, 'big', 61 * MiB)).tier).toBe('disk')
    expect((await store1(fixture, 'exact', 60 * MiB)).tier).toBe('memory')
    expect(fixture.store.totals.spilledTotal).toBe(61 * MiB)
  })

  it('makes requests wait while spilling makes room, in order, and lets a small one pass only into spare room', async () => {
    const fixture = await openStore()
    const { store, fs } = fixture
    for (let i = 0; i < 6; i++) await store1(fixture, `k${i}`, 10 * MiB)
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => (open = resolve))
    fs.delay = (operation) => (operation === 'copy' ? gate : undefined)
    const order: string[] = []
    const big = store.requestPlace(25 * MiB).then((place) => order.push(`big ${place.tier}`))
    const small = store.requestPlace(1 * MiB).then((place) => order.push(`small ${place.tier}`))
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(order).toEqual([])
    expect(store.totals.spilling).toBe(30 * MiB)
    open()
    await Promise.all([big, small])
    expect(order).toEqual(['big memory', 'small memory'])
    await store.settled()
    expect((await store.recount()).differences).toEqual([])
  })

  it('honours the wish to avoid a tier whose writer met ENOSPC', async () => {
    const { store } = await openStore()
    expect((await store.requestPlace(1000, { avoid: 'memory' })).tier).toBe('disk')
    expect((await store.requestPlace(1000, { avoid: 'disk' })).tier).toBe('memory')
    expect((await store.requestPlace(70 * MiB, { avoid: 'disk' })).tier).toBe('memory')
  })

  it('refuses all who wait, and voids places, when it is wiped or closed', async () => {
    const fixture = await openStore({ target: 10 * MiB })
    const { store, fs } = fixture
    await store1(fixture, 'a', 9 * MiB)
    fs.delay = (operation) => (operation === 'copy' ? new Promise((resolve) => setTimeout(resolve, 10)) : undefined)
    const waiting = codeOf(store.requestPlace(5 * MiB))
    await store.wipe()
    expect(await waiting).toBe('STORE_CLOSED')
    expect([...store.values()]).toEqual([])
    expect((await store.recount()).differences).toEqual([])
    const place = await store.requestPlace(1000)
    await store.close({ keep: false })
    expect(await codeOf(store.requestPlace(1))).toBe('STORE_CLOSED')
    expect(await codeOf(store.accept(place, entryOf('b')))).toBe('STORE_CLOSED')
    expect(fs.paths('/')).toEqual([])
  })

  it('fills a place chunk by chunk for a fetch', async () => {
    const { store } = await openStore()
    const blob = blobOf('a', 7, 300 * KiB)
    const place = await store.requestPlace(blob.byteLength)
    const writer = await store.openPlace(place)
    for (let at = 0; at < blob.byteLength; at += 100_000) await writer.write(blob.subarray(at, at + 100_000))
    expect(await codeOf(writer.write(new Uint8Array(1)))).toBe('BLOB_CORRUPT')
    await writer.close()
    const value = await store.accept(place, entryOf('a', 7, true))
    expect(value).toMatchObject({ fetched: true, runId: 7 })
    expect(store.pin(key('a'))?.source).toMatchObject({ verify: false })
    expect(await store.check(key('a'))).toBe(true)
    expect(store.pin(key('a'))?.source).toMatchObject({ verify: false })
  })

  it('refuses a fetched file whose header names another value', async () => {
    const { store, fs } = await openStore()
    const place = await store.requestPlace(1000)
    fs.write(place.path, blobOf('other', 7, 1000))
    expect(await codeOf(store.accept(place, entryOf('a', 7, true)))).toBe('BLOB_CORRUPT')
  })
})

describe('TieredStore: readers', () => {
  it('gives bytes of a mapped file back when the mapping is gone, not at the unlink', async () => {
    const fixture = await openStore()
    const { store } = fixture
    await store1(fixture, 'a', 4 * MiB)
    const pin = store.pin(key('a'))
    pin?.release(true)
    store.free([key('a')])
    await store.settled()
    expect(store.totals).toMatchObject({ memory: 4 * MiB, deadMapped: 4 * MiB, memoryTierFileBytes: 4 * MiB })
    expect((await store.recount()).differences).toEqual([])
    pin?.unmapped()
    pin?.unmapped()
    expect(store.totals).toMatchObject({ memory: 0, deadMapped: 0, memoryTierFileBytes: 0 })
    expect((await store.recount()).differences).toEqual([])
  })

  it('asks for a collection when room is wanted and dead mappings hold much of it, at most once a second', async () => {
    const fixture = await openStore({ memoryLimit: 300 * MiB, target: 100 * MiB })
    const { store, recorded, clock } = fixture
    await store1(fixture, 'a', 70 * MiB)
    store.pin(key('a'))?.release(true)
    store.free([key('a')])
    await store.settled()
    expect(recorded.deadMappings).toEqual([])
    await store1(fixture, 'b', 29 * MiB)
    const place = await store.requestPlace(90 * MiB)
    expect(place.tier).toBe('disk')
    await store.makeRoom(0)
    expect(recorded.deadMappings).toEqual([70 * MiB])
    await store.makeRoom(0)
    expect(recorded.deadMappings).toHaveLength(1)
    clock.advance(1000)
    await store.makeRoom(0)
    expect(recorded.deadMappings).toHaveLength(2)
  })

  it('detects altered and truncated files, drops them and says so', async () => {
    const fixture = await openStore()
    const { store, fs, recorded } = fixture
    await store1(fixture, 'a', 5 * MiB)
    await store1(fixture, 'b', 5 * MiB)
    await store1(fixture, 'c', 5 * MiB)
    const pathOf = (name: string): string => {
      const pin = store.pin(key(name))
      if (pin?.source.via !== 'file') throw new Error('not a file')
      pin.release()
      return pin.source.path
    }
    const altered = fs.contents(pathOf('a'))
    altered[4 * MiB + 123] = (altered[4 * MiB + 123] as number) ^ 1
    fs.truncate(pathOf('b'), 4 * MiB)
    expect(await store.check(key('a'))).toBe(false)
    expect(await store.check(key('b'))).toBe(false)
    expect(await store.check(key('c'))).toBe(true)
    expect(await store.check(key('nobody'))).toBe(false)
    expect(recorded.lost.map(({ value }) => value.key)).toEqual(['a', 'b'])
    expect(recorded.lost[0]?.reason).toMatch(/checksum/)
    expect(recorded.lost[1]?.reason).toMatch(/bytes instead of/)
    await store.settled()
    expect((await store.recount()).differences).toEqual([])
  })
})

describe('TieredStore: hand-over by hard link', () => {
  it('has the readers of a borrowed file check it, unless it is as its owner knew it to be whole', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB })
    const owner = await openStore({ localDirectory: '/disk/a', memoryDirectory: '/shm/a' }, fs)
    const borrower = await openStore({ localDirectory: '/disk/b', memoryDirectory: '/shm/b' }, fs)
    const verifies = async (name: string, mtimeOf: (known: string) => string | undefined): Promise<boolean> => {
      await store1(owner, name, 8 * MiB)
      const pin = owner.store.pin(key(name))
      if (pin?.source.via !== 'file') throw new Error('not a file')
      const { path, mtimeNs } = pin.source
      const known = mtimeOf(mtimeNs as string)
      const entry = known === undefined ? entryOf(name) : { ...entryOf(name), mtimeNs: known }
      await borrower.store.link(path, 8 * MiB, entry)
      pin.release()
      const borrowed = borrower.store.pin(key(name))
      if (borrowed?.source.via !== 'file') throw new Error('not a file')
      const { verify } = borrowed.source
      borrowed.release()
      return verify
    }
    expect(await verifies('whole', (known) => known)).toBe(false)
    expect(await verifies('written to since', (known) => `${BigInt(known) - 1n}`)).toBe(true)
    expect(await verifies('not known', () => undefined)).toBe(true)
  })

  it('borrows a blob of another worker of the host, counts it in full and drops it first', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB })
    const owner = await openStore({ localDirectory: '/disk/a', memoryDirectory: '/shm/a' }, fs)
    const borrower = await openStore({ localDirectory: '/disk/b', memoryDirectory: '/shm/b', target: 20 * MiB }, fs)
    await store1(owner, 'x', 8 * MiB)
    const pin = owner.store.pin(key('x'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    const value = await borrower.store.link(pin.source.path, 8 * MiB, entryOf('x'))
    pin.release()
    expect(value).toMatchObject({ borrowed: true, fetched: true, durable: true, tier: 'memory' })
    expect(fs.used('/shm')).toBeGreaterThan(8 * MiB - 1)
    expect(fs.used('/shm')).toBeLessThan(9 * MiB)
    expect(borrower.store.totals.memory).toBe(8 * MiB)
    borrower.store.pin(key('x'))?.release()
    await store1(borrower, 'own1', 8 * MiB)
    await store1(borrower, 'own2', 8 * MiB)
    await borrower.store.settled()
    expect(borrower.recorded.evicted.map((it) => it.key)).toEqual(['x'])
    expect(borrower.store.totals.disk).toBe(0)
    expect((await borrower.store.recount()).differences).toEqual([])
    expect((await owner.store.recount()).differences).toEqual([])
  })

  it('S10 does not drop a borrowed blob that is to be kept: it is spilled like its own, also when that was said in the last moment', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB })
    const owner = await openStore({ localDirectory: '/disk/a', memoryDirectory: '/shm/a' }, fs)
    const borrower = await openStore({ localDirectory: '/disk/b', memoryDirectory: '/shm/b', target: 20 * MiB }, fs)
    for (const name of ['x', 'y']) {
      await store1(owner, name, 8 * MiB)
      const pin = owner.store.pin(key(name))
      if (pin?.source.via !== 'file') throw new Error('not a file')
      await borrower.store.link(pin.source.path, 8 * MiB, entryOf(name))
      pin.release()
      borrower.store.pin(key(name))?.release()
    }
    expect(borrower.store.keepReplicas([key('x'), key('gone')])).toEqual([{ key: 'x', runId: 1 }])
    const storing = store1(borrower, 'own1', 8 * MiB)
    // Dropping begins with a look at the file.
    borrower.store.keepReplicas([key('y')])
    await storing
    await borrower.store.settled()
    expect(borrower.recorded.evicted).toEqual([])
    expect(borrower.store.get(key('x'))).toMatchObject({ fetched: false, tier: 'disk' })
    expect(borrower.store.get(key('y'))).toMatchObject({ fetched: false })
    expect((await borrower.store.recount()).differences).toEqual([])
    expect((await owner.store.recount()).differences).toEqual([])
  })

  it('owns a borrowed blob whose owner let it go, and spills it like its own', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB })
    const owner = await openStore({ localDirectory: '/disk/a', memoryDirectory: '/shm/a' }, fs)
    const borrower = await openStore({ localDirectory: '/disk/b', memoryDirectory: '/shm/b', target: 20 * MiB }, fs)
    await store1(owner, 'x', 8 * MiB)
    const pin = owner.store.pin(key('x'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    await borrower.store.link(pin.source.path, 8 * MiB, entryOf('x'))
    pin.release()
    owner.store.free([key('x')])
    await owner.store.settled()
    borrower.store.pin(key('x'))?.release()
    await store1(borrower, 'own1', 8 * MiB)
    await store1(borrower, 'own2', 8 * MiB)
    await borrower.store.settled()
    expect(borrower.recorded.evicted).toEqual([])
    expect(borrower.store.get(key('x'))).toMatchObject({ borrowed: false, tier: 'disk' })
  })

  it('waits for room in memory before it links, but not for room that nobody makes', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB })
    const owner = await openStore({ localDirectory: '/disk/a', memoryDirectory: '/shm/a' }, fs)
    const borrower = await openStore({ localDirectory: '/disk/b', memoryDirectory: '/shm/b', target: 20 * MiB }, fs)
    for (const name of ['x', 'y']) await store1(owner, name, 8 * MiB)
    const path = (name: string): string => {
      const source = owner.store.pin(key(name))?.source
      return source?.via === 'file' ? source.path : ''
    }
    for (const name of ['own1', 'own2']) await store1(borrower, name, 8 * MiB)
    await borrower.store.link(path('x'), 8 * MiB, entryOf('x'))
    // One of its own was spilled first.
    expect(borrower.store.totals).toMatchObject({ memory: 16 * MiB, disk: 8 * MiB, reserved: 0 })
    for (const name of ['own1', 'own2', 'x']) borrower.store.pin(key(name))
    const last = [...borrower.store.values()].filter(({ tier }) => tier === 'memory')
    expect(last.map((value) => value.key)).toContain('x')
    // All of memory is in use: nothing would ever leave.
    await borrower.store.link(path('y'), 8 * MiB, entryOf('y'))
    expect(borrower.store.totals).toMatchObject({ memory: 24 * MiB, reserved: 0 })
    await borrower.store.settled()
    expect((await borrower.store.recount()).differences).toEqual([])
  })

  it('reports what keeps it from linking, and links nothing that is not what was announced', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB, '/other': 500 * MiB })
    const { store } = await openStore({}, fs)
    await fs.makeDirectory('/other/d')
    fs.write('/other/d/f', blobOf('x', 1, 1000))
    expect(await codeOf(store.link('/other/d/f', 1000, entryOf('x')))).toBe('EXDEV')
    expect(await codeOf(store.link('/shm/w/none', 1000, entryOf('x')))).toBe('ENOENT')
    fs.write('/shm/w/blobs/0-0', blobOf('x', 1, 1000))
    expect(await codeOf(store.link('/shm/w/blobs/0-0', 999, entryOf('x')))).toBe('BLOB_CORRUPT')
    expect(await codeOf(store.link('/shm/w/blobs/0-0', 1000, entryOf('y')))).toBe('BLOB_CORRUPT')
    expect(await codeOf(store.link('/shm/w/blobs/0-0', 1000, entryOf('x', 2)))).toBe('BLOB_CORRUPT')
    expect(fs.paths('/shm/w/blobs')).toEqual(['/shm/w/blobs/0-0'])
  })

  it('links a blob that its owner spilled into its own disk tier', async () => {
    const fs = new SimFs({ '/shm': 500 * MiB, '/disk': 500 * MiB })
    const owner = await openStore({ localDirectory: '/disk/a', memoryDirectory: '/shm/a', target: 1 * MiB }, fs)
    const borrower = await openStore({ localDirectory: '/disk/b', memoryDirectory: '/shm/b' }, fs)
    await store1(owner, 'x', 8 * MiB)
    const pin = owner.store.pin(key('x'))
    if (pin?.source.via !== 'file') throw new Error('not a file')
    const value = await borrower.store.link(pin.source.path, 8 * MiB, entryOf('x'))
    expect(value).toMatchObject({ borrowed: true, tier: 'disk' })
    expect((await borrower.store.recount()).differences).toEqual([])
  })
})

describe('TieredStore: errors', () => {
  it('refuses a place of no sensible size', async () => {
    const { store } = await openStore()
    expect(await codeOf(store.requestPlace(-1))).toBe('INVALID_ARGUMENT')
    expect(await codeOf(store.requestPlace(Number.NaN))).toBe('INVALID_ARGUMENT')
    const error: unknown = await store.requestPlace(-1).catch((thrown: unknown) => thrown)
    expect(isErrorCode(error, 'INVALID_ARGUMENT')).toBe(true)
    expect(runId(1)).toBe(1)
  })
})
