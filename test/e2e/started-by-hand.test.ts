// Options of `plimsoll scheduler` and `plimsoll worker`, and what they say when they cannot do what they were told.

import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cli, eventually, installPackage, runCli, Running, type Project } from './installed.ts'

let project: Project
let scheduler: Running
let address: string
let schedulerFile: string
beforeAll(async () => {
  project = await installPackage()
  schedulerFile = join(project.directory, 'scheduler.json')
  scheduler = cli(project, ['scheduler', '--port', '0', '--scheduler-file', schedulerFile])
  address = (await scheduler.printed(/Scheduler at (\S+)/))[1] as string
})
afterAll(async () => {
  await scheduler.stop()
  project.remove()
})

async function busyPort(): Promise<{ server: Server; port: number }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.address() as { port: number }).port }
}

const oneLine = (text: string): string[] => text.trim().split('\n')

describe('plimsoll worker', () => {
  it('starts several named workers, and tasks that need a resource run where it is', async () => {
    const pair = cli(project, ['worker', address, '--nworkers', '2', '--nthreads', '1', '--name', 'pair'])
    const gpu = cli(project, ['worker', '--scheduler-file', schedulerFile, '--name', 'gpu', '--resources', 'GPU=1'])
    try {
      await pair.printed(/Worker at .*\nWorker at tcp:\S+, 1 thread, limit /)
      await gpu.printed(/Worker at/)
      const script = project.write(
        'resources.mjs',
        `import { Client, range, task } from 'plimsoll'
const client = await Client.connect(process.argv[2])
const info = await client.schedulerInfo()
const names = Object.fromEntries(Object.values(info.workers).map((worker) => [worker.address, worker.name]))
const futures = client.map(task((x) => x, { resources: { GPU: 1 } }), range(6))
await client.gather(futures)
const holders = Object.values(await client.whoHas(futures)).flat()
console.log(Object.values(names).toSorted().join(), [...new Set(holders.map((holder) => names[holder]))].join())
await client.close()
`,
      )
      const { stdout, stderr } = await new Running(project, [script, address]).ended
      expect([stdout, stderr]).toEqual(['gpu,pair-0,pair-1 gpu\n', ''])
    } finally {
      const ends = await Promise.all([pair.stop('SIGINT'), gpu.stop('SIGHUP')])
      expect(ends.map(({ code }) => code)).toEqual([0, 0])
    }
    await eventually('worker directories are removed', () => project.scratch().length === 0)
  })

  it('ends cleanly when somebody is in a hurry', async () => {
    const worker = cli(project, ['worker', address, '--nthreads', '1'])
    await worker.printed(/Worker at/)
    worker.child.kill('SIGINT')
    await worker.printed(/Closing: SIGINT/)
    expect((await worker.stop('SIGINT')).code).toBe(0)
    await eventually('worker directories are removed', () => project.scratch().length === 0)
  })

  it.each([[[]], [['--no-nanny']]])('gives up without a scheduler after its death timeout (%j)', async (more) => {
    const { server, port } = await busyPort()
    server.close()
    const args = ['worker', `tcp://127.0.0.1:${port}`, '--death-timeout', '1s', '--nthreads', '1', ...more]
    const { code, stderr } = await runCli(project, args)
    expect(code).toBe(1)
    expect(oneLine(stderr).at(-1)).toMatch(/^plimsoll: .*(1 s|nothing listens there)/)
    expect(stderr).not.toContain('    at ')
    await eventually('worker directories are removed', () => project.scratch().length === 0)
  })

  it.each([[[]], [['--no-nanny']]])('says that its port is taken (%j)', async (more) => {
    const { server, port } = await busyPort()
    const args = ['worker', address, '--nthreads', '1', '--worker-port', String(port), ...more]
    const { code, stderr } = await runCli(project, args)
    server.close()
    expect(code).toBe(1)
    expect(oneLine(stderr).at(-1)).toMatch(new RegExp(`^plimsoll: .*127.0.0.1:${port}.*another port`))
    expect(stderr).not.toContain('    at ')
  })

  it.each([
    [['--nworkers', '2', '--no-nanny'], /--nworkers/],
    [['--nworkers', '2', '--worker-port', '9999'], /--worker-port 9999/],
    [['--resources', 'GPU'], /NAME=NUMBER/],
    [['--worker-port', '70000'], /from 0 to 65535/],
    [['--death-timeout', 'soon'], /soon/],
  ] as const)('refuses %j in one line', async (args, message) => {
    const { code, stderr } = await runCli(project, ['worker', address, ...args])
    expect(stderr).toMatch(message)
    expect(oneLine(stderr)).toHaveLength(1)
    expect(code).toBe(2)
  })
})

describe('plimsoll scheduler', () => {
  it('closes after --idle-timeout with nothing to do, and its workers with it, all with exit code 0 (5.14-2, 5.14-4)', async () => {
    const idle = cli(project, ['scheduler', '--port', '0', '--dashboard-address', 'none', '--idle-timeout', '10s'])
    const [, own] = await idle.printed(/Scheduler at (\S+)/)
    const nannied = cli(project, ['worker', own as string, '--nthreads', '1'])
    const bare = cli(project, ['worker', own as string, '--nthreads', '1', '--no-nanny'])
    const ends = await Promise.all([idle.ended, nannied.ended, bare.ended])
    expect(ends.map(({ code, signal }) => code ?? signal)).toEqual([0, 0, 0])
    expect(ends[0]?.stderr).toContain('scheduler.idle-timeout')
    await eventually('worker directories are removed', () => project.scratch().length === 0)
  })

  it('names the port that is taken, and the option to choose another', async () => {
    const port = new URL(address).port
    const { code, stderr } = await runCli(project, ['scheduler', '--port', port])
    expect(oneLine(stderr)).toHaveLength(1)
    expect(stderr).toMatch(new RegExp(`port ${port} .*--port`))
    expect(code).toBe(1)
  })

  it('takes its scheduler file along', async () => {
    const file = join(project.directory, 'other.json')
    const other = cli(project, ['scheduler', '--port', '0', '--scheduler-file', file])
    await other.printed(/Scheduler at/)
    expect(existsSync(file)).toBe(true)
    expect((await other.stop('SIGTERM')).code).toBe(0)
    expect(existsSync(file)).toBe(false)
  })
})
