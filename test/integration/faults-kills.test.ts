// kill -9 of worker processes and executors, at random moments (drawn from a seed, named in every failure), while a job runs:
// the result is right, nothing that was in a file is computed again, and nobody waits for ever.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Prng } from '../../dist/base/prng.js'
import { type Future, task } from '../../dist/index.js'
import { FaultCluster, linesOf, MIB, until } from './fault-cluster.ts'

const BLOCKS = 60
/** Values of a block: about 3 MiB. */
const N = (3 * MIB) / 8

let notes: string
beforeAll(() => {
  notes = mkdtempSync(join(tmpdir(), 'plimsoll-kills-'))
})
afterAll(() => rmSync(notes, { recursive: true }))

/** Notes its run in a file, since the books may not know of one that was killed. */
async function makeBlock(file: string, round: number, index: number, n: number): Promise<Float64Array> {
  const { appendFileSync } = await import('node:fs')
  const values = new Float64Array(n)
  for (let i = 0; i < n; i++) values[i] = round + index + (i % 7)
  appendFileSync(file, `${index}\n`)
  return values
}

const EXPECTED_PART = (round: number, index: number): number => {
  let sum = 0
  for (let i = 0; i < N; i++) sum += round + index + (i % 7)
  return sum
}

interface Job {
  readonly blocks: readonly Future<Float64Array>[]
  readonly total: Future<number>
  readonly expected: number
  /** Indices of blocks, a line for each run. */
  readonly file: string
  release(): void
}

function startJob({ client }: FaultCluster, round: number): Job {
  const file = join(notes, `runs-${round}`)
  const indices = Array.from({ length: BLOCKS }, (_, index) => index)
  const same = <T>(value: T): T[] => indices.map(() => value)
  const blocks = client.map(task(makeBlock, { name: 'block' }), same(file), same(round), indices, same(N))
  const parts = client.map(
    task((values: Float64Array) => values.reduce((a, b) => a + b, 0), { name: 'part' }),
    blocks,
  )
  const total = client.submit(
    task((sums: number[]) => sums.reduce((a, b) => a + b, 0), { name: 'total' }),
    parts,
  )
  return {
    blocks,
    total,
    expected: indices.reduce((sum, index) => sum + EXPECTED_PART(round, index), 0),
    file,
    release: () => client.release([...blocks, ...parts, total]),
  }
}

const sleep = async (ms: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, ms))

/** Null: it is being replaced just now. */
function kill(pid: number | null | undefined): void {
  if (pid === null || pid === undefined) return
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Dead already.
  }
}

const ROUNDS = Number(process.env['PLIMSOLL_KILL_ROUNDS'] ?? 3)
const SEED = Number(process.env['PLIMSOLL_KILL_SEED'] ?? 1)
const config = {
  'logging.level': 'fatal',
  'nanny.restart-limit': 1000,
  'scheduler.allowed-failures': 100,
}

describe('kill -9 of the only worker', () => {
  it(
    'costs running tasks and small values, never one that was in a file',
    async () => {
      // Blocks of one job are more than `target`: a part of them is on its way to the disk when the worker dies.
      await using faults = await FaultCluster.start({ nthreads: 2, memoryLimit: '256 MiB', config })
      const { client, cluster } = faults
      const random = new Prng(SEED)
      const small = client.scatter({ scattered: [1, 2, 3] })
      const large = client.scatter(new Float64Array(N).fill(5))
      await client.gather([small])
      await large.result()
      for (let round = 0; round < ROUNDS; round++) {
        const job = startJob(faults, round)
        await sleep(random.int(700))
        const inFiles = job.blocks.flatMap((block, index) =>
          block.status === 'finished' && faults.filesOf(block).length > 0 ? [String(index)] : [],
        )
        const before = linesOf(job.file)
        kill(cluster.workers[0]?.pid)
        const label = `seed ${SEED}, round ${round}`
        expect([label, await job.total.result({ timeout: 60_000 })]).toEqual([label, job.expected])
        const again = linesOf(job.file)
          .slice(before.length)
          .filter((index) => inFiles.includes(index))
        expect([label, again]).toEqual([label, []])
        using read = client.submit((x: Float64Array, at: number) => x[at], large, round)
        expect(await client.gather([small, read])).toEqual([{ scattered: [1, 2, 3] }, 5])
        await faults.checkMeasures()
        job.release()
      }
      const { restarts } = await until(
        'all restarts are counted',
        () => faults.worker(),
        (worker) => worker.restarts >= ROUNDS,
      )
      expect(restarts).toBe(ROUNDS)
      client.release([small, large])
      await faults.emptied()
    },
    30_000 + ROUNDS * 20_000,
  )
})

