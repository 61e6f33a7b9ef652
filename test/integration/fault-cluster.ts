// A cluster of real processes that tests do harm to: directories of its own, invariants checked after every step, and, at its
// end, proof that neither a process nor a file is left.

import { hash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Client, type Future, LocalCluster, type LocalClusterOptions } from '../../dist/index.js'
import type { WorkerInfo } from '../../dist/protocol/scheduler-client.js'
import { descendantsOf, isAlive } from '../e2e/installed.ts'

export const MIB = 2 ** 20

/** Polls a question until the answer holds, for what no event tells. @throws with the last answer after `timeoutMs` */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  holds: (answer: T) => boolean,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (holds(answer)) return answer
    if (performance.now() > deadline)
      throw new Error(`not within ${timeoutMs} ms: ${what}; last: ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export class FaultCluster {
  readonly cluster: LocalCluster
  readonly client: Client
  /** For whatever the test's tasks write. */
  readonly folder: string
  readonly localDirectory: string
  readonly memoryDirectory: string
  readonly #ownMemory: boolean

  private constructor(cluster: LocalCluster, client: Client, folder: string, bases: Bases) {
    this.cluster = cluster
    this.client = client
    this.folder = folder
    this.localDirectory = bases.localDirectory
    this.memoryDirectory = bases.memoryDirectory
    this.#ownMemory = bases.ownMemory
  }

  /** One worker with one executor, unless told otherwise. */
  static async start(options: LocalClusterOptions = {}): Promise<FaultCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'plimsoll-faults-'))
    const bases: Bases = {
      localDirectory: options.localDirectory ?? join(folder, 'local'),
      memoryDirectory:
        options.memoryDirectory ?? mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'plimsoll-faults-')),
      ownMemory: options.memoryDirectory === undefined,
    }
    const cluster = new LocalCluster({
      nthreads: 1,
      memoryLimit: '512 MiB',
      ...options,
      localDirectory: bases.localDirectory,
      memoryDirectory: bases.memoryDirectory,
      config: { 'scheduler.validate': true, 'logging.level': 'error', ...options.config },
    })
    await cluster.start()
    return new FaultCluster(cluster, await Client.connect(cluster), folder, bases)
  }

  /** Files with stored values, segments included. */
  valueFiles(tier?: 'memory' | 'disk'): string[] {
    const bases =
      tier === undefined
        ? [this.memoryDirectory, this.localDirectory]
        : [tier === 'memory' ? this.memoryDirectory : this.localDirectory]
    return filesIn(bases).filter((path) => basename(dirname(path)) === 'blobs')
  }

  /** Files that are being written. */
  partFiles(): string[] {
    return filesIn([this.memoryDirectory, this.localDirectory]).filter((path) => path.endsWith('.part'))
  }

  /** The files of one value (not when it is packed into a segment). */
  filesOf(future: Future<unknown>, tier?: 'memory' | 'disk'): string[] {
    const name = hash('sha256', future.key, 'hex').slice(0, 24)
    return this.valueFiles(tier).filter((path) => basename(path).startsWith(`${name}-`))
  }

  /** How often tasks of this name ended, well or badly. */
  async runs(name: string): Promise<number> {
    return (await this.client.taskCounts())[name]?.runs ?? 0
  }

  /** Those that are connected. */
  async workers(): Promise<WorkerInfo[]> {
    const { workers } = await this.client.schedulerInfo()
    return Object.values(workers).filter(({ status }) => status !== 'restarting' && status !== 'disconnected')
  }

  /** The only worker, or the one with this position by name; waits for it while it is started again. */
  async worker(index = 0): Promise<WorkerInfo> {
    const find = async (): Promise<WorkerInfo | undefined> =>
      (await this.workers()).find(({ name }) => name === String(index))
    return (await until(`worker ${index} is there`, find, (found) => found !== undefined)) as WorkerInfo
  }

  /** Resolves with the executor that runs this task. */
  async executorOf(future: Future<unknown>): Promise<number> {
    const find = async (): Promise<number> =>
      (await this.workers()).flatMap(({ executors }) => executors).find(({ task }) => task === future.key)?.pid ?? 0
    return await until(`${future.key} runs`, find, (pid) => pid !== 0)
  }

  /** Every sample's measures add up, and none is negative. */
  async checkMeasures(): Promise<void> {
    const { cluster, workers } = await this.client.memory()
    for (const measures of [cluster, ...Object.values(workers)]) {
      const { process, managed, unmanaged, unmanagedRecent, spilled } = measures
      if (
        managed + unmanaged + unmanagedRecent !== process ||
        Math.min(managed, unmanaged, unmanagedRecent, spilled) < 0
      )
        throw new Error(`these measures do not add up: ${JSON.stringify(measures)}`)
    }
  }

  /** Nothing is held any more: managed and spilled bytes and value files go to none. */
  async emptied(timeoutMs = 20_000): Promise<void> {
    const left = async (): Promise<readonly [number, number, number]> => {
      await this.checkMeasures()
      const { managed, spilled } = (await this.client.memory()).cluster
      return [managed, spilled, this.valueFiles().length]
    }
    await until(
      'managed, spilled and files are 0',
      left,
      ([managed, spilled, files]) => managed + spilled + files === 0,
      timeoutMs,
    )
  }

  /** Closes everything; throws when processes or files outlive that. */
  async [Symbol.asyncDispose](): Promise<void> {
    const helper = this.cluster.scheduler.pid
    const pids = [helper, ...descendantsOf(helper)]
    await this.client.close()
    await this.cluster.close()
    const left = (): string[] => [
      ...pids.filter(isAlive).map((pid) => `process ${pid}`),
      ...filesIn([this.localDirectory, this.memoryDirectory]),
    ]
    try {
      await until('nothing is left', left, (list) => list.length === 0, 5000)
    } finally {
      rmSync(this.folder, { recursive: true, force: true })
      if (this.#ownMemory) rmSync(this.memoryDirectory, { recursive: true, force: true })
    }
  }
}

interface Bases {
  readonly localDirectory: string
  readonly memoryDirectory: string
  readonly ownMemory: boolean
}

function filesIn(bases: readonly string[]): string[] {
  return bases
    .filter((base) => existsSync(base))
    .flatMap((base) => readdirSync(base, { recursive: true }).map((name) => join(base, String(name))))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true)
}

/** Lines that tasks appended to a file; none when it does not exist. */
export function linesOf(path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : []
}
