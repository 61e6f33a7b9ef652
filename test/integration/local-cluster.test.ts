// LocalCluster as a program uses it, on the build, with real processes.

import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client, LocalCluster, wait } from '../../dist/index.js'
import { descendantsOf, eventually, isAlive } from '../e2e/installed.ts'

const MEMORY = '512 MiB'
let folder: string
/** Bases of the workers' directories that are this test's own. */
let bases: { readonly localDirectory: string; readonly memoryDirectory: string }
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-cluster-'))
  bases = {
    localDirectory: join(folder, 'local'),
    memoryDirectory: mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-cluster-')),
  }
})
afterAll(() => {
  for (const path of [folder, bases.memoryDirectory]) rmSync(path, { recursive: true, force: true })
})

/** What workers left, or have, in their directories. */
function directories(): string[] {
  return Object.values(bases).flatMap((base) =>
    existsSync(base) ? readdirSync(base, { recursive: true }).map((name) => join(base, String(name))) : [],
  )
}

async function nothingLeft(pids: readonly number[], timeoutMs = 2000): Promise<void> {
  await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)), timeoutMs)
  await eventually('every directory is removed', () => directories().length === 0, timeoutMs).catch(
    (error: unknown) => {
      throw new Error(`left: ${directories().join(', ')}`, { cause: error })
    },
  )
}

/** A program beside the test, as a child process; `say` lines are what the test waits for. */
class Program {
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  output = ''

  constructor(name: string, source: string) {
    const path = join(folder, `${name}.mjs`)
    const index = JSON.stringify(pathToFileURL(resolve('dist/index.js')).href)
    writeFileSync(
      path,
      `import { Client, LocalCluster } from ${index}\nconst bases = ${JSON.stringify(bases)}\n${source}\n`,
    )
    // A group of its own, so that a test can send what a terminal sends.
    this.child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()))
    this.ended = new Promise((done) => this.child.on('close', (code) => done(code)))
  }

  get pid(): number {
    return this.child.pid as number
  }

  async said(text: string): Promise<void> {
    await eventually(`the program says "${text}":\n${this.output}`, () => this.output.includes(text), 15_000)
  }
}

