// A value from one worker to the other: what a task on B takes whose input is on A, beyond a task's own round trip.

import { type Client, type Future, type LocalClusterOptions, task, wait } from 'plimsoll'
import type { BenchCase, SampleRequest } from '../case.ts'
import { withCluster, workerPair } from '../cluster.ts'
import { spreadOf } from '../figures.ts'
import { warmUp } from '../warm-up.ts'

const MIB = 2 ** 20
const REPEATS = 3
const ROUND_TRIPS = 20

const make = (length: number, seed: number): Float64Array => {
  const array = new Float64Array(length)
  for (let index = 0; index < length; index++) array[index] = index + seed
  return array
}
const touch = (array: Float64Array): number => array.length
const sum = (array: Float64Array): number => {
  let total = 0
  for (let index = 0; index < array.length; index++) total += array[index] as number
  return total
}
const nothing = (x: number): number => x

const shared = {
  peers: ['dask'],
  full: { mib: 256 },
  quick: { mib: 8 },
  figures: [
    { name: 'bytesPerSecond', title: 'transfer', unit: 'bytes/s', better: 'more' },
    { name: 'readBytesPerSecond', title: 'transfer, and every number added up', unit: 'bytes/s', better: 'more' },
  ],
  timeoutMs: 180_000,
} as const satisfies Partial<BenchCase>

export const transferOnHost: BenchCase = {
  ...shared,
  id: 'e-host',
  title: 'worker to worker on one host',
  does: 'an array of 256 MiB is on worker A; a task on worker B needs it. Time from submitting that task until it is done, less the median round trip of a task without input on B; median of three. Plimsoll hands over a link to the file; Dask sends over TCP, as it always does',
  targets: [{ figure: 'bytesPerSecond', timesBetterThan: 'dask', atLeast: 20 }],
  run: (request) => measure(request, {}),
}

export const transferTcp: BenchCase = {
  ...shared,
  id: 'e-tcp',
  title: 'worker to worker over TCP',
  does: 'the same with `worker.transfer.same-host: stream`, as between two machines, but over loopback',
  targets: [{ figure: 'bytesPerSecond', timesBetterThan: 'dask', atLeast: 2 }],
  run: (request) => measure(request, { config: { 'worker.transfer.same-host': 'stream' } }),
}

function measure(request: SampleRequest, options: LocalClusterOptions): ReturnType<BenchCase['run']> {
  return withCluster(
    request,
    async (client) => {
      const pair = await workerPair(client)
      await warmUp(request.warmUpMs, async (round) => void (await transfer(client, pair, touch, MIB, -1 - round)))
      const roundTripMs = await medianRoundTrip(client, pair[1])
      const nbytes = (request.sizes['mib'] as number) * MIB
      const bytesPerSecond = async (consumer: (array: Float64Array) => number, first: number): Promise<number> => {
        const times: number[] = []
        for (let n = first; n < first + REPEATS; n++) times.push(await transfer(client, pair, consumer, nbytes, n))
        return (nbytes / Math.max(spreadOf(times).median - roundTripMs, Number.EPSILON)) * 1000
      }
      return {
        bytesPerSecond: await bytesPerSecond(touch, 0),
        readBytesPerSecond: await bytesPerSecond(sum, REPEATS),
      }
    },
    options,
  )
}

/** Milliseconds from submitting the consumer until it is done. */
async function transfer(
  client: Client,
  [from, to]: readonly [string, string],
  consumer: (array: Float64Array) => number,
  nbytes: number,
  seed: number,
): Promise<number> {
  const made: Future<Float64Array> = client.submit(task(make, { workers: from }), nbytes / 8, seed)
  await wait([made])
  const startedAt = performance.now()
  const consumed = client.submit(task(consumer, { workers: to }), made)
  await wait([consumed])
  const elapsedMs = performance.now() - startedAt
  await consumed.result()
  client.release([made, consumed])
  return elapsedMs
}

async function medianRoundTrip(client: Client, worker: string): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < ROUND_TRIPS; n++) {
    const startedAt = performance.now()
    await wait([client.submit(task(nothing, { workers: worker }), n)])
    times.push(performance.now() - startedAt)
  }
  return spreadOf(times).median
}
