// The memory measures against what really happens on a cluster: acceptance checks 41, 42, 44, 45 and 46.

import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { task, wait } from '../../dist/index.js'
import type { MemoryMeasures } from '../../dist/protocol/scheduler-client.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start({
    nWorkers: 2,
    memoryLimit: '1200 MiB',
    dashboardAddress: '127.0.0.1:0',
    // A target of 150 MiB, and `spill` where no task's memory comes near: only `target` decides where a result goes.
    config: { 'worker.memory.target': 0.125, 'worker.memory.recent-to-old-time': '3s' },
  })
})
afterAll(() => faults[Symbol.asyncDispose]())

type Memory = Awaited<ReturnType<FaultCluster['client']['memory']>>

/** Every identity, whenever it is looked at. */
function checked(memory: Memory): Memory {
  const workers = Object.values(memory.workers)
  for (const { process, managed, unmanaged, unmanagedRecent, spilled } of [memory.cluster, ...workers]) {
    expect(managed + unmanaged + unmanagedRecent).toBe(process)
    expect(Math.min(managed, unmanaged, unmanagedRecent, spilled)).toBeGreaterThanOrEqual(0)
  }
  for (const name of Object.keys(memory.cluster) as (keyof MemoryMeasures)[])
    expect(workers.reduce((sum, measures) => sum + measures[name], 0)).toBe(memory.cluster[name])
  return memory
}

const look = async (): Promise<Memory> => checked(await faults.client.memory())
const around = (bytes: number, mib: number): boolean => Math.abs(bytes - mib * MIB) < MIB

async function nth(index: number): Promise<{ address: string; name: string; dashboard: string }> {
  return Object.values((await faults.client.schedulerInfo()).workers)[index] as {
    address: string
    name: string
    dashboard: string
  }
}