describe('a local cluster', () => {
  it('starts a scheduler and workers, and leaves nothing when it is closed, twice', async () => {
    const cluster = new LocalCluster({ ...bases, nWorkers: 2, nthreads: 1, memoryLimit: MEMORY })
    await cluster.start()
    const pids = descendantsOf(cluster.scheduler.pid)
    expect(cluster.address).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+$/)
    expect(cluster.workers).toMatchObject([
      { name: '0', restarts: 0 },
      { name: '1', restarts: 0 },
    ])
    expect(cluster.workers.every(({ pid }) => pid !== null && pids.includes(pid))).toBe(true)
    expect(directories().length).toBeGreaterThan(0)
    await Promise.all([cluster.close(), cluster.close()])
    await nothingLeft([...pids, cluster.scheduler.pid], 0)
    expect(cluster.closed).toBe(true)
    await expect(cluster.scale(1)).rejects.toMatchObject({ code: 'COMM_CLOSED' })
  })

  it('is found at its address by programs of the same user, and by no other', async () => {
    const before = process.env['XDG_CONFIG_HOME']
    process.env['XDG_CONFIG_HOME'] = join(folder, 'config')
    try {
      await using cluster = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: MEMORY })
      await using first = await Client.connect(cluster)
      await using second = await Client.connect(cluster.address)
      expect(await second.submit((x: number) => x + 1, 1).result()).toBe(2)
      expect(await first.submit((x: number) => x + 2, 1).result()).toBe(3)
      process.env['XDG_CONFIG_HOME'] = join(folder, 'nobody')
      await expect(Client.connect(cluster.address)).rejects.toMatchObject({ code: 'AUTH_FAILED' })
      // Where no file can be made, the cluster is its program's alone.
      process.env['XDG_CONFIG_HOME'] = join(folder, 'program-that-is-a-file')
      writeFileSync(process.env['XDG_CONFIG_HOME'], '')
      await using own = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: MEMORY })
      await using third = await Client.connect(own)
      expect(await third.submit((x: number) => x + 3, 1).result()).toBe(4)
    } finally {
      if (before === undefined) delete process.env['XDG_CONFIG_HOME']
      else process.env['XDG_CONFIG_HOME'] = before
    }
  })

  it('gives its workers the environment and the configuration it was given', async () => {
    await using cluster = new LocalCluster({
      ...bases,
      nthreads: 1,
      memoryLimit: MEMORY,
      env: { FROM_OPTION: 'yes' },
      config: { 'nanny.environ': { FROM_CONFIG: 'yes' } },
    })
    await using client = await Client.connect(cluster)
    const seen = await client
      .submit(() => [process.env['FROM_OPTION'], process.env['FROM_CONFIG'], process.env['PLIMSOLL_TOKEN']])
      .result()
    expect(seen.slice(0, 2)).toEqual(['yes', 'yes'])
    expect(seen[2] ?? null).toBe(null)
  })

  it('has only processes that run code of users read the certificates of NODE_EXTRA_CA_CERTS', async () => {
    const before = process.env['NODE_EXTRA_CA_CERTS']
    const file = join(folder, 'extra.pem')
    process.env['NODE_EXTRA_CA_CERTS'] = file
    try {
      writeFileSync(file, '')
      await using cluster = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: MEMORY })
      await using client = await Client.connect(cluster)
      const startedWith = (pid: number | undefined): string[] =>
        readFileSync(`/proc/${pid}/environ`, 'utf8')
          .split('\0')
          .filter((text) => text.startsWith('NODE_EXTRA_CA_CERTS='))
      const [pid, seen] = await client.submit(() => [process.pid, process.env['NODE_EXTRA_CA_CERTS']] as const).result()
      expect(seen).toBe(file)
      if (process.platform !== 'linux') return
      expect(startedWith(pid)).toEqual([`NODE_EXTRA_CA_CERTS=${file}`])
      expect(startedWith(cluster.scheduler.pid)).toEqual([])
      expect(startedWith(cluster.workers[0]?.pid ?? undefined)).toEqual([])
    } finally {
      if (before === undefined) delete process.env['NODE_EXTRA_CA_CERTS']
      else process.env['NODE_EXTRA_CA_CERTS'] = before
    }
  })

  it('scales up and down, and what only a leaving worker holds stays', async () => {
    await using cluster = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: MEMORY })
    await using client = await Client.connect(cluster)
    await cluster.scale(3)
    await client.waitForWorkers(3, { timeout: 10_000 })
    expect(cluster.workers.map(({ name }) => name)).toEqual(['0', '1', '2'])
    const last = cluster.workers[2]?.address as string
    const future = client.scatter([1, 2, 3], { workers: [last] })
    await wait([future], { timeout: 10_000 })
    await cluster.scale(1)
    expect(cluster.workers.map(({ name }) => name)).toEqual(['0'])
    expect(await future.result()).toEqual([1, 2, 3])
  })

  it('has a killed worker back with the same id', async () => {
    await using cluster = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: MEMORY })
    await using client = await Client.connect(cluster)
    const stored = client.submit(() => new Float64Array(100_000).fill(2))
    await stored.result()
    const [killed] = cluster.workers
    process.kill(killed?.pid ?? 0, 'SIGKILL')
    await eventually(
      'the worker is back',
      () => cluster.workers[0]?.restarts === 1 && cluster.workers[0].address !== null,
      10_000,
    )
    expect(cluster.workers[0]).toMatchObject({ id: killed?.id, name: '0' })
    expect(cluster.workers[0]?.pid).not.toBe(killed?.pid)
    expect((await stored.result())[99_999]).toBe(2)
    expect(await client.submit((a: number, b: number) => a + b, 1, 2).result()).toBe(3)
  })

  it('cannot start with a limit that no worker can live with, says why, and leaves nothing', async () => {
    const cluster = new LocalCluster({ ...bases, nthreads: 1, memoryLimit: '20 MiB' })
    // A client, which may be connected already when the workers fail, hears the same.
    const failed = {
      status: 'rejected',
      reason: {
        code: 'WORKER_START_FAILED',
        message: expect.stringMatching(/20\.00 MiB is too small.*at least 160\.00 MiB/) as string,
      },
    }
    const outcomes = await Promise.allSettled([cluster.start(), Client.connect(cluster)])
    expect(outcomes).toMatchObject([failed, failed])
    await nothingLeft([], 0)
    await cluster.close()
  })

  it('cannot start on a port that is taken, and says so', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((listening) => server.once('listening', listening))
    const { port } = server.address() as { port: number }
    const cluster = new LocalCluster({ ...bases, schedulerPort: port, memoryLimit: MEMORY })
    await expect(cluster.start()).rejects.toMatchObject({
      code: 'CONNECT_FAILED',
      message: expect.stringContaining(String(port)) as string,
    })
    server.close()
    await nothingLeft([])
  })

  it('in one process runs tasks without any other', async () => {
    const children = descendantsOf(process.pid)
    await using cluster = new LocalCluster({ ...bases, inProcess: true, nWorkers: 2, nthreads: 1 })
    await using client = await Client.connect(cluster)
    expect(await client.gather(client.map((x: number) => [x, process.pid], [1, 2, 3]))).toEqual(
      [1, 2, 3].map((x) => [x, process.pid]),
    )
    expect(descendantsOf(process.pid)).toEqual(children)
    await client.close()
    await cluster.close()
    expect(directories()).toEqual([])
  })
})

