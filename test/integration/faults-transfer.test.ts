// Values on their way from one worker to another of the same host: by hard link, through TCP, and without the native library.

import { statSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { task, wait } from '../../dist/index.js'
import { FaultCluster, until } from './fault-cluster.ts'

const block = (n: number, seed: number): Float64Array => new Float64Array(n).fill(seed)
/** Numbers: inline, a file that is read, a file that is mapped. */
const SIZES = [100, 50_000, 400_000] as const

/** The memory manager would drop the second copies while they are counted. */
const KEEP_COPIES = { 'scheduler.active-memory-manager.start': false } as const

async function handOver(faults: FaultCluster): Promise<readonly number[]> {
  const { client } = faults
  const [from, to] = [await faults.worker(0), await faults.worker(1)]
  const blocks = client.map(task(block, { workers: '0' }), SIZES, [1, 2, 3])
  const sums = client.map(
    task((values: Float64Array) => values.reduce((a, b) => a + b, 0), { name: 'sum', workers: '1' }),
    blocks,
  )
  expect(await client.gather(sums)).toEqual(SIZES.map((n, index) => n * (index + 1)))
  expect(Object.values(await client.whoHas(sums)).flat()).toEqual(sums.map(() => to.address))
  // Every block has two holders now, which count it in full.
  const held = await until(
    'both hold every block',
    () => client.whoHas(blocks),
    (answer) => Object.values(answer).every((holders) => holders.length === 2),
  )
  for (const holders of Object.values(held)) expect(holders.toSorted()).toEqual([from.address, to.address].toSorted())
  const bytes = Object.values(await client.nbytes(blocks)).reduce((a, b) => a + b, 0)
  await until(
    'both count every block',
    async () => (await client.memory()).workers,
    (workers) => [from, to].every(({ address }) => (workers[address]?.managed ?? 0) >= bytes),
  )
  await faults.checkMeasures()
  const links = blocks.slice(1).flatMap((future) => faults.filesOf(future).map((path) => statSync(path).nlink))
  expect((await client.gather(blocks)).map((values) => [values.length, values[0]])).toEqual(
    SIZES.map((n, index) => [n, index + 1]),
  )
  client.release([...blocks, ...sums])
  await faults.emptied()
  return links
}

describe('between two workers of one host', () => {
  it('values are handed over by hard link', async () => {
    await using faults = await FaultCluster.start({ nWorkers: 2, config: KEEP_COPIES })
    expect(await handOver(faults)).toEqual([2, 2, 2, 2])
  })

  it('values are streamed when that is asked for', async () => {
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      config: { ...KEEP_COPIES, 'worker.transfer.same-host': 'stream' },
    })
    expect(await handOver(faults)).toEqual([1, 1, 1, 1])
  })

  it('a borrowed value outlives its owner', async () => {
    await using faults = await FaultCluster.start({ nWorkers: 2, config: KEEP_COPIES })
    const { client, cluster } = faults
    const value = client.scatter(block(400_000, 9), { workers: ['0'] })
    const sum = client.submit(
      task((values: Float64Array) => values.length, { workers: '1' }),
      value,
    )
    expect(await sum.result()).toBe(400_000)
    await until(
      'both hold it',
      () => client.whoHas(value),
      (answer) => answer[value.key]?.length === 2,
    )
    const before = await faults.worker(0)
    process.kill(before.pid, 'SIGKILL')
    expect((await value.result())[7]).toBe(9)
    await until(
      'the owner is back with it',
      () => faults.worker(0),
      (worker) => worker.restarts === 1 && worker.stored === 1,
    )
    await cluster.scale(1)
    expect((await value.result())[8]).toBe(9)
    client.release([value, sum])
    await faults.emptied()
  })

  it('everything works without the native library, with a copy', async () => {
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      config: KEEP_COPIES,
      env: { PLIMSOLL_NO_KOFFI: '1' },
    })
    await handOver(faults)
    const { client, cluster } = faults
    const blocks = client.map(block, [400_000, 100], [1, 2])
    await wait(blocks)
    const [victim] = cluster.workers
    process.kill(victim?.pid as number, 'SIGKILL')
    expect(await client.gather(client.map((values: Float64Array) => values[3], blocks))).toEqual([1, 2])
    const loops = client.submit(() => {
      for (;;);
    })
    await faults.executorOf(loops)
    loops.cancel({ force: true })
    expect(await client.submit((x: number) => x, 1).result()).toBe(1)
  })
})
