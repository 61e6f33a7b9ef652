// A tree reduction twice: submitted as one graph, and as single futures.

import { type Client, type Future, range } from 'plimsoll'
import type { BenchCase, SampleRequest } from '../case.ts'
import { expectResult, withCluster } from '../cluster.ts'
import { warmUp } from '../warm-up.ts'

const WARM_UP_LEAVES = 512

const leaf = (n: number): number => n
const add = (a: number, b: number): number => a + b

type Reduction = (client: Client, leaves: readonly number[]) => Future<number>

const shared = {
  peers: ['dask', 'dask-unsaturated'],
  full: { leaves: 16_384 },
  quick: { leaves: 128 },
  figures: [
    { name: 'seconds', title: 'time', unit: 's', better: 'less' },
    { name: 'tasksPerSecond', title: 'tasks per second', unit: 'tasks/s', better: 'more' },
  ],
  targets: [{ figure: 'seconds', timesBetterThan: 'dask', atLeast: 20 }],
  timeoutMs: 300_000,
} as const satisfies Partial<BenchCase>

export const treeGraph: BenchCase = {
  ...shared,
  id: 'c-graph',
  title: 'tree reduction as one graph',
  does: '16,384 leaves added pairwise, 32,767 tasks, until the sum is fetched. Plimsoll: one `map` per level, all in one turn; Dask: one graph given to `get`. Building it is part of the time',
  run: (request) => reduce(request, byLevels),
}

export const treeFutures: BenchCase = {
  ...shared,
  id: 'c-futures',
  title: 'tree reduction as futures',
  does: 'the same tree, one `submit` for each of its 32,767 tasks',
  run: (request) => reduce(request, bySingleTasks),
}

function reduce(request: SampleRequest, reduction: Reduction): ReturnType<BenchCase['run']> {
  return withCluster(request, async (client) => {
    await warmUp(request.warmUpMs, async (round) => {
      const leaves = range(WARM_UP_LEAVES).map((index) => -1 - index - round * WARM_UP_LEAVES)
      await reduction(client, leaves).result()
    })
    const count = request.sizes['leaves'] as number
    const startedAt = performance.now()
    const sum = await reduction(client, range(count)).result()
    const seconds = (performance.now() - startedAt) / 1000
    expectResult(sum, (count * (count - 1)) / 2)
    return { seconds, tasksPerSecond: (2 * count - 1) / seconds }
  })
}

function byLevels(client: Client, leaves: readonly number[]): Future<number> {
  let level = client.map(leaf, leaves)
  while (level.length > 1) {
    const left = level.filter((_, index) => index % 2 === 0)
    const right = level.filter((_, index) => index % 2 === 1)
    level = client.map(add, left, right)
  }
  return level[0] as Future<number>
}

function bySingleTasks(client: Client, leaves: readonly number[]): Future<number> {
  let level = leaves.map((n) => client.submit(leaf, n))
  while (level.length > 1) {
    const below = level
    level = range(below.length / 2).map((index) =>
      client.submit(add, below[2 * index] as Future<number>, below[2 * index + 1] as Future<number>),
    )
  }
  return level[0] as Future<number>
}
