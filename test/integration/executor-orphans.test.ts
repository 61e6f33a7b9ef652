import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'

// What hosts the pool is a process of its own here, so that it can be killed.
const HOST = `
import { createProcessPool } from ${JSON.stringify(new URL('../../dist/worker/executor/index.js', import.meta.url).href)}
import { capture } from ${JSON.stringify(new URL('../../dist/functions/capture.js', import.meta.url).href)}
import { encodeArgs } from ${JSON.stringify(new URL('../../dist/values/args.js', import.meta.url).href)}
const nothing = () => {}
const events = { onFinished: nothing, onErred: nothing, onReturned: nothing, onInputBad: nothing, onCancelled: nothing, onUnmapped: nothing,
  onPlaceRequest: nothing, onExecutorsChanged: nothing, onLog: ({ text }) => console.log('child', text) }
const pool = createProcessPool({ nthreads: 2, memoryLimit: 0, inlineLimit: 65536, mapThreshold: 2 ** 21, statusPagePath: process.env.STATUS_PAGE, cancelGraceMs: 1000,
  ioConcurrency: 32, startTimeoutMs: 15000, env: {} }, events)
await pool.start()
const { id, name, bytes } = capture(async function loop(children) {
  if (children) {
    const { spawn } = await import('node:child_process')
    console.log(spawn('sleep', ['60'], { stdio: 'ignore' }).pid)
  }
  for (;;);
})
for (const runId of [1, 2]) {
  const args = encodeArgs([runId === 1], () => undefined).bytes
  pool.run({ runId, key: 'loop-' + runId, name, fn: id, fnBytes: bytes, args, inputs: [], options: {}, attempt: 1, memory: { reservedBytes: 0, heapBytes: 0 }, clusterId: 'c', generation: 1 })
}
const started = setInterval(() => {
  if (pool.infos.filter((info) => info.task !== undefined).length < 2) return
  clearInterval(started)
  console.log('executors', ...pool.pids)
}, 10)
`

let host: ChildProcess | null = null
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-orphans-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const strays = new Set<number>()
afterEach(() => {
  host?.kill('SIGKILL')
  for (const pid of strays) if (exists(pid)) process.kill(pid, 'SIGKILL')
})

/** A dead process that nobody reaps (a container without an init) does not count. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH' && process.platform !== 'linux'
  }
}

async function gone(pids: readonly number[], withinMs: number): Promise<number> {
  const begun = performance.now()
  while (performance.now() - begun < withinMs) {
    if (!pids.some(exists)) return performance.now() - begun
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`still alive after ${withinMs} ms: ${pids.filter(exists).join(', ')}`)
}

describe('orphans', () => {
  it.each([
    ['with the death signal', false],
    ['with the watchdog', true],
  ])('no executor outlives its worker, not even in an endless loop, %s', async (_, noKoffi) => {
    const env = { ...process.env, PLIMSOLL_NO_KOFFI: noKoffi ? '1' : '0', STATUS_PAGE: join(folder, 'status') }
    host = spawn(process.execPath, ['--input-type=module', '-e', HOST], { stdio: ['ignore', 'pipe', 'inherit'], env })
    const executors: number[] = []
    let child = 0
    for await (const line of createInterface({ input: host.stdout as NodeJS.ReadableStream })) {
      const [what, ...numbers] = line.split(' ')
      if (what === 'child') child = Number(numbers[0])
      if (what === 'executors') executors.push(...numbers.map(Number))
      if (child > 0 && executors.length > 0) break
    }
    for (const pid of [...executors, child]) strays.add(pid)
    expect(executors).toHaveLength(2)
    expect([...executors, child].every(exists)).toBe(true)
    host.kill('SIGKILL')
    await once(host, 'exit')
    await gone(executors, 1000)
    // The watchdog ends the whole group. A signal reaches one process: the rest is the nanny's part, who knows the groups.
    if (!noKoffi) for (const pid of executors) endGroup(pid)
    await gone([child], 1000)
  })

  it.runIf(process.platform === 'linux').each([
    ['is killed', (worker: ChildProcess) => void worker.kill('SIGKILL')],
    ['loses its nanny', (worker: ChildProcess) => worker.disconnect()],
  ])('no executor is left that was started ahead when its worker %s before it was told anything', async (_, end) => {
    const main = fileURLToPath(new URL('../../dist/worker/main.js', import.meta.url))
    host = spawn(process.execPath, [main, '2', '0'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const { pid } = host
    let executors: number[] = []
    while (executors.length < 2) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      executors = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
        .trim()
        .split(' ')
        .filter(Boolean)
        .map(Number)
    }
    for (const executor of executors) strays.add(executor)
    end(host)
    await once(host, 'exit')
    await gone(executors, 5000)
  })
})

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Empty already.
  }
}
