// kill -9 of processes that were started by hand: of a nanny, whose worker goes with it, and of the scheduler while clients wait.

import { basename } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cli, descendantsOf, eventually, installPackage, isAlive, type Project, Running } from './installed.ts'

let project: Project
let started: Running[]
let address: string
beforeEach(async () => {
  project = await installPackage()
  started = []
  const scheduler = start(cli(project, ['scheduler', '--port', '0'], { PLIMSOLL_SCHEDULER__CONNECTION_GRACE: '500ms' }))
  address = (await scheduler.printed(/Scheduler at (tcp:\/\/\S+:\d+)/))[1] as string
})
afterEach(async () => {
  for (const process of started.reverse()) await process.stop()
  project.remove()
})

function start(process: Running): Running {
  started.push(process)
  return process
}

async function startWorker(name: string, env: NodeJS.ProcessEnv = {}): Promise<Running> {
  const args = ['worker', address, '--nthreads', '1', '--memory-limit', '512 MiB', '--name', name]
  const worker = start(cli(project, args, env))
  await worker.printed(/Worker at tcp:/)
  return worker
}

function program(name: string, text: string): Running {
  const source = `import { Client, task, wait } from 'plimsoll'\nconst client = await Client.connect('${address}')\n${text}`
  return start(new Running(project, [project.write(`${name}.mjs`, source)]))
}

describe('kill -9 of a nanny', () => {
  it('ends its worker; what only that had is computed again elsewhere, scattered data is lost and says so', async () => {
    const doomed = await startWorker('doomed')
    const running = program(
      'job',
      `
      const make = task((x) => new Float64Array(400_000).fill(x), { workers: 'doomed', allowOtherWorkers: true })
      const blocks = client.map(make, [1, 2, 3])
      const scattered = client.scatter({ only: 'here' })
      await wait([...blocks, scattered])
      const loops = client.submit(task(() => { for (;;); }, { workers: 'doomed', allowOtherWorkers: true, key: 'loops' }))
      while (!Object.values((await client.schedulerInfo()).workers).some(({ executors }) => executors.some(({ task }) => task === 'loops'))) await new Promise((r) => setTimeout(r, 20))
      console.log('ready')
      while ((await client.schedulerInfo()).tasks.memory > 0) await new Promise((r) => setTimeout(r, 20))
      client.cancel(loops)
      console.log('lost', await client.gather(scattered).catch((error) => error.code))
      console.log('sum', (await client.gather(blocks)).reduce((a, b) => a + b[399_999], 0))
      await client.close()
      `,
    )
    await running.printed(/ready/)
    const family = descendantsOf(doomed.pid)
    expect(family.length).toBeGreaterThanOrEqual(2)
    process.kill(doomed.pid, 'SIGKILL')
    await eventually('its worker and executors are gone', () => family.every((pid) => !isAlive(pid)), 5000)
    await running.printed(/lost DATA_LOST/)
    await startWorker('other')
    expect(await running.ended).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('sum 6') as string,
    })
    // Whoever starts next removes what the dead one left.
    const roots = project.scratch().filter((path) => /worker-[0-9a-f]+$/.test(path))
    expect(new Set(roots.map((path) => path.slice(path.lastIndexOf('/')))).size).toBe(1)
  })
})

/** Names of the workers that have directories. */
const directories = (): Set<string> =>
  new Set(
    project
      .scratch()
      .filter((path) => /worker-[0-9a-f]+$/.test(path))
      .map((path) => basename(path)),
  )

