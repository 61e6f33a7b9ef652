// What scheduler and workers tell over HTTP, and that all ways to ask for memory tell the same.

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { MemoryMeasures } from '../../dist/protocol/scheduler-client.js'
import { FaultCluster, until } from './fault-cluster.ts'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start({ nWorkers: 2, dashboardAddress: '127.0.0.1:0' })
})
afterAll(() => faults[Symbol.asyncDispose]())

async function get(link: string, path: string): Promise<string> {
  const response = await fetch(`${link}${path}`)
  expect(response.status, path).toBe(200)
  return await response.text()
}

/** Values by metric and labels, as they are written. */
function parse(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

function sumUp({ process, managed, unmanaged, unmanagedRecent }: MemoryMeasures): void {
  expect(managed + unmanaged + unmanagedRecent).toBe(process)
}

describe('HTTP', () => {
  it('health, workers, one task', async () => {
    const { client, cluster } = faults
    const link = cluster.dashboardLink as string
    expect(await get(link, '/health')).toBe('ok\n')
    const info = await client.schedulerInfo()
    expect(info.dashboard).toBe(link)
    expect(Object.keys(JSON.parse(await get(link, '/api/v1/workers')) as object)).toEqual(Object.keys(info.workers))
    const future = client.submit((x: number) => x + 1, 1)
    expect(await future.result()).toBe(2)
    const task = JSON.parse(await get(link, `/api/v1/tasks/${encodeURIComponent(future.key)}`)) as object
    expect(task).toMatchObject({ key: future.key, state: 'memory', clients: 1, attempts: 1, dependencies: [] })
    expect((await fetch(`${link}/api/v1/tasks/nothing`)).status).toBe(404)
  })

  it('client.memory(), /metrics and /api/v1/memory agree, and every identity is exact', async () => {
    const { client, cluster } = faults
    const link = cluster.dashboardLink as string
    const futures = client.map((n: number) => new Float64Array(n).fill(1), [200_000, 400_000, 8000])
    await client.gather(client.map((a: Float64Array) => a.length, futures))
    const stored = Object.values(await client.nbytes()).reduce((sum, bytes) => sum + bytes, 0)
    // Heartbeats carry the measures: at rest, two looks around the others see the same one.
    const same = await until(
      'two looks at memory see the same heartbeat',
      async () => {
        const before = await client.memory()
        const metrics = parse(await get(link, '/metrics'))
        const api = JSON.parse(await get(link, '/api/v1/memory')) as typeof before
        return { before, metrics, api, after: await client.memory() }
      },
      ({ before, after }) => JSON.stringify(before) === JSON.stringify(after) && before.cluster.managed >= stored,
    )
    expect(same.api).toEqual(same.before)
    for (const [worker, memory] of Object.entries(same.before.workers)) {
      sumUp(memory)
      const metric = (name: string, type = ''): number | undefined =>
        same.metrics.get(`plimsoll_${name}{worker="${worker}"${type === '' ? '' : `,type="${type}"`}}`)
      expect(metric('worker_memory_bytes', 'managed')).toBe(memory.managed)
      expect(metric('worker_memory_bytes', 'unmanaged')).toBe(memory.unmanaged)
      expect(metric('worker_memory_bytes', 'unmanaged_recent')).toBe(memory.unmanagedRecent)
      expect(metric('worker_memory_bytes', 'spilled')).toBe(memory.spilled)
      expect(metric('worker_process_memory_bytes')).toBe(memory.process)
      expect(metric('worker_memory_limit_bytes')).toBe(memory.limit)
    }
    sumUp(same.before.cluster)
    expect(same.metrics.get('plimsoll_scheduler_tasks{state="memory"}')).toBeGreaterThanOrEqual(3)
  })

  it('acceptance 46: a worker tells its own measures, with what it stores now', async () => {
    const { client } = faults
    const { workers } = await client.schedulerInfo()
    for (const { address, dashboard } of Object.values(workers)) {
      const link = dashboard as string
      expect(await get(link, '/health')).toBe('ok\n')
      const own = JSON.parse(await get(link, '/api/v1/memory')) as { workers: Record<string, MemoryMeasures> }
      const memory = own.workers[address] as MemoryMeasures
      sumUp(memory)
      const metrics = parse(await get(link, '/metrics'))
      expect(metrics.get(`plimsoll_worker_memory_limit_bytes{worker="${address}"}`)).toBe(memory.limit)
      const tiers = ['inline', 'memory'].map((tier) => metrics.get(`plimsoll_worker_store_bytes{tier="${tier}"}`) ?? 0)
      expect(metrics.get(`plimsoll_worker_memory_bytes{worker="${address}",type="managed"}`)).toBe(
        tiers.reduce((sum, bytes) => sum + bytes, 0),
      )
    }
  })

  it('docs/http.md names exactly the metrics there are', async () => {
    const { client, cluster } = faults
    const [worker] = Object.values((await client.schedulerInfo()).workers)
    const texts = [
      await get(cluster.dashboardLink as string, '/metrics'),
      await get(worker?.dashboard as string, '/metrics'),
    ]
    const served = texts.flatMap((text) => [...text.matchAll(/^# TYPE plimsoll_(\S+)/gm)].map((match) => match[1]))
    const section = readFileSync('docs/http.md', 'utf8').split('## Metrics')[1] as string
    const named = [...section.matchAll(/^\| (`.*?`) \|/gm)].flatMap((match) => [
      ...(match[1] as string).matchAll(/`(.*?)`/g),
    ])
    expect(new Set(named.map((match) => match[1]))).toEqual(new Set(served))
  })
})
