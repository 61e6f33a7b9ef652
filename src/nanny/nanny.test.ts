// The nanny's shell with a real child process that stands in for the worker, and a listener that stands in for the
// scheduler. What the real ones do together is tested on the build (test/integration/nanny.test.ts).

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runId } from '../base/ids.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import { createToken, listen, type Listener } from '../comm/index.ts'
import { isErrorCode, PlimsollError } from '../errors/plimsoll-error.ts'
import { StatusPage } from '../native/status-page.ts'
import {
  type NannyRequests,
  type NannyToScheduler,
  type SchedulerToNanny,
  STATUS_PAGE_FILE,
  type WorkerStartOptions,
} from '../protocol/nanny.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'
import { Nanny, type NannyOptions } from './nanny.ts'

/** Does what WORKER_PLAN says, tells the test through a file what it was given. */
const FAKE_WORKER = `
import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
const plan = process.env.WORKER_PLAN ?? ''
appendFileSync(process.env.WORKER_LOG + '.boots', process.pid + '\\n')
process.on('SIGTERM', () => { if (!plan.includes('stubborn')) process.exit(0) })
process.on('disconnect', () => process.exit(0))
process.on('message', (message) => {
  if (message.op === 'start') start(message.options)
  if (message.op === 'close' && !plan.includes('stubborn')) {
    process.send({ op: 'closing', reason: message.reason }, () => process.exit(0))
  }
})
function start(options) {
  appendFileSync(process.env.WORKER_LOG, JSON.stringify({ options, env: process.env, execArgv: process.execArgv, pid: process.pid }) + '\\n')
  if (plan.includes('fails')) { process.send({ op: 'start-failed', message: 'the limit is too small', code: 'CONFIG_INVALID' }, () => process.exit(1)); return }
  if (plan.includes('mute')) return
  if (plan.includes('executor')) {
    const executor = spawn('sh', ['-c', 'trap "" TERM; sleep 300 & wait'], { detached: true, stdio: 'ignore' })
    executor.unref()
    process.send({ op: 'executors', pids: [executor.pid], mark: 'a mark that nobody carries' })
  }
  process.send({ op: 'peaks', processPeak: 1000 * options.incarnation, spilledTotal: 7 })
  process.send({ op: 'started', address: 'tcp://127.0.0.1:' + (1000 + options.incarnation), pid: process.pid })
  if (plan.includes('crashes')) setTimeout(() => { console.error('Error: out of luck'); process.exit(9) }, 30)
  if (plan.includes('leaves')) setTimeout(() => process.send({ op: 'closing', reason: 'retired' }, () => process.exit(0)), 30)
}
`

interface Start {
  readonly options: WorkerStartOptions
  readonly env: Record<string, string>
  readonly execArgv: readonly string[]
  readonly pid: number
}

/** What a scheduler is to a nanny. */
class FakeScheduler {
  readonly token = createToken()
  readonly told: NannyToScheduler[] = []
  readonly registered: NannyRequests['register-nanny'][0][] = []
  connection: Connection<NannyToScheduler, SchedulerToNanny, NannyRequests> | null = null
  /** Nobody is registered before it resolves. */
  ready: Promise<void> = Promise.resolve()
  #listener: Listener | null = null

  get address(): string {
    return this.#listener?.address ?? ''
  }

  async open(): Promise<this> {
    this.#listener = await listen('tcp://127.0.0.1:0', {
      role: 'scheduler',
      credentials: { token: this.token, tls: null, insecurePlaintext: false },
      protocolVersion: PROTOCOL_VERSION,
      clusterId: 'c1',
      onComm: (comm) => {
        const connection: Connection<NannyToScheduler, SchedulerToNanny, NannyRequests> = new Connection(comm)
        connection.handle('register-nanny', async (question) => {
          await this.ready
          this.registered.push(question)
          this.connection = connection
          return { schedulerId: 'c1' }
        })
        connection.handle('heartbeat-nanny', () => ({}))
        connection.onMessages((batch) => void this.told.push(...batch))
      },
    })
    return this
  }

  async close(): Promise<void> {
    this.connection?.abort()
    await this.#listener?.close()
  }
}

