import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { cli, eventually, installPackage, isAlive, runCli, Running, type Project } from './installed.ts'

let project: Project
beforeAll(async () => {
  project = await installPackage()
})
afterAll(() => project.remove())

const PROGRAM = `
import { Client, range } from 'plimsoll'
const address = process.argv[2]
const client = address === undefined ? await Client.local({ nthreads: 1 }) : await Client.connect(address)
const squares = client.map((x) => x * x, range(10))
const total = client.submit((xs) => xs.reduce((a, b) => a + b, 0), squares)
console.log('total', await total.result())
await client.close()
`

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function startScheduler(...args: readonly string[]): Promise<{ scheduler: Running; address: string }> {
  const scheduler = cli(project, ['scheduler', '--port', '0', ...args])
  const [, address] = await scheduler.printed(/Scheduler at (\S+)/)
  return { scheduler, address: address as string }
}

describe('help and usage', () => {
  it.each([
    ['--help'],
    ['scheduler', '--help'],
    ['worker', '--help'],
    ['run', '--help'],
    ['status', '--help'],
    ['config', '--help'],
    ['config', 'get', '--help'],
    ['demo', '--help'],
    ['demo', 'flights', '--help'],
  ])('prints help for %s %s %s and exits 0', async (...args) => {
    const { code, stdout, stderr } = await runCli(
      project,
      args.filter((arg) => arg !== undefined),
    )
    expect(code).toBe(0)
    expect(stdout).toMatch(/^Usage: plimsoll/)
    expect(stderr).toBe('')
  })

  it.each([
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['worker', '--frobnicate'], /unknown option '--frobnicate'/],
    [['scheduler', '--port', 'x'], /--port takes a whole number/],
  ] as const)('refuses %j with exit code 2', async (args, message) => {
    const { code, stderr } = await runCli(project, args)
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  })

  it('prints the version of the package', async () => {
    const { version } = JSON.parse(
      readFileSync(join(project.directory, 'node_modules/plimsoll/package.json'), 'utf8'),
    ) as { version: string }
    expect((await runCli(project, ['--version'])).stdout.trim()).toBe(version)
  })

  it('refuses a memory limit that is not a size, and says what is', async () => {
    const { code, stderr } = await runCli(project, ['worker', 'tcp://127.0.0.1:1', '--memory-limit', '4GB8'])
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toMatch(/4GB8.*4 GiB/)
    expect(code).toBe(2)
  })

  it('says in one line, within the timeout, that no scheduler answers', async () => {
    const port = await freePort()
    project.write('token', `${'ab'.repeat(32)}\n`)
    const startedAt = performance.now()
    const { code, stderr } = await runCli(project, ['status', `tcp://127.0.0.1:${port}`, '--timeout', '1s'], {
      PLIMSOLL_TOKEN: 'ab'.repeat(32),
    })
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toMatch(new RegExp(`127.0.0.1:${port}.*CONNECT_FAILED`))
    expect(code).toBe(1)
    expect(performance.now() - startedAt).toBeLessThan(10_000)
  })
})

describe('configuration', () => {
  it('lists values with where they were set, and gets one', async () => {
    const env = { PLIMSOLL_WORKER__MEMORY__TARGET: '0.5' }
    const list = await runCli(project, ['config', 'list'], env)
    expect(list.stdout).toMatch(/worker\.memory\.target +0\.5 +.*PLIMSOLL_WORKER__MEMORY__TARGET/)
    expect(list.stdout).toMatch(/worker\.memory\.pause +0\.8 +default/)
    expect((await runCli(project, ['config', 'get', 'worker.memory.target'], env)).stdout).toMatch(/^0\.5 /)
    expect((await runCli(project, ['config', 'path'])).stdout).toMatch(/\.config\/plimsoll/)
  })

  it('names the file, the key and the nearest key when one is misspelt', async () => {
    const file = project.write('wrong.yaml', 'worker:\n  memory:\n    targt: 0.5\n')
    const { code, stderr } = await runCli(project, ['config', 'list'], { PLIMSOLL_CONFIG: file })
    expect(stderr).toContain(file)
    expect(stderr).toContain('worker.memory.targt')
    expect(stderr).toContain('worker.memory.target')
    expect(code).toBe(2)
  })

  it('names the nearest key for a misspelt `config get`', async () => {
    const { code, stderr } = await runCli(project, ['config', 'get', 'worker.memory.tarket'])
    expect(stderr).toContain('worker.memory.target')
    expect(code).toBe(2)
  })
})

