// Published datasets over real connections: shapes, lives, and what goes wrong.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client, Future, LocalCluster, wait } from '../../dist/index.js'

const SMALL = { nWorkers: 1, nthreads: 1, memoryLimit: '256 MiB', dashboardAddress: null } as const
let cluster: LocalCluster
let reader: Client

beforeAll(async () => {
  cluster = new LocalCluster(SMALL)
  reader = await Client.connect(cluster)
})

afterAll(async () => {
  await reader.close()
  await cluster.close()
})

interface Report {
  readonly total: Future<number>
  readonly parts: Map<string, Future<number>[]>
  readonly made: Date
}

describe('published datasets', () => {
  it('give another client futures in the same shape, after the publisher has gone', async () => {
    const publisher = await Client.connect(cluster)
    const parts = publisher.map((n: number) => n * 10, [1, 2, 3])
    const total = publisher.submit((values: number[]) => values.reduce((a, b) => a + b, 0), parts)
    const made = new Date(0)
    await publisher.publishDataset('report', { total, parts: new Map([['all', parts]]), made })
    // Nothing of it is held here any more; also not by this client.
    publisher.release([total, ...parts])
    await publisher.close()

    expect(await reader.listDatasets()).toEqual(['report'])
    const report = await reader.getDataset<Report>('report')
    expect(report.made).toEqual(made)
    expect(report.total).toBeInstanceOf(Future)
    const values = await reader.gather({ total: report.total, parts: report.parts })
    expect(values).toEqual({ total: 60, parts: new Map([['all', [10, 20, 30]]]) })

    reader.release([report.total, ...(report.parts.get('all') ?? [])])
    await reader.unpublishDataset('report')
    expect(await reader.listDatasets()).toEqual([])
    expect((await reader.taskCounts())['lambda']?.memory ?? 0).toBe(0)
  })

  it('wait for what was said before, and hold what is still running', async () => {
    const futures = reader.map((n: number) => n + 0.5, [1, 2, 3])
    const published = reader.publishDataset('running', futures)
    reader.release(futures)
    await published
    const again = await reader.getDataset<Future<number>[]>('running')
    expect(await reader.gather(again)).toEqual([1.5, 2.5, 3.5])
    await reader.unpublishDataset('running')
  })

  it('hand on errors, and plain values without futures', async () => {
    const failed = reader.submit((): number => {
      throw new RangeError('too far')
    })
    await wait([failed])
    await reader.publishDataset('mixed', { failed, note: 'plain', data: new Float64Array([1, 2]) })
    const mixed = await reader.getDataset<{ failed: Future; note: string; data: Float64Array }>('mixed')
    expect(mixed).toMatchObject({ note: 'plain', data: new Float64Array([1, 2]) })
    await expect(mixed.failed.result()).rejects.toThrow('too far')
    await reader.unpublishDataset('mixed')
  })

  it('refuse what cannot be, with what to do', async () => {
    await reader.publishDataset('taken', 1)
    await expect(reader.publishDataset('taken', 2)).rejects.toMatchObject({
      code: 'DATASET_EXISTS',
      message: expect.stringMatching(/override/) as string,
    })
    await reader.publishDataset('taken', 3, { override: true })
    expect(await reader.getDataset('taken')).toBe(3)
    await expect(reader.getDataset('takn')).rejects.toMatchObject({
      code: 'DATASET_UNKNOWN',
      message: expect.stringMatching(/did you mean "taken"/) as string,
    })
    await expect(reader.publishDataset('big', new Uint8Array(2 ** 21))).rejects.toThrow(/scatter what is large/)
    await expect(reader.publishDataset('', 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(reader.publishDataset('bad', { f: () => 1 })).rejects.toMatchObject({ code: 'NOT_SERIALIZABLE' })
    const cancelled = reader.submit((x: number) => x, 77)
    cancelled.cancel()
    await expect(reader.publishDataset('gone', [cancelled])).rejects.toMatchObject({ code: 'TASK_CANCELLED' })
    const other = await Client.connect(cluster)
    const theirs = other.submit((x: number) => x, 78)
    await expect(reader.publishDataset('theirs', theirs)).rejects.toThrow(/another client/)
    await other.close()
    await reader.unpublishDataset('taken')
    await expect(reader.unpublishDataset('taken')).rejects.toMatchObject({ code: 'DATASET_UNKNOWN' })
  })

  it('end with a restart', async () => {
    await reader.publishDataset(
      'old',
      reader.submit((x: number) => x, 5),
    )
    await reader.restart()
    expect(await reader.listDatasets()).toEqual([])
  })
})
