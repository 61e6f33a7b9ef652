// Data where it is wanted, with real processes: copies, moves, workers that leave while others work.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client, type Future, LocalCluster, range, task, wait } from '../../dist/index.js'
import { eventually } from '../e2e/installed.ts'

const MIB = 2 ** 20
let folder: string
let bases: { readonly localDirectory: string; readonly memoryDirectory: string }
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-placement-'))
  bases = {
    localDirectory: join(folder, 'local'),
    memoryDirectory: mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-placement-')),
  }
})
afterAll(() => {
  for (const path of [folder, bases.memoryDirectory]) rmSync(path, { recursive: true, force: true })
})

const still = { 'scheduler.active-memory-manager.start': false }

async function start(nWorkers: number, config: Readonly<Record<string, unknown>> = still) {
  const cluster = new LocalCluster({ ...bases, nWorkers, nthreads: 1, memoryLimit: '256 MiB', config })
  const client = await Client.connect(cluster)
  const addresses = cluster.workers.map(({ address }) => address as string)
  const end = async () => {
    await client.close()
    await cluster.close()
  }
  return { cluster, client, addresses, end, [Symbol.asyncDispose]: end }
}

const block = (n: number) => new Uint8Array(10 * 2 ** 20).fill(n)
/** Copies of a value, as the scheduler knows them. */
async function copiesOf(client: Client, value: Future): Promise<number> {
  return (await client.whoHas(value))[value.key]?.length ?? 0
}

/** Asks again and again. */
async function becomes(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 10_000; !(await holds());)
    if (performance.now() > endMs) throw new Error(`not within 10 s: ${what}`)
}

const sumOf = (bytes: Uint8Array) => (bytes.at(-1) ?? 0) * bytes.length

