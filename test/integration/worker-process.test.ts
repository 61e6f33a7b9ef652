// A worker process under a nanny that is this test, at a scheduler that is this test: what it tells, what it leaves behind,
// and what the next process finds. Runs on dist, since it spawns processes.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runId, taskKey, workerId } from '../../dist/base/ids.js'
import { type Listener, listen } from '../../dist/comm/index.js'
import { capture } from '../../dist/functions/capture.js'
import type { WorkerStartOptions, WorkerToNanny } from '../../dist/protocol/nanny.js'
import type {
  RegisterWorker,
  SchedulerToWorker,
  SchedulerWorkerRequests,
  WorkerControlRequests,
  WorkerToScheduler,
} from '../../dist/protocol/scheduler-worker.js'
import type { InputWire } from '../../dist/protocol/tasks.js'
import { PROTOCOL_VERSION } from '../../dist/protocol/version.js'
import { Connection } from '../../dist/rpc/index.js'
import { encodeArgs, TaskRef } from '../../dist/values/args.js'
import { fromSource } from './executor-harness.ts'

const CREDENTIALS = { token: 'b'.repeat(64), tls: null, insecurePlaintext: false }
const MIB = 2 ** 20

let local: string
let memory: string
let listener: Listener
let connection: Connection<WorkerToScheduler, SchedulerToWorker, SchedulerWorkerRequests, WorkerControlRequests>
let registrations: RegisterWorker[]
let heard: WorkerToScheduler[]
let told: WorkerToNanny[]
let children: ChildProcess[]
let waiting: (() => void)[]
let runs: number

beforeEach(async () => {
  local = mkdtempSync(join(tmpdir(), 'plimsoll-worker-'))
  memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'plimsoll-worker-'))
  ;[registrations, heard, told, children, waiting, runs] = [[], [], [], [], [], 0]
  listener = await listen('tcp://127.0.0.1:0', {
    role: 'scheduler',
    credentials: CREDENTIALS,
    protocolVersion: PROTOCOL_VERSION,
    clusterId: 'cluster',
    onComm: (comm) => {
      connection = new Connection(comm)
      connection.handle('register-worker', (registration) => {
        registrations.push(registration)
        return { schedulerId: 'cluster', generation: 0, heartbeatMs: 100, drop: [], cancel: [] }
      })
      connection.handle('heartbeat-worker', () => ({ status: 'ok' as const }))
      connection.onMessages((messages) => notify(heard, ...messages))
    },
  })
})

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await connection.close()
  await listener.close()
  for (const path of [local, memory]) rmSync(path, { recursive: true, force: true })
})

function notify<T>(list: T[], ...items: readonly T[]): void {
  list.push(...items)
  for (const wake of waiting.splice(0)) wake()
}

async function until<T>(find: () => T | undefined): Promise<T> {
  for (;;) {
    const found = find()
    if (found !== undefined) return found
    await new Promise<void>((wake) => waiting.push(wake))
  }
}

const heardOf = <Op extends WorkerToScheduler['op']>(
  op: Op,
  key: string,
): Promise<Extract<WorkerToScheduler, { op: Op }>> =>
  until(() =>
    heard.find(
      (message): message is Extract<WorkerToScheduler, { op: Op }> =>
        message.op === op && 'key' in message && message.key === key,
    ),
  )

const toldOf = <Op extends WorkerToNanny['op']>(op: Op): Promise<Extract<WorkerToNanny, { op: Op }>> =>
  until(() => told.findLast((message): message is Extract<WorkerToNanny, { op: Op }> => message.op === op))

async function startWorker(overrides: Partial<WorkerStartOptions> = {}): Promise<ChildProcess> {
  told.length = 0
  const child = spawn(process.execPath, [resolve('dist/worker/main.js')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  })
  children.push(child)
  child.on('message', (message) => notify(told, message as WorkerToNanny))
  const options: WorkerStartOptions = {
    schedulerAddress: listener.address,
    ...CREDENTIALS,
    workerId: workerId('w'),
    incarnation: 1,
    name: 'w',
    nthreads: 1,
    memoryLimit: 256 * MIB,
    localDirectory: local,
    memoryDirectory: memory,
    host: '127.0.0.1',
    port: 0,
    http: null,
    resources: {},
    nannyPid: process.pid,
    restarts: 0,
    processPeak: 0,
    spilledTotal: 0,
    executor: 'process',
    deathTimeoutMs: null,
    config: { 'scheduler.validate': true },
    ...overrides,
  }
  child.send({ op: 'start', options })
  await until(() => told.find((message) => message.op === 'started' || message.op === 'start-failed'))
  return child
}

