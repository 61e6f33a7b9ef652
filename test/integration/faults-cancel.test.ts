// Giving work up, and trying again: cancel, release, retry, timeouts and deaths of executors. The cluster has one executor, so
// whatever holds it would be seen by the next task.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Client, type Future, task } from '../../dist/index.js'
import { isAlive } from '../e2e/installed.ts'
import { FaultCluster, linesOf, until } from './fault-cluster.ts'

let faults: FaultCluster
let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-cancel-'))
  faults = await FaultCluster.start({
    config: { 'worker.cancel-grace': '1s', 'scheduler.allowed-failures': 2, 'scheduler.client-grace': '300ms' },
  })
})
afterAll(async () => {
  await faults[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})
/** Whatever a test did, the executor takes work again. */
afterEach(async () => {
  using check = faults.client.submit(
    task((x: number) => x + 1, { pure: false }),
    1,
  )
  expect(await check.result({ timeout: 20_000 })).toBe(2)
})

const loopForEver = (): void => {
  for (;;);
}

/** An endless loop that is in its executor now. */
async function looping(key: string): Promise<{ readonly future: Future<void>; readonly executor: number }> {
  const future = faults.client.submit(task(loopForEver, { key }))
  return { future, executor: await faults.executorOf(future) }
}

async function gone(pid: number): Promise<void> {
  await until(
    `process ${pid} has ended`,
    () => isAlive(pid),
    (alive) => !alive,
  )
}

const cancelled = { code: 'TASK_CANCELLED' }

describe('cancel', () => {
  it('of what waits, is queued or runs frees the executor, and dependents go with it', async () => {
    const { client } = faults
    const { future: running, executor } = await looping('running')
    const queued = client.map(
      task((x: number) => x, { pure: false }),
      [1, 2, 3],
    )
    const dependent = client.submit((xs: unknown[]) => xs.length, [running, ...queued])
    const late = client.submit((x: unknown) => x, dependent)
    client.cancel([running, ...queued])
    for (const future of [running, ...queued, dependent, late])
      await expect(future.result({ timeout: 20_000 })).rejects.toMatchObject(cancelled)
    expect(running.cancelled()).toBe(true)
    await gone(executor)
    const counts = await until(
      'no task is left',
      () => client.taskCounts(),
      (prefixes) => Object.values(prefixes).every((each) => each.processing + each.waiting + each.queued === 0),
    )
    expect(counts).toBeDefined()
  })

  it('ends what the task had started too', async () => {
    const { client } = faults
    const file = join(folder, 'child')
    const future = client.submit(async (path: string) => {
      const { spawn } = await import('node:child_process')
      const { writeFileSync } = await import('node:fs')
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
      writeFileSync(path, String(child.pid))
      for (;;);
    }, file)
    const child = await until(
      'the child runs',
      () => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0),
      Boolean,
    )
    expect(isAlive(child)).toBe(true)
    future.cancel()
    await gone(child)
  })

  it('is heard by a task that looks at its signal, whose executor lives on', async () => {
    const file = join(folder, 'signal')
    const future = faults.client.submit(async (path: string) => {
      const name = 'plimsoll'
      const { taskContext: context } = (await import(name)) as { taskContext: () => { signal: AbortSignal } }
      const { writeFileSync } = await import('node:fs')
      const { signal } = context()
      const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve))
      writeFileSync(`${path}-listens`, '')
      await aborted
      writeFileSync(path, 'heard')
    }, file)
    const executor = await faults.executorOf(future)
    await until('the task listens', () => existsSync(`${file}-listens`), Boolean)
    future.cancel()
    await until('the task heard', () => existsSync(file), Boolean)
    expect(isAlive(executor)).toBe(true)
  })

  it('of a key does not stop it from being submitted again', async () => {
    const { client } = faults
    const { future } = await looping('again')
    future.cancel()
    const file = join(folder, 'again')
    const second = client.submit(
      task((path: string) => path, { key: 'again' }),
      file,
    )
    expect(await second.result({ timeout: 20_000 })).toBe(file)
    expect(future.cancelled()).toBe(true)
  })

  it('of what another client wants ends only this client’s interest, unless it is forced', async () => {
    await using other = await Client.connect(faults.cluster, { setAsDefault: false })
    const file = join(folder, 'release')
    const waitForFile = async (path: string): Promise<string> => {
      const { existsSync } = await import('node:fs')
      while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 10))
      return 'released'
    }
    const mine = faults.client.submit(waitForFile, file)
    const theirs = other.submit(waitForFile, file)
    expect(theirs.key).toBe(mine.key)
    await faults.executorOf(mine)
    mine.cancel()
    await expect(mine.result()).rejects.toMatchObject(cancelled)
    writeFileSync(file, '')
    expect(await theirs.result({ timeout: 20_000 })).toBe('released')

    const { future } = await looping('forced')
    const shared = other.submit(task(loopForEver, { key: 'forced' }))
    // The order of two connections is not fixed: the other client's wish is known when its question is answered.
    await other.whoHas(shared)
    future.cancel({ force: true })
    await expect(shared.result({ timeout: 20_000 })).rejects.toMatchObject(cancelled)
  })

  it('by release of the last future frees the executor as well', async () => {
    const { future, executor } = await looping('released')
    future.release()
    await gone(executor)
  })
})

