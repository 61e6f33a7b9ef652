// Options of LocalCluster: checked before anything is started, so that a mistake is one clear error here and not a worker
// that does not come up.

import { availableParallelism } from 'node:os'
import { createToken } from '../comm/token.ts'
import { type LogLevel, loadConfig, LOG_LEVELS, resolveMemoryLimit } from '../config/index.ts'
import { DEFAULT_HTTP_ADDRESS, type HttpAddress, parseHttpAddress } from '../http/address.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import type { ClusterPlan } from './backend.ts'
import { captureFactory, type DataOption, factoryOf } from './data-option.ts'

export interface LocalClusterOptions {
  /** Default 1: one worker with a thread per core shares every value without copying. */
  readonly nWorkers?: number
  /** Tasks that each worker runs at a time. Default: the cores, split among the workers. */
  readonly nthreads?: number
  /** Of each worker: bytes, a text such as "4 GiB", a part of the machine such as 0.5, 0 for none. Default "auto". */
  readonly memoryLimit?: number | string
  /** Where the workers' scratch directories are made. Default: `worker.local-directory`. */
  readonly localDirectory?: string
  /** RAM file system for values. Default: `worker.memory-directory`. */
  readonly memoryDirectory?: string
  /** Default 0: any free one. */
  readonly schedulerPort?: number
  /**
   * Where the scheduler serves HTTP (health, metrics, JSON); the workers do at ports of their own. `null`: nobody does.
   * Default "127.0.0.1:8787", or the next free port; with `inProcess` nowhere.
   */
  readonly dashboardAddress?: string | null
  /** Interface that scheduler and workers listen on. Default 127.0.0.1; beyond loopback every byte is encrypted. */
  readonly host?: string
  /** Everything in this process, tasks included: for unit tests and debugging. Nothing is killed or restarted. */
  readonly inProcess?: boolean
  /** Environment variables of the worker processes. */
  readonly env?: Readonly<Record<string, string>>
  /** Abstract counters that each worker offers and tasks may ask for, such as `{ GPU: 1 }`. Default: `worker.resources`. */
  readonly resources?: Readonly<Record<string, number>>
  /** Configuration keys, dotted or nested; they win over files and environment. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Least severe records that the cluster's processes log to stderr: a level, `true` for "warning", `false` for what is configured. */
  readonly silenceLogs?: LogLevel | boolean
  /**
   * Where the workers keep values instead of memory and disk: a function that makes a Map or something like it (called in
   * the process of each worker), `[function, options]`, or with `inProcess` the object itself. docs/memory.md says more.
   */
  readonly data?: DataOption
}

const NAMES = [
  'nWorkers',
  'nthreads',
  'memoryLimit',
  'localDirectory',
  'memoryDirectory',
  'schedulerPort',
  'dashboardAddress',
  'host',
  'inProcess',
  'env',
  'resources',
  'config',
  'silenceLogs',
  'data',
] as const satisfies readonly (keyof LocalClusterOptions)[]

export interface ClusterSettings {
  readonly plan: ClusterPlan
  readonly inProcess: boolean
  /** Of a cluster in one process: as it was given. */
  readonly data: DataOption | null
  /** For the log: what was replaced. */
  readonly warnings: readonly string[]
}

