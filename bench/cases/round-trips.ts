import { type Client, wait } from 'plimsoll'
import type { BenchCase } from '../case.ts'
import { expectResult, withCluster } from '../cluster.ts'
import { warmUp } from '../warm-up.ts'

const increment = (x: number): number => x + 1

export const roundTrips: BenchCase = {
  id: 'b',
  title: 'one after the other',
  does: 'submit one task and wait until it is done, 1,000 times; then 1,000 times with other arguments, with its result fetched',
  peers: ['dask', 'dask-unsaturated', 'piscina', 'poolifier'],
  full: { trips: 1000 },
  quick: { trips: 20 },
  figures: [
    { name: 'waitMs', title: 'submit and wait', unit: 'ms', better: 'less' },
    { name: 'resultMs', title: 'submit and fetch the result', unit: 'ms', better: 'less' },
  ],
  targets: [
    { figure: 'waitMs', timesBetterThan: 'dask', atLeast: 10 },
    { figure: 'resultMs', timesBetterThan: 'dask', atLeast: 10 },
  ],
  timeoutMs: 180_000,
  run: (request) =>
    withCluster(request, async (client) => {
      await warmUp(request.warmUpMs, (round) => trip(client, -1 - round))
      const trips = request.sizes['trips'] as number
      const startedAt = performance.now()
      for (let index = 0; index < trips; index++) await wait([client.submit(increment, index)])
      const waitMs = (performance.now() - startedAt) / trips
      const fetchedAt = performance.now()
      for (let index = trips; index < 2 * trips; index++) await trip(client, index)
      return { waitMs, resultMs: (performance.now() - fetchedAt) / trips }
    }),
}

async function trip(client: Client, argument: number): Promise<void> {
  expectResult(await client.submit(increment, argument).result(), argument + 1)
}
