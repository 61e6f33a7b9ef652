// A real worker whose disk takes 20 MB/s while its executors make results many times as fast: what the brake (S8) and spilling
// beside the event loop (S3) are for. The same without either, so that it is seen to fail. (In simulated time, with exact
// numbers: src/store/brake.test.ts.)

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { describe, expect, it } from 'vitest'
import { range, task, wait } from '../../dist/index.js'
import type { WorkerInfo } from '../../dist/protocol/scheduler-client.js'
import { MIB, until } from './fault-cluster.ts'
import { built, HandCluster } from './hand-cluster.ts'

const LIMIT = 256 * MIB
const VALUE = 4 * MIB
const DISK_BYTES_PER_MS = 20_000
/** What a worker of a small cluster is told. */
const HEARTBEAT_MS = 500

/**
 * Loaded into the worker's process: the store's file system with a disk of 20 MB/s under it, that writes one value after the
 * other, and an eye on the event loop from the first of them on.
 */
const SLOW_DISK = `
import { renameSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { nodeStoreFs } from ${built('store/store-fs.js')}
const { copy, rename } = nodeStoreFs
const delay = monitorEventLoopDelay({ resolution: 10 })
const idle = new Float64Array(new SharedArrayBuffer(16))
const idler = \`
  const { monitorEventLoopDelay } = require('node:perf_hooks')
  const idle = require('node:worker_threads').workerData
  const delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()
  setInterval(() => {
    idle[0] = delay.percentile(99) / 1e6
    idle[1] = delay.max / 1e6
  }, 100)
\`
const report = process.env.SLOW_DISK_REPORT
let startedAt = 0
let freeAt = 0
let idleMs = 0
let bytes = 0
const copied = new Set()
nodeStoreFs.copy = (from, to) => slowly(from, () => (copied.add(to), copy(from, to)))
// An executor that was given a place on disk has written there by then; it counts as written when it is in place.
nodeStoreFs.rename = (from, to) =>
  from.startsWith('/dev/shm') || copied.delete(from) ? rename(from, to) : slowly(from, () => rename(from, to))
async function slowly(from, write) {
  const { size } = await nodeStoreFs.stat(from)
  const now = performance.now()
  if (startedAt === 0) {
    startedAt = freeAt = now
    delay.enable()
    new Worker(idler, { eval: true, workerData: idle }).unref()
  }
  idleMs += Math.max(0, now - freeAt)
  freeAt = Math.max(freeAt, now) + size / ${DISK_BYTES_PER_MS}
  if (process.env.SLOW_DISK_BLOCKS === '1') while (performance.now() < freeAt);
  await write()
  if (performance.now() < freeAt) await sleep(freeAt - performance.now())
  freeAt = Math.max(freeAt, performance.now())
  bytes += size
  const tookMs = performance.now() - startedAt
  const p99Ms = delay.percentile(99) / 1e6
  writeFileSync(report + '.next', JSON.stringify({ bytes, tookMs, idleMs, turns: delay.count, p99Ms, idleP99Ms: idle[0], idleMaxMs: idle[1] }))
  renameSync(report + '.next', report)
}
`

/** From the first value on its way to disk until the last one that is there. */
interface DiskReport {
  readonly bytes: number
  readonly tookMs: number
  /** Nobody wrote. */
  readonly idleMs: number
  /** Of the worker's event loop, as far as they were counted. */
  readonly turns: number
  readonly p99Ms: number
  /** The same of a thread of the worker's process that has nothing to do: what the machine alone is to blame for. */
  readonly idleP99Ms: number
  readonly idleMaxMs: number
}

interface Plan {
  readonly values: number
  readonly config?: Readonly<Record<string, unknown>>
  /** The event loop waits for the disk. */
  readonly blocks?: boolean
}

