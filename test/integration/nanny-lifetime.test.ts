// Workers whose lifetime is over, each under a nanny in this process, with a real scheduler and a real client.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../dist/config/index.js'
import { createToken } from '../../dist/comm/index.js'
import { Client, type Future, task } from '../../dist/index.js'
import { Nanny } from '../../dist/nanny/index.js'
import { Scheduler } from '../../dist/scheduler/index.js'
import { until } from './fault-cluster.ts'
import { plainNanny } from './plain-nanny.ts'

const token = createToken()
let folder: string
let memory: string
let scheduler: Scheduler
let client: Client
let nannies: Nanny[]

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-lifetime-'))
  memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-lifetime-'))
  nannies = []
  scheduler = new Scheduler({
    host: '127.0.0.1',
    port: 0,
    credentials: { token, tls: null, insecurePlaintext: false },
    config: loadConfig({ env: {}, files: [], overrides: { 'scheduler.validate': true } }),
  })
  await scheduler.start()
  client = await Client.connect(scheduler.address, { token })
})
afterEach(async () => {
  await client.close()
  await Promise.all(nannies.map((nanny) => nanny.close()))
  await scheduler.close()
  for (const path of [folder, memory]) rmSync(path, { recursive: true, force: true })
})

async function startWorker(name: string, config: Readonly<Record<string, unknown>>): Promise<Nanny> {
  const nanny = new Nanny({
    ...plainNanny,
    schedulerAddress: scheduler.address,
    token,
    name,
    nthreads: 1,
    memoryLimit: 2 ** 28,
    config: { 'logging.level': 'error', ...config },
    localBase: join(folder, 'local'),
    memoryBase: memory,
  })
  nannies.push(nanny)
  await nanny.start()
  return nanny
}

/** Values, a small and a large one, that only this worker has; each run of the task leaves a line. */
async function valuesOn(worker: string): Promise<Future<number>[]> {
  const make = (log: string, n: number): number[] => {
    process.getBuiltinModule('node:fs').appendFileSync(log, `${n}\n`)
    return Array.from({ length: n }, () => 1)
  }
  const on = { workers: [worker], allowOtherWorkers: true, pure: false }
  const values = [10, 100_000].map((n) => client.submit(task(make, on), join(folder, 'runs'), n))
  await client.gather(values)
  return values as never
}

/** Sizes of the values that were computed, one for each time. */
const runs = (): string[] => readFileSync(join(folder, 'runs'), 'utf8').trimEnd().split('\n').toSorted()
const sum = (values: readonly Future<number>[]): Promise<number> =>
  client.submit((all: number[][]) => all.flat().reduce((a, b) => a + b, 0), values as never).result({ timeout: '20s' })

describe('a lifetime', () => {
  it('at its end: values move to another worker, running tasks finish, the worker and its nanny are gone', async () => {
    await startWorker('stays', {})
    const old = await startWorker('old', { 'worker.lifetime.duration': '3s', 'worker.lifetime.stagger': '100ms' })
    const values = await valuesOn('old')
    const running = client.submit(
      task(async (ms: number) => await new Promise((resolve) => setTimeout(() => resolve('done'), ms)), {
        workers: ['old'],
      }),
      3500,
    )
    expect(await old.closed).toBe('its lifetime is over')
    expect(old.failed).toBe(false)
    expect(await running.result()).toBe('done')
    expect(await sum(values)).toBe(100_010)
    expect(runs()).toEqual(['10', '100000'])
    const { workers } = await client.schedulerInfo()
    expect(Object.values(workers).map(({ name }) => name)).toEqual(['stays'])
  })

  it('with restart: a new process takes the place of the old one, and nothing is computed again', async () => {
    await startWorker('stays', {})
    const old = await startWorker('old', { 'worker.lifetime.duration': '1.5s', 'worker.lifetime.restart': true })
    const before = old.workerPid
    const values = await valuesOn('old')
    await until(
      'another process runs',
      () => old.workerPid,
      (pid) => pid !== null && pid !== before,
    )
    await client.waitForWorkers(2, { timeout: '10s' })
    expect(await sum(values)).toBe(100_010)
    expect([runs(), old.restarts]).toEqual([['10', '100000'], 0])
  })

  it('of the only worker, with restart: what it has in files is served again', async () => {
    const only = await startWorker('only', { 'worker.lifetime.duration': '1.5s', 'worker.lifetime.restart': true })
    const before = only.workerPid
    const [, large] = await valuesOn('only')
    await until(
      'another process runs',
      () => only.workerPid,
      (pid) => pid !== null && pid !== before,
    )
    expect(await sum([large as Future<number>])).toBe(100_000)
    // The small one was in the process only.
    expect(runs().filter((size) => size === '100000')).toHaveLength(1)
  })
})