let folder: string
let scheduler: FakeScheduler
const nannies: Nanny[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-nanny-'))
  writeFileSync(join(folder, 'worker.mjs'), FAKE_WORKER)
  scheduler = await new FakeScheduler().open()
})
afterEach(async () => {
  await Promise.all(nannies.splice(0).map((nanny) => nanny.close('the test is over', { force: true })))
  await scheduler.close()
  rmSync(folder, { recursive: true, force: true })
})

function nannyFor(plan: string, overrides: Partial<NannyOptions> = {}, prefork = false): Nanny {
  const options: NannyOptions = {
    schedulerAddress: scheduler.address,
    token: scheduler.token,
    tls: null,
    insecurePlaintext: false,
    name: 'w',
    nthreads: 1,
    memoryLimit: 2 ** 30,
    host: '',
    port: 0,
    http: null,
    resources: {},
    executor: 'process',
    deathTimeoutMs: null,
    config: {},
    localBase: folder,
    memoryBase: null,
    env: { WORKER_PLAN: plan, WORKER_LOG: join(folder, 'starts') },
    ...overrides,
  }
  const nanny = new Nanny(options, { workerMain: join(folder, 'worker.mjs'), prefork })
  nannies.push(nanny)
  return nanny
}

function starts(): Start[] {
  const path = join(folder, 'starts')
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Start)
}

/** Pids of all processes that ran the worker's entry, asked to start or not. */
function boots(): number[] {
  const path = join(folder, 'starts.boots')
  return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n').map(Number) : []
}

const lastStart = (): Start => starts().at(-1) as Start
const workerFolders = (): string[] => readdirSync(folder).filter((name) => name.startsWith('plimsoll-'))
const exits = () => scheduler.told.flatMap((message) => (message.op === 'worker-exited' ? [message] : []))

/** Polls, for what other processes do. */
async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const restarted = (nanny: Nanny, times: number) =>
  until('the restart', () => nanny.restarts === times && nanny.workerAddress !== null)