/** @throws PlimsollError INVALID_ARGUMENT or CONFIG_INVALID that names the option. */
export function resolveOptions(options: LocalClusterOptions): ClusterSettings {
  refuseWrongOptions(options)
  const nWorkers = wholeNumber('nWorkers', options.nWorkers ?? 1, 0)
  const nthreads = wholeNumber('nthreads', options.nthreads ?? defaultThreads(nWorkers), 1)
  const limit = resolveMemoryLimit(options.memoryLimit ?? 'auto', { nthreads, nworkers: Math.max(1, nWorkers) })
  const inProcess = boolean('inProcess', options.inProcess ?? false)
  const config = loadConfig({ overrides: record('config', options.config ?? {}) }).with({
    ...logOverrides(options.silenceLogs),
    ...(options.resources === undefined ? {} : { 'worker.resources': record('resources', options.resources) }),
  })
  const localBase = text('localDirectory', options.localDirectory) ?? config.get('worker.local-directory')
  const memoryBase = text('memoryDirectory', options.memoryDirectory) ?? config.get('worker.memory-directory')
  const plan: ClusterPlan = {
    nWorkers,
    nthreads,
    memoryLimit: limit.bytes,
    host: text('host', options.host) ?? '127.0.0.1',
    schedulerPort: wholeNumber('schedulerPort', options.schedulerPort ?? 0, 0, 65_535),
    http: httpAddress(options.dashboardAddress, inProcess),
    token: createToken(),
    data: options.data === undefined || inProcess ? null : captureFactory(options.data),
    env: variables(options.env ?? {}),
    config: config.overrides(),
    ...(localBase === null ? {} : { localBase }),
    ...(memoryBase === null ? {} : { memoryBase }),
  }
  const data = inProcess ? hereOnly(options.data, nWorkers) : null
  return { plan, inProcess, data, warnings: limit.warning === null ? [] : [limit.warning] }
}

/** One object is the store of one worker. */
function hereOnly(data: DataOption | undefined, nWorkers: number): DataOption | null {
  if (data === undefined) return null
  if (nWorkers > 1 && factoryOf(data) === null)
    throw invalid('data', data, `one object cannot be the store of ${nWorkers} workers; give a function that makes one`)
  return data
}

function httpAddress(value: unknown, inProcess: boolean): HttpAddress | null {
  if (value === null || (value === undefined && inProcess)) return null
  if (value === undefined) return parseHttpAddress(DEFAULT_HTTP_ADDRESS)
  if (typeof value === 'string') return parseHttpAddress(value)
  throw invalid('dashboardAddress', value, 'it takes HOST:PORT, or null')
}

function refuseWrongOptions(options: LocalClusterOptions): void {
  if (typeof options !== 'object' || options === null) {
    throw new PlimsollError('INVALID_ARGUMENT', `LocalCluster takes an object with options, not ${String(options)}`)
  }
  refuseUnknown('LocalCluster', options, NAMES)
}

function defaultThreads(nWorkers: number): number {
  return Math.max(1, Math.floor(availableParallelism() / Math.max(1, nWorkers)))
}

function logOverrides(silence: LogLevel | boolean | undefined): Record<string, unknown> {
  if (silence === undefined || silence === false) return {}
  if (silence === true) return { 'logging.level': 'warning' }
  if ((LOG_LEVELS as readonly string[]).includes(silence)) return { 'logging.level': silence }
  throw invalid('silenceLogs', silence, `accepted are true, false, ${LOG_LEVELS.join(', ')}`)
}

function wholeNumber(name: string, value: unknown, minimum: number, maximum = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum && value <= maximum) return value
  const range = maximum === Number.MAX_SAFE_INTEGER ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`
  throw invalid(name, value, `it takes a whole number ${range}`)
}

function boolean(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(name, value, 'it takes true or false')
}

function text(name: string, value: unknown): string | null {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value ?? null
  throw invalid(name, value, 'it takes a text')
}

function record(name: string, value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw invalid(name, value, 'it takes an object')
}

function variables(value: unknown): Record<string, string> {
  const entries = Object.entries(record('env', value)).map(([name, member]): [string, string] => {
    if (typeof member === 'string' || typeof member === 'number' || typeof member === 'boolean')
      return [name, String(member)]
    throw invalid(`env.${name}`, member, 'it takes a text')
  })
  return Object.fromEntries(entries)
}

function invalid(option: string, value: unknown, what: string): PlimsollError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return new PlimsollError('INVALID_ARGUMENT', `LocalCluster option ${option} is ${shown}: ${what}`, { option })
}
