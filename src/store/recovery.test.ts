import { describe, expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { blobOf, entryOf, KiB, MiB, openStore, store1 } from './fixture.conformance.ts'
import { SimFs } from './sim-fs.ts'

const key = taskKey
const disks = (): SimFs => new SimFs({ '/shm': 1024 * MiB, '/disk': 1024 * MiB })
const names = (values: readonly { key: string }[]): string[] => values.map((value) => value.key).sort()

describe('adoption', () => {
  it('takes over what a killed process left, in all three places, and nothing else', async () => {
    const fs = disks()
    const before = await openStore({ target: 20 * MiB }, fs)
    await store1(before, 'on-disk', 10 * MiB)
    await store1(before, 'in-memory', 10 * MiB)
    await before.store.putInline(entryOf('scattered'), blobOf('scattered', 1, 2000), { durable: true })
    before.store.putInlineNow(entryOf('inline-only'), blobOf('inline-only', 1, 2000))
    await store1(before, 'newest', 10 * MiB, 3)
    await before.store.settled()
    const unfinished = await before.store.requestPlace(5000)
    fs.write(unfinished.path, new Uint8Array(3000))

    const after = await openStore({ incarnation: 2 }, fs)
    expect(names(after.adopted)).toEqual(['in-memory', 'newest', 'on-disk', 'scattered'])
    expect(after.store.identity).toEqual({ clusterId: 'cluster-1', generation: 1 })
    expect(after.store.get(key('on-disk'))).toMatchObject({
      tier: 'disk',
      nbytes: 10 * MiB,
      durable: true,
      type: 'Test',
    })
    expect(after.store.get(key('newest'))).toMatchObject({ runId: 3 })
    expect(after.store.pin(key('newest'))?.source).toMatchObject({ verify: true })
    for (const { key: name } of after.adopted) expect(await after.store.check(name)).toBe(true)
    expect(after.store.pin(key('newest'))?.source).toMatchObject({ verify: false })
    expect(fs.paths('/shm/w/tmp')).toEqual([])
    expect((await after.store.recount()).differences).toEqual([])
  })

  it('drops torn, foreign and unknown files', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    for (const name of ['whole', 'torn', 'no-header']) await store1(before, name, 1 * MiB)
    const [, torn, noHeader] = fs
      .paths('/shm/w/blobs')
      .sort((a, b) => Number(a.split('-')[1]) - Number(b.split('-')[1]))
    fs.truncate(torn as string, 1 * MiB - 1)
    fs.truncate(noHeader as string, 7)
    const foreign = 'a'.repeat(24)
    fs.write(`/shm/w/blobs/${foreign}-100`, blobOf('other-cluster', 1, 1000, 1, 'cluster-2'))
    fs.write(`/disk/w/disk/blobs/${foreign}-101`, blobOf('other-generation', 1, 1000, 2))
    fs.write('/disk/w/disk/blobs/what-is-this', new Uint8Array(10))
    const after = await openStore({ incarnation: 2 }, fs)
    expect(names(after.adopted)).toEqual(['whole'])
    expect(fs.paths('/shm/w/blobs')).toHaveLength(1)
    expect(fs.paths('/disk/w/disk/blobs')).toEqual([])
    await store1(after, 'new', 1 * MiB)
    expect((await after.store.recount()).differences).toEqual([])
  })

  it('finds altered bytes when an adopted blob is checked', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    await store1(before, 'a', 1 * MiB)
    fs.contents(fs.paths('/shm/w/blobs')[0] as string)[500_000] = 99
    const after = await openStore({ incarnation: 2 }, fs)
    expect(names(after.adopted)).toEqual(['a'])
    expect(await after.store.check(key('a'))).toBe(false)
    expect(after.recorded.lost).toHaveLength(1)
  })

  it('reads a segment up to where a write was torn, and skips a damaged blob', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    for (let i = 0; i < 10; i++) {
      await before.store.putInline(entryOf(`k${i}`), blobOf(`k${i}`, 1, 1000), { durable: true })
    }
    const [segment] = fs.paths('/shm/w/blobs') as [string]
    fs.contents(segment)[64 + 3 * 1024 + 900] = 99
    fs.truncate(segment, 64 + 9 * 1024 + 500)
    const after = await openStore({ incarnation: 2 }, fs)
    expect(names(after.adopted)).toEqual(['k0', 'k1', 'k2', 'k4', 'k5', 'k6', 'k7', 'k8'])
    expect((await after.store.recount()).differences).toEqual([])
    for (const { key: name } of after.adopted) expect(await after.store.check(name)).toBe(true)
  })

  it('keeps the newer run of a key, and one copy of a blob that was caught moving', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    await store1(before, 'a', 1 * MiB, 5)
    const name = (fs.paths('/shm/w/blobs')[0] as string).split('/').at(-1) as string
    const hash = name.split('-')[0] as string
    fs.write(`/disk/w/disk/blobs/${hash}-1`, blobOf('a', 5, 1 * MiB))
    fs.write(`/disk/w/disk/blobs/${hash}-2`, blobOf('a', 4, 2 * MiB))
    const after = await openStore({ incarnation: 2 }, fs)
    await after.store.settled()
    expect(after.adopted).toMatchObject([{ key: 'a', runId: 5, tier: 'memory' }])
    expect(fs.paths('/disk/w/disk/blobs')).toEqual([])
    expect((await after.store.recount()).differences).toEqual([])
  })

  it('deletes unread what belongs to another boot', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    await store1(before, 'a', 1 * MiB)
    const reads: string[] = []
    fs.fault = (operation, path) => (operation === 'read' && reads.push(path) < 0 ? 'EIO' : null)
    const after = await openStore({ incarnation: 2, bootId: 'boot-2' }, fs)
    expect(after.adopted).toEqual([])
    expect(reads.filter((path) => path.includes('/blobs/'))).toEqual([])
    expect(fs.paths('/shm/w/blobs')).toEqual([])
  })

  it('wipes what belongs to another cluster or generation before it takes the new identity', async () => {
    for (const [clusterId, generation] of [
      ['cluster-2', 1],
      ['cluster-1', 2],
    ] as const) {
      const fs = disks()
      const before = await openStore({}, fs)
      await store1(before, 'a', 1 * MiB)
      before.store.putInlineNow(entryOf('b'), blobOf('b', 1, 1000))
      await before.store.setIdentity('cluster-1', 1)
      expect([...before.store.values()]).toHaveLength(2)
      await before.store.setIdentity(clusterId, generation)
      expect([...before.store.values()]).toEqual([])
      expect(fs.paths('/shm/w/blobs')).toEqual([])
      expect(before.store.identity).toEqual({ clusterId, generation })
      const after = await openStore({ incarnation: 2 }, fs)
      expect(after.store.identity).toEqual({ clusterId, generation })
    }
  })

  it('remembers what was fetched and what was borrowed, and owns a borrowed file with one name left', async () => {
    const fs = disks()
    const owner = await openStore({ localDirectory: '/disk/o', memoryDirectory: '/shm/o' }, fs)
    const before = await openStore({}, fs)
    await store1(before, 'fetched', 1 * MiB, 1, true)
    for (const name of ['kept', 'freed']) {
      await store1(owner, name, 1 * MiB)
      const pin = owner.store.pin(key(name))
      if (pin?.source.via !== 'file') throw new Error('not a file')
      await before.store.link(pin.source.path, 1 * MiB, entryOf(name))
      pin.release()
    }
    owner.store.free([key('freed')])
    await owner.store.settled()
    const after = await openStore({ incarnation: 2 }, fs)
    expect(after.store.get(key('fetched'))).toMatchObject({ fetched: true, borrowed: false })
    expect(after.store.get(key('kept'))).toMatchObject({ fetched: true, borrowed: true })
    expect(after.store.get(key('freed'))).toMatchObject({ fetched: false, borrowed: false })
  })

  it('serves at once and spills first when it adopts more than its target', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    for (let i = 0; i < 5; i++) await store1(before, `k${i}`, 10 * MiB)
    const after = await openStore({ incarnation: 2, target: 20 * MiB }, fs)
    expect(after.adopted).toHaveLength(5)
    expect(after.store.pin(key('k4'))).toBeDefined()
    await after.store.settled()
    expect(after.store.totals.managed).toBeLessThanOrEqual(20 * MiB)
    expect(after.store.get(key('k0'))?.tier).toBe('disk')
  })

  it('compacts adopted segments that are mostly dead', async () => {
    const fs = disks()
    const before = await openStore({}, fs)
    const count = 100
    for (let i = 0; i < count; i++) {
      await before.store.putInline(entryOf(`k${i}`, i + 1), blobOf(`k${i}`, i + 1, 20 * KiB), { durable: true })
      if (i % 4 !== 0) before.store.free([key(`k${i - 1}`)])
    }
    await before.store.close({ keep: true })
    const after = await openStore({ incarnation: 2 }, fs)
    await after.store.settled()
    expect((await after.store.recount()).differences).toEqual([])
    after.store.free(after.adopted.map((value) => value.key))
    await after.store.settled()
    expect(after.store.totals.memory).toBe(0)
  })
})