describe('another try', () => {
  /** Fails until it was called `fails` times. */
  const flaky = async (path: string, fails: number): Promise<number> => {
    const { appendFileSync, readFileSync } = await import('node:fs')
    appendFileSync(path, 'x')
    const calls = readFileSync(path, 'utf8').length
    if (calls <= fails) throw new Error(`call ${calls}`)
    return calls
  }

  it('is what `retries` gives, and no more', async () => {
    const { client } = faults
    expect(await client.submit(task(flaky, { retries: 2 }), join(folder, 'two'), 2).result()).toBe(3)
    const failing = client.submit(task(flaky, { retries: 2 }), join(folder, 'three'), 3)
    await expect(failing.result()).rejects.toThrow('call 3')
  })

  it('is what retry() gives, from the task that failed, with its dependents', async () => {
    const { client } = faults
    const root = client.submit(flaky, join(folder, 'retry'), 1)
    const leaf = client.submit((x: number) => x * 10, root)
    await expect(leaf.result()).rejects.toThrow('call 1')
    await leaf.retry()
    expect(await leaf.result()).toBe(20)
    expect(await root.result()).toBe(2)
  })

  it('after a timeout is not made unless asked for; the executor is free', async () => {
    const future = faults.client.submit(task(loopForEver, { timeout: 300, key: 'slow' }))
    await expect(future.result({ timeout: 30_000 })).rejects.toMatchObject({
      code: 'TASK_TIMEOUT',
      message: expect.stringContaining('slow') as string,
    })
    expect(await faults.runs('loopForEver')).toBeGreaterThan(0)
  })
})

describe('a task that ends its process', () => {
  it('acceptance 30: fails after the allowed deaths; what waited behind it or runs after is never blamed', async () => {
    const { client } = faults
    const [file, calls] = [join(folder, 'neighbours'), join(folder, 'deaths')]
    const stored = client.submit((n: number) => new Float64Array(n).fill(3), 50_000)
    await stored.result()
    const deadly = client.submit(
      task(
        async (path: string) => {
          const { appendFileSync } = await import('node:fs')
          appendFileSync(path, 'death\n')
          process.exit(3)
        },
        { name: 'deadly' },
      ),
      calls,
    )
    const neighbour = async (path: string, x: number): Promise<number> => {
      const { appendFileSync } = await import('node:fs')
      appendFileSync(path, `${x}\n`)
      return x
    }
    const indices = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    const neighbours = client.map(
      neighbour,
      indices.map(() => file),
      indices,
    )
    const error = await deadly.exception({ timeout: 30_000 })
    expect(error).toMatchObject({ code: 'TASK_CRASHED' })
    expect(error?.message).toMatch(/deadly/)
    expect(error?.message).toMatch(/3/)
    expect(linesOf(calls)).toHaveLength(3)
    expect(await client.gather(neighbours)).toEqual(indices)
    // None of them ran twice: they only waited when the executor died.
    expect(linesOf(file)).toHaveLength(indices.length)
    expect((await stored.result())[0]).toBe(3)
  })
})
