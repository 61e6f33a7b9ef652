// Files of fetched values that are written to again (spare-files.ts), over the simulated file system.

import { describe, expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { blobOf, entryOf, fetchValue, type Fixture, MiB, openStore, store1 } from './fixture.conformance.ts'
import type { StoreOptions } from './store.ts'

const OPTIONS: Partial<StoreOptions> = { memoryLimit: 400 * MiB, target: 192 * MiB }
/** A sixteenth of `target`. */
const KEPT_BYTES = 12 * MiB

async function free({ store }: Fixture, ...names: string[]): Promise<void> {
  store.free(names.map(taskKey))
  await store.settled()
}

/** What happens to files, by operation. */
function watchFiles(fixture: Fixture): Record<string, number> {
  const counts: Record<string, number> = { create: 0, reopen: 0, unlink: 0 }
  fixture.fs.delay = (operation) => {
    if (operation in counts) counts[operation] = (counts[operation] as number) + 1
  }
  return counts
}

function contentOf({ store, fs }: Fixture, name: string): Uint8Array {
  const pin = store.pin(taskKey(name))
  if (pin?.source.via !== 'file') throw new Error(`${name} is in no file`)
  pin.release()
  return fs.contents(pin.source.path)
}

async function expectCounted({ store }: Fixture): Promise<void> {
  await store.settled()
  expect((await store.recount()).differences).toEqual([])
}

describe('spare files', () => {
  it.each([
    ['of the same size', 8 * MiB],
    ['of a smaller one', 6 * MiB],
    ['of a larger one', 11 * MiB],
  ])('take the next fetched value, %s', async (_, nbytes) => {
    const fixture = await openStore(OPTIONS)
    const { store, fs } = fixture
    await fetchValue(fixture, 'first', 8 * MiB)
    await free(fixture, 'first')
    expect(store.totals).toMatchObject({ spare: 8 * MiB, memory: 8 * MiB, memoryTierFileBytes: 8 * MiB })
    await expectCounted(fixture)
    const counts = watchFiles(fixture)
    await fetchValue(fixture, 'second', nbytes)
    expect(counts).toEqual({ create: 0, reopen: 1, unlink: 0 })
    expect(store.totals).toMatchObject({ spare: 0, memory: nbytes, reserved: 0 })
    expect(Buffer.compare(contentOf(fixture, 'second'), blobOf('second', 1, nbytes))).toBe(0)
    expect((await fs.stat(fs.paths('/shm/w/blobs')[0] as string)).mode).toBe(0o400)
    expect(await store.check(taskKey('second'))).toBe(true)
    await expectCounted(fixture)
  })

  it('show a value that did not come whole', async () => {
    const fixture = await openStore(OPTIONS)
    const { store, fs } = fixture
    await fetchValue(fixture, 'first', 8 * MiB)
    await free(fixture, 'first')
    const place = await store.requestPlace(8 * MiB)
    const writer = await store.openPlace(place)
    await writer.write(blobOf('cut', 1, 8 * MiB).subarray(0, MiB))
    await writer.close()
    await expect(store.accept(place, entryOf('cut', 1, true))).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect(fs.used('/shm')).toBeLessThan(MiB)
    await expectCounted(fixture)
  })

  it('are never made of what this process did not write alone, or of what somebody outside was told of', async () => {
    const fixture = await openStore(OPTIONS)
    const { store } = fixture
    await store1(fixture, 'own', 8 * MiB)
    await fetchValue(fixture, 'served', 8 * MiB)
    store.pin(taskKey('served'), 'peer')?.release()
    await fetchValue(fixture, 'small', 3 * MiB)
    await free(fixture, 'own', 'served', 'small')
    expect(store.totals).toMatchObject({ spare: 0, memory: 0 })
    expect(fixture.fs.used('/shm')).toBeLessThan(MiB)
  })

  it('wait for the last mapping, and ask for a collection when it is worth one', async () => {
    const fixture = await openStore({ ...OPTIONS, memoryLimit: 4096 * MiB, target: 2048 * MiB })
    const { store, recorded } = fixture
    await fetchValue(fixture, 'mapped', 64 * MiB)
    const pin = store.pin(taskKey('mapped'))
    pin?.release(true)
    await free(fixture, 'mapped')
    expect(recorded.deadMappings).toEqual([64 * MiB])
    expect(store.totals).toMatchObject({ spare: 0, deadMapped: 64 * MiB, memory: 64 * MiB })
    await expectCounted(fixture)
    const counts = watchFiles(fixture)
    await fetchValue(fixture, 'meanwhile', 8 * MiB)
    expect(counts).toMatchObject({ create: 1, reopen: 0 })
    pin?.unmapped()
    expect(store.totals).toMatchObject({ spare: 64 * MiB, deadMapped: 0 })
    await expectCounted(fixture)
  })

  it('are kept up to a bound, the newest of them, and not for long', async () => {
    const fixture = await openStore(OPTIONS)
    const { store, clock, fs } = fixture
    for (const name of ['a', 'b', 'c']) await fetchValue(fixture, name, 5 * MiB)
    await free(fixture, 'a', 'b', 'c')
    expect(store.totals.spare).toBeLessThanOrEqual(KEPT_BYTES)
    expect(store.totals.spare).toBe(10 * MiB)
    await fetchValue(fixture, 'too-large-to-keep', 13 * MiB)
    await free(fixture, 'too-large-to-keep')
    expect(store.totals.spare).toBe(5 * MiB)
    clock.advance(10_000)
    await store.settled()
    expect(store.totals).toMatchObject({ spare: 0, memory: 0 })
    expect(fs.used('/shm')).toBeLessThan(MiB)
    await expectCounted(fixture)
  })

  it('are the first to go when room is wanted', async () => {
    const fixture = await openStore(OPTIONS)
    const { store, recorded } = fixture
    await fetchValue(fixture, 'gone', 8 * MiB)
    await free(fixture, 'gone')
    for (let n = 0; n < 3; n++) await store1(fixture, `kept-${n}`, 60 * MiB)
    expect(store.totals.spare).toBe(8 * MiB)
    await store1(fixture, 'last', 10 * MiB)
    await store.settled()
    expect(store.totals).toMatchObject({ spare: 0, spilledTotal: 0, memory: 190 * MiB })
    expect(recorded.evicted).toEqual([])
    await fetchValue(fixture, 'more', 2 * MiB)
    await expectCounted(fixture)
  })

  it('go when the file system is full, also without a limit', async () => {
    const fixture = await openStore({ memoryLimit: 0 })
    const { store, fs } = fixture
    await fetchValue(fixture, 'gone', 8 * MiB)
    await free(fixture, 'gone')
    fs.setCapacity('/shm', fs.used('/shm') + MiB)
    fixture.clock.advance(300)
    const place = await store.requestPlace(6 * MiB)
    await store.settled()
    expect(place.tier === 'disk' || store.totals.spare === 0).toBe(true)
    store.cancelPlace(place)
    await expectCounted(fixture)
  })

  it('leave nothing behind: a file that cannot be opened again, a cancelled place, a wiped and a closed store', async () => {
    const fixture = await openStore(OPTIONS)
    const { store, fs } = fixture
    await fetchValue(fixture, 'a', 8 * MiB)
    await free(fixture, 'a')
    fs.fault = (operation) => (operation === 'reopen' ? 'EACCES' : null)
    await fetchValue(fixture, 'b', 8 * MiB)
    expect(Buffer.compare(contentOf(fixture, 'b'), blobOf('b', 1, 8 * MiB))).toBe(0)
    fs.fault = () => null
    await free(fixture, 'b')
    const place = await store.requestPlace(8 * MiB)
    const writer = await store.openPlace(place)
    await writer.write(new Uint8Array(MiB))
    await writer.close()
    store.cancelPlace(place)
    await store.settled()
    expect(fs.used('/shm')).toBeLessThan(MiB)
    await expectCounted(fixture)
    await fetchValue(fixture, 'c', 8 * MiB)
    await store.wipe()
    expect(store.totals).toMatchObject({ spare: 0, memory: 0 })
    await expectCounted(fixture)
    await fetchValue(fixture, 'd', 8 * MiB)
    await free(fixture, 'd')
    await store.close({ keep: true })
    expect(fs.used('/shm')).toBeLessThan(MiB)
  })
})
