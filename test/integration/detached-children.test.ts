// What tasks start in sessions of their own ends with their executor, whatever ends that; and counts while it lives.

import { afterEach, describe, expect, it } from 'vitest'
import { Client, LocalCluster, type WorkerInfo } from '../../dist/index.js'
import { eventually, isAlive } from '../e2e/installed.ts'
import { Harness, fromSource } from './executor-harness.ts'

const MIB = 2 ** 20
/** Starts two processes, with these options of `spawn`, and returns their pids: a child, and a daemon whose parent has ended. */
const SPAWNS = `async function spawns(env) {
  const { spawn } = await import('node:child_process')
  const { once } = await import('node:events')
  const options = { detached: true, stdio: ['ignore', 'pipe', 'ignore'], ...env }
  const child = spawn('sleep', ['300'], options)
  child.unref()
  const parent = spawn('sh', ['-c', 'setsid sleep 300 >/dev/null & echo $!'], options)
  const [line] = await once(parent.stdout, 'data')
  if (parent.exitCode === null) await once(parent, 'exit')
  for (const { stdout } of [child, parent]) stdout.destroy()
  return [child.pid, Number(String(line))]
}`

let harness: Harness | null = null
let cluster: LocalCluster | null = null
let client: Client | null = null
let strays: number[] = []
afterEach(async () => {
  await harness?.close()
  await client?.close()
  await cluster?.close()
  harness = null
  client = null
  cluster = null
  for (const pid of strays.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
})

async function spawned(here: Harness, options: object = {}): Promise<number[]> {
  const ending = await here.submit(fromSource(SPAWNS), [options])
  if (ending.kind !== 'finished') throw new Error(`it ended otherwise: ${JSON.stringify(ending)}`)
  strays = ending.value as number[]
  expect(strays.every(isAlive)).toBe(true)
  return strays
}

const pids = (here: Harness): string => here.pids.join()

describe.runIf(process.platform === 'linux')('detached children', () => {
  it.each([
    ['is replaced', (here: Harness) => void here.pool.recycleIdle()],
    ['exits', (here: Harness) => void here.submit(fromSource('function exits() { process.exit(0) }'))],
    ['is killed from outside', (here: Harness) => process.kill(here.pids[0] as number, 'SIGKILL')],
    ['loops and is cancelled', loopAndCancel],
  ])('end with an executor that %s, before the next one starts', async (_, end) => {
    harness = await Harness.start()
    const here = harness
    const children = await spawned(here)
    const before = pids(here)
    await end(here)
    await here.until(() => pids(here) !== before)
    expect(children.filter(isAlive)).toEqual([])
  })

  it('end with the pool', async () => {
    harness = await Harness.start()
    const children = await spawned(harness)
    await harness.pool.close()
    expect(children.filter(isAlive)).toEqual([])
  })

  it('end without the mark of their executor, too, as long as the worker has seen them', async () => {
    harness = await Harness.start()
    const here = harness
    const environment = { env: { PATH: process.env['PATH'] } }
    const [child, daemon] = (await spawned(here, environment)) as [number, number]
    here.pool.recycleIdle()
    await eventually('the child has ended', () => !isAlive(child))
    process.kill(daemon, 'SIGKILL')
    await here.until(() => here.pids.length === 1)
    const [next] = (await spawned(here, environment)) as [number, number]
    here.pool.sample()
    process.kill(here.pids[0] as number, 'SIGKILL')
    await eventually('the next child has ended', () => !isAlive(next))
  })

  it('count as memory of their executor', async () => {
    harness = await Harness.start()
    const here = harness
    const ending = await here.submit(
      fromSource(`async function holds(nbytes) {
        const { spawn } = await import('node:child_process')
        const { once } = await import('node:events')
        const code = 'globalThis.held = Buffer.alloc(' + nbytes + ', 1); console.log(1); setInterval(() => {}, 1000)'
        const child = spawn(process.execPath, ['-e', code], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
        await once(child.stdout, 'data')
        child.stdout.destroy()
        child.unref()
        return [child.pid]
      }`),
      [100 * MIB],
    )
    strays = (ending as { value: number[] }).value
    const [sample] = here.pool.sample()
    expect((sample?.privateBytes ?? 0) - (sample?.baselineBytes ?? 0)).toBeGreaterThan(100 * MIB)
  })

  it.each<[string, (worker: WorkerInfo) => unknown]>([
    ['the worker is killed', ({ pid }) => process.kill(pid, 'SIGKILL')],
    ['the nanny is killed', ({ nannyPid }) => process.kill(nannyPid as number, 'SIGKILL')],
    ['the cluster is closed', () => cluster?.close()],
    ['the worker is restarted', () => client?.restart()],
  ])('end when %s', async (_, end) => {
    cluster = await new LocalCluster({ nWorkers: 1, nthreads: 1 }).start()
    client = await Client.connect(cluster)
    strays = await client.submit(fromSource(SPAWNS) as (options: object) => number[], {}).result()
    const children = [...strays]
    expect(children.every(isAlive)).toBe(true)
    const [worker] = Object.values((await client.schedulerInfo()).workers)
    await end(worker as WorkerInfo)
    await eventually('the children have ended', () => !children.some(isAlive))
  })
})

async function loopAndCancel(here: Harness): Promise<void> {
  const ending = here.submit(fromSource('function loops() { for (;;); }'), [], { key: 'loops' })
  await here.until(() => here.running('loops'))
  here.pool.cancel(here.lastRun, true)
  await ending
}