describe('directories of workers', () => {
  it('acceptance check 15: go with a worker that closes, are removed by the next one after kill -9, and stay while theirs lives', async () => {
    // Everything but a few hundred kilobytes is on disk.
    const env = {
      PLIMSOLL_WORKER__MEMORY__TARGET: '0.001',
      PLIMSOLL_WORKER__MEMORY__INLINE_LIMIT: '1 KiB',
      PLIMSOLL_WORKER__LOCAL_DIRECTORY: project.env['TMPDIR'],
    }
    const living = await startWorker('living', env)
    const [own] = directories()
    const doomed = await startWorker('doomed', env)
    const [stale] = [...directories()].filter((name) => name !== own)
    const running = program(
      'job',
      `
      const make = (name) => client.map(task((n, at) => new Float64Array(2500).fill(n), { workers: name }), Array.from({ length: 100 }, (_, n) => n), Array(100).fill(name))
      const kept = make('living'), lost = make('doomed')
      await wait([...kept, ...lost])
      while (Object.values((await client.memory()).workers).some(({ spilled }) => spilled < 1e6)) await new Promise((r) => setTimeout(r, 20))
      console.log('ready')
      await client.waitForWorkers(3, { timeout: '60s' })
      console.log('sum', (await client.gather(kept)).reduce((sum, values) => sum + values[2499], 0))
      await client.close()
      `,
    )
    await running.printed(/ready/)
    const spilled = (name: string | undefined): number =>
      project.scratch().filter((path) => path.startsWith(project.directory) && path.includes(`${name}/disk/blobs/`))
        .length
    expect(Math.min(spilled(own), spilled(stale))).toBeGreaterThan(0)
    process.kill(doomed.pid, 'SIGKILL')
    await doomed.ended
    expect(directories().has(stale as string)).toBe(true)
    await startWorker('next', env)
    await eventually('the stale directories are gone', () => !directories().has(stale as string))
    expect(spilled(own)).toBeGreaterThan(0)
    await startWorker('third', env)
    await running.printed(/sum 4950/)
    await running.ended
    await living.stop()
    expect(directories().has(own as string)).toBe(false)
    expect(directories().size).toBe(2)
  })
})

describe('kill -9 of the scheduler', () => {
  it('fails whoever waits with COMM_CLOSED, promptly, and their programs end', async () => {
    const worker = await startWorker('w')
    const running = program(
      'waits',
      `
      const stored = client.submit(() => new Float64Array(400_000))
      await stored.result()
      const loops = client.submit(() => { for (;;); })
      const never = client.submit((x) => x, loops)
      const waits = [
        loops.result(), never.result(), wait([loops]), client.gather([stored, never]), client.waitForWorkers(5, { timeout: '60s' }),
      ].map((each) => each.then(() => 'resolved', (error) => error.code))
      console.log('ready')
      const codes = await Promise.all(waits)
      console.log('codes', [...new Set(codes)].join())
      console.log('later', await (async () => client.submit((x) => x, 1).result())().catch((error) => error.code), client.closed)
      `,
    )
    await running.printed(/ready/)
    const [scheduler] = started
    const killedAt = performance.now()
    scheduler?.child.kill('SIGKILL')
    await running.printed(/later/)
    const { code, stdout, stderr } = await running.ended
    expect(performance.now() - killedAt).toBeLessThan(5000)
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/codes COMM_CLOSED\n/)
    expect(stdout).toMatch(/later (COMM_CLOSED|CLIENT_CLOSED) true/)
    expect(isAlive(worker.pid)).toBe(true)
  })
})

describe('kill -9 of a worker whose nanny does not stir', () => {
  it('is waited for as long as worker-grace says; then its values are computed again, and what it brings back is dropped', async () => {
    const graced = start(cli(project, ['scheduler', '--port', '0'], { PLIMSOLL_SCHEDULER__WORKER_GRACE: '1500ms' }))
    address = (await graced.printed(/Scheduler at (tcp:\/\/\S+:\d+)/))[1] as string
    const doomed = await startWorker('doomed')
    const running = program(
      'job',
      `
      const make = task(() => new Float64Array(400_000).fill(Math.random()), { workers: 'doomed', allowOtherWorkers: true, key: 'random' })
      const block = client.submit(make)
      const first = (await block.result())[0]
      console.log('ready')
      while ((await client.schedulerInfo()).tasks.memory > 0 && Object.values(await client.whoHas(block))[0].length > 0) await new Promise((r) => setTimeout(r, 10))
      const lostAt = performance.now()
      const looks = [1, 2, 3].map((n) => client.submit((x, _n) => x[0], block, n))
      const seen = new Set(await client.gather(looks))
      console.log('again', seen.size, seen.has(first), performance.now() - lostAt > 1000)
      await client.waitForWorkers(2, { timeout: '20s' })
      const late = await client.submit((x) => x[399_999], block).result()
      console.log('late', seen.has(late), Object.values(await client.whoHas(block))[0].length)
      await client.close()
      `,
    )
    await running.printed(/ready/)
    const [worker] = descendantsOf(doomed.pid)
    await startWorker('other')
    process.kill(doomed.pid, 'SIGSTOP')
    process.kill(worker as number, 'SIGKILL')
    await running.printed(/again 1 false true/)
    process.kill(doomed.pid, 'SIGCONT')
    await running.printed(/late true 1/)
    expect(await running.ended).toMatchObject({ code: 0, stderr: '' })
    await eventually('nothing of it is left', () => project.scratch().every((path) => !path.includes('/blobs/')))
  })
})
