// Many small results on a worker with a small limit: all that the worker's process keeps for them, apart from their bytes, is
// its books and its garbage, and neither may stand in the way of tasks. Before, it came to stand above `pause` with nothing
// stored but on disk, and had its executors replaced every five seconds.

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { range, task, wait } from '../../dist/index.js'
import type { WorkerInfo } from '../../dist/protocol/scheduler-client.js'
import { descendantsOf } from '../e2e/installed.ts'
import { MIB, until } from './fault-cluster.ts'
import { HandCluster } from './hand-cluster.ts'

const LIMIT = 256 * MIB
/** Some ten seconds where nothing else runs. */
const TASKS_MS = 170_000

const executorsOf = (pid: number): number[] =>
  descendantsOf(pid).filter((child) => readFileSync(`/proc/${child}/cmdline`, 'latin1').includes('executor/main.js'))

interface Outcome {
  readonly worker: WorkerInfo
  /** Executors at the start, and at the end. */
  readonly executors: readonly [readonly number[], readonly number[]]
  /** What the worker had to say beside its results: that it was stuck, or that it had to kill. */
  readonly topics: readonly string[]
  /** First bytes of the values that were picked. */
  readonly read: readonly (number | undefined)[]
}

/** Makes so many values of so many bytes on one worker with two executors, and keeps all of them. */
async function keep(values: number, bytes: number, picked: readonly number[]): Promise<Outcome> {
  await using cluster = await HandCluster.start({ 'scheduler.validate': false })
  const { client, scheduler } = cluster
  const topics: string[] = []
  const dispatch = scheduler.dispatch.bind(scheduler)
  scheduler.dispatch = (...event) => {
    if (event[0].kind === 'WorkerMessages')
      for (const message of event[0].messages) if (message.op === 'log-event') topics.push(message.topic)
    dispatch(...event)
  }
  const nanny = await cluster.startWorker('small', { nthreads: 2, memoryLimit: LIMIT })
  const before = executorsOf(nanny)
  const make = task((n: number, length: number) => new Uint8Array(length).fill(n), { name: 'make' })
  const lengths = Array.from({ length: values }, () => bytes)
  const futures = client.map(make, range(values), lengths)
  await wait(futures, { timeout: TASKS_MS })
  expect(futures.every(({ status }) => status === 'finished')).toBe(true)
  const worker = await until(
    'its heartbeat tells of the last value',
    () => cluster.worker('small'),
    ({ memory: { managed, spilled } }) => managed + spilled >= values * bytes,
  )
  const executors = [before, executorsOf(nanny)] as const
  const read = await client.gather(picked.map((n) => futures[n] as (typeof futures)[number]))
  return { worker, executors, topics, read: read.map(([first]) => first) }
}

describe.skipIf(!existsSync('/dev/shm'))('a worker with 256 MiB keeps', () => {
  it.each([
    { values: 60_000, bytes: 4600 },
    { values: 100_000, bytes: 1000 },
  ])(
    '$values results of $bytes bytes, and goes on working',
    { timeout: TASKS_MS + 10_000 },
    async ({ values, bytes }) => {
      const picked = [0, 1, 250, values / 2, values - 1]
      const { worker, executors, topics, read } = await keep(values, bytes, picked)
      expect(executors[0]).toHaveLength(2)
      expect(executors[1]).toEqual(executors[0])
      expect(topics).toEqual([])
      expect(worker).toMatchObject({ restarts: 0, status: 'running' })
      expect(worker.processPeak).toBeLessThan(LIMIT)
      expect(read).toEqual(picked.map((n) => n % 256))
    },
  )
})
