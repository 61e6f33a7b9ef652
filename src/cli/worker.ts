import { randomUUID } from 'node:crypto'
import { availableParallelism, hostname } from 'node:os'
import type { Command } from 'commander'
import { workerId } from '../base/ids.ts'
import { formatBytes, parseDurationMs } from '../base/units.ts'
import { parseMemoryLimit, type Config } from '../config/index.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { Nanny, type NannyOptions } from '../nanny/index.ts'
import { claimDirectories } from '../store/directories.ts'
import { Worker } from '../worker/index.ts'
import { preload } from './preload.ts'
import { schedulerAddress } from './scheduler-address.ts'
import {
  addSecurityOptions,
  credentialsOf,
  endSignal,
  prepare,
  wholeNumber,
  type SecurityOptions,
} from './shared-options.ts'

interface WorkerCliOptions extends SecurityOptions {
  readonly nthreads?: number
  readonly nworkers: number
  readonly memoryLimit: string
  readonly localDirectory?: string
  readonly memoryDirectory?: string
  readonly name?: string
  readonly resources?: string
  readonly nanny: boolean
  readonly deathTimeout?: string
  readonly preload: readonly string[]
  readonly host?: string
  readonly workerPort: number
  readonly schedulerFile?: string
}

export function addWorkerCommand(program: Command): void {
  const command = program
    .command('worker')
    .description('start workers that run tasks for a scheduler')
    .argument('[address]', 'address of the scheduler, such as tcp://127.0.0.1:8786')
    .option(
      '--nthreads <n>',
      'tasks that each worker runs at a time (default: cores / workers)',
      wholeNumber('--nthreads', 1),
    )
    .option('--nworkers <n>', 'workers to start', wholeNumber('--nworkers', 1), 1)
    .option('--memory-limit <limit>', 'per worker: auto, "4 GiB", 0.5 (of this machine), or 0 for none', 'auto')
    .option('--local-directory <dir>', 'where spilled values go (default: the system’s temporary directory)')
    .option('--memory-directory <dir>', 'RAM file system for values in memory (default: /dev/shm)')
    .option('--name <name>', 'name of the worker, for people and for `workers:` of tasks')
    .option('--resources <list>', 'abstract resources, such as "GPU=1,licences=2"')
    .option('--no-nanny', 'run the worker in this process: nothing restarts it')
    .option('--death-timeout <duration>', 'end when no scheduler was reached for this long')
    .option(
      '--preload <module>',
      'import this module first (may be repeated)',
      (value: string, all: readonly string[]) => [...all, value],
      [],
    )
    .option('--host <host>', 'interface to listen on (default: the one that reaches the scheduler)')
    .option('--worker-port <port>', 'port to listen on, 0 for any', wholeNumber('--worker-port', 0), 0)
    .option('--scheduler-file <file>', 'read the address from here, waiting until it appears')
  addSecurityOptions(command).action(
    async (address: string | undefined, options: WorkerCliOptions) => await runWorkers(command, address, options),
  )
}

async function runWorkers(
  command: Command,
  givenAddress: string | undefined,
  options: WorkerCliOptions,
): Promise<void> {
  const config = prepare(command, 'info')
  const shared = await sharedOptions(givenAddress, options, config)
  await preload(options.preload)
  const ended = endSignal()
  if (!options.nanny) return await runBareWorker(shared, options, ended)
  const nannies = Array.from(
    { length: options.nworkers },
    (_, i) => new Nanny({ ...shared, name: workerName(options, i) }),
  )
  try {
    await Promise.race([Promise.all(nannies.map(async (nanny) => await nanny.start())), ended])
    for (const nanny of nannies)
      process.stderr.write(
        `Worker at ${nanny.workerAddress ?? '(starting)'}, ${shared.nthreads} threads, limit ${limitText(shared.memoryLimit)}\n`,
      )
    const cause = await Promise.race([
      ended,
      Promise.all(nannies.map(async (nanny) => await nanny.closed)).then((reasons) => reasons.join('; ')),
    ])
    process.stderr.write(`Closing: ${cause}\n`)
  } finally {
    await Promise.all(nannies.map(async (nanny) => await nanny.close('the worker was ended')))
  }
}

