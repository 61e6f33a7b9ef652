// Futures that a program drops without a word release their values: while it is busy, when memory gets short, and when it
// does nothing. Programs of their own, since V8 is to be as a user has it: without --expose-gc.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const INDEX = new URL('../../dist/index.js', import.meta.url).href
let directory: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'plimsoll-dropped-'))
})

afterAll(() => rmSync(directory, { recursive: true }))

const PRELUDE = `
import { Client, LocalCluster, task, wait } from ${JSON.stringify(INDEX)}
import { setTimeout as sleep } from 'node:timers/promises'

const cluster = new LocalCluster({ nWorkers: 1, nthreads: 1, memoryLimit: '400 MiB', dashboardAddress: null })
const client = await Client.connect(cluster)

const stored = async (name) => (await client.taskCounts())[name]?.memory ?? 0
/** Seconds until none is stored, as seen by a client that is asked all the time; null: never. */
async function gone(name, withinMs, busy) {
  const start = performance.now()
  while (performance.now() - start < withinMs) {
    if ((await stored(name)) === 0) return (performance.now() - start) / 1000
    if (busy) await client.submit((x) => x, Math.random()).result()
    await sleep(busy ? 20 : 500)
  }
  return null
}
async function end(result) {
  console.log(JSON.stringify(result))
  await client.close()
  await cluster.close()
}
`

async function run<T>(name: string, program: string, env: Record<string, string> = {}): Promise<T> {
  const file = join(directory, `${name}.mjs`)
  writeFileSync(file, PRELUDE + program)
  const { stdout } = await promisify(execFile)(process.execPath, [file], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    timeout: 60_000,
  })
  return JSON.parse(stdout) as T
}

const STEADY = `
let most = 0
for (let round = 0; round < 40; round++) {
  const futures = client.map(task((n) => new Uint8Array(2 ** 21).fill(n % 251), { name: 'drop' }), Array.from({ length: 8 }, (_, n) => round * 8 + n))
  await wait(futures)
  most = Math.max(most, await stored('drop'))
}
await end({ most, spilled: (await client.memory()).cluster.spilled })
`

describe('dropped futures', () => {
  it('release their values under steady allocation', { timeout: 90_000 }, async () => {
    const { most, spilled } = await run<{ most: number; spilled: number }>('steady', STEADY)
    // 640 MiB in all; a tenth of the cluster’s memory is 20 values.
    expect(most).toBeLessThan(100)
    expect(spilled).toBe(0)
  })

  it(
    'release their values within 5 s of pressure that others cause, while the program is busy',
    { timeout: 90_000 },
    async () => {
      const { before, afterS } = await run<{ before: number; afterS: number | null }>(
        'pressure',
        `
      let futures = client.map(task((n) => new Uint8Array(2 ** 21).fill(n % 251), { name: 'drop' }), Array.from({ length: 30 }, (_, n) => n))
      await wait(futures)
      // Collections up to here find them in use; what follows is growth of nobody.
      await sleep(1500)
      futures = null
      const before = await stored('drop')
      const other = await Client.connect(cluster, { setAsDefault: false })
      const held = other.map(task((n) => new Uint8Array(2 ** 21).fill(n % 251), { name: 'held' }), Array.from({ length: 70 }, (_, n) => n))
      await wait(held)
      const afterS = await gone('drop', 10_000, true)
      await other.close()
      await end({ before, afterS })`,
      )
      expect(before).toBe(30)
      expect(afterS).not.toBeNull()
      expect(afterS).toBeLessThan(5)
    },
  )

  const IDLE = `
    let futures = client.map(task((n) => n, { name: 'drop' }), Array.from({ length: 100 }, (_, n) => n))
    await wait(futures)
    futures = null
    await end({ afterS: await gone('drop', 5000, false) })`

  it('release their values while the program does nothing', { timeout: 90_000 }, async () => {
    const { afterS } = await run<{ afterS: number | null }>('idle', IDLE)
    expect(afterS).not.toBeNull()
  })

  it('keep them with client.gc off, since nothing makes V8 look', { timeout: 90_000 }, async () => {
    const { afterS } = await run<{ afterS: number | null }>('off', IDLE, { PLIMSOLL_CLIENT__GC: 'off' })
    expect(afterS).toBeNull()
  })
})
