// Tasks that do not fit side by side, on a worker with real executors: what starts, what runs out of memory, and what is
// tried again with more.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PlimsollError, task } from '../../dist/index.js'
import { FaultCluster, MIB } from './fault-cluster.ts'

const onLinux = process.platform === 'linux'

/** Lines that executions wrote. */
function linesOf(path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
}

/** Takes this many bytes in steps, holds them for a moment, and writes when it began and ended. */
async function hold(log: string, bytes: number): Promise<number> {
  const fs = process.getBuiltinModule('node:fs')
  fs.appendFileSync(log, 'begin\n')
  const held: Buffer[] = []
  const step = 16 * 2 ** 20
  for (let taken = 0; taken < bytes; taken += step) {
    held.push(Buffer.alloc(Math.min(step, bytes - taken), 1))
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await new Promise((resolve) => setTimeout(resolve, 50))
  fs.appendFileSync(log, 'end\n')
  return held.reduce((sum, each) => sum + each.length, 0)
}

/** Fills the heap of its executor with this much. */
function fillHeap(log: string, bytes: number): number {
  process.getBuiltinModule('node:fs').appendFileSync(log, 'begin\n')
  const rows: number[][] = []
  for (let taken = 0; taken < bytes; taken += 800_000) {
    const row: number[] = []
    row.length = 100_000
    rows.push(row.fill(taken + 0.5))
  }
  return rows.length
}

describe.skipIf(!onLinux)('threads x peak = 4 x limit', () => {
  it('finishes with every task run once, one after the other', async () => {
    const limit = 840 * MIB
    await using faults = await FaultCluster.start({ nthreads: 7, memoryLimit: limit })
    const log = join(faults.folder, 'log')
    const bytes = Math.floor((4 * limit) / 7)
    const sizes = Array.from({ length: 10 }, (_, n) => bytes - n)
    const futures = faults.client.map(
      hold,
      sizes.map(() => log),
      sizes,
    )
    expect(await faults.client.gather(futures)).toEqual(sizes)
    expect(linesOf(log)).toEqual(sizes.flatMap(() => ['begin', 'end']))
    expect((await faults.worker()).processPeak).toBeLessThanOrEqual(limit)
  })
})

describe.skipIf(!onLinux)('a worker of four threads', () => {
  let faults: FaultCluster
  beforeAll(async () => {
    faults = await FaultCluster.start({ nthreads: 4, memoryLimit: 640 * MIB })
  })
  afterAll(() => faults[Symbol.asyncDispose]())

  it('runs a task that needs 1.6 times its share at the second attempt', async () => {
    const log = join(faults.folder, 'share')
    const before = await faults.worker()
    const share = (640 * MIB) / 4
    expect(await faults.client.submit(fillHeap, log, 1.6 * share).result()).toBeGreaterThan(300)
    expect(linesOf(log)).toHaveLength(2)
    const after = await faults.worker()
    expect([after.pid, after.restarts]).toEqual([before.pid, before.restarts])
  })

  it('gives up what runs out of memory three times, the last time alone, and tells how it went', async () => {
    const log = join(faults.folder, 'endless')
    const error = await faults.client.submit(fillHeap, log, 1e12).exception({ timeout: '50s' })
    expect(error).toMatchObject({ code: 'TASK_OUT_OF_MEMORY', fields: { function: 'fillHeap', attempt: 3 } })
    expect(linesOf(log)).toHaveLength(3)
    // At the third attempt its heap could be as large as the worker: what ended it was the ladder.
    expect(error).toMatchObject({
      fields: { cap: 'kill-task', limit: 640 * MIB, signal: 'SIGKILL', inputBytes: 0, inputs: [], neighbours: [] },
    })
    const { heapLimit, peakBytes, memoryCurve } = (error as PlimsollError).fields
    expect(heapLimit).toBe(640 * MIB)
    expect(peakBytes).toBeGreaterThan(300 * MIB)
    expect((memoryCurve as unknown[]).length).toBeGreaterThan(2)
  })

  it('never runs two tasks at once that ask for more than there is together', async () => {
    const log = join(faults.folder, 'asked')
    const asking = task(hold, { memory: '300 MiB' })
    await faults.client.gather([1, 2, 3].map((n) => faults.client.submit(asking, log, n * MIB)))
    expect(linesOf(log)).toEqual(['begin', 'end', 'begin', 'end', 'begin', 'end'])
  })
})
