// A task that takes all memory while others work: what ends, and what goes on.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PlimsollError, task } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

const LIMIT = 640 * MIB

const onLinux = process.platform === 'linux'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start({
    nthreads: 2,
    memoryLimit: LIMIT,
    config: { 'scheduler.allowed-oom-failures': 0 },
  })
})
afterAll(() => faults[Symbol.asyncDispose]())

describe.skipIf(!onLinux)('a task that is refused memory', () => {
  it('lives, and its error has the numbers that one of a killed executor has', async () => {
    const { client } = faults
    const before = await faults.worker()
    const refused = client.submit(
      task((n: number) => new Uint8Array(n).length, { name: 'grab' }),
      3 * 1024 * MIB,
    )
    const error = (await refused.exception({ timeout: '30s' })) as PlimsollError | null
    expect(error).toMatchObject({
      code: 'TASK_OUT_OF_MEMORY',
      fields: { key: refused.key, function: 'grab', attempt: 1, limit: LIMIT, inputBytes: 0, neighbours: [] },
      cause: { name: 'RangeError', message: 'Array buffer allocation failed' },
    })
    expect(['executor-cap', 'system']).toContain(error?.fields['cap'])
    expect(error?.message).toContain('limit of the worker 640.00 MiB')
    const after = await faults.worker()
    expect(after.pid).toBe(before.pid)
    expect(after.executors.map(({ pid }) => pid)).toEqual(before.executors.map(({ pid }) => pid))
  })
})

describe.skipIf(!onLinux)('kill-task', () => {
  it('ends the task that outgrows its reservation, while one within its own goes on', async () => {
    const { client } = faults
    const before = await faults.worker()
    const stored = client.submit((n: number) => new Float64Array(n).fill(7), 50_000)
    await stored.result()
    const running = join(faults.folder, 'running')
    const enough = join(faults.folder, 'enough')
    const holder = client.submit(
      task(
        async (bytes: number, marker: string, until: string) => {
          const fs = process.getBuiltinModule('node:fs')
          const held = Buffer.alloc(bytes, 1)
          fs.writeFileSync(marker, '')
          while (!fs.existsSync(until)) await new Promise((resolve) => setTimeout(resolve, 20))
          return held.length
        },
        { memory: '320 MiB' },
      ),
      280 * MIB,
      running,
      enough,
    )
    await until('the first task holds its memory', () => existsSync(running), Boolean)
    const greedy = client.submit(async (step: number) => {
      const all: Buffer[] = []
      for (;;) {
        all.push(Buffer.alloc(step, all.length))
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }, 4 * MIB)
    const error = await greedy.exception({ timeout: '60s' })
    expect(error).toMatchObject({ code: 'TASK_OUT_OF_MEMORY' })
    expect(error?.message).toContain('worker.memory.kill-task')
    writeFileSync(enough, '')
    expect(await holder.result({ timeout: '30s' })).toBe(280 * MIB)
    expect((await stored.result()).length).toBe(50_000)
    const after = await faults.worker()
    expect(after.pid).toBe(before.pid)
    expect(after.restarts).toBe(before.restarts)
    expect(after.processPeak).toBeLessThanOrEqual(LIMIT)
  })
})

describe.skipIf(!onLinux)('terminate', () => {
  it('kills and restarts a worker with too much private memory; what it had in files is not computed again', async () => {
    await using own = await FaultCluster.start({ config: { 'worker.memory.kill-task': false } })
    const { client } = own
    const log = join(own.folder, 'log')
    const stored = client.submit(
      (file: string, n: number) => {
        process.getBuiltinModule('node:fs').appendFileSync(file, 'stored\n')
        return new Float64Array(n).fill(7)
      },
      log,
      500_000,
    )
    await stored.result()
    const before = await own.worker()
    const hungry = client.submit(
      task(
        async (file: string, step: number) => {
          const fs = process.getBuiltinModule('node:fs')
          if (fs.readFileSync(file, 'utf8').includes('hungry')) return 'fed'
          fs.appendFileSync(file, 'hungry\n')
          const all: Buffer[] = []
          for (;;) {
            all.push(Buffer.alloc(step, 1))
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
        },
        { memory: '500 MiB' },
      ),
      log,
      4 * MIB,
    )
    expect(await hungry.result({ timeout: '60s' })).toBe('fed')
    const restarted = await until(
      'the restart is told',
      () => own.worker(),
      (worker) => worker.restarts === 1,
    )
    expect(restarted.pid).not.toBe(before.pid)
    expect((await stored.result()).length).toBe(500_000)
    expect(readFileSync(log, 'utf8')).toBe('stored\nhungry\n')
  })
})
