// Values of tens of MiB on their way into workers: scattered, and fetched again and again.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { task, wait } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

const numbers = (mib: number, seed: number): Float64Array =>
  Float64Array.from({ length: (mib * MIB) / 8 }, (_, index) => index + seed)
const isSame = (a: Float64Array, b: Float64Array): boolean =>
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0

const ROUNDS = 4
/** The memory manager would drop the second copies while they are counted. */
const KEEP_COPIES = { 'scheduler.active-memory-manager.start': false } as const

describe('large values', () => {
  it.each(['link', 'stream'] as const)('are scattered as they are at that moment (%s)', async (sameHost) => {
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      memoryLimit: '1 GiB',
      config: { ...KEEP_COPIES, 'worker.transfer.same-host': sameHost },
    })
    const { client } = faults
    for (const [round, broadcast] of [false, true, false].entries()) {
      const value = { long: numbers(40, round), none: new Uint8Array(0), odd: new Uint8Array(3 * MIB + 5).fill(round) }
      const future = client.scatter(value, { broadcast })
      value.long.fill(-1)
      value.odd.fill(255)
      await wait([future])
      const back = await future.result()
      expect(isSame(back.long, numbers(40, round))).toBe(true)
      expect(back.odd.every((byte) => byte === round)).toBe(true)
      expect(back.odd.length).toBe(3 * MIB + 5)
      const holders = (await client.whoHas([future]))[future.key] ?? []
      expect(holders.length).toBe(broadcast ? 2 : 1)
      const tenth = (held: typeof value): number => held.long[9] as number
      const tenths = holders.map((workers) => client.submit(task(tenth, { workers }), future))
      expect(await client.gather(tenths)).toEqual(holders.map(() => 9 + round))
      await faults.checkMeasures()
      client.release([future, ...tenths])
    }
    await faults.emptied()
  })

  it('are themselves when they are fetched one after the other, each into the file of the one before', async () => {
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      memoryLimit: '4 GiB',
      config: { ...KEEP_COPIES, 'worker.transfer.same-host': 'stream' },
    })
    const { client } = faults
    for (let round = 0; round < ROUNDS; round++) {
      // Shorter and longer than the one before.
      const mib = 12 + 5 * (round % 2)
      const future = client.scatter(numbers(mib, round), { workers: ['0'] })
      await wait([future])
      await client.replicate([future], { n: 2 })
      const fetched = faults.filesOf(future).filter((path) => path.endsWith('f'))
      expect(fetched.length).toBe(1)
      // Not through a task: a file that was mapped is not used again before its executor has collected its garbage.
      const file = readFileSync(fetched[0] as string)
      const sent = numbers(mib, round)
      expect(file.subarray(-sent.byteLength).equals(new Uint8Array(sent.buffer))).toBe(true)
      client.release(future)
      await until(
        'it is given up',
        () => faults.valueFiles('memory'),
        (files) => files.length === 0,
      )
    }
    await faults.emptied()
  })
})
