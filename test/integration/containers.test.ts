// Containers of the program's own in place of the store's tiers, in one process and in workers of their own.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client, type DataFactory, fromModule, LocalCluster, type LocalClusterOptions, task } from '../../dist/index.js'
import { until } from './fault-cluster.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-data-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function withCluster(
  options: LocalClusterOptions,
  use: (client: Client, cluster: LocalCluster) => Promise<void>,
): Promise<void> {
  const cluster = new LocalCluster({
    nWorkers: 1,
    nthreads: 1,
    memoryLimit: '256 MiB',
    dashboardAddress: null,
    localDirectory: folder,
    ...options,
  })
  let client: Client | null = null
  try {
    client = await Client.connect(cluster)
    await use(client, cluster)
  } finally {
    await client?.close()
    await cluster.close()
  }
}

/** Inputs and results of every size: in messages, in one read, in pieces. */
async function exercise(client: Client): Promise<void> {
  const sizes = [1, 1000, 100_000, 5_000_000]
  const arrays = client.map((n: number) => new Uint8Array(n).fill(n % 251), sizes)
  const sums = client.map((array: Uint8Array) => array.reduce((a, x) => a + x, 0), arrays)
  const expected = sizes.map((n) => n * (n % 251))
  expect(await client.gather(sums)).toEqual(expected)
  expect((await client.gather(arrays)).map((array) => array.length)).toEqual(sizes)
  const scattered = client.scatter(new Uint8Array(300_000).fill(3))
  expect(await client.submit((array: Uint8Array) => array.length, scattered).result()).toBe(300_000)
  client.release([arrays, sums, scattered])
}

describe('in one process', () => {
  it('an object holds exactly the values that are stored', async () => {
    const map = new Map<string, Uint8Array>()
    await withCluster({ inProcess: true, data: map }, async (client) => {
      const future = client.submit((n: number) => 'x'.repeat(n), 100_000)
      await future.result()
      expect([...map.keys()]).toEqual([future.key])
      expect(map.get(future.key)?.length).toBe(future.nbytes)
      future.release()
      await until(
        'it is freed',
        () => map.size,
        (size) => size === 0,
      )
      await exercise(client)
      await until(
        'all is freed',
        () => map.size,
        (size) => size === 0,
      )
    })
  })

  it('a function makes one for each worker, given its directory and options', async () => {
    const made: { workerLocalDirectory: string; tag: string }[] = []
    const open = (context: { workerLocalDirectory: string; tag: string }): Map<string, Uint8Array> => {
      expect(readdirSync(context.workerLocalDirectory)).toEqual([])
      made.push(context)
      return new Map()
    }
    await withCluster({ inProcess: true, nWorkers: 2, data: [open, { tag: 'mine' }] }, (client) => exercise(client))
    expect(made.map(({ tag }) => tag)).toEqual(['mine', 'mine'])
    expect(new Set(made.map((each) => each.workerLocalDirectory)).size).toBe(2)
  })
})

describe('in workers of their own', () => {
  it('a function that stands alone makes the container there', { timeout: 60_000 }, async () => {
    await withCluster({ data: () => new Map() }, async (client, cluster) => {
      await exercise(client)
      // Values go with the process of their worker, and are computed again.
      const future = client.submit((n: number) => n + 1, 41)
      expect(await future.result()).toBe(42)
      const [worker] = cluster.workers
      process.kill(worker?.pid as number, 'SIGKILL')
      await until(
        'the worker is back',
        () => cluster.workers[0]?.restarts ?? 0,
        (restarts) => restarts > 0,
      )
      expect(await client.submit((n: number) => n + 1, future).result()).toBe(43)
    })
  })

  it(
    'one of a module keeps values on disk, two workers hand theirs over, and evict() is asked for',
    { timeout: 60_000 },
    async () => {
      const path = join(folder, 'counting.mjs')
      writeFileSync(
        path,
        `import { readFileSync, rmSync, writeFileSync } from 'node:fs'
      export function open({ workerLocalDirectory, log }) {
        const fast = new Map(), slow = new Map()
        let files = 0
        const drop = (key) => slow.has(key) && (rmSync(slow.get(key).path), slow.delete(key))
        return {
          fast,
          get size() { return fast.size + slow.size },
          get: (key) => fast.get(key) ?? (slow.has(key) ? readFileSync(slow.get(key).path) : undefined),
          has: (key) => fast.has(key) || slow.has(key),
          async set(key, blob) { await null; fast.set(key, blob) },
          delete: (key) => fast.delete(key) || drop(key),
          evict() {
            const [oldest] = fast
            if (oldest === undefined) return -1
            const [key, blob] = oldest
            const path = workerLocalDirectory + '/' + files++
            writeFileSync(path, blob)
            slow.set(key, { path, bytes: blob.length })
            fast.delete(key)
            writeFileSync(log, 'evicted')
            return blob.length
          },
          get spilledTotal() {
            const bytes = [...slow.values()].reduce((sum, file) => sum + file.bytes, 0)
            return { memory: bytes, disk: bytes }
          },
          close() { writeFileSync(log + '.closed', 'closed') },
        }
      }`,
      )
      const log = join(folder, 'log')
      const data = [fromModule<DataFactory<{ log: string }>>(pathToFileURL(path), 'open'), { log }] as const
      const config = { 'worker.memory.target': 0.1 }
      await withCluster({ nWorkers: 2, data, config, memoryLimit: '400 MiB' }, async (client) => {
        await exercise(client)
        const workers = Object.values(await client.schedulerInfo().then((info) => info.workers))
        const make = (n: number): Uint8Array => new Uint8Array(30 * 2 ** 20).fill(n)
        const held = workers.map(({ name }, n) => client.submit(task(make, { workers: [name] }), n))
        const more = workers.map(({ name }, n) => client.submit(task(make, { workers: [name] }), n + 10))
        const total = client.submit(
          (arrays: Uint8Array[]) => arrays.reduce((sum, array) => sum + (array[0] as number), 0),
          [...held, ...more],
        )
        expect(await total.result()).toBe(22)
        const { cluster } = await until(
          'it is spilled',
          () => client.memory(),
          (memory) => memory.cluster.spilled >= 30 * 2 ** 20,
        )
        expect(cluster.managed + cluster.unmanaged + cluster.unmanagedRecent).toBe(cluster.process)
        expect(readdirSync(folder)).toContain('log')
      })
      expect(readdirSync(folder)).toContain('log.closed')
    },
  )
})

