import { Client, type LocalClusterOptions } from 'plimsoll'
import type { SampleRequest } from './case.ts'

/** Two workers with one thread each and no dashboard, as every case has them; closed when `use` is done. */
export async function withCluster<T>(
  request: SampleRequest,
  use: (client: Client) => Promise<T>,
  options: LocalClusterOptions = {},
): Promise<T> {
  const client = await Client.local({
    nWorkers: 2,
    nthreads: 1,
    dashboardAddress: null,
    localDirectory: request.scratch,
    ...options,
  })
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}

/** Addresses of the two workers. */
export async function workerPair(client: Client): Promise<readonly [string, string]> {
  const [first, second] = Object.keys((await client.schedulerInfo()).workers)
  if (first === undefined || second === undefined) throw new Error('the cluster has fewer than two workers')
  return [first, second]
}

/** @throws when a result is not what every system has to compute: a fast wrong answer is no figure. */
export function expectResult(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`the result is ${String(actual)}, it should be ${String(expected)}`)
}