describe('replicate', () => {
  it('has a value on every worker, and the memory manager removes what nobody needs', async () => {
    await using cluster = await start(3, { 'scheduler.active-memory-manager.interval': '100ms', ...still })
    const { client } = cluster
    const value = client.submit(block, 1)
    expect(await client.replicate(value)).toEqual({ copies: 2, incomplete: [] })
    expect(await copiesOf(client, value)).toBe(3)
    expect(await client.replicate([value], { n: 2 })).toMatchObject({ incomplete: [] })
    expect(await copiesOf(client, value)).toBe(2)
    expect(await client.amm.running()).toBe(false)
    expect(await client.amm.runOnce()).toEqual({ copies: 0, removals: 1 })
    await becomes('one copy is left', async () => (await copiesOf(client, value)) === 1)
    await client.replicate(value)
    await client.amm.start()
    expect(await client.amm.running()).toBe(true)
    await becomes('one copy is left', async () => (await copiesOf(client, value)) === 1)
    await client.amm.stop()
    expect(sumOf(await value.result())).toBe(10 * MIB)
  })

  it('throws what made a future fail, and refuses numbers that are none', async () => {
    await using cluster = await start(1)
    const { client } = cluster
    const failed = client.submit(() => {
      throw new RangeError('no')
    })
    await expect(client.replicate(failed)).rejects.toThrow(RangeError)
    await expect(client.replicate([], { n: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(client.retireWorkers({ n: 1, workers: 'x' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(client.restartWorkers('nobody')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('rebalance', () => {
  it('spreads what one worker holds; every value is there afterwards, once', async () => {
    await using cluster = await start(3)
    const { client, addresses } = cluster
    const values = client.map(task(block, { workers: [addresses[0] as string] }), range(12))
    const { moved, notMoved } = await client.rebalance(values, { measure: 'managed' })
    expect(moved).toBeGreaterThanOrEqual(6)
    expect(notMoved).toEqual([])
    const where = Object.values(await client.whoHas(values))
    expect(where.every((holders) => holders.length === 1)).toBe(true)
    for (const address of addresses)
      expect(where.filter(([holder]) => holder === address).length).toBeGreaterThanOrEqual(2)
    for (const [n, value] of values.entries()) expect(sumOf(await value.result())).toBe(n * 10 * MIB)
    expect((await client.taskCounts())['block']?.runs).toBe(12)
  })
})

describe('workers that leave', () => {
  const log = () => join(folder, `runs-${Math.random()}`)

  it('take nothing with them, under load: every task runs once', async () => {
    await using cluster = await start(3)
    const { client } = cluster
    const runs = log()
    const work = async ([n, path]: readonly [number, string]) => {
      const { appendFileSync } = await import('node:fs')
      appendFileSync(path, `${n}\n`)
      const until = performance.now() + 20
      while (performance.now() < until);
      return new Uint8Array(200_000).fill(n)
    }
    const scattered = client.scatterAll(range(6).map((n) => ({ n, text: 'x'.repeat(1000) })))
    const first = client.map(
      work,
      range(60).map((n) => [n, runs] as const),
    )
    const second = client.map((bytes: Uint8Array) => (bytes[7] ?? 0) + bytes.length, first)
    await wait(first.slice(0, 10), { timeout: 20_000 })
    const retired = await client.retireWorkers({ n: 2 })
    expect(retired).toHaveLength(2)
    const results = await client.gather(second)
    expect(results).toEqual(range(60).map((n) => n + 200_000))
    expect((await client.gather(scattered)).map(({ n }) => n)).toEqual(range(6))
    const counted = readFileSync(runs, 'utf8').trim().split('\n').map(Number)
    expect(counted.toSorted((a, b) => a - b)).toEqual(range(60))
    expect(Object.keys((await client.schedulerInfo()).workers)).toHaveLength(1)
  })

  it('have what they moved to disk copied as well', async () => {
    await using cluster = await start(3, { ...still, 'worker.memory.target': 0.2 })
    const { client, addresses } = cluster
    const values = client.map(task(block, { workers: [addresses[0] as string] }), range(12))
    await wait(values, { timeout: 30_000 })
    await becomes('values are on disk', async () => {
      const { workers } = await client.memory()
      return (workers[addresses[0] as string]?.spilled ?? 0) >= 40 * MIB
    })
    expect(await client.retireWorkers({ workers: '0' })).toEqual([addresses[0]])
    for (const [n, value] of values.entries()) expect(sumOf(await value.result())).toBe(n * 10 * MIB)
    expect((await client.taskCounts())['block']?.runs).toBe(12)
  })

  it.each([false, true])(
    'are not counted any more when the cluster is scaled right after (inProcess: %s)',
    async (inProcess) => {
      await using cluster = new LocalCluster({ ...bases, nWorkers: 3, nthreads: 1, memoryLimit: '256 MiB', inProcess })
      await using client = await Client.connect(cluster)
      for (const n of [3, 2]) {
        expect(await client.retireWorkers({ n: 1 })).toHaveLength(1)
        await cluster.scale(n)
        expect(Object.keys((await client.schedulerInfo()).workers)).toHaveLength(n)
      }
    },
  )

  it.each([
    ['small', 10],
    ['large', 1_000_000],
  ])('leave a %s scattered value where it outlives the process of the next worker, too', async (_, length) => {
    await using cluster = await start(2)
    const { client, addresses } = cluster
    const value = client.scatter('x'.repeat(length), { workers: [addresses[0] as string] })
    await wait([value], { timeout: 10_000 })
    expect(await client.retireWorkers({ workers: '0' })).toEqual([addresses[0]])
    expect(await client.whoHas(value)).toEqual({ [value.key]: [addresses[1]] })
    process.kill(cluster.cluster.workers.find(({ name }) => name === '1')?.pid as number, 'SIGKILL')
    await eventually('the worker is back', () => cluster.cluster.workers.some(({ restarts }) => restarts === 1), 10_000)
    expect((await value.result({ timeout: 10_000 })).length).toBe(length)
  })

  it('acceptance check 57: the last one stays, and serves on', async () => {
    await using cluster = await start(1)
    const { client } = cluster
    const value = client.scatter([1, 2, 3])
    await wait([value], { timeout: 10_000 })
    expect(await client.retireWorkers({ n: 1 })).toEqual([])
    expect(await client.submit((xs: number[]) => xs.length, value).result()).toBe(3)
  })

  it('come back as new processes when they are restarted; futures live on', async () => {
    await using cluster = await start(2)
    const { client, addresses } = cluster
    const file = client.submit(task(block, { workers: [addresses[0] as string] }), 3)
    await wait([file], { timeout: 10_000 })
    const before = cluster.cluster.workers.map(({ pid }) => pid)
    expect(await client.restartWorkers(addresses[0] as string)).toEqual({ '0': 'ok' })
    const after = (await client.schedulerInfo()).workers
    expect(Object.values(after).some(({ pid }) => pid === before[0])).toBe(false)
    expect(Object.values(after).some(({ pid }) => pid === before[1])).toBe(true)
    expect(sumOf(await file.result())).toBe(30 * MIB)
    expect((await client.taskCounts())['block']?.runs).toBe(1)
  })
})

describe('a cluster that changes its size', () => {
  it.each([false, true])(
    'goes down without losing what only the leaving workers hold (in one process: %s)',
    async (inProcess) => {
      await using cluster = new LocalCluster({ ...bases, nWorkers: 3, nthreads: 1, memoryLimit: '256 MiB', inProcess })
      await using client = await Client.connect(cluster)
      const scattered = client.scatterAll(range(9).map((n) => `value ${n}`))
      const made = client.map((n: number) => [n, Math.random()], range(9))
      await wait([...scattered, ...made], { timeout: 10_000 })
      const before = await client.gather(made)
      await cluster.scale(1)
      expect(cluster.workers).toHaveLength(1)
      expect(await client.gather(scattered)).toEqual(range(9).map((n) => `value ${n}`))
      expect(await client.gather(made)).toEqual(before)
      await cluster.scale(0)
      expect(cluster.workers).toEqual([])
    },
  )

  it('grows and shrinks by itself, and keeps its data', async () => {
    await using cluster = await start(1)
    const { client } = cluster
    await expect(cluster.cluster.adapt({ minimum: 3, maximum: 2 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await cluster.cluster.adapt({ minimum: 1, maximum: 3, interval: '100ms', targetDuration: '500ms', waitCount: 2 })
    const slow = async (n: number) => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      return { n, random: Math.random() }
    }
    const futures = client.map(slow, range(30))
    await eventually('there are three workers', () => cluster.cluster.workers.length === 3, 10_000)
    const values = await client.gather(futures)
    expect(values.map(({ n }) => n)).toEqual(range(30))
    await eventually('there is one worker', () => cluster.cluster.workers.length === 1, 10_000)
    expect(await client.gather(futures)).toEqual(values)
    expect((await client.taskCounts())['slow']?.runs).toBe(30)
    await cluster.cluster.scale(2)
    expect(cluster.cluster.workers).toHaveLength(2)
  })
})

describe('policies of users', () => {
  it('are loaded from modules by the scheduler, and hear what came of their suggestions', async () => {
    const module = join(folder, 'policy.mjs')
    const heard = join(folder, 'heard')
    writeFileSync(
      module,
      `import { appendFileSync } from 'node:fs'
       export class Twice {
         *run(cluster) {
           for (const { key, workers } of cluster.values())
             if (workers.length < 2) appendFileSync(${JSON.stringify(heard)}, (yield { op: 'replicate', key }) + '\\n')
         }
       }`,
    )
    const policies = { ...still, 'scheduler.active-memory-manager.policies': [`${module}#Twice`] }
    await using cluster = await start(2, policies)
    const { client } = cluster
    const values: Future<number>[] = client.map((n: number) => n, range(5))
    await wait(values, { timeout: 10_000 })
    expect(await client.amm.runOnce()).toEqual({ copies: 5, removals: 0 })
    await becomes('every value is on both workers', async () =>
      Object.values(await client.whoHas(values)).every((holders) => holders.length === 2),
    )
    expect(readFileSync(heard, 'utf8').trim().split('\n')).toHaveLength(5)
  })

  it('that cannot be loaded keep the cluster from starting, by name', async () => {
    const config = { 'scheduler.active-memory-manager.policies': ['ReduceReplica'] }
    const cluster = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: '256 MiB', config })
    await expect(cluster.start()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('"ReduceReplica" is no policy') as string,
    })
  })
})