/** Samples of a worker's own metrics by name and labels. */
async function metricsOf(dashboard: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${dashboard}/metrics`)).text()
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

describe('memory measures', () => {
  it('acceptance 41: managed grows by what is stored within a heartbeat, and moves to spilled with it', async () => {
    const idle = await until('the cluster is idle', look, ({ cluster }) => cluster.managed === 0)
    expect(idle.cluster).toMatchObject({ managed: 0, spilled: 0 })
    expect(idle.cluster.unmanaged + idle.cluster.unmanagedRecent).toBe(idle.cluster.process)
    expect(idle.cluster.process).toBeGreaterThan(10 * MIB)

    const { name } = await nth(0)
    const make = task((n: number) => new Uint8Array(100 * 2 ** 20).fill(n), { workers: [name], name: 'make' })
    const one = faults.client.submit(make, 1)
    await one.exception()
    await until('managed has it', look, ({ cluster }) => around(cluster.managed, 100) && cluster.spilled === 0, 2000)

    // The target has room for one: the second one sends the first one to disk.
    const two = faults.client.submit(make, 2)
    await two.exception()
    await until(
      'the first one is spilled',
      look,
      ({ cluster }) => around(cluster.managed, 100) && around(cluster.spilled, 100),
    )
    faults.client.release([one, two])
    await until('nothing is left', look, ({ cluster }) => cluster.managed === 0 && cluster.spilled === 0)
  })

  it('acceptance 42: memory of a task is recent at once, old when it stays, and gone when it goes', async () => {
    const { name, address } = await nth(1)
    const mine = async (): Promise<MemoryMeasures> => (await look()).workers[address] as MemoryMeasures
    // Nothing ran there before, so that nothing goes while the task's memory comes.
    await until('what was there is old', mine, ({ unmanagedRecent }) => unmanagedRecent < 20 * MIB)
    const flag = join(faults.folder, 'let-go')
    const hold = task(
      async (file: string) => {
        const { existsSync: there } = await import('node:fs')
        const held = Buffer.alloc(200 * 2 ** 20, 1)
        while (!there(file)) await new Promise((resolve) => setTimeout(resolve, 20))
        return held[5]
      },
      { workers: [name], name: 'hold', memory: '300 MiB' },
    )
    const future = faults.client.submit(hold, flag)
    await until('it is recent', mine, ({ unmanagedRecent }) => unmanagedRecent > 150 * MIB, 5000)
    await until('it is old', mine, ({ unmanaged }) => unmanaged > 200 * MIB)
    writeFileSync(flag, '')
    expect(existsSync(flag)).toBe(true)
    expect(await future.result()).toBe(1)
    await until('it is gone', mine, ({ unmanaged }) => unmanaged < 150 * MIB)
  })

  it('acceptance 44: the cluster is the sum over the workers, as every way to ask tells it', async () => {
    const { client, cluster } = faults
    const same = await until(
      'two looks see the same heartbeats',
      async () => {
        const before = await look()
        const info = await client.schedulerInfo()
        const api = (await (await fetch(`${cluster.dashboardLink}/api/v1/memory`)).json()) as Memory
        return { before, info, api, after: await look() }
      },
      ({ before, after }) => JSON.stringify(before) === JSON.stringify(after),
    )
    expect(Object.keys(same.before.workers)).toHaveLength(2)
    expect(same.api).toEqual(same.before)
    expect(same.info.memory).toEqual(same.before.cluster)
    for (const [address, { memory }] of Object.entries(same.info.workers))
      expect(memory).toEqual(same.before.workers[address])
  })

  it('acceptance 45: a sampler has the sum over the workers within a heartbeat, and aligned series start at 0', async () => {
    const { client } = faults
    const sampler = client.memorySampler()
    const empty = await until('nothing is stored', look, ({ cluster }) => cluster.managed === 0)
    const last = (): number => sampler.series()['stored']?.at(-1)?.bytes ?? NaN
    const body = async (): Promise<number> => {
      const make = task((n: number) => new Uint8Array(20 * 2 ** 20).fill(n), { name: 'sampled' })
      const futures = client.map(make, [1, 2, 3, 4])
      const { workers } = await until('all of it is stored', look, ({ cluster }) => around(cluster.managed, 80))
      const sum = Object.values(workers).reduce((total, { managed }) => total + managed, 0)
      await until('the sampler has it', last, (bytes) => bytes === sum, 2000)
      client.release(futures)
      await until('the sampler has its end', last, (bytes) => bytes === 0, 5000)
      return sum
    }
    const sum = await sampler.sample('stored', body, { measure: 'managed', interval: '50ms' })
    const series = sampler.series()['stored'] ?? []
    expect(series[0]?.bytes).toBe(empty.cluster.managed)
    expect(Math.max(...series.map(({ bytes }) => bytes))).toBe(sum)
    const aligned = sampler.series({ align: true })['stored'] ?? []
    expect(aligned.map(({ at }) => at)).toEqual(series.map(({ at }) => at - (series[0]?.at ?? NaN)))
    expect(aligned[0]?.at).toBe(0)
  })

  it('acceptance 46: a worker’s metrics add up, count every stored key, and its counters only grow', async () => {
    const { client } = faults
    const { name, address, dashboard } = await nth(0)
    const sizes = [10, 1000, 2 ** 20, 60 * 2 ** 20, 60 * 2 ** 20, 60 * 2 ** 20]
    const make = task((n: number, bytes: number) => new Uint8Array(bytes).fill(n), { workers: [name], name: 'sized' })
    const futures = client.map(make, [...sizes.keys()], sizes)
    let spilledBefore = -1
    const keys = (metrics: Map<string, number>): number =>
      ['inline', 'memory', 'disk'].reduce(
        (sum, tier) => sum + (metrics.get(`plimsoll_worker_store_keys{tier="${tier}"}`) ?? 0),
        0,
      )
    const stored = await until(
      'every key is counted',
      async () => {
        const metrics = await metricsOf(dashboard)
        const of = (type: string): number =>
          metrics.get(`plimsoll_worker_memory_bytes{worker="${address}",type="${type}"}`) as number
        expect(of('managed') + of('unmanaged') + of('unmanaged_recent')).toBe(
          metrics.get(`plimsoll_worker_process_memory_bytes{worker="${address}"}`),
        )
        const spilled = metrics.get('plimsoll_worker_store_spilled_bytes_total') as number
        expect(spilled).toBeGreaterThanOrEqual(spilledBefore)
        spilledBefore = spilled
        return metrics
      },
      (metrics) => keys(metrics) === sizes.length && metrics.get('plimsoll_worker_store_keys{tier="disk"}') !== 0,
    )
    // A worker counts a value before the scheduler has heard of it.
    await wait(futures)
    expect((await client.hasWhat([name]))[address]).toHaveLength(keys(stored))
    client.release(futures)
  })
})