function compute(
  key: string,
  source: string,
  args: readonly unknown[] = [],
  inputs: readonly InputWire[] = [],
): number {
  const run = ++runs
  const { id, bytes } = capture(fromSource(source))
  connection.send({
    op: 'compute-task',
    key: taskKey(key),
    runId: runId(run),
    name: key,
    priority: [0, 0, run],
    fn: id,
    fnBytes: bytes,
    args: encodeArgs(args, (value) => (value instanceof TaskRef ? value.key : undefined)).bytes,
    inputs,
    options: {},
    attempt: 1,
  })
  return run
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

describe('a worker process', () => {
  it('tells its nanny of its executors, and ends them and its files when it is told to close', async () => {
    const child = await startWorker({ nthreads: 2, memoryLimit: 512 * MIB })
    const { pids } = await toldOf('executors')
    expect(pids).toHaveLength(2)
    compute('block', '() => new Float64Array(1e6)')
    await heardOf('task-finished', 'block')
    child.send({ op: 'close', reason: 'the test is over' })
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(pids.filter(isAlive)).toEqual([])
    expect((await toldOf('peaks')).processPeak).toBeGreaterThan(MIB)
    const files = readdirSync(memory, { recursive: true }).map(String)
    expect(files.filter((name) => name.includes('blob'))).toEqual([])
  })

  it('that was killed leaves its values to the next one, which needs no recomputation', async () => {
    const first = await startWorker()
    const run = compute('block', '() => new Float64Array(1e6).fill(2)')
    const { nbytes, durable } = await heardOf('task-finished', 'block')
    expect(durable).toBe(true)
    first.kill('SIGKILL')
    await once(first, 'exit')

    await startWorker({ incarnation: 2, restarts: 1 })
    expect(registrations.at(-1)).toMatchObject({
      incarnation: 2,
      clusterId: 'cluster',
      inventory: { keys: [{ key: 'block', runId: run, nbytes, durable: true }], tasks: [] },
    })
    const input: InputWire = { key: taskKey('block'), runId: runId(run), nbytes, holders: [] }
    compute('sum', '(block) => block.reduce((a, x) => a + x, 0)', [new TaskRef('block')], [input])
    await heardOf('task-finished', 'sum')
  })

  it('whose nanny died ends its executors, an endless one too, removes its directories and exits', async () => {
    const child = await startWorker()
    const { pids } = await toldOf('executors')
    compute('endless', '() => { for (;;); }')
    compute('queued', '() => 1')
    child.disconnect()
    const [code] = (await once(child, 'exit')) as [number | null]
    expect(code).toBe(1)
    expect(pids.filter(isAlive)).toEqual([])
    expect([existsSync(local), existsSync(memory)]).toEqual([false, false])
  })

  it('says why it could not start', async () => {
    const child = await startWorker({ memoryLimit: 100 * MIB })
    const failed = await toldOf('start-failed')
    expect(failed).toMatchObject({ code: 'CONFIG_INVALID' })
    expect(failed.message).toContain('at least 160.00 MiB')
    expect(await once(child, 'exit')).toEqual([1, null])
  })

  it('ignores the Ctrl-C of the terminal, and closes on SIGTERM', async () => {
    const child = await startWorker()
    child.kill('SIGINT')
    compute('after', '() => 1')
    await heardOf('task-finished', 'after')
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('spills before it fills, and reads what it spilled in place', async () => {
    // Far below `pause`: what a paused worker hands back, nobody here would assign again.
    const config = { 'scheduler.validate': true, 'worker.memory.target': 0.2, 'worker.memory.spill': 0.5 }
    await startWorker({ memoryLimit: 512 * MIB, config })
    const inputs: InputWire[] = []
    for (let i = 0; i < 16; i++) {
      const key = `block-${i}`
      const run = compute(key, '(x) => new Float64Array(2e6).fill(x)', [i])
      const { nbytes } = await heardOf('task-finished', key)
      inputs.push({ key: taskKey(key), runId: runId(run), nbytes, holders: [] })
    }
    for (const input of inputs) {
      compute(`sum-${input.key}`, '(block) => block.reduce((a, x) => a + x, 0)', [new TaskRef(input.key)], [input])
    }
    for (const input of inputs) await heardOf('task-finished', `sum-${input.key}`)
    expect((await toldOf('peaks')).spilledTotal).toBeGreaterThan(64 * MIB)
    expect(heard.filter((message) => message.op === 'task-erred')).toEqual([])
  })
})
