// A nanny in a process of its own, with a real worker, a real scheduler and a real client, on the build.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../dist/config/index.js'
import { createToken } from '../../dist/comm/index.js'
import { Client, type Future, type WorkerInfo } from '../../dist/index.js'
import { Scheduler } from '../../dist/scheduler/index.js'
import { descendantsOf, eventually, isAlive } from '../e2e/installed.ts'
import { plainNanny } from './plain-nanny.ts'

let folder: string
let memory: string
let scheduler: Scheduler
let client: Client
let nanny: ChildProcess
const token = createToken()

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-nanny-'))
  memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-nanny-'))
  const config = loadConfig({ env: {}, files: [], overrides: { 'scheduler.validate': true } })
  scheduler = new Scheduler({
    host: '127.0.0.1',
    port: 0,
    credentials: { token, tls: null, insecurePlaintext: false },
    config,
  })
  await scheduler.start()
  nanny = startNanny()
  // The scheduler knows the worker a moment before its nanny does.
  const started = once(nanny.stdout as Readable, 'data')
  client = await Client.connect(scheduler.address, { token })
  await client.waitForWorkers(1, { timeout: 15_000 })
  await started
})
afterEach(async () => {
  const pids = [nanny.pid as number, ...descendantsOf(nanny.pid as number)]
  await client.close()
  await scheduler.close()
  nanny.kill('SIGKILL')
  await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)))
  for (const path of [folder, memory]) rmSync(path, { recursive: true, force: true })
})

function startNanny(): ChildProcess {
  const path = join(folder, 'nanny.mjs')
  const options = {
    ...plainNanny,
    schedulerAddress: scheduler.address,
    token,
    name: 'alice',
    nthreads: 2,
    memoryLimit: 2 ** 29,
    config: {},
    localBase: join(folder, 'local'),
    memoryBase: memory,
  }
  const index = JSON.stringify(pathToFileURL(resolve('dist/nanny/index.js')).href)
  writeFileSync(
    path,
    `import { Nanny } from ${index}\nawait new Nanny(${JSON.stringify(options)}).start()\nconsole.log('started')\n`,
  )
  return spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'inherit'] })
}

const directories = (): string[] =>
  [join(folder, 'local'), memory].flatMap((base) =>
    existsSync(base) ? readdirSync(base, { recursive: true }).map(String) : [],
  )

/** Those that are connected. */
async function workers(): Promise<WorkerInfo[]> {
  const { workers: all } = await client.schedulerInfo()
  return Object.values(all).filter(({ status }) => status !== 'restarting' && status !== 'disconnected')
}

/** Polls a question to the scheduler. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

/** A task that never ends is running when this resolves; it ends when its future is let go. */
async function loopForEver(): Promise<{ loop: Future<never>; worker: WorkerInfo; executors: number[] }> {
  const loop = client.submit(function loop(): never {
    for (;;);
  })
  await until('the loop runs', async () =>
    (await workers()).some(({ executors }) => executors.some(({ task }) => task?.startsWith('loop'))),
  )
  const [worker] = await workers()
  if (worker === undefined) throw new Error('there is no worker')
  return { loop, worker, executors: worker.executors.map(({ pid }) => pid) }
}

describe('a nanny', () => {
  it('has a worker that was killed back, with its id and with what was in files', async () => {
    const large = client.submit(function large() {
      return new Float64Array(100_000).fill(1)
    })
    const small = client.submit(function small() {
      return 'small'
    })
    await client.gather([large, small])
    const { loop, worker, executors } = await loopForEver()
    process.kill(worker.pid, 'SIGKILL')
    await eventually('its executors have ended', () => executors.every((pid) => !isAlive(pid)), 1500)
    await until('the worker is back', async () => (await workers()).some(({ restarts }) => restarts === 1))
    const [again] = await workers()
    expect(again).toMatchObject({
      id: worker.id,
      name: 'alice',
      nannyPid: nanny.pid,
      localDirectory: worker.localDirectory,
    })
    expect(again?.pid).not.toBe(worker.pid)
    loop.release()
    expect(await client.submit((a: Float64Array, b: string) => [a.length, b], large, small).result()).toEqual([
      100_000,
      'small',
    ])
    const counts = await client.taskCounts()
    // The file was adopted; what was in the process only was computed again.
    expect([counts['large']?.runs, counts['small']?.runs]).toEqual([1, 2])
  })

  it('that is killed itself while a task loops for ever leaves neither processes nor files', async () => {
    await client.submit(() => new Float64Array(100_000)).result()
    const { worker, executors } = await loopForEver()
    const doomed = [worker.pid, ...executors, ...descendantsOf(nanny.pid as number)]
    nanny.kill('SIGKILL')
    await eventually('nothing of it is left', () => doomed.every((pid) => !isAlive(pid)), 1500)
    await eventually('its directories are removed', () => directories().length === 0, 1500)
  })

  it('starts its worker anew with nothing in it when the client restarts the cluster', async () => {
    const before = (await workers())[0] as WorkerInfo
    const stored = client.submit(() => new Float64Array(100_000))
    await stored.result()
    await client.restart({ timeout: 10_000 })
    const [after] = await workers()
    expect(after).toMatchObject({ id: before.id, stored: 0 })
    expect(after?.pid).not.toBe(before.pid)
    expect(stored.status).toBe('cancelled')
    expect(await client.submit((a: number, b: number) => a + b, 1, 2).result()).toBe(3)
  })

  it('goes with its worker when the scheduler closes', async () => {
    const pids = [nanny.pid as number, ...descendantsOf(nanny.pid as number)]
    await scheduler.close('the end')
    await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)))
    expect(directories()).toEqual([])
    if (nanny.exitCode === null) await once(nanny, 'exit')
    expect(nanny.exitCode).toBe(0)
  })
})