describe('a nanny', () => {
  it('registers, then starts a worker with an identity, directories and environment of its own', async () => {
    const nanny = nannyFor('')
    await nanny.start()
    const { options, env, execArgv } = lastStart()
    expect(scheduler.registered).toEqual([{ workerId: nanny.workerId, pid: process.pid, host: '127.0.0.1' }])
    expect(options).toMatchObject({
      workerId: nanny.workerId,
      incarnation: 1,
      restarts: 0,
      nannyPid: process.pid,
      host: '127.0.0.1',
      processPeak: 0,
    })
    expect(options).not.toHaveProperty('localBase')
    expect(existsSync(options.localDirectory)).toBe(true)
    expect(env).toMatchObject({ MALLOC_TRIM_THRESHOLD_: '65536', UV_THREADPOOL_SIZE: '16' })
    expect(Object.values(env).some((value) => value.includes(scheduler.token))).toBe(false)
    expect(execArgv).toEqual([])
    expect(nanny.workerAddress).toBe('tcp://127.0.0.1:1001')
    expect(nanny.workerPid).toBe(lastStart().pid)
  })

  it('ends its worker in good order, removes everything, and says goodbye', async () => {
    const nanny = nannyFor('')
    await nanny.start()
    const { pid } = lastStart()
    await nanny.close('enough')
    expect(await nanny.closed).toBe('enough')
    expect(isRunning(pid)).toBe(false)
    expect(workerFolders()).toEqual([])
    await until('the goodbye', () => scheduler.told.some(({ op }) => op === 'worker-gone'))
    expect(scheduler.told).toMatchObject([
      { op: 'worker-exited', incarnation: 1, code: 0, restarting: false },
      { op: 'worker-gone', reason: 'enough' },
    ])
    await nanny.close()
  })

  it('can have the first process ready before it is registered', async () => {
    const registered: Deferred<void> = deferred()
    scheduler.ready = registered.promise
    const nanny = nannyFor('', {}, true)
    const started = nanny.start()
    await until('the process', () => boots().length === 1)
    expect(starts()).toEqual([])
    registered.resolve()
    await started
    expect(boots()).toEqual([lastStart().pid])
    expect(nanny.workerPid).toBe(lastStart().pid)
    process.kill(lastStart().pid, 'SIGKILL')
    await restarted(nanny, 1)
    expect(boots()).toHaveLength(2)
  })

  it('takes another process when the one that was ready has died, and counts no restart', async () => {
    const registered: Deferred<void> = deferred()
    scheduler.ready = registered.promise
    const nanny = nannyFor('', {}, true)
    const started = nanny.start()
    await until('the process', () => boots().length === 1)
    const [pid] = boots() as [number]
    process.kill(pid, 'SIGKILL')
    await until('its end', () => !isRunning(pid))
    registered.resolve()
    await started
    expect(boots()).toEqual([pid, lastStart().pid])
    expect(lastStart().options).toMatchObject({ incarnation: 1, restarts: 0 })
    expect(exits()).toEqual([])
  })

  it('ends the process that was ready when its scheduler refuses it', async () => {
    const registered: Deferred<void> = deferred()
    scheduler.ready = registered.promise
    const nanny = nannyFor('', {}, true)
    const refused = expect(nanny.start()).rejects.toMatchObject({ code: 'AUTH_FAILED' })
    await until('the process', () => boots().length === 1)
    registered.reject(new PlimsollError('AUTH_FAILED', 'not you'))
    await refused
    await until('its end', () => boots().every((pid) => !isRunning(pid)))
    expect(nanny.workerPid).toBeNull()
    expect(starts()).toEqual([])
  })

  it('starts a killed worker again: same id, next incarnation, same directories, peaks carried over', async () => {
    const nanny = nannyFor('')
    await nanny.start()
    const first = lastStart()
    writeFileSync(join(first.options.localDirectory, 'stored'), 'value')
    const page = StatusPage.create(join(first.options.localDirectory, STATUS_PAGE_FILE), 2)
    page.setRun(1, runId(42))
    page.setPhase(1, 'running')
    process.kill(first.pid, 'SIGKILL')
    await restarted(nanny, 1)
    const second = lastStart()
    expect(second.pid).not.toBe(first.pid)
    expect(second.options).toMatchObject({
      workerId: first.options.workerId,
      incarnation: 2,
      restarts: 1,
      processPeak: 1000,
      spilledTotal: 7,
    })
    expect(second.options.localDirectory).toBe(first.options.localDirectory)
    expect(existsSync(join(second.options.localDirectory, 'stored'))).toBe(true)
    expect(exits()).toMatchObject([{ incarnation: 1, signal: 'SIGKILL', running: [42], restarting: true }])
  })

  it('ends the executors of a dead worker before it tells anybody or starts the next one', async () => {
    const nanny = nannyFor('executor')
    await nanny.start()
    const { pid } = lastStart()
    const executor = childrenOf(pid)[0] as number
    expect(isRunning(executor)).toBe(true)
    let lived = true
    const watch = setInterval(() => {
      if (starts().length === 1 && exits().length === 0) return
      clearInterval(watch)
      lived = isRunning(executor)
    }, 1)
    process.kill(pid, 'SIGKILL')
    await restarted(nanny, 1)
    clearInterval(watch)
    expect([lived, isRunning(executor)]).toEqual([false, false])
  })

  it('empties the directories when the scheduler asks for a restart', async () => {
    const nanny = nannyFor('')
    await nanny.start()
    const { options, pid } = lastStart()
    writeFileSync(join(options.localDirectory, 'stored'), 'value')
    scheduler.connection?.send({ op: 'restart-worker', generation: 2 })
    await until('the restart', () => starts().length === 2 && nanny.workerAddress !== null)
    expect(isRunning(pid)).toBe(false)
    expect(lastStart().options).toMatchObject({ incarnation: 2, restarts: 0, localDirectory: options.localDirectory })
    expect(readdirSync(options.localDirectory)).not.toContain('stored')
  })

  it('lets a worker go that ends by its own decision, and goes with it', async () => {
    const nanny = nannyFor('leaves')
    await nanny.start()
    expect(await nanny.closed).toBe('retired')
    expect(starts()).toHaveLength(1)
    expect(workerFolders()).toEqual([])
  })

  it('closes when the scheduler says so', async () => {
    const nanny = nannyFor('')
    await nanny.start()
    scheduler.connection?.send({ op: 'close', reason: 'the cluster is closed' })
    expect(await nanny.closed).toBe('the cluster is closed')
  })

  it('kills a worker that neither listens nor obeys', async () => {
    const nanny = nannyFor('stubborn')
    await nanny.start()
    const { pid } = lastStart()
    await nanny.close()
    expect(isRunning(pid)).toBe(false)
    expect(exits()).toMatchObject([{ signal: 'SIGKILL' }])
  })

  it('gives a worker up that dies again and again, with its last words', async () => {
    const nanny = nannyFor('crashes', { config: { 'nanny.restart-limit': 3 } })
    await nanny.start()
    const reason = await nanny.closed
    expect(reason).toMatch(
      /^the worker died 4 times within 60 s; the last time: it exited with code 9; the end of its stderr:\n.*Error: out of luck$/s,
    )
    expect(starts().map(({ options }) => options.incarnation)).toEqual([1, 2, 3, 4])
    expect(scheduler.told.at(-1)).toMatchObject({ op: 'worker-gone', reason })
    expect(workerFolders()).toEqual([])
  })

  it('fails to start with what the worker says, and leaves nothing', async () => {
    const nanny = nannyFor('fails')
    const error = await nanny.start().catch((thrown: unknown) => thrown)
    expect(isErrorCode(error, 'WORKER_START_FAILED')).toBe(true)
    expect((error as Error).message).toBe('the worker could not be started: the limit is too small')
    await nanny.closed
    expect(workerFolders()).toEqual([])
  })

  it('fails to start when the worker never gets ready', async () => {
    const nanny = nannyFor('mute', { config: { 'nanny.start-timeout': 200 } })
    await expect(nanny.start()).rejects.toMatchObject({
      code: 'WORKER_START_FAILED',
      message: expect.stringContaining('not ready within 0.2 s') as string,
    })
  })

  it('fails at once with a wrong token, and after the death timeout without a scheduler', async () => {
    const stranger = nannyFor('', { token: createToken() })
    await expect(stranger.start()).rejects.toMatchObject({ code: 'AUTH_FAILED' })
    const lonely = nannyFor('', { schedulerAddress: 'tcp://127.0.0.1:1', deathTimeoutMs: 200 })
    await expect(lonely.start()).rejects.toMatchObject({
      code: 'WORKER_START_FAILED',
      message: expect.stringContaining('death timeout') as string,
    })
    expect(starts()).toEqual([])
  })

  it('registers again after it lost the scheduler, and tells then what happened meanwhile', async () => {
    const nanny = nannyFor('')
    await nanny.start()
    const { pid } = lastStart()
    scheduler.connection?.abort()
    process.kill(pid, 'SIGKILL')
    await restarted(nanny, 1)
    await until('the news', () => exits().length === 1)
    expect(scheduler.registered).toHaveLength(2)
    expect(nanny.workerAddress).toBe('tcp://127.0.0.1:1002')
  })
})

/** A killed child may stay a zombie until somebody collects it: that is not running. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return false
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').map(Number)
}
