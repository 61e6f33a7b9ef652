// A cluster put together by hand: a scheduler in this process, whose events can be watched, and workers under nannies in
// processes of their own, each with its own environment and with code that is loaded into it before the worker's.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { createToken } from '../../dist/comm/index.js'
import { loadConfig } from '../../dist/config/index.js'
import { Client } from '../../dist/index.js'
import type { WorkerInfo } from '../../dist/protocol/scheduler-client.js'
import { Scheduler } from '../../dist/scheduler/index.js'
import { descendantsOf, eventually, isAlive } from '../e2e/installed.ts'
import { MIB } from './fault-cluster.ts'
import { plainNanny } from './plain-nanny.ts'

/** What code names to import a module of the build. */
export const built = (path: string): string => JSON.stringify(pathToFileURL(resolve('dist', path)).href)

export interface WorkerPlan {
  readonly nthreads?: number
  /** Bytes. */
  readonly memoryLimit?: number
  /** An ES module that the worker's process (not its executors) runs first. */
  readonly preload?: string
  /** Variables of the worker's process. */
  readonly env?: Readonly<Record<string, string>>
}

export class HandCluster {
  readonly scheduler: Scheduler
  readonly client: Client
  /** For whatever the tests and their tasks write. */
  readonly folder: string
  /** In RAM, where there is such a thing. */
  readonly memoryFolder: string
  readonly #token: string
  readonly #config: Readonly<Record<string, unknown>>
  readonly #nannies: ChildProcess[] = []

  private constructor(scheduler: Scheduler, client: Client, parts: Parts) {
    this.scheduler = scheduler
    this.client = client
    this.folder = parts.folder
    this.memoryFolder = parts.memory
    this.#token = parts.token
    this.#config = parts.config
  }

  static async start(config: Readonly<Record<string, unknown>> = {}): Promise<HandCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'plimsoll-hand-'))
    const memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-hand-'))
    const token = createToken()
    const overrides = { 'scheduler.validate': true, 'logging.level': 'error', ...config }
    const scheduler = new Scheduler({
      host: '127.0.0.1',
      port: 0,
      credentials: { token, tls: null, insecurePlaintext: false },
      config: loadConfig({ env: {}, files: [], overrides }),
    })
    await scheduler.start()
    const client = await Client.connect(scheduler.address, { token })
    return new HandCluster(scheduler, client, { folder, memory, token, config: overrides })
  }

  /** Resolves with the nanny's pid when its worker is there. */
  async startWorker(name: string, plan: WorkerPlan = {}): Promise<number> {
    const preload = join(this.folder, `${name}-preload.mjs`)
    writeFileSync(preload, plan.preload ?? '')
    const options = {
      ...plainNanny,
      schedulerAddress: this.scheduler.address,
      token: this.#token,
      name,
      nthreads: plan.nthreads ?? 1,
      memoryLimit: plan.memoryLimit ?? 256 * MIB,
      config: this.#config,
      localBase: join(this.folder, 'local'),
      memoryBase: this.memoryFolder,
      env: { ...plan.env, NODE_OPTIONS: `--import=${pathToFileURL(preload).href}` },
    }
    const program = join(this.folder, `${name}.mjs`)
    writeFileSync(
      program,
      `import { Nanny } from ${built('nanny/index.js')}
      await new Nanny(${JSON.stringify(options)}).start()
      console.log('started')`,
    )
    const nanny = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#nannies.push(nanny)
    await once(nanny.stdout as Readable, 'data')
    return nanny.pid as number
  }

  /** As the scheduler knows it now. */
  worker(name: string): WorkerInfo {
    const found = Object.values(this.scheduler.info.workers).find((worker) => worker.name === name)
    if (found === undefined) throw new Error(`there is no worker ${name}`)
    return found
  }

  /** Ends every process, also those that were stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    const nannies = this.#nannies.map(({ pid }) => pid as number)
    const pids = [...nannies, ...nannies.flatMap(descendantsOf)]
    await this.client.close()
    await this.scheduler.close()
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
    await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)))
    for (const path of [this.folder, this.memoryFolder]) rmSync(path, { recursive: true, force: true })
  }
}

interface Parts {
  readonly folder: string
  readonly memory: string
  readonly token: string
  readonly config: Readonly<Record<string, unknown>>
}