describe('a container that does not give back what it got', () => {
  it.each([
    ['throws', "throw new Error('the cupboard is locked')", /cupboard is locked/],
    ['has lost it', 'return undefined', /gave undefined for its/],
    [
      'promises it',
      'return Promise.resolve(super.get(key))',
      /gave a promise \(`get` has to return the bytes at once\)/,
    ],
  ])('because it %s fails the task, and nothing else', { timeout: 60_000 }, async (what, body, reason) => {
    const path = join(folder, `forgetful-${what.replaceAll(' ', '-')}.mjs`)
    writeFileSync(
      path,
      `class Forgetful extends Map { get(key) { if (!key.startsWith('bad')) return super.get(key); ${body} } }
      export const open = () => new Forgetful()`,
    )
    const data = fromModule<DataFactory>(pathToFileURL(path), 'open')
    await withCluster({ data }, async (client) => {
      const bad = client.submit(
        task((n: number) => new Uint8Array(n).fill(1), { key: 'bad' }),
        100_000,
      )
      const good = client.submit((n: number) => new Uint8Array(n).fill(1), 100_000)
      const error = { code: 'DATA_LOST', message: expect.stringMatching(reason) as string }
      await expect(bad.result()).rejects.toMatchObject(error)
      await expect(client.submit((array: Uint8Array) => array.length, bad).result()).rejects.toMatchObject(error)
      expect((await good.result()).length).toBe(100_000)
    })
  })
})

describe('what cannot be', () => {
  const refusal = async (options: LocalClusterOptions): Promise<{ code: string; message: string }> => {
    try {
      await withCluster(options, async () => {})
    } catch (error) {
      return error as { code: string; message: string }
    }
    throw new Error('it was taken')
  }

  it.each([
    ['an object for other processes', { data: new Map() }, /is an object, and the workers are processes of their own/],
    [
      'one object for two workers',
      { data: new Map(), inProcess: true, nWorkers: 2 },
      /cannot be the store of 2 workers/,
    ],
    ['what is no container at all', { data: 'level' as never }, /data is no container: give a function/],
    ['what is no container', { data: 5 as never, inProcess: true }, /has to be a Map, or to have get, set/],
    ['a pair of something else', { data: [1, 2] as never }, /takes \[function, options\]/],
  ])('%s', async (_what, options, why) => {
    expect((await refusal(options)).message).toMatch(why)
  })

  it('a container that is not empty', async () => {
    const data = new Map([['left', new Uint8Array(1)]])
    expect(await refusal({ data, inProcess: true })).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/is not empty: it has 1 entries/) as string,
    })
  })

  it('a function that makes none, or throws, in a worker of its own', { timeout: 60_000 }, async () => {
    expect((await refusal({ data: (() => 7) as never })).message).toMatch(/has to be a Map.*it is of type number/)
    const throws = (): never => {
      throw new Error('no disk')
    }
    expect((await refusal({ data: throws })).message).toMatch(/threw: no disk/)
  })
})
