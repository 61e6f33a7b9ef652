// What the processes of a worker give back to the system, and with which allocator they run.

import { existsSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { task } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

const onLinux = process.platform === 'linux'
/** Debian puts libraries below a folder named for the architecture. */
const JEMALLOC = (existsSync('/usr/lib') ? readdirSync('/usr/lib') : [])
  .map((folder) => `/usr/lib/${folder}/libjemalloc.so.2`)
  .find((path) => existsSync(path))

describe.skipIf(!onLinux)('trimMemory', () => {
  it('has executors give back what their tasks left behind', async () => {
    // A limit so high that executors do not collect by themselves.
    await using faults = await FaultCluster.start({ memoryLimit: '4 GiB', nthreads: 2 })
    const { client } = faults
    const { address } = await faults.worker()
    const before = (await client.memory()).cluster.process
    const left = await client
      .submit(() => {
        const rows = Array.from({ length: 1_000_000 }, (_, id) => ({ id, text: `row ${id}` }))
        return rows.length
      })
      .result()
    expect(left).toBe(1_000_000)
    await until(
      'the garbage is seen',
      async () => (await client.memory()).cluster.process - before,
      (bytes) => bytes > 60 * MIB,
    )
    const freed = await client.trimMemory()
    expect(Object.keys(freed)).toEqual([address])
    expect(freed[address]).toBeGreaterThan(40 * MIB)
  })

  it('does not wait for a task that runs, which goes on', async () => {
    await using faults = await FaultCluster.start()
    const { client } = faults
    const running = client.submit(
      task(async (ms: number) => await new Promise((resolve) => setTimeout(() => resolve('done'), ms)), {}),
      3000,
    )
    await faults.executorOf(running)
    const startedAt = performance.now()
    await client.trimMemory()
    expect(performance.now() - startedAt).toBeLessThan(2500)
    expect(running.status).toBe('pending')
    expect(await running.result()).toBe('done')
  })
})

describe.skipIf(!onLinux)('freed memory', () => {
  it('of half a gibibyte of small buffers falls off process memory by itself', async () => {
    await using faults = await FaultCluster.start({ memoryLimit: '2 GiB' })
    const { client } = faults
    const values = client.map(
      (n: number) => Array.from({ length: 64 }, () => Buffer.alloc(512 * 1024, n)),
      Array.from({ length: 16 }, (_, n) => n),
    )
    await client.gather(client.map((all: Buffer[]) => all.length, values))
    const held = async (): Promise<number> => (await client.memory()).cluster.process
    await until('it is held', held, (bytes) => bytes > 512 * MIB)
    values.forEach((future) => future.release())
    await until('it is given back', held, (bytes) => bytes < 160 * MIB)
  })
})

describe.skipIf(JEMALLOC === undefined)('another allocator by LD_PRELOAD', () => {
  it('is loaded in the worker and in its executors, which are capped and killed as ever', async () => {
    await using faults = await FaultCluster.start({
      memoryLimit: '320 MiB',
      config: {
        'nanny.pre-spawn-environ': { LD_PRELOAD: JEMALLOC as string },
        'scheduler.allowed-oom-failures': 0,
      },
    })
    const { client } = faults
    const maps = (pid: number | 'self'): boolean =>
      process.getBuiltinModule('node:fs').readFileSync(`/proc/${pid}/maps`, 'utf8').includes('libjemalloc')
    expect(maps((await faults.worker()).pid)).toBe(true)
    expect(await client.submit(maps, 'self').result()).toBe(true)
    const greedy = client.submit(() => {
      const all: Buffer[] = []
      for (;;) all.push(Buffer.alloc(2 ** 20, all.length))
    })
    expect(await greedy.exception({ timeout: '30s' })).toMatchObject({ code: 'TASK_OUT_OF_MEMORY' })
    expect(await client.submit(() => 'works on').result()).toBe('works on')
  })
})
