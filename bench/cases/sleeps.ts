import { range, wait } from 'plimsoll'
import type { BenchCase } from '../case.ts'
import { withCluster } from '../cluster.ts'
import { warmUp, warmUpRange } from '../warm-up.ts'

const EXECUTORS = 2
const BATCH = 100

/** Blocks its thread without using the processor: what is left is what the system adds. */
const sleep = (ms: number, _index: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

export const sleeps: BenchCase = {
  id: 'g',
  title: 'tasks of 10 ms',
  does: '1,000 tasks that block for 10 ms each without using the processor, on two executors (or threads); ideal is 5 s',
  peers: ['dask', 'dask-unsaturated', 'piscina', 'poolifier'],
  full: { tasks: 1000, taskMs: 10 },
  quick: { tasks: 20, taskMs: 10 },
  figures: [
    { name: 'seconds', title: 'time', unit: 's', better: 'less' },
    { name: 'overIdeal', title: 'time over ideal', unit: 'times', better: 'less' },
  ],
  targets: [{ figure: 'overIdeal', atMost: 1.05 }],
  timeoutMs: 120_000,
  run: (request) =>
    withCluster(request, async (client) => {
      const run = async (taskMs: number, indexes: readonly number[]): Promise<void> => {
        const futures = client.map(
          sleep,
          indexes.map(() => taskMs),
          indexes,
        )
        await wait(futures)
        client.release(futures)
      }
      await warmUp(request.warmUpMs, (round) => run(1, warmUpRange(round, BATCH)))
      const [tasks, taskMs] = [request.sizes['tasks'] as number, request.sizes['taskMs'] as number]
      const startedAt = performance.now()
      await run(taskMs, range(tasks))
      const elapsedMs = performance.now() - startedAt
      return { seconds: elapsedMs / 1000, overIdeal: elapsedMs / ((tasks * taskMs) / EXECUTORS) }
    }),
}