const LOOP = `
const cluster = await new LocalCluster({ ...bases, nthreads: 1, memoryLimit: '${MEMORY}' }).start()
const client = await Client.connect(cluster)
await client.submit(() => new Float64Array(100_000)).result()
client.submit(() => { for (;;); })
const running = async () => Object.values((await client.schedulerInfo()).workers).some(({ executors }) => executors.some(({ task }) => task !== undefined))
while (!(await running())) await new Promise((resolve) => setTimeout(resolve, 20))
`

describe('a program with a local cluster', () => {
  it('ends by itself when it is done, without closing anything', async () => {
    const program = new Program(
      'done',
      `const cluster = await new LocalCluster({ ...bases, nthreads: 1, memoryLimit: '${MEMORY}' }).start()\nconsole.log('started')`,
    )
    await program.said('started')
    const pids = descendantsOf(program.pid)
    expect(await program.ended).toBe(0)
    expect(program.output).toBe('started\n')
    await nothingLeft(pids)
  })

  it('that is killed while a task loops for ever leaves nothing', async () => {
    const program = new Program('killed', `${LOOP}\nconsole.log('looping')\nsetInterval(() => {}, 1000)`)
    await program.said('looping')
    const pids = descendantsOf(program.pid)
    expect(pids.length).toBeGreaterThanOrEqual(3)
    process.kill(program.pid, 'SIGKILL')
    await nothingLeft(pids)
  })

  it('decides itself what Ctrl-C means: its cluster lives as long as it does', async () => {
    const program = new Program(
      'interrupted',
      `${LOOP}
       process.once('SIGINT', async () => {
         await new Promise((resolve) => setTimeout(resolve, 300))
         console.log('still', cluster.workers.length, cluster.workers[0].restarts, cluster.workers[0].address !== null)
         await cluster.close()
         process.exit(7)
       })
       console.log('looping')
       setInterval(() => {}, 1000)`,
    )
    await program.said('looping')
    const pids = descendantsOf(program.pid)
    process.kill(-program.pid, 'SIGINT')
    expect(await program.ended).toBe(7)
    expect(program.output).toContain('still 1 0 true')
    await nothingLeft(pids)
  })

  it.each([
    ['helper', 0],
    ['worker', 1],
  ] as const)('whose %s is killed while a task loops for ever keeps no process of it', async (victim, depth) => {
    const program = new Program(
      `victim-${victim}`,
      `${LOOP}\nconsole.log('pids', cluster.scheduler.pid, cluster.workers[0].pid)\nsetInterval(() => {}, 1000)`,
    )
    await program.said('pids')
    const named = /pids (\d+) (\d+)/.exec(program.output) ?? []
    const killed = Number(named[1 + depth])
    const doomed = [killed, ...descendantsOf(killed)]
    expect(doomed.length).toBeGreaterThanOrEqual(2)
    process.kill(killed, 'SIGKILL')
    await eventually('nothing of it is left', () => doomed.every((pid) => !isAlive(pid)), 1500)
    if (victim === 'helper') await nothingLeft(doomed)
    const rest = descendantsOf(program.pid)
    process.kill(program.pid, 'SIGKILL')
    await nothingLeft(rest)
  })
})