interface Outcome {
  readonly disk: DiskReport
  readonly worker: WorkerInfo
  /** Bytes of results per millisecond, until the last one was stored. */
  readonly rate: number
  /** Milliseconds between heartbeats as the scheduler got them. */
  readonly beats: readonly number[]
  /** How long this process, and with it the scheduler, did not get to them at most. */
  readonly ownDelayMs: number
}

/** Makes so many values on one worker with two executors; resolves when all are stored. */
async function produce({ values, config = {}, blocks = false }: Plan): Promise<Outcome> {
  await using cluster = await HandCluster.start(config)
  const { client, scheduler } = cluster
  const beatsAt: number[] = []
  const own = monitorEventLoopDelay({ resolution: 10 })
  own.enable()
  const dispatch = scheduler.dispatch.bind(scheduler)
  scheduler.dispatch = (...event) => {
    if (event[0].kind === 'WorkerBeat') beatsAt.push(performance.now())
    dispatch(...event)
  }
  // In RAM: the worker writes it between two turns of its loop.
  const report = join(cluster.memoryFolder, 'disk.json')
  const env = { SLOW_DISK_REPORT: report, SLOW_DISK_BLOCKS: blocks ? '1' : '0' }
  await cluster.startWorker('slow', { nthreads: 2, memoryLimit: LIMIT, preload: SLOW_DISK, env })
  const startedAt = performance.now()
  const make = task((n: number) => new Float64Array(2 ** 19).fill(n), { name: 'make' })
  const futures = client.map(make, range(values))
  await wait(futures, { timeout: '30s' })
  const endedAt = performance.now()
  expect(futures.every(({ status }) => status === 'finished')).toBe(true)
  const worker = await until(
    'its heartbeat tells of the last value',
    () => cluster.worker('slow'),
    ({ memory: { managed, spilled } }) => managed + spilled >= values * VALUE,
  )
  const times = beatsAt.filter((at) => at >= startedAt && at <= endedAt)
  const beats = times.slice(1).map((at, index) => at - (times[index] as number))
  await until('a value is on disk', () => existsSync(report), Boolean)
  const disk = JSON.parse(readFileSync(report, 'utf8')) as DiskReport
  return { disk, worker, beats, ownDelayMs: own.max / 1e6, rate: (values * VALUE) / (endedAt - startedAt) }
}

describe.skipIf(!existsSync('/dev/shm'))('a worker with a disk of 20 MB/s', () => {
  it('stays awake and below its limit, and works as fast as the disk', async () => {
    const { disk, worker, beats, ownDelayMs } = await produce({ values: 65 })
    expect(worker).toMatchObject({ restarts: 0 })
    expect(worker.processPeak).toBeLessThan(LIMIT)
    expect(disk.turns).toBeGreaterThan(100)
    expect(disk.p99Ms - disk.idleP99Ms).toBeLessThan(50)
    // Neither side is to blame for what the machine kept from it.
    expect(Math.max(...beats) - disk.idleMaxMs - ownDelayMs).toBeLessThan(2 * HEARTBEAT_MS)
    expect(disk.idleMs).toBeLessThan(0.1 * disk.tookMs)
    expect(disk.bytes / disk.tookMs).toBeGreaterThan(0.8 * DISK_BYTES_PER_MS)
    // Nothing went to disk by another way.
    expect(worker.spilledTotal).toBeLessThanOrEqual(disk.bytes + VALUE)
  })

  it('grows above its limit when nothing holds results back', async () => {
    // No place to wait for, no admission, no pause: spilling alone, above `spill`.
    const config = { 'worker.memory.target': false, 'worker.memory.pause': false, 'worker.memory.kill-task': false }
    const { worker, rate } = await produce({ values: 80, config })
    expect(rate).toBeGreaterThan(2 * DISK_BYTES_PER_MS)
    expect(worker.processPeak).toBeGreaterThan(LIMIT)
  })

  it('falls asleep when its own event loop does the writing', async () => {
    const { disk } = await produce({ values: 36, blocks: true })
    expect(disk.p99Ms - disk.idleP99Ms).toBeGreaterThan(100)
  })
})
