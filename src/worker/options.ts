// What a worker is started with, resolved into plain values. Nothing else in src/worker reads the configuration.

import { join } from 'node:path'
import { formatBytes } from '../base/units.ts'
import type { Credentials } from '../comm/index.ts'
import { type Config, loadConfig } from '../config/index.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { AdmissionSettings } from './core/admission.ts'
import { hostTakesFreePages } from '../native/free-pages.ts'
import { loadLibc } from '../native/libc.ts'
import { STATUS_PAGE_FILE, type WorkerStartOptions } from '../protocol/nanny.ts'

/** The pause ends this part of the limit below where it began: around one value it would flap. */
const PAUSE_HYSTERESIS = 0.05
const MINIMUM_BASE_BYTES = 96 * 2 ** 20
const MINIMUM_THREAD_BYTES = 64 * 2 ** 20
const DEFAULT_POOL_THREADS = 4
/** The kernel's cache keeps so many times the memory limit, where its pages are dear (`worker.memory.page-cache`). */
const PAGE_CACHE_LIMITS = 2

/** Rungs in bytes of process memory (`target`: of managed memory); Infinity = off. */
export interface MemoryRungs {
  readonly target: number
  readonly spill: number
  readonly pause: number
  readonly resume: number
  readonly killTask: number
}

export interface WorkerSettings {
  readonly start: WorkerStartOptions
  readonly config: Config
  readonly credentials: Credentials
  readonly statusPagePath: string
  /** Threads of this process's file pool. */
  readonly threadPool: number
  readonly rungs: MemoryRungs
  readonly maxSpill: number
  /** Bytes of values on disk that the kernel's cache keeps; Infinity = as it likes. */
  readonly pageCache: number
  readonly inlineLimit: number
  readonly mapThreshold: number
  readonly monitorIntervalMs: number
  readonly recentToOldMs: number
  readonly incomingBytesLimit: number
  readonly messageBytesLimit: number
  /** Peers fetched from, and peers served, at the same time. */
  readonly fetchesMax: number
  readonly servesMax: number
  readonly linksSameHost: boolean
  readonly cancelGraceMs: number
  readonly ioConcurrency: number
  readonly executorStartTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly deathTimeoutMs: number | null
  readonly executorCap: boolean
  readonly executorRecycle: number | false
  readonly logLength: number
  readonly validate: boolean
}

/** @throws PlimsollError CONFIG_INVALID for a bad value, or a memory limit that no worker can live with. */
export function resolveSettings(start: WorkerStartOptions): WorkerSettings {
  const config = loadConfig({ overrides: start.config, env: {}, files: [] })
  const { memoryLimit, token, tls, insecurePlaintext } = start
  checkMinimum(start, config)
  const maxSpill = config.get('worker.memory.max-spill')
  return {
    start,
    config,
    credentials: { token, tls, insecurePlaintext },
    statusPagePath: join(start.memoryDirectory ?? start.localDirectory, STATUS_PAGE_FILE),
    threadPool: Number(process.env['UV_THREADPOOL_SIZE'] ?? '') || DEFAULT_POOL_THREADS,
    rungs: rungsOf(config, memoryLimit, start.executor),
    maxSpill: maxSpill === false ? Number.POSITIVE_INFINITY : maxSpill,
    pageCache: pageCacheOf(config.get('worker.memory.page-cache'), memoryLimit),
    inlineLimit: config.get('worker.memory.inline-limit'),
    mapThreshold: config.get('worker.memory.map-threshold'),
    monitorIntervalMs: config.get('worker.memory.monitor-interval'),
    recentToOldMs: config.get('worker.memory.recent-to-old-time'),
    incomingBytesLimit: Math.floor(part(config.get('worker.memory.transfer'), memoryLimit)),
    messageBytesLimit: config.get('worker.transfer.message-bytes-limit'),
    fetchesMax: config.get('worker.connections.outgoing'),
    servesMax: config.get('worker.connections.incoming'),
    linksSameHost: config.get('worker.transfer.same-host') === 'link',
    cancelGraceMs: config.get('worker.cancel-grace'),
    ioConcurrency: config.get('worker.io-concurrency'),
    executorStartTimeoutMs: config.get('worker.executor-start-timeout'),
    deathTimeoutMs: start.deathTimeoutMs ?? config.get('worker.death-timeout'),
    connectTimeoutMs: config.get('comm.timeouts.connect'),
    executorCap: config.get('worker.memory.executor-cap'),
    executorRecycle: config.get('worker.memory.executor-recycle'),
    logLength: config.get('admin.low-level-log-length'),
    validate: config.get('scheduler.validate'),
  }
}

/** Below this the processes alone reach `pause`, and spilling cannot help. Inline there are no executor processes. */
function checkMinimum(start: WorkerStartOptions, config: Config): void {
  const { memoryLimit, nthreads, executor } = start
  if (memoryLimit === 0 || executor === 'inline') return
  const minimum = config.get('worker.memory.minimum') ?? MINIMUM_BASE_BYTES + MINIMUM_THREAD_BYTES * nthreads
  if (memoryLimit >= minimum) return
  const message = `memory limit ${formatBytes(memoryLimit)} is too small for a worker with ${nthreads} threads: it needs at least ${formatBytes(minimum)}; raise the limit, lower the threads, or set worker.memory.minimum`
  throw new PlimsollError('CONFIG_INVALID', message, { key: 'worker.memory.minimum', memoryLimit, minimum, nthreads })
}

/** Inline, the process is not the worker's own: it is neither paused nor killed for what the program around it does. */
function rungsOf(config: Config, memoryLimit: number, executor: 'process' | 'inline'): MemoryRungs {
  const bytes = (fraction: number | false): number => part(fraction, memoryLimit)
  const pause = executor === 'inline' ? false : config.get('worker.memory.pause')
  return {
    target: bytes(config.get('worker.memory.target')),
    spill: bytes(config.get('worker.memory.spill')),
    pause: bytes(pause),
    killTask: bytes(executor === 'inline' ? false : config.get('worker.memory.kill-task')),
    resume: bytes(pause === false ? false : Math.max(pause / 2, pause - PAUSE_HYSTERESIS)),
  }
}

/** What the kernel's cache may keep. It is left alone unless new pages are dear, and there are calls to ask it with. */
export function pageCacheOf(
  setting: number | false | 'auto',
  memoryLimit: number,
  areNewPagesDear = (): boolean => hostTakesFreePages() && loadLibc() !== null,
): number {
  if (typeof setting === 'number') return setting
  if (setting === false || memoryLimit === 0 || !areNewPagesDear()) return Number.POSITIVE_INFINITY
  return PAGE_CACHE_LIMITS * memoryLimit
}

/** What admission is to know; null: nothing is asked of memory before a task starts. */
export function admissionSettings(
  { start, rungs, maxSpill }: WorkerSettings,
  hasDisk: boolean,
): AdmissionSettings | null {
  if (start.memoryLimit === 0 || rungs.pause === Infinity) return null
  const canSpill = rungs.target < Infinity || rungs.spill < Infinity
  // Without `target` the store puts no result on disk before it has to (spiller.ts).
  const divertsResults = hasDisk && maxSpill > 0 && rungs.target < Infinity && rungs.spill <= rungs.pause
  return { limitBytes: start.memoryLimit, pauseBytes: rungs.pause, canSpill, divertsResults }
}

/** Bytes; Infinity when the rung is off, or the worker has no limit. */
function part(fraction: number | false, memoryLimit: number): number {
  return fraction === false || memoryLimit === 0 ? Number.POSITIVE_INFINITY : fraction * memoryLimit
}
