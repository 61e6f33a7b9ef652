// Who holds what, and for how long: restart of the cluster, two clients, a client that vanishes, futures that nobody holds, and
// the measures while all of that goes on.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../dist/comm/index.js'
import { PROTOCOL_VERSION } from '../../dist/protocol/version.js'
import { Client, fireAndForget, task, wait } from '../../dist/index.js'
import { FaultCluster, linesOf, until } from './fault-cluster.ts'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start({
    nWorkers: 2,
    config: { 'scheduler.client-grace': '300ms', 'worker.cancel-grace': '200ms' },
  })
})
afterAll(() => faults[Symbol.asyncDispose]())

const block = (n: number, seed: number): Float64Array => new Float64Array(n).fill(seed)

describe('a protocol version of another release', () => {
  it('is refused at every port, by name; the cluster does not notice', async () => {
    const { cluster, client } = faults
    const ports = [cluster.address, ...cluster.workers.map(({ address }) => address as string)]
    expect(ports).toHaveLength(3)
    const credentials = { token: cluster.token, tls: null, insecurePlaintext: false }
    for (const address of ports) {
      const attempt = connect(address, { role: 'client', credentials, protocolVersion: 999, timeoutMs: 10_000 })
      await expect(attempt).rejects.toMatchObject({
        code: 'VERSION_MISMATCH',
        message: expect.stringMatching(new RegExp(`999.*${PROTOCOL_VERSION}|${PROTOCOL_VERSION}.*999`)) as string,
      })
    }
    using future = client.submit((x: number) => x * 2, 3)
    expect(await future.result()).toBe(6)
  })
})

describe('two clients', () => {
  it('share a key: it runs once, and lives until both have released it', async () => {
    const { client } = faults
    await using other = await Client.connect(faults.cluster, { setAsDefault: false })
    const make = task(block, { key: 'shared' })
    const mine = client.submit(make, 100_000, 4)
    const theirs = other.submit(make, 100_000, 4)
    expect((await mine.result())[0]).toBe(4)
    expect((await theirs.result())[99_999]).toBe(4)
    expect(await faults.runs('block')).toBe(1)
    mine.release()
    // The other's question is answered after what this client said before its own.
    await client.whoHas()
    expect((await other.whoHas(theirs))['shared']).toHaveLength(1)
    theirs.release()
    await until(
      'the value is gone',
      () => faults.filesOf({ key: 'shared' } as never),
      (files) => files.length === 0,
    )
  })

  it('release everything when one vanishes by kill -9, after its grace', async () => {
    const program = join(faults.folder, 'vanishes.mjs')
    const index = JSON.stringify(pathToFileURL(resolve('dist/index.js')).href)
    const { address, token } = faults.cluster
    writeFileSync(
      program,
      `import { Client } from ${index}
       const client = await Client.connect({ address: ${JSON.stringify(address)}, token: ${JSON.stringify(token)} })
       const kept = client.map((n, x) => new Float64Array(n).fill(x), [100000, 100000], [1, 2])
       await client.gather(kept)
       globalThis.loops = client.submit(() => { for (;;); })
       while (!Object.values((await client.schedulerInfo()).workers).some(({ executors }) => executors.some(({ task }) => task))) await new Promise((r) => setTimeout(r, 20))
       console.log('ready')
       setInterval(() => {}, 1000)`,
    )
    const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    expect(faults.valueFiles()).toHaveLength(2)
    child.kill('SIGKILL')
    await faults.emptied()
    await until(
      'its task was ended',
      () => faults.workers(),
      (workers) => workers.every(({ executors }) => executors.every(({ task }) => task === undefined)),
    )
  })
})

describe('fireAndForget', () => {
  it('has a task run to its end although its future is gone, then drops the result', async () => {
    const { client } = faults
    const file = join(faults.folder, 'fired')
    const future = client.submit(async (path: string) => {
      const { appendFileSync } = await import('node:fs')
      await new Promise((resolve) => setTimeout(resolve, 200))
      appendFileSync(path, 'done\n')
      return new Float64Array(100_000)
    }, file)
    fireAndForget(future)
    future.release()
    await until(
      'it ran',
      () => linesOf(file),
      (lines) => lines.length === 1,
    )
    await faults.emptied()
  })
})

describe('the measures', () => {
  it('add up at each moment of a storm, and are back at nothing after it', async () => {
    const { client } = faults
    let storming = true
    let samples = 0
    const sampling = (async () => {
      for (; storming; samples++) {
        await faults.checkMeasures()
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })()
    for (let round = 0; round < 5; round++) {
      const indices = Array.from({ length: 30 }, (_, index) => round * 100 + index)
      const blocks = client.map(
        block,
        indices.map((index) => [100, 5000, 50_000, 300_000][index % 4] as number),
        indices,
      )
      const lengths = client.map((values: Float64Array) => values.length, blocks)
      if (round % 2 === 1) client.cancel(blocks.filter((_, index) => index % 3 === 0))
      // Cancelled ones are refused by wait().
      await client.gather(lengths, { errors: 'skip' })
      client.release([...blocks, ...lengths])
    }
    storming = false
    await sampling
    expect(samples).toBeGreaterThan(10)
    await faults.emptied()
  })
})

describe('scaling', () => {
  it('down moves values, up adds workers, and nothing is computed again', async () => {
    const { client, cluster } = faults
    const name = 'scaled'
    const seeds = Array.from({ length: 12 }, (_, index) => index)
    const blocks = client.map(
      task(block, { name }),
      seeds.map((seed) => (seed % 2 === 0 ? 100 : 300_000)),
      seeds,
    )
    const scattered = client.scatterAll([{ a: 1 }, { b: 2 }, { c: 3 }])
    await Promise.all([wait(blocks), wait(scattered)])
    await cluster.scale(1)
    expect(await faults.workers()).toHaveLength(1)
    expect((await client.gather(blocks)).map((values) => values[0])).toEqual(seeds)
    expect(await client.gather(scattered)).toEqual([{ a: 1 }, { b: 2 }, { c: 3 }])
    await cluster.scale(2)
    await client.waitForWorkers(2, { timeout: 20_000 })
    expect((await client.gather(blocks)).map((values) => values[0])).toEqual(seeds)
    expect(await faults.runs(name)).toBe(seeds.length)
    client.release([...blocks, ...scattered])
    await faults.emptied()
  })
})

describe('restart()', () => {
  it('cancels every future, empties every store, and the cluster works on', async () => {
    const { client } = faults
    const blocks = client.map(block, [100, 100_000, 400_000], [21, 22, 23])
    const scattered = client.scatter({ x: 1 })
    await Promise.all([wait(blocks), wait([scattered])])
    const loops = client.submit(() => {
      for (;;);
    })
    await faults.executorOf(loops)
    const pids = (await faults.workers()).map(({ pid }) => pid)
    await client.restart({ timeout: 30_000 })
    for (const future of [...blocks, scattered, loops]) {
      expect(future.status).toBe('cancelled')
      await expect(future.result()).rejects.toMatchObject({ code: 'TASK_CANCELLED' })
    }
    const workers = await faults.workers()
    expect(workers).toHaveLength(2)
    expect(workers.some(({ pid }) => pids.includes(pid))).toBe(false)
    await faults.emptied()
    const again = client.submit(block, 400_000, 23)
    expect((await again.result())[5]).toBe(23)
    again.release()
  })
})
