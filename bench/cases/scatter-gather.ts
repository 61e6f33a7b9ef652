import { type Client, wait } from 'plimsoll'
import type { BenchCase, Figures } from '../case.ts'
import { expectResult, withCluster } from '../cluster.ts'
import { warmUp } from '../warm-up.ts'

const MIB = 2 ** 20

export const scatterGather: BenchCase = {
  id: 'd',
  title: 'scatter and gather',
  does: 'an array of 256 MiB of numbers (`Float64Array`, numpy) to the cluster until it is stored there, and back until the client has it; nothing is skipped, hashing its content for the key included. Warmed up with 4 MiB',
  peers: ['dask'],
  full: { mib: 256 },
  quick: { mib: 8 },
  figures: [
    { name: 'scatterBytesPerSecond', title: 'scatter', unit: 'bytes/s', better: 'more' },
    { name: 'gatherBytesPerSecond', title: 'gather', unit: 'bytes/s', better: 'more' },
  ],
  targets: [
    { figure: 'scatterBytesPerSecond', timesBetterThan: 'dask', atLeast: 4 },
    { figure: 'gatherBytesPerSecond', timesBetterThan: 'dask', atLeast: 4 },
  ],
  timeoutMs: 180_000,
  run: (request) =>
    withCluster(request, async (client) => {
      await warmUp(request.warmUpMs, async (round) => void (await thereAndBack(client, 4 * MIB, -1 - round)))
      return await thereAndBack(client, (request.sizes['mib'] as number) * MIB, 1)
    }),
}

async function thereAndBack(client: Client, nbytes: number, seed: number): Promise<Figures> {
  const array = Float64Array.from({ length: nbytes / 8 }, (_, index) => index + seed)
  const scatteredAt = performance.now()
  const future = client.scatter(array)
  await wait([future])
  const gatheredAt = performance.now()
  const back = await future.result()
  const doneAt = performance.now()
  expectResult(back.at(-1), array.at(-1))
  future.release()
  return {
    scatterBytesPerSecond: (nbytes / (gatheredAt - scatteredAt)) * 1000,
    gatherBytesPerSecond: (nbytes / (doneAt - gatheredAt)) * 1000,
  }
}
