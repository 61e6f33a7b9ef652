import { randomUUID } from 'node:crypto'
import { availableParallelism, hostname } from 'node:os'
import type { Command } from 'commander'
import { workerId } from '../../base/ids.ts'
import { formatBytes } from '../../base/units.ts'
import { type Config, resolveMemoryLimit } from '../../config/index.ts'
import { parseHttpAddress } from '../../http/address.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import { Nanny, type NannyOptions } from '../../nanny/index.ts'
import { claimDirectories } from '../../store/directories.ts'
import { Worker } from '../../worker/index.ts'
import type { WorkerCliOptions } from '../worker.ts'
import { EndSignals } from './end-signals.ts'
import { preload } from './preload.ts'
import { credentialsOf, prepare } from './prepare.ts'
import { schedulerAddress } from './scheduler-address.ts'

export async function runWorkers(
  command: Command,
  givenAddress: string | undefined,
  options: WorkerCliOptions,
): Promise<void> {
  const config = prepare(command, 'info')
  refuseContradictions(options)
  const shared = await sharedOptions(givenAddress, options, config)
  await preload(options.preload)
  if (options.nanny) await runNannies(shared, options)
  else await runBareWorker(shared)
}

function refuseContradictions({ nanny, nworkers, workerPort, lifetime }: WorkerCliOptions): void {
  if (!nanny && lifetime !== undefined) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      '--lifetime needs the nanny, which ends the worker: leave out --no-nanny',
    )
  }
  if (nworkers === 1) return
  if (!nanny) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      '--no-nanny runs one worker in this process: start several commands instead of --nworkers',
    )
  }
  if (workerPort !== 0) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `${nworkers} workers cannot all listen on --worker-port ${workerPort}: start several commands, or leave the port out`,
    )
  }
}

async function runNannies(shared: NannyOptions, options: WorkerCliOptions): Promise<void> {
  const signals = new EndSignals()
  const nannies = Array.from(
    { length: options.nworkers },
    (_, i) => new Nanny({ ...shared, name: workerName(options, i) }),
  )
  let hurry = false
  void signals.second.then(() => {
    hurry = true
    for (const nanny of nannies) void nanny.close('the worker was ended', { force: true })
  })
  try {
    const started = Promise.all(nannies.map(async (nanny) => await nanny.start()))
    started.catch(() => {}) // Nobody waits for it any more when a signal comes first.
    if ((await Promise.race([started, signals.first])) instanceof Array)
      for (const nanny of nannies) announce(nanny.workerAddress ?? '(starting again)', shared)
    const ends = Promise.all(nannies.map(async (nanny) => await nanny.closed))
    process.stderr.write(`Closing: ${await Promise.race([signals.first, ends.then(distinct)])}\n`)
  } finally {
    await Promise.all(nannies.map(async (nanny) => await nanny.close('the worker was ended', { force: hurry })))
  }
  if (nannies.some((nanny) => nanny.failed)) process.exitCode = 1
}

async function runBareWorker(shared: NannyOptions): Promise<void> {
  const signals = new EndSignals()
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
    const started = worker.start()
    started.catch(() => {}) // Nobody waits for it any more when a signal comes first.
    const early = await Promise.race([started, signals.first])
    if (early === undefined) announce(worker.address, shared)
    const end = await Promise.race([signals.first, worker.closed.then(({ reason }) => reason)])
    process.stderr.write(`Closing: ${end}\n`)
  } finally {
    await Promise.race([worker.close('the worker was ended'), signals.second])
    await directories.release({ remove: true })
  }
}

async function sharedOptions(
  givenAddress: string | undefined,
  options: WorkerCliOptions,
  config: Config,
): Promise<NannyOptions> {
  const nthreads = options.nthreads ?? Math.max(1, Math.floor(availableParallelism() / options.nworkers))
  const limit = resolveMemoryLimit(options.memoryLimit, { nthreads, nworkers: options.nworkers })
  if (limit.warning !== null) process.stderr.write(`plimsoll: ${limit.warning}\n`)
  const credentials = await credentialsOf(options, { create: false })
  const deathTimeoutMs = options.deathTimeout ?? config.get('worker.death-timeout')
  const localBase = options.localDirectory ?? config.get('worker.local-directory')
  const memoryBase = options.memoryDirectory ?? config.get('worker.memory-directory')
  const resources = options.resources === undefined ? config.get('worker.resources') : parseResources(options.resources)
  const address = await schedulerAddress(givenAddress, options.schedulerFile, deathTimeoutMs ?? 60_000)
  return {
    schedulerAddress: address,
    token: credentials.token,
    tls: credentials.tls,
    insecurePlaintext: credentials.insecurePlaintext,
    name: workerName(options, 0),
    nthreads,
    memoryLimit: limit.bytes,
    host: options.host ?? '',
    port: options.workerPort,
    http: parseHttpAddress(options.dashboardAddress),
    resources,
    executor: 'process',
    deathTimeoutMs,
    config: { ...config.overrides(), ...lifetimeOf(options) },
    ...(localBase === null ? {} : { localBase }),
    ...(memoryBase === null ? {} : { memoryBase }),
  }
}

/** As configuration, in milliseconds. */
function lifetimeOf({ lifetime, lifetimeStagger, lifetimeRestart }: WorkerCliOptions): Record<string, unknown> {
  return {
    ...(lifetime === undefined ? {} : { 'worker.lifetime.duration': lifetime }),
    ...(lifetimeStagger === undefined ? {} : { 'worker.lifetime.stagger': lifetimeStagger }),
    ...(lifetimeRestart === undefined ? {} : { 'worker.lifetime.restart': lifetimeRestart }),
  }
}

function workerName(options: WorkerCliOptions, index: number): string {
  const base = options.name || `${hostname()}-${process.pid}`
  return options.nworkers === 1 ? base : `${base}-${index}`
}

function announce(address: string, { nthreads, memoryLimit }: NannyOptions): void {
  const threads = `${nthreads} ${nthreads === 1 ? 'thread' : 'threads'}`
  const limit = memoryLimit === 0 ? 'no memory limit' : `limit ${formatBytes(memoryLimit)}`
  process.stderr.write(`Worker at ${address}, ${threads}, ${limit}\n`)
}

const distinct = (reasons: readonly string[]): string => [...new Set(reasons)].join('; ')

/** `"GPU=1,licences=2"` → { GPU: 1, licences: 2 } */
function parseResources(text: string): Record<string, number> {
  const resources: Record<string, number> = {}
  for (const part of text.split(/[\s,]+/).filter((piece) => piece !== '')) {
    const [name, amount, ...rest] = part.split('=')
    const value = Number(amount)
    if (
      name === undefined ||
      name === '' ||
      amount === undefined ||
      amount === '' ||
      rest.length > 0 ||
      !(value >= 0 && value < Infinity)
    )
      throw new PlimsollError(
        'INVALID_ARGUMENT',
        `--resources takes NAME=NUMBER pairs, such as "GPU=1,licences=2", not "${part}"`,
      )
    resources[name] = value
  }
  return resources
}
