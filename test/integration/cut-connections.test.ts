// Real processes whose connections to the scheduler are cut at random while they work. Every connection goes through a relay
// that resets, closes, half-closes, delays and silences it; nothing else goes wrong, so nothing may be lost or done twice.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Client, type Future, task } from '../../dist/index.js'
import { hasOpenssl, makeAuthority } from '../../src/comm/authority.conformance.ts'
import type { TlsFiles } from '../../src/comm/comm.ts'
import { descendantsOf, eventually, isAlive } from '../e2e/installed.ts'
import { CuttingProxy } from './cutting-proxy.ts'

const WORKERS = 2
const CUTS_MIN = 10
const ROUNDS_MAX = 60
const MIB = 2 ** 20

interface Dice {
  readonly dice: number
}
interface Named extends Dice {
  readonly id: string
}
interface Produced extends Named {
  readonly bytes: Uint8Array
}

let folder: string
let memory: string
let tls: TlsFiles
let children: ChildProcess[]
let proxy: CuttingProxy
let client: Client

const moduleOf = (part: string): string => JSON.stringify(pathToFileURL(resolve('dist', part, 'index.js')).href)

/** Runs a program in a process of its own; resolves with its first line. */
async function program(name: string, text: string): Promise<string> {
  const path = join(folder, `${name}.mjs`)
  writeFileSync(path, text)
  const child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const [line] = (await once(child.stdout as Readable, 'data')) as [Buffer]
  return line.toString().trim()
}

function schedulerProgram(): string {
  const config = {
    'scheduler.validate': true,
    'scheduler.connection-grace': '60s',
    'scheduler.worker-grace': '60s',
    'scheduler.client-grace': '60s',
  }
  const credentials = { token: null, tls, insecurePlaintext: false }
  return `
    import { Scheduler } from ${moduleOf('scheduler')}
    import { loadConfig } from ${moduleOf('config')}
    const config = loadConfig({ env: {}, files: [], overrides: ${JSON.stringify(config)} })
    const credentials = ${JSON.stringify(credentials)}
    const scheduler = new Scheduler({ host: '127.0.0.1', port: 0, scheme: 'tls', credentials, config })
    await scheduler.start()
    console.log(scheduler.address)`
}

function nannyProgram(name: string): string {
  const options = {
    schedulerAddress: `tls://127.0.0.1:${proxy.port}`,
    token: null,
    tls,
    insecurePlaintext: false,
    name,
    nthreads: 1,
    memoryLimit: 512 * MIB,
    host: '',
    port: 0,
    resources: {},
    executor: 'process',
    http: null,
    deathTimeoutMs: null,
    config: { 'scheduler.validate': true, 'logging.level': 'error' },
    localBase: join(folder, 'local'),
    memoryBase: memory,
  }
  return `
    import { Nanny } from ${moduleOf('nanny')}
    await new Nanny(${JSON.stringify(options)}).start()
    console.log('started')`
}

async function start(seed: number): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-cuts-'))
  memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-cuts-'))
  mkdirSync(join(folder, 'runs'))
  tls = makeAuthority(folder, 'cut')
  children = []
  const address = await program('scheduler', schedulerProgram())
  const port = Number(address.slice(address.lastIndexOf(':') + 1))
  proxy = await CuttingProxy.start(port, { seed, lifeMs: 1500 })
  await Promise.all(Array.from({ length: WORKERS }, (_, n) => program(`nanny-${n}`, nannyProgram(`${n}`))))
  client = await Client.connect(`tls://127.0.0.1:${proxy.port}`, { tls, heartbeat: '1s', timeout: '10s' })
  await client.waitForWorkers(WORKERS, { timeout: '20s' })
  proxy.storm()
}

