// A whole cluster in this process whose connections to the scheduler are cut at random, again and again, while it works: every
// result is right, no task that finished runs again, no future fails, and nothing is left at the end.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { workerId } from '../../src/base/ids.ts'
import { Prng } from '../../src/base/prng.ts'
import { Client } from '../../src/client/client.ts'
import { task } from '../../src/client/task-options.ts'
import type { Future } from '../../src/client/future.ts'
import { loadConfig } from '../../src/config/index.ts'
import { Scheduler } from '../../src/scheduler/index.ts'
import { claimDirectories, type ClaimedDirectories } from '../../src/store/directories.ts'
import { Worker } from '../../src/worker/index.ts'
import { CuttingRelay } from './cutting-relay.ts'

const CREDENTIALS = { token: null, tls: null, insecurePlaintext: false }
const CONFIG = { 'scheduler.validate': true, 'scheduler.connection-grace': '60s', 'scheduler.client-grace': '60s' }

declare global {
  /** How often each task ran; tasks run in this very process. */
  var plimsollRan: Map<string, number>
}

interface Leaf {
  readonly id: string
  readonly dice: number
}

/** Everything that one test made, undone in the reverse order. */
const undo: (() => unknown)[] = []

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})

async function startWorker(schedulerAddress: string, folder: string, name: string): Promise<Worker> {
  const id = workerId(`worker-${name}`)
  const directories: ClaimedDirectories = await claimDirectories({
    workerId: id,
    memoryLimit: 0,
    localBase: join(folder, 'local'),
    memoryBase: join(folder, 'memory'),
  })
  undo.push(() => directories.release({ remove: true }))
  const worker = new Worker({
    schedulerAddress,
    token: null,
    tls: null,
    insecurePlaintext: false,
    workerId: id,
    incarnation: 1,
    name,
    nthreads: 2,
    memoryLimit: 0,
    localDirectory: directories.local,
    memoryDirectory: directories.memory,
    host: '',
    port: 0,
    resources: {},
    nannyPid: null,
    restarts: 0,
    processPeak: 0,
    spilledTotal: 0,
    executor: 'inline',
    http: null,
    deathTimeoutMs: null,
    config: CONFIG,
  })
  undo.push(() => worker.close('the test is over'))
  await worker.start()
  return worker
}

interface Cut {
  readonly scheduler: Scheduler
  readonly relay: CuttingRelay
  readonly client: Client
}

async function startAll(seed: number): Promise<Cut> {
  const folder = mkdtempSync(join(tmpdir(), 'plimsoll-cuts-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  for (const base of ['local', 'memory']) mkdirSync(join(folder, base))
  const config = loadConfig({ env: {}, files: [], overrides: CONFIG })
  const scheduler = new Scheduler({ host: '', port: 0, scheme: 'inproc', credentials: CREDENTIALS, config })
  undo.push(() => scheduler.close())
  await scheduler.start()
  // The first registrations are the user's to try again: cuts begin when everybody is there.
  const relay = await CuttingRelay.start(scheduler, { seed, messagesMax: 60, cuts: 40, from: 3 })
  undo.push(() => relay.close())
  await startWorker(relay.address, folder, 'a')
  await startWorker(relay.address, folder, 'b')
  const client = await Client.connect({ address: relay.address, token: null })
  undo.push(() => client.close())
  return { scheduler, relay, client }
}

const leaf = async (id: string, ms: number): Promise<Leaf> => {
  globalThis.plimsollRan.set(id, (globalThis.plimsollRan.get(id) ?? 0) + 1)
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
  return { id, dice: Math.random() }
}

const join2 = (id: string, a: Leaf, b: Leaf): Leaf => {
  globalThis.plimsollRan.set(id, (globalThis.plimsollRan.get(id) ?? 0) + 1)
  return { id, dice: a.dice + b.dice }
}

const failing = (id: string): never => {
  globalThis.plimsollRan.set(id, (globalThis.plimsollRan.get(id) ?? 0) + 1)
  throw new TypeError(`meant to fail: ${id}`)
}

async function work({ scheduler, relay, client }: Cut, seed: number): Promise<void> {
  const prng = new Prng(seed)
  globalThis.plimsollRan = new Map()
  const pause = () => (prng.next() < 0.5 ? sleep(prng.int(20)) : null)
  const cut = () => (prng.next() < 0.2 ? relay.cutAll() : null)
  const leaves: Future<Leaf>[] = []
  const bad: Future<never>[] = []
  for (let n = 0; n < 30; n++) {
    leaves.push(client.submit(task(leaf, { pure: false }), `leaf-${n}`, prng.int(15)))
    bad.push(client.submit(task(failing, { retries: n % 2 }), `bad-${n}`))
    cut()
    await pause()
  }
  const scattered = client.scatter({ id: 's', dice: 0.5 })
  const joins = leaves.map((each, n) =>
    client.submit(join2, `join-${n}`, each, n % 2 === 0 ? scattered : (leaves[n - 1] as Future<Leaf>)),
  )
  const first = client.gather(leaves)
  for (let n = 0; n < 10; n++) {
    cut()
    await pause()
  }
  const values = await first
  const sums = await client.gather(joins)
  expect(values.map(({ id }) => id)).toEqual(leaves.map((_, n) => `leaf-${n}`))
  sums.forEach(({ id, dice }, n) => {
    const other = n % 2 === 0 ? 0.5 : (values[n - 1] as Leaf).dice
    expect([id, dice]).toEqual([`join-${n}`, (values[n] as Leaf).dice + other])
  })
  for (const [n, each] of bad.entries()) await expect(each.result()).rejects.toThrow(`meant to fail: bad-${n}`)
  relay.cutAll()
  // Nothing was made again under the same name.
  expect(await client.gather(leaves)).toEqual(values)
  const expected = new Map([...values, ...sums].map(({ id }) => [id, 1]))
  for (const n of bad.keys()) expected.set(`bad-${n}`, 1 + (n % 2))
  expect(Object.fromEntries(globalThis.plimsollRan)).toEqual(Object.fromEntries(expected))
  for (const each of [...leaves, ...joins, ...bad, scattered]) each.release()
  relay.cutAll()
  await expect.poll(() => scheduler.state.tasks.size, { timeout: 10_000 }).toBe(0)
  await expect
    .poll(async () => Object.values((await client.schedulerInfo()).workers).map(({ memory }) => memory.managed), {
      timeout: 10_000,
    })
    .toEqual([0, 0])
  expect(relay.cuts).toBeGreaterThan(10)
}

describe('a cluster whose connections are cut at random', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('does everything once (seed %i)', { timeout: 60_000 }, async (seed) => {
    await work(await startAll(seed), seed)
  })
})
