// Scheduling rules on a real cluster: resources, restrictions, budgets, cancelling and asking again, refusals with numbers.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client, type Future, task } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start({
    nWorkers: 2,
    nthreads: 2,
    memoryLimit: '256 MiB',
    resources: { GPU: 1 },
    config: { 'scheduler.worker-ttl': '1s', 'logging.level': 'fatal' },
  })
})
afterAll(() => faults[Symbol.asyncDispose]())

/** Leaves a line when it starts and when it ends; 60 ms lie between. */
async function traced(file: string, name: string, worker: boolean): Promise<string> {
  const { appendFileSync: append } = await import('node:fs')
  const packageName = 'plimsoll'
  const { taskContext } = (await import(packageName)) as { taskContext: () => { workerAddress: string } }
  const where = taskContext().workerAddress
  append(file, `+ ${name} ${where}\n`)
  await new Promise((resolve) => setTimeout(resolve, 60))
  append(file, `- ${name} ${where}\n`)
  return worker ? where : name
}

/** Most tasks whose name starts like this that ran at once on one worker. */
function mostAtOnce(file: string, prefix: string): number {
  const running = new Map<string, number>()
  let most = 0
  for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
    const [sign, name, where] = line.split(' ') as [string, string, string]
    if (!name.startsWith(prefix)) continue
    running.set(where, (running.get(where) ?? 0) + (sign === '+' ? 1 : -1))
    most = Math.max(most, running.get(where) ?? 0)
  }
  return most
}

describe('resources', () => {
  it('bound how many tasks run at once on each worker, and hold up nothing else (5.6-2)', async () => {
    const file = join(faults.folder, 'resources')
    const names = Array.from({ length: 8 }, (_, n) => n)
    const gpu = faults.client.map(
      task(traced, { resources: { GPU: 1 } }),
      names.map(() => file),
      names.map((n) => `gpu${n}`),
      names.map(() => true),
    )
    const plain = faults.client.map(
      traced,
      names.map(() => file),
      names.map((n) => `plain${n}`),
      names.map(() => true),
    )
    const [places] = await faults.client.gather([gpu, plain])
    expect(mostAtOnce(file, 'gpu')).toBe(1)
    expect(new Set(places).size).toBe(2)
  })

  it('that no worker has are waited for', async () => {
    const future = faults.client.submit(task(() => 1, { resources: { FPGA: 1 } }))
    const counts = async () => (await faults.client.schedulerInfo()).tasks['no-worker']
    await until('the task has no worker', counts, (count) => count === 1)
    future.release()
  })
})

describe('maps of one turn', () => {
  it('are ordered as one graph: the first pair is added long before half of its blocks are made', async () => {
    const file = join(faults.folder, 'order')
    const count = 40
    const make = async (path: string, n: number) => {
      const { appendFileSync: append } = await import('node:fs')
      append(path, 'make\n')
      // A quick one with a small result would not be held back.
      await new Promise((resolve) => setTimeout(resolve, 25))
      return n
    }
    const add = async (path: string, a: number, b: number) => {
      const { appendFileSync: append } = await import('node:fs')
      append(path, 'add\n')
      return a + b
    }
    const files = Array.from({ length: count }, () => file)
    const blocks = faults.client.map(make, files, [...files.keys()])
    const half = count / 2
    const pairs = faults.client.map(add, files.slice(half), blocks.slice(0, half), blocks.slice(half))
    const sums = await faults.client.gather(pairs)
    expect(sums).toEqual(Array.from({ length: half }, (_, n) => 2 * n + half))
    expect(readFileSync(file, 'utf8').split('\n').indexOf('add')).toBeLessThan(half - 2)
  })
})

describe('restrictions', () => {
  it('send tasks to the named worker by name, address and id (5.6-1), with resources at once (5.6-3)', async () => {
    const worker = await faults.worker(1)
    const file = join(faults.folder, 'restrictions')
    for (const [n, label] of [worker.name, worker.address, worker.id].entries()) {
      const placed = faults.client.submit(
        task(traced, { workers: [label], resources: { GPU: n === 0 ? 1 : 0 } }),
        file,
        `named${n}`,
        true,
      )
      expect(await placed.result()).toBe(worker.address)
    }
  })

  it('are only a wish with allowOtherWorkers (5.6-4)', async () => {
    const loose = task((a: number) => a + 1, { workers: ['nobody'], allowOtherWorkers: true })
    expect(await faults.client.submit(loose, 1).result()).toBe(2)
  })
})