async function runBareWorker(shared: NannyOptions, options: WorkerCliOptions, ended: Promise<string>): Promise<void> {
  if (options.nworkers > 1)
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      '--no-nanny runs one worker in this process: start several commands instead of --nworkers',
    )
  const { localBase, memoryBase, env: _env, ...rest } = shared
  const id = workerId(randomUUID())
  const directories = await claimDirectories({
    workerId: id,
    memoryLimit: shared.memoryLimit,
    ...(localBase === undefined ? {} : { localBase }),
    ...(memoryBase === undefined ? {} : { memoryBase }),
  })
  for (const warning of directories.warnings) process.stderr.write(`plimsoll: ${warning}\n`)
  const worker = new Worker({
    ...rest,
    workerId: id,
    incarnation: 1,
    localDirectory: directories.local,
    memoryDirectory: directories.memory,
    nannyPid: null,
    restarts: 0,
    processPeak: 0,
    spilledTotal: 0,
  })
  try {
    await worker.start()
    process.stderr.write(
      `Worker at ${worker.address}, ${shared.nthreads} threads, limit ${limitText(shared.memoryLimit)}\n`,
    )
    const cause = await Promise.race([ended, worker.closed.then(({ reason }) => reason)])
    process.stderr.write(`Closing: ${cause}\n`)
  } finally {
    await worker.close('the worker was ended')
    await directories.release({ remove: true })
  }
}

async function sharedOptions(
  givenAddress: string | undefined,
  options: WorkerCliOptions,
  config: Config,
): Promise<NannyOptions> {
  const nthreads = options.nthreads ?? Math.max(1, Math.floor(availableParallelism() / options.nworkers))
  const memoryLimit = parseMemoryLimit(options.memoryLimit, { nthreads, nworkers: options.nworkers })
  const credentials = await credentialsOf(options, { create: false })
  const deathTimeoutMs =
    options.deathTimeout === undefined ? config.get('worker.death-timeout') : parseDurationMs(options.deathTimeout)
  const localBase = options.localDirectory ?? config.get('worker.local-directory')
  const memoryBase = options.memoryDirectory ?? config.get('worker.memory-directory')
  const address = await schedulerAddress(givenAddress, options.schedulerFile, deathTimeoutMs ?? 60_000)
  return {
    schedulerAddress: address,
    token: credentials.token,
    tls: credentials.tls,
    insecurePlaintext: credentials.insecurePlaintext,
    name: workerName(options, 0),
    nthreads,
    memoryLimit,
    host: options.host ?? '',
    port: options.workerPort,
    resources: options.resources === undefined ? config.get('worker.resources') : parseResources(options.resources),
    executor: 'process',
    deathTimeoutMs,
    config: config.overrides(),
    ...(localBase === null ? {} : { localBase }),
    ...(memoryBase === null ? {} : { memoryBase }),
  }
}

function workerName(options: WorkerCliOptions, index: number): string {
  const base = options.name ?? `${hostname()}-${process.pid}`
  return options.nworkers === 1 ? base : `${base}-${index}`
}

function limitText(limit: number): string {
  return limit === 0 ? 'none' : formatBytes(limit)
}

/** `"GPU=1,licences=2"` → { GPU: 1, licences: 2 } */
export function parseResources(text: string): Record<string, number> {
  const resources: Record<string, number> = {}
  for (const part of text.split(/[\s,]+/).filter((piece) => piece !== '')) {
    const [name, amount, ...rest] = part.split('=')
    const value = Number(amount)
    if (name === undefined || name === '' || amount === undefined || rest.length > 0 || !(value >= 0)) {
      throw new PlimsollError(
        'INVALID_ARGUMENT',
        `--resources takes NAME=NUMBER pairs, such as "GPU=1,licences=2", not "${part}"`,
      )
    }
    resources[name] = value
  }
  return resources
}
