import { range, wait } from 'plimsoll'
import type { BenchCase } from '../case.ts'
import { expectResult, withCluster } from '../cluster.ts'
import { warmUp, warmUpRange } from '../warm-up.ts'

const BATCH = 1000

const increment = (x: number): number => x + 1

export const map: BenchCase = {
  id: 'a',
  title: 'map of trivial tasks',
  does: 'one `map` of 20,000 tasks `x => x + 1`, until all of them are done; no result is fetched (a pool has no other way than to deliver it)',
  peers: ['dask', 'dask-unsaturated', 'piscina', 'poolifier'],
  full: { tasks: 20_000 },
  quick: { tasks: 500 },
  figures: [{ name: 'tasksPerSecond', title: 'tasks per second', unit: 'tasks/s', better: 'more' }],
  targets: [
    { figure: 'tasksPerSecond', timesBetterThan: 'dask', atLeast: 25 },
    { figure: 'tasksPerSecond', timesBetterThan: 'dask-unsaturated', atLeast: 10 },
    { figure: 'tasksPerSecond', timesBetterThan: 'piscina', atLeast: 1 },
  ],
  timeoutMs: 300_000,
  run: (request) =>
    withCluster(request, async (client) => {
      await warmUp(request.warmUpMs, async (round) => {
        const futures = client.map(increment, warmUpRange(round, BATCH))
        await wait(futures)
        client.release(futures)
      })
      const tasks = request.sizes['tasks'] as number
      const startedAt = performance.now()
      const futures = client.map(increment, range(tasks))
      await wait(futures)
      const elapsedMs = performance.now() - startedAt
      expectResult(await futures[tasks - 1]?.result(), tasks)
      return { tasksPerSecond: (tasks / elapsedMs) * 1000 }
    }),
}
