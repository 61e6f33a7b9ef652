// A worker that is full, paused or too small: each ends in progress or in a clear error, and the measures say what is the case.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { task } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

const LIMIT = 256 * MIB

/** 8 MiB that say which they are. */
const block = (seed: number): Float64Array => new Float64Array(2 ** 20).fill(seed)
const BLOCK_BYTES = 8 * MIB

describe('values and the limit', () => {
  let faults: FaultCluster
  beforeAll(async () => {
    faults = await FaultCluster.start({ memoryLimit: LIMIT })
  })
  afterAll(() => faults[Symbol.asyncDispose]())

  it('acceptance 41: what is stored is managed, what is spilled is not, and nothing is left of either in the end', async () => {
    const { client } = faults
    const cluster = async () => (await client.memory()).cluster
    const idle = await cluster()
    expect(idle).toMatchObject({ managed: 0, spilled: 0 })
    expect(idle.unmanaged + idle.unmanagedRecent).toBe(idle.process)
    const few = client.map(block, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    await client.gather(client.map((values: Float64Array) => values.length, few))
    const stored = await until('80 MiB are managed', cluster, ({ managed }) => managed >= 10 * BLOCK_BYTES)
    expect(stored.spilled).toBe(0)
    const more = client.map(block, [11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
    await client.gather(client.map((values: Float64Array) => values.length, more))
    const spilled = await until(
      'what is above target is on disk',
      cluster,
      ({ managed, spilled: onDisk }) => managed + onDisk >= 20 * BLOCK_BYTES && managed <= 0.6 * LIMIT,
    )
    expect(spilled.process).toBeLessThan(LIMIT)
    client.release([...few, ...more])
    await faults.emptied()
  })

  it('a value larger than the limit is kept on disk; a task that needs it fails at once, with the numbers', async () => {
    const { client } = faults
    const huge = client.scatter(new Uint8Array(300 * MIB).fill(7))
    await until(
      'it is on disk',
      async () => (await client.memory()).cluster,
      ({ spilled }) => spilled >= 300 * MIB,
    )
    const error = await client.submit((bytes: Uint8Array) => bytes.length, huge).exception({ timeout: '20s' })
    expect(error).toMatchObject({ code: 'INPUTS_EXCEED_LIMIT' })
    expect(error?.message).toMatch(/300\.\d+ MiB.*256\.00 MiB/)
    expect((await huge.result()).at(-1)).toBe(7)
    huge.release()
    await faults.emptied()
  })

  it('acceptance 9: a result that cannot be stored fails its task with the path; the worker goes on', async () => {
    const { client } = faults
    const error = await client
      .submit(() => ({ rows: [new Float64Array(10_000), { onClick: () => 1 }] }))
      .exception({ timeout: '20s' })
    expect(error).toMatchObject({ code: 'NOT_SERIALIZABLE' })
    expect(error?.message).toContain('result.rows[1].onClick')
    expect(await client.submit((x: number) => x + 1, 1).result()).toBe(2)
  })
})

describe('a worker without rungs', () => {
  it('acceptance 32: is left alone twice above its limit, by what it runs and by what it stores', async () => {
    const rungs = ['transfer', 'target', 'spill', 'pause', 'kill-task', 'terminate', 'executor-cap', 'executor-recycle']
    await using faults = await FaultCluster.start({
      memoryLimit: LIMIT,
      config: Object.fromEntries(rungs.map((rung) => [`worker.memory.${rung}`, false])),
    })
    const { client } = faults
    const { pid } = await faults.worker()
    const enough = join(faults.folder, 'enough')
    const hold = client.submit(
      async (bytes: number, file: string) => {
        const { existsSync } = process.getBuiltinModule('node:fs')
        const held = Array.from({ length: 8 }, () => Buffer.alloc(bytes / 8, 1))
        while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 20))
        return held.length
      },
      2 * LIMIT,
      enough,
    )
    const cluster = async () => (await client.memory()).cluster
    await until('it is twice above its limit', cluster, (memory) => memory.process > 2 * LIMIT)
    expect(await faults.worker()).toMatchObject({ pid, status: 'running' })
    writeFileSync(enough, '')
    expect(await hold.result({ timeout: '20s' })).toBe(8)
    const blocks = client.map(
      block,
      Array.from({ length: 40 }, (_, n) => n),
    )
    await client.gather(client.map((values: Float64Array) => values.length, blocks))
    const stored = await until('all is stored', cluster, ({ managed }) => managed >= 40 * BLOCK_BYTES)
    expect(stored.spilled).toBe(0)
    expect(await faults.worker()).toMatchObject({ pid, restarts: 0, status: 'running' })
    client.release([hold, ...blocks])
    await faults.emptied()
  }, 60_000)
})

describe('paused workers', () => {
  it('whose memory never falls below pause let one task through at a time; the measures count them all the same', async () => {
    // The processes alone are above the rung.
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      memoryLimit: LIMIT,
      config: { 'worker.memory.pause': 0.05, 'worker.memory.spill': false, 'worker.memory.target': false },
    })
    const { client } = faults
    await until(
      'both are paused',
      () => faults.workers(),
      (workers) => workers.length === 2 && workers.every(({ status }) => status === 'paused'),
    )
    const futures = client.map((n: number) => n + 1, [1, 2, 3])
    // 10 s of nothing, then one after the other.
    expect(await client.gather(futures)).toEqual([2, 3, 4])
    await faults.checkMeasures()
    const { cluster, workers } = await client.memory()
    const sum = Object.values(workers).reduce((total, { process }) => total + process, 0)
    expect(cluster.process, 'acceptance 44: the cluster is the sum of all workers').toBe(sum)
  }, 60_000)

  it('acceptance 20: a pause is told at once, and its tasks run elsewhere', async () => {
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      memoryLimit: LIMIT,
      config: {
        'worker.memory.kill-task': false,
        'worker.memory.terminate': false,
        'worker.memory.executor-cap': false,
      },
    })
    const { client } = faults
    const [first] = await faults.workers()
    const address = first?.address as string
    const hold = client.submit(
      task(
        async (bytes: number, ms: number) => {
          const held = Buffer.alloc(bytes, 1)
          await new Promise((resolve) => setTimeout(resolve, ms))
          return held.length
        },
        { workers: [address], memory: '250 MiB' },
      ),
      200 * MIB,
      4000,
    )
    await until(
      'its worker is paused',
      () => faults.workers(),
      (workers) => workers.find((worker) => worker.address === address)?.status === 'paused',
    )
    const elsewhere = client.map(
      task((n: number) => n, { workers: [address], allowOtherWorkers: true }),
      [1, 2, 3],
    )
    await client.gather(elsewhere)
    expect(hold.status).toBe('pending')
    expect(Object.values(await client.whoHas(elsewhere)).flat()).not.toContain(address)
    expect(await hold.result({ timeout: '20s' })).toBe(200 * MIB)
    await until(
      'it takes tasks again',
      () => faults.workers(),
      (workers) => workers.every(({ status }) => status === 'running'),
    )
  }, 60_000)
})
