// What keeps a value on the cluster, and what does not.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Future, task } from '../../dist/index.js'
import { FaultCluster, MIB, until } from './fault-cluster.ts'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start()
})
afterAll(() => faults[Symbol.asyncDispose]())

const make = (n: number): Uint8Array => new Uint8Array(10 * 2 ** 20).fill(n)

async function stored(): Promise<number> {
  return Object.values(await faults.client.nbytes()).reduce((sum, bytes) => sum + bytes, 0)
}

const empty = (): Promise<number> => until('nothing is stored', stored, (bytes) => bytes === 0)

describe('a task', () => {
  it('has no client, and is told so', async () => {
    const asks = async (url: string): Promise<void> => {
      const plimsoll = (await import(url)) as { getClient(): unknown }
      plimsoll.getClient()
    }
    await expect(
      faults.client.submit(asks, new URL('../../dist/index.js', import.meta.url).href).result(),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('tasks have none') as string,
    })
  })
})

describe('a value', () => {
  it('goes at the end of the block that its future is used in', async () => {
    const { client } = faults
    {
      using block = client.submit(make, 1)
      await block.exception()
      expect(await stored()).toBeGreaterThan(10 * MIB)
    }
    await empty()
  })

  it('is not kept by the error of a task that had it as input, and is made again for a retry', async () => {
    const { client, folder } = faults
    const input = client.submit(make, 2)
    const fails = task(
      async (bytes: Uint8Array, file: string) => {
        const { existsSync } = await import('node:fs')
        if (!existsSync(file)) throw new RangeError(`too early with ${bytes.length}`)
        return bytes.length
      },
      { name: 'fails' },
    )
    const failed: Future<number> = client.submit(fails, input, `${folder}/go`)
    const after = client.submit((n: number) => n + 1, failed)
    await expect(after.result()).rejects.toThrow('too early')
    // The same object for whoever asks: held once.
    expect(await failed.exception()).toBe(await failed.exception())
    input.release()
    await empty()
    expect(failed.status).toBe('error')
    const { writeFileSync } = await import('node:fs')
    writeFileSync(`${folder}/go`, '')
    await failed.retry()
    expect(await after.result()).toBe(10 * 2 ** 20 + 1)
    client.release([failed, after])
    await empty()
  })

  it('is refused by a client that could not hold it, with the numbers', async () => {
    const { client } = faults
    const before = process.env['PLIMSOLL_CLIENT__GATHER_LIMIT']
    process.env['PLIMSOLL_CLIENT__GATHER_LIMIT'] = '25 MiB'
    const { Client } = await import('../../dist/index.js')
    const small = await Client.connect(faults.cluster, { setAsDefault: false })
    if (before === undefined) delete process.env['PLIMSOLL_CLIENT__GATHER_LIMIT']
    else process.env['PLIMSOLL_CLIENT__GATHER_LIMIT'] = before
    try {
      const futures = small.map(make, [3, 4, 5])
      await expect(small.gather(futures)).rejects.toMatchObject({
        code: 'GATHER_TOO_LARGE',
        message: expect.stringMatching(/3 values are 30\.\d+ MiB.*25\.00 MiB.*client\.gather-limit/) as string,
        fields: { limitBytes: 25 * MIB },
      })
      expect((await small.gather(futures.slice(0, 2))).map((bytes) => bytes[0])).toEqual([3, 4])
    } finally {
      await small.close()
    }
    await empty()
    expect(client.closed).toBe(false)
  })
})
