import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runId, taskKey } from '../base/ids.ts'
import { decodeBlob } from '../values/decode.ts'
import { encodeValue } from '../values/encode.ts'
import { blobToBytes } from '../values/blob.ts'
import { checkContainer, type DataContainer } from './container.ts'
import { ContainerStore } from './container-store.ts'
import type { StoredValue, StoreEvents } from './store.ts'

let directory: string
let lost: [string, string][]
let heard: () => void
let failures: string[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plimsoll-container-'))
  lost = []
  failures = []
})

afterEach(() => rmSync(directory, { recursive: true }))

const blobOf = (key: string, value: unknown, run = 1): Uint8Array =>
  blobToBytes({ clusterId: 'c', generation: 1, key, runId: runId(run) }, encodeValue(value))

async function storeWith(container: DataContainer, options: { target?: number } = {}): Promise<ContainerStore> {
  const events: StoreEvents = {
    onDurable: () => {},
    onEvicted: () => {},
    onLost: (value: StoredValue, reason) => {
      lost.push([value.key, reason])
      heard?.()
    },
    onSpillFailing: () => {},
    onDeadMappings: () => {},
  }
  const store = new ContainerStore(
    {
      localDirectory: directory,
      memoryDirectory: null,
      incarnation: 1,
      memoryLimit: 10_000,
      target: options.target ?? Infinity,
      inlineLimit: 3000,
      threadPool: 4,
      open: async () => checkContainer(container),
      onContainerError: (error, what) => failures.push(`${what}: ${error.message}`),
    },
    events,
  )
  await store.open()
  await store.setIdentity('c', 1)
  return store
}

const entry = (key: string, run = 1) => ({ key: taskKey(key), runId: runId(run), type: 'string' })

function read(store: ContainerStore, key: string): unknown {
  const pin = store.pin(taskKey(key))
  const source = pin?.source
  const bytes = source?.via === 'file' ? readFileSync(source.path) : source?.bytes
  const value = bytes === undefined ? undefined : decodeBlob(bytes).value
  pin?.release()
  return value
}

async function write(store: ContainerStore, key: string, value: unknown, run = 1): Promise<StoredValue> {
  const blob = blobOf(key, value, run)
  const place = await store.requestPlace(blob.length)
  writeFileSync(place.path, blob)
  return store.accept(place, entry(key, run))
}

describe('a store in a Map', () => {
  it('keeps small and large values there, under their keys, and nothing else', async () => {
    const map = new Map<string, Uint8Array>()
    const store = await storeWith(map)
    expect(store.putInlineNow(entry('small'), blobOf('small', 'a'))).toMatchObject({ durable: false, tier: 'inline' })
    await write(store, 'large', 'b'.repeat(5000))
    await store.putInline(entry('scattered'), blobOf('scattered', 'c'))
    expect([...map.keys()].toSorted()).toEqual(['large', 'scattered', 'small'])
    expect([read(store, 'small'), read(store, 'large'), read(store, 'scattered')]).toEqual(['a', 'b'.repeat(5000), 'c'])
    const sizes = [...map.values()].reduce((sum, blob) => sum + blob.length, 0)
    expect(store.totals).toMatchObject({ managed: sizes, disk: 0, reservedDisk: 0 })
    expect(readdirSync(join(directory, 'scratch-1'))).toEqual([])
    store.free([taskKey('large'), taskKey('small')])
    expect([...map.keys()]).toEqual(['scattered'])
    await store.setIdentity('c', 2)
    expect(map.size).toBe(0)
    expect(store.totals.managed).toBe(0)
  })

  it('gives a large value to its readers as one file, until the last of them and the last mapping are gone', async () => {
    const store = await storeWith(new Map())
    await write(store, 'large', 'b'.repeat(5000))
    const scratch = (): string[] => readdirSync(join(directory, 'scratch-1'))
    const [one, two] = [store.pin(taskKey('large')), store.pin(taskKey('large'))]
    expect(one?.source).toEqual(two?.source)
    expect(scratch()).toHaveLength(1)
    store.free([taskKey('large')])
    one?.release()
    one?.release()
    two?.release(true)
    expect(scratch()).toHaveLength(1)
    two?.unmapped()
    expect(scratch()).toEqual([])
  })

  it('keeps the newest run of a key, and nothing of one that was freed on its way', async () => {
    const map = new Map<string, Uint8Array>()
    const store = await storeWith(map)
    await write(store, 'x', 'new', 2)
    expect(await write(store, 'x', 'old', 1)).toMatchObject({ runId: 2 })
    expect(read(store, 'x')).toBe('new')
    const arriving = write(store, 'y', 'gone')
    const freed = arriving.catch((error: unknown) => error)
    await new Promise((resolve) => setImmediate(resolve))
    store.free([taskKey('y')])
    expect(await freed).toMatchObject({ code: 'TASK_CANCELLED' })
    expect([...map.keys()]).toEqual(['x'])
  })

  it('calls a value lost that the container does not give back whole', async () => {
    const map = new Map<string, Uint8Array>()
    const store = await storeWith(map)
    store.putInlineNow(entry('x'), blobOf('x', 'a'))
    store.putInlineNow(entry('y'), blobOf('y', 'a'))
    store.putInlineNow(entry('z'), blobOf('z', 'a'))
    map.delete('x')
    ;(map.get('y') as Uint8Array).fill(0, 100)
    map.get('z')?.fill(255, -1)
    expect(store.pin(taskKey('x'))).toBeUndefined()
    expect(await store.check(taskKey('z'))).toBe(false)
    await new Promise<void>((resolve) => {
      heard = () => lost.length >= 2 && resolve()
      heard()
    })
    expect(lost.map(([key]) => key)).toEqual(['x', 'z'])
    expect(lost[0]?.[1]).toMatch(/gave undefined/)
  })

  it('grants places one after the other when they would take too much room', async () => {
    const store = await storeWith(new Map())
    const first = await store.requestPlace(900)
    const second = store.requestPlace(900)
    const third = store.requestPlace(50)
    let granted = false
    void second.then(() => (granted = true))
    await new Promise((resolve) => setImmediate(resolve))
    expect(granted).toBe(false)
    store.cancelPlace(first)
    await second
    await third
    await expect(store.requestPlace(2 ** 31)).rejects.toMatchObject({ code: 'STORE_FULL' })
  })
})

