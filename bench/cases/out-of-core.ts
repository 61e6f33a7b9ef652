import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, type Future, range } from 'plimsoll'
import type { BenchCase, Figures } from '../case.ts'
import { expectResult, withCluster } from '../cluster.ts'

const MIB = 2 ** 20
/** Peaks and spilled bytes come with heartbeats. */
const HEARTBEATS_MS = 2000

const make = (length: number, seed: number): Float64Array => {
  const block = new Float64Array(length)
  for (let index = 0; index < length; index++) block[index] = index + seed
  return block
}
const sum = (block: Float64Array): number => {
  let total = 0
  for (let index = 0; index < block.length; index++) total += block[index] as number
  return total
}
const add = (a: Float64Array, b: Float64Array): Float64Array => {
  const both = new Float64Array(a.length)
  for (let index = 0; index < a.length; index++) both[index] = (a[index] as number) + (b[index] as number)
  return both
}
const total = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

type Sizes = { readonly blocks: number; readonly mib: number; readonly limitMib: number }

const COMMON: Omit<BenchCase, 'id' | 'title' | 'does' | 'full' | 'quick'> = {
  peers: ['dask'],
  figures: [
    { name: 'seconds', title: 'time', unit: 's', better: 'less' },
    { name: 'killed', title: 'workers killed or restarted', unit: 'count', better: 'less', summary: 'worst' },
    { name: 'recomputed', title: 'tasks run again', unit: 'count', better: 'less', summary: 'worst' },
    { name: 'spilledBytes', title: 'written to disk', unit: 'bytes', better: 'less' },
    { name: 'peakBytes', title: 'peak memory of a worker', unit: 'bytes', better: 'less', summary: 'worst' },
  ],
  targets: [
    { figure: 'seconds', timesBetterThan: 'dask', atLeast: 2.5 },
    { figure: 'killed', atMost: 0 },
    { figure: 'recomputed', atMost: 0 },
    { figure: 'peakBytes', atMost: 512 * MIB },
  ],
  timeoutMs: 600_000,
  run: (request) => {
    const { blocks, mib, limitMib } = request.sizes as Sizes
    return withCluster(request, (client) => compute(client, blocks, (mib * MIB) / 8), {
      memoryLimit: limitMib * MIB,
    })
  },
}

export const outOfCore: BenchCase = {
  ...COMMON,
  id: 'f',
  title: 'out of core',
  does: '60 blocks of 64 MiB on two workers with a limit of 512 MiB each: produced and kept, summed, block n added to block n + 30, those summed, and the total of all sums fetched. 151 tasks, submitted at once',
  full: { blocks: 60, mib: 64, limitMib: 512 },
  quick: { blocks: 6, mib: 8, limitMib: 512 },
}

/** The same program on blocks that are together so many times larger than the limits of both workers. */
function timesTheLimits(factor: 2 | 4 | 8, name: string): BenchCase {
  const blocks = factor * 32
  return {
    ...COMMON,
    id: `f-${name}`,
    title: `out of core, ${name}fold`,
    does: `the same with ${blocks} blocks of 32 MiB, together ${factor} times the sum of the limits; their sums of pairs, which are kept too, are half as much again`,
    full: { blocks, mib: 32, limitMib: 512 },
    quick: { blocks: 2 * factor, mib: 8, limitMib: 512 },
    pairsMax: 3,
  }
}

export const outOfCoreSizes = [timesTheLimits(2, 'two'), timesTheLimits(4, 'four'), timesTheLimits(8, 'eight')]

async function compute(client: Client, count: number, length: number): Promise<Figures> {
  const startedAt = performance.now()
  const blocks: Future<Float64Array>[] = client.map(
    make,
    range(count).map(() => length),
    range(count),
  )
  const sums = client.map(sum, blocks)
  const pairs = client.map(add, blocks.slice(0, count / 2), blocks.slice(count / 2))
  const pairSums = client.map(sum, pairs)
  const result = await client.submit(total, [...sums, ...pairSums]).result()
  const seconds = (performance.now() - startedAt) / 1000
  // Every block is in two sums: its own, and that of its pair.
  expectResult(result, 2 * ((count * length * (length - 1)) / 2 + (length * count * (count - 1)) / 2))
  const runs = Object.values(await client.taskCounts()).reduce((all, prefix) => all + prefix.runs, 0)
  await sleep(HEARTBEATS_MS)
  const workers = Object.values((await client.schedulerInfo()).workers)
  return {
    seconds,
    killed: workers.reduce((all, worker) => all + worker.restarts, 0),
    recomputed: runs - (count + count + count / 2 + count / 2 + 1),
    spilledBytes: workers.reduce((all, worker) => all + worker.spilledTotal, 0),
    peakBytes: Math.max(...workers.map((worker) => worker.processPeak)),
  }
}