describe('kill -9 of one of two workers', () => {
  it(
    'changes no result, and everything that was released is gone afterwards',
    async () => {
      await using faults = await FaultCluster.start({ nWorkers: 2, memoryLimit: '256 MiB', config })
      const { client, cluster } = faults
      const random = new Prng(SEED + 1)
      const scattered = client.scatterAll([1, 2, 3, 4].map((x) => ({ x })))
      await client.gather(scattered)
      for (let round = 0; round < ROUNDS; round++) {
        const job = startJob(faults, 1000 + round)
        const label = `seed ${SEED}, round ${round}`
        for (let victims = 1 + random.int(2); victims > 0; victims--) {
          await sleep(random.int(400))
          kill(cluster.workers[random.int(2)]?.pid)
        }
        expect([label, await job.total.result({ timeout: 60_000 })]).toEqual([label, job.expected])
        expect(await client.gather(scattered)).toEqual([1, 2, 3, 4].map((x) => ({ x })))
        job.release()
      }
      client.release(scattered)
      await faults.emptied()
    },
    30_000 + ROUNDS * 20_000,
  )
})

describe('kill -9 of executors', () => {
  it(
    'costs the tasks that they ran, and nothing else',
    async () => {
      await using faults = await FaultCluster.start({ nthreads: 2, memoryLimit: '512 MiB', config })
      const { pid } = await faults.worker()
      const random = new Prng(SEED + 2)
      for (let round = 0; round < ROUNDS; round++) {
        const job = startJob(faults, 2000 + round)
        const label = `seed ${SEED}, round ${round}`
        let kills = 0
        for (; kills < 3; kills++) {
          await sleep(random.int(150))
          const executors = (await faults.worker()).executors
          kill(executors[random.int(executors.length)]?.pid)
        }
        expect([label, await job.total.result({ timeout: 60_000 })]).toEqual([label, job.expected])
        // One more run of a block for each death at most.
        expect(linesOf(job.file).length).toBeLessThanOrEqual(BLOCKS + kills)
        expect((await faults.worker()).pid).toBe(pid)
        job.release()
      }
      await faults.emptied()
    },
    30_000 + ROUNDS * 20_000,
  )
})

describe('a task that kills its worker', () => {
  const killNow = (): unknown => process.kill(process.ppid, 'SIGKILL')
  const killAndWait = (): unknown => {
    process.kill(process.ppid, 'SIGKILL')
    return new Promise(() => {})
  }
  it.each<[string, boolean, () => unknown]>([
    ['and returns before that is dead', false, killNow],
    ['and waits', false, killAndWait],
    ['as an io task, and returns', true, killNow],
    ['as an io task, and waits', true, killAndWait],
  ])('%s is blamed for each death, and the worker comes back for others', async (_, io, kills) => {
    // Nothing configured: a nanny has more patience than the scheduler.
    await using faults = await FaultCluster.start()
    const failed = faults.client.submit(task(kills, { io }))
    expect(await failed.exception({ timeout: 30_000 })).toMatchObject({
      code: 'WORKER_LOST',
      fields: { deaths: 4, attempts: 4 },
    })
    expect(await faults.client.submit((x: number) => x + 1, 1).result({ timeout: 20_000 })).toBe(2)
    failed.release()
    await faults.emptied()
  })
})