describe('a container that takes its time, or fails', () => {
  it('serves a value from the start, and keeps the order of what it is asked', async () => {
    const map = new Map<string, Uint8Array>()
    const steps: (() => void)[] = []
    const later = (work: () => void): Promise<void> =>
      new Promise((resolve) =>
        steps.push(() => {
          work()
          resolve()
        }),
      )
    const slow: DataContainer = {
      get size() {
        return map.size
      },
      get: (key) => map.get(key),
      has: (key) => map.has(key),
      set: (key, blob) => later(() => map.set(key, blob)),
      delete: (key) => later(() => map.delete(key)),
    }
    const store = await storeWith(slow)
    store.putInlineNow(entry('x', 1), blobOf('x', 'one', 1))
    expect(read(store, 'x')).toBe('one')
    store.putInlineNow(entry('x', 2), blobOf('x', 'two', 2))
    store.free([taskKey('x')])
    store.putInlineNow(entry('x', 3), blobOf('x', 'three', 3))
    expect(read(store, 'x')).toBe('three')
    for (let turn = 0; turn < 20; turn++) {
      steps.shift()?.()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(read(store, 'x')).toBe('three')
    expect(map.size).toBe(1)
  })

  it('fails what it does not take, and only that', async () => {
    const map = new Map<string, Uint8Array>()
    const picky: DataContainer = {
      get size() {
        return map.size
      },
      get: (key) => map.get(key),
      has: (key) => map.has(key),
      set: (key, blob) => {
        if (key === 'bad') throw new Error('no')
        if (key === 'late') return Promise.reject(new Error('not now'))
        map.set(key, blob)
      },
      delete: () => {
        throw new Error('never')
      },
    }
    const store = await storeWith(picky)
    expect(() => store.putInlineNow(entry('bad'), blobOf('bad', 1))).toThrow('no')
    await expect(write(store, 'bad', 1)).rejects.toThrow('no')
    const told = new Promise<void>((resolve) => (heard = resolve))
    store.putInlineNow(entry('late'), blobOf('late', 1))
    await told
    expect(lost).toEqual([['late', 'the container did not take it: not now']])
    await write(store, 'good', 'fine')
    expect(read(store, 'good')).toBe('fine')
    store.free([taskKey('good')])
    expect(failures.at(-1)).toBe('deleting good: never')
  })
})

describe('a container with `fast` and `evict`', () => {
  it('is asked for room until managed memory is below the target, and counts what it spilled', async () => {
    const fast = new Map<string, Uint8Array>()
    const slow = new Map<string, Uint8Array>()
    const sizeOf = (map: Map<string, Uint8Array>): number =>
      [...map.values()].reduce((sum, { length }) => sum + length, 0)
    const container: DataContainer = {
      get size() {
        return fast.size + slow.size
      },
      fast,
      get: (key) => fast.get(key) ?? slow.get(key),
      has: (key) => fast.has(key) || slow.has(key),
      set: (key, blob) => fast.set(key, blob),
      delete: (key) => fast.delete(key) || slow.delete(key),
      evict: () => {
        const [oldest] = fast
        if (oldest === undefined) return -1
        fast.delete(oldest[0])
        slow.set(...oldest)
        return oldest[1].length
      },
      get spilledTotal() {
        return { memory: sizeOf(slow), disk: 7 * slow.size }
      },
    }
    const store = await storeWith(container, { target: 3500 })
    for (const key of ['a', 'b', 'c', 'd']) await write(store, key, 'x'.repeat(1000))
    await store.makeRoom(3500)
    expect([...slow.keys()]).toEqual(['a'])
    expect(store.totals.disk).toBe(7)
    expect(store.totals.managed).toBe(sizeOf(fast))
    expect(read(store, 'a')).toBe('x'.repeat(1000))
    await store.makeRoom(0)
    expect(fast.size).toBe(0)
    expect(store.totals.managed).toBe(0)
  })
})

describe('what is no container', () => {
  it.each([
    [null, /it is null/],
    ['a text', /it is of type string/],
    [{}, /it has no get\(\), set\(\), has\(\), delete\(\)/],
    [new Set(), /it has no get\(\), set\(\)/],
    [new Map([['left', 1]]), /is not empty: it has 1 entries/],
  ])('is refused: %s', (given, why) => {
    expect(() => checkContainer(given)).toThrow(why)
  })
})