describe.skipIf(!hasOpenssl)('real processes behind a bad network (needs openssl)', () => {
  beforeEach(() => {
    children = []
  })

  afterEach(async () => {
    proxy.calm()
    await client.close()
    const pids = children.flatMap((child) => [child.pid as number, ...descendantsOf(child.pid as number)])
    for (const child of children) child.kill('SIGKILL')
    await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)))
    await proxy.close()
    for (const path of [folder, memory]) rmSync(path, { recursive: true, force: true })
  })

  it.each([1, 2])('do everything once (seed %i)', { timeout: 120_000 }, async (seed) => {
    await start(seed)
    const runs = join(folder, 'runs')
    const produce = async (file: string, id: string, ms: number): Promise<Produced> => {
      const { appendFileSync } = await import('node:fs')
      appendFileSync(file, 'x')
      if (ms > 0) await new Promise((done) => setTimeout(done, ms))
      return { id, dice: Math.random(), bytes: new Uint8Array(ms % 7 === 0 ? 300_000 : 10) }
    }
    const add = async (file: string, id: string, a: Dice, b: Dice): Promise<Named> => {
      const { appendFileSync } = await import('node:fs')
      appendFileSync(file, 'x')
      return { id, dice: a.dice + b.dice }
    }
    const fail = async (file: string, id: string): Promise<never> => {
      const { appendFileSync } = await import('node:fs')
      appendFileSync(file, 'x')
      throw new TypeError(`meant to fail: ${id}`)
    }
    const scattered = client.scatter({ dice: 0.5, bytes: new Uint8Array(2 * MIB) })
    const produced: Future<Produced>[] = []
    const added: Future<Named>[] = []
    const failed: Future<never>[] = []
    // However fast the machine: until connections were cut often enough for it to mean something.
    const cuts = (): number => Object.values(proxy.cuts).reduce((a, b) => a + b)
    for (let round = 0; round < 8 || (cuts() <= CUTS_MIN && round < ROUNDS_MAX); round++) {
      for (let n = 0; n < 10; n++) {
        const [id, sumId] = [`produce-${produced.length}`, `add-${produced.length}`]
        const one = client.submit(task(produce, { pure: false }), join(runs, id), id, (round * 10 + n) % 40)
        const other = n % 3 === 0 ? scattered : (produced[produced.length - 10] ?? one)
        produced.push(one)
        added.push(client.submit(add, join(runs, sumId), sumId, one, other))
      }
      const id = `fail-${round}`
      failed.push(client.submit(task(fail, { retries: round % 2 }), join(runs, id), id))
      await new Promise((done) => setTimeout(done, 300))
    }
    const values = await client.gather(produced)
    const sums = await client.gather(added)
    for (const [n, each] of failed.entries()) await expect(each.result()).rejects.toThrow(`meant to fail: fail-${n}`)
    const again = await client.gather(produced)
    proxy.calm()
    expect(again.map(({ dice }) => dice)).toEqual(values.map(({ dice }) => dice))
    values.forEach(({ id }, n) => expect(id).toBe(`produce-${n}`))
    sums.forEach(({ dice }, n) => {
      const other = (n % 10) % 3 === 0 ? 0.5 : (values[n < 10 ? n : n - 10] as Produced).dice
      expect(dice).toBe((values[n] as Produced).dice + other)
    })
    const ran = Object.fromEntries(readdirSync(runs).map((id) => [id, readFileSync(join(runs, id)).length]))
    const ids = [...values, ...sums].map(({ id }) => [id, 1] as const)
    const failures = failed.map((_, n) => [`fail-${n}`, 1 + (n % 2)] as const)
    expect(ran).toEqual(Object.fromEntries([...ids, ...failures]))
    expect(cuts()).toBeGreaterThan(CUTS_MIN)
    for (const each of [...produced, ...added, ...failed, scattered]) each.release()
    await expect
      .poll(
        async () =>
          Object.values((await client.schedulerInfo()).workers).map((worker) => [worker.stored, worker.memory.managed]),
        {
          timeout: 20_000,
        },
      )
      .toEqual(Array.from({ length: WORKERS }, () => [0, 0]))
  })
})