describe('a graph whose root was cancelled', () => {
  it('is computed when it is submitted again in the same turn', async () => {
    const { client } = faults
    const build = (): { readonly root: Future<number>; readonly sum: Future<number> } => {
      const root = client.submit(function slowRoot(a: number) {
        return new Promise<number>((resolve) => setTimeout(resolve, 200, a))
      }, 5)
      const parts = client.map((a: number, n: number) => a + n, [root, root, root], [1, 2, 3])
      return { root, sum: client.submit((...all: number[]) => all.reduce((a, b) => a + b, 0), ...parts) }
    }
    const first = build()
    first.root.cancel()
    const again = build()
    expect(await again.sum.result({ timeout: 20_000 })).toBe(21)
    // The same key, asked for again: the older future has its value, too.
    expect(await first.sum.result()).toBe(21)
  })
})

describe('a task that cannot run', () => {
  it('for the size of its inputs fails at once with the numbers', async () => {
    const blocks = faults.client.map((n: number) => new Uint8Array(90 * 2 ** 20).fill(n), [1, 2, 3])
    const sum = faults.client.submit((...all: Uint8Array[]) => all.length, ...blocks)
    const error = await sum.exception({ timeout: 60_000 })
    expect(error).toMatchObject({
      code: 'INPUTS_EXCEED_LIMIT',
      message: expect.stringMatching(/the 3 inputs of task .* 270.0\d MiB together .*largest is 256.00 MiB/) as string,
      fields: { largestLimitBytes: 256 * MIB, inputCount: 3 },
    })
    faults.client.release([...blocks, sum])
  })

  it('because its key stands for another call is refused to a second client', async () => {
    const { client } = faults
    const mine = client.submit(
      task((a: number) => a, { key: 'answer' }),
      42,
    )
    expect(await mine.result()).toBe(42)
    await using other = await Client.connect(faults.cluster, { setAsDefault: false })
    const theirs = other.submit(
      task((a: number) => -a, { key: 'answer' }),
      42,
    )
    await expect(theirs.result()).rejects.toMatchObject({ code: 'KEY_CONFLICT', fields: { key: 'answer' } })
    expect(await mine.result()).toBe(42)
  })
})

describe('a task that kills its executor', () => {
  it('is tried as often as allowed, and its error says how often and where', async () => {
    const file = join(faults.folder, 'deadly')
    writeFileSync(file, '')
    const deadly = faults.client.submit(async function deadly(path: string) {
      const { writeFileSync: write } = await import('node:fs')
      write(path, 'x', { flag: 'a' })
      process.kill(process.pid, 'SIGKILL')
    }, file)
    const error = (await deadly.exception({ timeout: 60_000 })) as Error & {
      plimsoll: { attempts: number; workers: string[] }
    }
    expect(readFileSync(file, 'utf8')).toBe('xxxx')
    expect(error.message).toMatch(/It was tried 4 times, on tcp:/)
    const addresses = (await faults.workers()).map(({ address }) => address)
    expect(error.plimsoll.attempts).toBe(4)
    expect(addresses).toEqual(expect.arrayContaining(error.plimsoll.workers))
  })
})

describe('a task that must not run twice', () => {
  it('fails with WORKER_LOST when its worker dies with it, and was started once', async () => {
    const file = join(faults.folder, 'once')
    writeFileSync(file, '')
    const worker = await faults.worker(1)
    const once = faults.client.submit(
      task(
        async function once(path: string) {
          const { writeFileSync: write } = await import('node:fs')
          write(path, 'x', { flag: 'a' })
          await new Promise((resolve) => setTimeout(resolve, 60_000))
        },
        { idempotent: false, retries: 5, workers: [worker.name] },
      ),
      file,
    )
    await until(
      'it runs',
      () => readFileSync(file, 'utf8'),
      (text) => text === 'x',
    )
    process.kill(worker.pid, 'SIGKILL')
    await expect(once.result({ timeout: 30_000 })).rejects.toMatchObject({ code: 'WORKER_LOST' })
    await until(
      'the worker is back',
      () => faults.worker(1),
      ({ pid }) => pid !== worker.pid,
      60_000,
    )
    expect(readFileSync(file, 'utf8')).toBe('x')
  })
})

describe('a worker that is stopped', () => {
  it('is shown as silent, killed by its nanny after worker-ttl, and comes back with its values (5.14-1)', async () => {
    const worker = await faults.worker(0)
    const large = faults.client.submit(task(() => new Uint8Array(1_000_000), { workers: [worker.name], name: 'kept' }))
    await large.result()
    process.kill(worker.pid, 'SIGSTOP')
    const again = await until(
      'it has a new process',
      () => faults.worker(0),
      ({ pid }) => pid !== worker.pid,
      60_000,
    )
    expect(again).toMatchObject({ id: worker.id, restarts: 1, status: 'running' })
    expect(await faults.runs('kept')).toBe(1)
    expect(((await large.result({ timeout: 20_000 })) as Uint8Array).length).toBe(1_000_000)
  })
})
