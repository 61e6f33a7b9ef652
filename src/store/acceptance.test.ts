// Spilling on insert, as docs/memory.md promises it: a limit of 100, `target` at 60, values of 20.

import { describe, expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { blobOf, type Fixture, MiB, openStore, store1 } from './fixture.conformance.ts'

const key = taskKey
const tiers = ({ store }: Fixture, ...names: string[]): string[] =>
  names.map((name) => store.get(key(name))?.tier ?? 'none')

async function three(): Promise<Fixture> {
  const fixture = await openStore({ memoryLimit: 100 * MiB, target: 60 * MiB })
  for (const name of ['a', 'b', 'c']) await store1(fixture, name, 20 * MiB)
  await fixture.store.settled()
  return fixture
}

describe('target', () => {
  it('acceptance 2: is not exceeded by what adds up to it; the next value sends the least recently used one to disk', async () => {
    const fixture = await three()
    expect(tiers(fixture, 'a', 'b', 'c')).toEqual(['memory', 'memory', 'memory'])
    await store1(fixture, 'd', 20 * MiB)
    await fixture.store.settled()
    expect(tiers(fixture, 'a', 'b', 'c', 'd')).toEqual(['disk', 'memory', 'memory', 'memory'])
    expect(fixture.fs.paths('/disk/w/disk/blobs')).toHaveLength(1)
    for (const name of ['a', 'b', 'c', 'd']) {
      const pin = fixture.store.pin(key(name))
      if (pin?.source.via !== 'file') throw new Error('not a file')
      expect(Buffer.compare(fixture.fs.contents(pin.source.path), blobOf(name, 1, 20 * MiB))).toBe(0)
      pin.release()
    }
    expect((await fixture.store.recount()).differences).toEqual([])
  })

  it('acceptance 4: spares what was used since', async () => {
    const fixture = await three()
    fixture.store.touch(key('a'))
    await store1(fixture, 'd', 20 * MiB)
    await fixture.store.settled()
    expect(tiers(fixture, 'a', 'b', 'c', 'd')).toEqual(['memory', 'disk', 'memory', 'memory'])
  })

  it('acceptance 5: sends a value above it straight to disk, past the others; one of exactly its size stays in memory', async () => {
    const fixture = await three()
    expect((await store1(fixture, 'heavy', 61 * MiB)).tier).toBe('disk')
    await fixture.store.settled()
    expect(tiers(fixture, 'a', 'b', 'c', 'heavy')).toEqual(['memory', 'memory', 'memory', 'disk'])
    const empty = await openStore({ memoryLimit: 100 * MiB, target: 60 * MiB })
    expect((await store1(empty, 'exact', 60 * MiB)).tier).toBe('memory')
    await empty.store.settled()
    expect(tiers(empty, 'exact')).toEqual(['memory'])
  })

  it('acceptance 6: that is off spills nothing on insert; only the order of the monitor does', async () => {
    const fixture = await openStore({ memoryLimit: 100 * MiB, target: Infinity })
    for (const name of ['a', 'b', 'c', 'd']) await store1(fixture, name, 20 * MiB)
    await fixture.store.settled()
    expect(tiers(fixture, 'a', 'b', 'c', 'd')).toEqual(['memory', 'memory', 'memory', 'memory'])
    await fixture.store.makeRoom(50 * MiB)
    expect(tiers(fixture, 'a', 'b', 'c', 'd')).toEqual(['disk', 'disk', 'memory', 'memory'])
  })
})
