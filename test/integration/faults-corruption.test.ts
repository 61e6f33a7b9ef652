// Stored values whose files were changed behind the worker's back. A wrong value is never returned: what can be computed again
// is, once, and nothing else is; what cannot is lost, and says so.

import { chmodSync, copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Future, task, wait } from '../../dist/index.js'
import { FaultCluster } from './fault-cluster.ts'

type Harm = (path: string, other: string) => void

/** Changes one byte, `at` a part of the file's length from its start. */
function flip(at: number): Harm {
  return (path) => {
    const bytes = readFileSync(path)
    const index = Math.floor(at * (bytes.length - 1))
    bytes.writeUInt8((bytes[index] as number) ^ 0x40, index)
    writeFileSync(path, bytes)
  }
}

const HARMS: Readonly<Record<string, Harm>> = {
  'a changed byte in the middle': flip(0.5),
  'a changed last byte': flip(1),
  'a changed header': flip(20 / 2 ** 20),
  'a changed first byte': flip(0),
  'half of the file missing': (path) => truncateSync(path, readFileSync(path).length / 2),
  'nothing in the file': (path) => truncateSync(path, 0),
  'bytes after the end': (path) => writeFileSync(path, Buffer.alloc(100), { flag: 'a' }),
  'no file': (path) => rmSync(path),
  'another value in the file': (path, other) => copyFileSync(other, path),
}

const block = (n: number, seed: number): Float64Array => {
  const values = new Float64Array(n)
  for (let i = 0; i < n; i++) values[i] = i * seed
  return values
}

/** The sum of a block. */
const expected = (n: number, seed: number): number => (seed * n * (n - 1)) / 2

let names = 0

/** The file of a value, made writable for users that are not root. */
function fileOf(faults: FaultCluster, future: Future<unknown>, tier: 'memory' | 'disk'): string {
  const files = faults.filesOf(future, tier)
  expect(files).toHaveLength(1)
  const path = files[0] as string
  chmodSync(path, 0o600)
  return path
}

const READERS: Readonly<
  Record<'the client' | 'a task', (future: Future<Float64Array>, faults: FaultCluster) => Promise<number>>
> = {
  'the client': async (future) => (await future.result()).reduce((a, b) => a + b, 0),
  'a task': async (future, { client }) => {
    using sum = client.submit(
      task((values: Float64Array) => values.reduce((a, b) => a + b, 0), { name: 'sum', pure: false }),
      future,
    )
    return await sum.result()
  },
}

describe.each([
  { tier: 'memory', config: {} },
  { tier: 'disk', config: { 'worker.memory.target': 0.0001 } },
] as const)('files of the $tier tier', ({ tier, config }) => {
  let faults: FaultCluster
  beforeAll(async () => {
    faults = await FaultCluster.start({ config })
  })
  afterAll(() => faults[Symbol.asyncDispose]())

  it.each([
    ['read', 100_000, 'the client'],
    ['read', 100_000, 'a task'],
    ['mapped', 400_000, 'the client'],
    ['mapped', 400_000, 'a task'],
  ] as const)('that are %s (%i numbers) are computed again when damage is seen by %s', async (_how, n, reader) => {
    const { client } = faults
    const name = `block-${++names}`
    const harms = Object.entries(HARMS)
    const seeds = [...harms.keys(), 100]
    const futures = client.map(
      task(block, { name }),
      seeds.map(() => n),
      seeds,
    )
    await wait(futures)
    const bystander = futures.at(-1) as Future<Float64Array>
    const other = fileOf(faults, bystander, tier)
    harms.forEach(([, harm], index) => harm(fileOf(faults, futures[index] as Future<Float64Array>, tier), other))
    const sums = await Promise.all(futures.map((future) => READERS[reader](future, faults)))
    const named = (values: readonly number[]): object =>
      Object.fromEntries(values.map((value, index) => [harms[index]?.[0] ?? 'untouched', value]))
    expect(named(sums)).toEqual(named(seeds.map((seed) => expected(n, seed))))
    // The bystander never ran again, and each of the others once; bytes that nobody reads harm nobody.
    const runs = await faults.runs(name)
    expect([runs - futures.length, harms.length]).toEqual([harms.length - 1, harms.length])
    expect(await Promise.all(futures.map((future) => READERS['the client'](future, faults)))).toEqual(sums)
    expect(await faults.runs(name)).toBe(runs)
    client.release(futures)
  })

  it('that held scattered data are lost, promptly, for whoever waits', async () => {
    const { client } = faults
    const values = client.scatterAll([block(100_000, 1), block(400_000, 2), block(400_000, 3)])
    await wait(values)
    const [small, large, intact] = values
    if (small === undefined || large === undefined || intact === undefined) throw new Error('no futures')
    const files = [small, large].map((future) => faults.filesOf(future)[0] as string)
    for (const path of files) {
      chmodSync(path, 0o600)
      flip(0.7)(path, '')
    }
    const read = READERS['a task']
    await expect(small.result()).rejects.toMatchObject({ code: 'DATA_LOST' })
    await expect(read(large, faults)).rejects.toMatchObject({
      code: expect.stringMatching(/DATA_LOST|CANCEL/) as string,
    })
    await expect(large.result()).rejects.toMatchObject({ code: 'DATA_LOST' })
    expect(large.status).toBe('lost')
    expect(await read(intact, faults)).toBe(expected(400_000, 3))
    for (const future of values) future.release()
  })

  it('leave nothing when their futures are released', async () => {
    await faults.emptied()
  })
})
