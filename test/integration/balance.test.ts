// Work moves to where it can be done: to a worker that comes late, away from one that has more than its share.

import { describe, expect, it } from 'vitest'
import { range, task } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

const EVERYTHING_AT_ONCE = { 'scheduler.worker-saturation': 'inf' }

/** How many results came from each worker: tasks return the pid of their executor's parent. */
function perWorker(parents: readonly number[]): number[] {
  const counts = new Map<number, number>()
  for (const pid of parents) counts.set(pid, (counts.get(pid) ?? 0) + 1)
  return [...counts.values()]
}

describe('an unbalanced load', () => {
  it('a worker that comes late gets its share of what another one has already', async () => {
    await using faults = await FaultCluster.start({ config: EVERYTHING_AT_ONCE })
    const { client, cluster } = faults
    const slow = async (_n: number): Promise<number> => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      return process.ppid
    }
    const futures = client.map(slow, range(60))
    await futures[0]?.result()
    await cluster.scale(2)
    const counts = perWorker(await client.gather(futures))
    expect(counts).toHaveLength(2)
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(10)
    expect(await faults.runs('slow')).toBe(60)
  })

  it('tasks leave the worker that holds their input when another one is idle, and nothing runs twice', async () => {
    await using faults = await FaultCluster.start({ nWorkers: 2 })
    const { client } = faults
    const first = await faults.worker(0)
    const block = client.scatter(new Float64Array(MIB / 8), { workers: [first.address] })
    const use = task(
      async (block: Float64Array, n: number): Promise<number> => {
        await new Promise((resolve) => setTimeout(resolve, 100))
        return block.length + n > 0 ? process.ppid : 0
      },
      { name: 'use', workers: [first.name], allowOtherWorkers: true },
    )
    const futures = Array.from({ length: 40 }, (_, n) => client.submit(use, block, n))
    const counts = perWorker(await client.gather(futures))
    expect(counts).toHaveLength(2)
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(8)
    expect(await faults.runs('use')).toBe(40)
  })

  it('a task that is bound to its worker stays there', async () => {
    await using faults = await FaultCluster.start({ nWorkers: 2 })
    const { client } = faults
    const first = await faults.worker(0)
    const bound = task(
      async (_n: number): Promise<number> => {
        await new Promise((resolve) => setTimeout(resolve, 50))
        return process.ppid
      },
      { name: 'bound', workers: [first.name] },
    )
    const parents = await client.gather(client.map(bound, range(20)))
    expect(new Set(parents)).toEqual(new Set([first.pid]))
  })

  it('tasks that sit unstarted behind a long one, even in its executor, move to an idle worker', async () => {
    await using faults = await FaultCluster.start({ nWorkers: 2, config: EVERYTHING_AT_ONCE })
    const { client } = faults
    const { name } = await faults.worker(0)
    const quick = task((n: number) => n, { name: 'mixed', workers: [name], allowOtherWorkers: true })
    await client.gather(client.map(quick, range(200)))
    const gate = client.submit(
      task(
        async (ms: number): Promise<number> => {
          if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
          return process.ppid
        },
        { name: 'mixed', workers: [name], priority: 1 },
      ),
      60_000,
    )
    await faults.executorOf(gate)
    const behind = task((n: number) => [n, process.ppid] as const, {
      name: 'mixed',
      workers: [name],
      allowOtherWorkers: true,
    })
    const results = await client.gather(client.map(behind, range(4, 8)))
    const second = await faults.worker(1)
    await until(
      'the gate is still running',
      () => gate.status,
      (status) => status === 'pending',
    )
    expect(results.map(([, pid]) => pid)).toEqual(results.map(() => second.pid))
    gate.cancel()
  })
})