describe('a scheduler and workers started by hand', () => {
  it('run the same program as an embedded cluster, and end cleanly', async () => {
    const { scheduler, address } = await startScheduler()
    const worker = cli(project, ['worker', address, '--nthreads', '1', '--memory-limit', '512 MiB', '--name', 'alice'])
    try {
      await worker.printed(/Worker at tcp:/)
      const script = project.write('program.mjs', PROGRAM)
      const remote = await new Running(project, [script, address]).ended
      const embedded = await new Running(project, [script]).ended
      expect([remote.stdout, remote.stderr, remote.code]).toEqual(['total 285\n', '', 0])
      expect([embedded.stdout, embedded.stderr, embedded.code]).toEqual(['total 285\n', '', 0])

      const status = JSON.parse((await runCli(project, ['status', address, '--json'])).stdout) as {
        workers: Record<string, { name: string; memory: { process: number } }>
      }
      const [info] = Object.values(status.workers)
      expect(info?.name).toBe('alice')
      expect(info?.memory.process).toBeGreaterThan(0)
      expect((await runCli(project, ['status', address])).stdout).toMatch(/alice .*tcp:\/\/127\.0\.0\.1/)
    } finally {
      const ends = [await worker.stop('SIGTERM'), await scheduler.stop('SIGINT')]
      expect(ends.map((end) => end.code)).toEqual([0, 0])
    }
    await eventually('worker directories are removed', () => project.scratch().length === 0)
  })

  it('find each other by a scheduler file', async () => {
    const file = join(project.directory, 'scheduler.json')
    const worker = cli(project, ['worker', '--scheduler-file', file, '--nthreads', '1', '--no-nanny'])
    const { scheduler, address } = await startScheduler('--scheduler-file', file)
    try {
      await worker.printed(/Worker at/)
      const { stdout } = await runCli(project, ['status', '--scheduler-file', file, '--json'])
      expect(Object.keys((JSON.parse(stdout) as { workers: object }).workers)).toHaveLength(1)
      expect(address).toMatch(/^tcp:/)
    } finally {
      await worker.stop()
      await scheduler.stop()
    }
  })

  it('say in one line what is wrong with an address or a scheduler file, and end', async () => {
    const folder = project.write('no-folder', 'not an address')
    const attempts = [
      runCli(project, ['worker', 'nonsense', '--memory-limit', '512 MiB']),
      runCli(project, ['worker', '--scheduler-file', folder]),
      runCli(project, ['scheduler', '--port', '0', '--scheduler-file', join(folder, 'file')]),
    ]
    const ends = await Promise.all(attempts)
    expect(ends.map(({ code }) => code)).toEqual([2, 2, 2])
    const said = ends.map(({ stderr }) =>
      stderr
        .trim()
        .split('\n')
        .filter((line) => !line.startsWith('{')),
    )
    expect(said).toEqual([
      [expect.stringContaining('"nonsense" names no port')],
      [expect.stringContaining('is not a scheduler file')],
      [expect.stringContaining('cannot write --scheduler-file')],
    ])
  })

  it('refuse a wrong token on both sides, and the scheduler lives on', async () => {
    const { scheduler, address } = await startScheduler()
    try {
      const wrong = await runCli(project, ['status', address, '--timeout', '5s'], { PLIMSOLL_TOKEN: 'ef'.repeat(32) })
      expect(wrong.stderr).toMatch(/AUTH_FAILED/)
      expect(wrong.stderr.trim().split('\n')).toHaveLength(1)
      expect(wrong.code).toBe(1)
      expect((await runCli(project, ['status', address])).code).toBe(0)
    } finally {
      await scheduler.stop()
    }
  })

  it('end when the scheduler ends', async () => {
    const { scheduler, address } = await startScheduler()
    const worker = cli(project, ['worker', address, '--nthreads', '1'])
    await worker.printed(/Worker at/)
    await scheduler.stop('SIGINT')
    const { code } = await worker.ended
    expect(code).toBe(0)
    expect(isAlive(worker.pid)).toBe(false)
  })
})

describe('plimsoll run', () => {
  it('runs a TypeScript program with a cluster as its current client', async () => {
    const script = project.write(
      'program.ts',
      `import { getClient } from 'plimsoll'
const client = getClient()
const label: string = process.argv[2] ?? ''
console.log(label, await client.submit((x: number): number => x + 1, 41).result())
`,
    )
    const { code, stdout, stderr } = await runCli(project, ['run', '--nthreads', '1', script, 'answer'])
    expect([stdout, stderr, code]).toEqual(['answer 42\n', '', 0])
  })

  it('keeps the exit code of the program, and shows what it throws', async () => {
    const throws = project.write('throws.mjs', "throw new RangeError('my own error')\n")
    const thrown = await runCli(project, ['run', '--nthreads', '1', throws])
    expect(thrown.stderr).toMatch(/RangeError: my own error/)
    expect(thrown.code).toBe(1)
    const exits = project.write('exits.mjs', 'process.exit(7)\n')
    expect((await runCli(project, ['run', '--nthreads', '1', exits])).code).toBe(7)
  })

  it('says so when there is no such program', async () => {
    const { code, stderr } = await runCli(project, ['run', 'nowhere.ts'])
    expect(stderr).toMatch(/there is no program at .*nowhere\.ts/)
    expect(code).toBe(2)
  })
})
