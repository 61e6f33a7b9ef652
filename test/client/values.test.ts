import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { range } from '../../src/client/range.ts'
import { wait } from '../../src/client/wait.ts'
import { PlimsollError } from '../../src/errors/plimsoll-error.ts'
import { FakeCluster, type FakeWorker } from './fake-cluster.ts'

let cluster: FakeCluster
let client: Client
let directory: string

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'plimsoll-client-'))
  cluster = await FakeCluster.start(2)
  for (const worker of cluster.workers) worker.directory = directory
  client = await Client.connect(cluster, { timeout: '2s' })
})

afterEach(async () => {
  await client.close()
  await cluster.close()
  rmSync(directory, { recursive: true })
})

const first = (): FakeWorker => cluster.workers[0] as FakeWorker
const second = (): FakeWorker => cluster.workers[1] as FakeWorker
const identity = <T>(x: T): T => x

function setVia(via: FakeWorker['via']): void {
  for (const worker of cluster.workers) worker.via = via
}

describe.each(['inline', 'file', 'stream'] as const)('values by %s', (via) => {
  it('arrive as they were, small and large, and files are let go', async () => {
    setVia(via)
    const large = Float64Array.from({ length: 50_000 }, (_, i) => i / 3)
    const values = [1, { rows: [new Date(5), 'ä€'] }, large, new Map([['k', large.subarray(0, 1000)]]), null]
    const futures = values.map((value) => client.submit((x: unknown) => x, value))
    const gathered = await client.gather(futures)
    expect(gathered).toEqual(values)
    expect(cluster.workers.map((worker) => worker.pins)).toEqual([0, 0])
  })

  it('that are damaged are reported, computed again, and never returned', async () => {
    setVia(via)
    const future = client.submit((n: number) => new Float64Array(n).fill(7), 5000)
    await future.exception()
    const holder = cluster.workers.find((worker) => worker.stored.has(future.key)) as FakeWorker
    holder.corrupt.add(future.key)
    expect((await future.result())[4999]).toBe(7)
    expect(cluster.sent('report-missing')).toMatchObject([{ key: future.key, workers: [holder.id] }])
    expect(cluster.tasks.get(future.key)?.runs).toBe(2)
  })
})

describe('a small value that is awaited', () => {
  it('comes along with the news of it: nobody is asked for it', async () => {
    cluster.attaches = 'whole'
    const futures = client.map((x: number) => ({ x }), range(3))
    expect(await Promise.all(futures.map((future) => future.result()))).toEqual([{ x: 0 }, { x: 1 }, { x: 2 }])
    expect(cluster.sent('client-awaits-values').map(({ keys }) => keys)).toEqual([futures.map((future) => future.key)])
    expect(cluster.located).toBe(0)
    expect(cluster.workers.map((worker) => worker.asked.length)).toEqual([0, 0])
    // Read once: whoever wants it again fetches it.
    expect(await futures[1]?.result()).toEqual({ x: 1 })
    expect(cluster.located).toBe(1)
  })

  it('is fetched when it came damaged, and when it is larger', async () => {
    cluster.attaches = 'damaged'
    expect(await client.submit((x: number) => x + 1, 1).result()).toBe(2)
    expect(cluster.located).toBe(1)
    expect(cluster.sent('report-missing')).toEqual([])
    cluster.attaches = 'whole'
    expect((await client.submit((n: number) => 'x'.repeat(n), 5000).result()).length).toBe(5000)
    expect(cluster.located).toBe(2)
  })
})

describe('gather', () => {
  it('asks for each key once, in one round per worker, for all who wait', async () => {
    const futures = client.map((x: number) => x, range(40))
    await client.gather(futures)
    for (const worker of cluster.workers) worker.asked.length = 0
    cluster.located = 0
    const [all, ...single] = await Promise.all([
      client.gather([...futures, ...futures]),
      ...futures.map((future) => future.result()),
    ])
    expect(all).toEqual([...range(40), ...range(40)])
    expect(single).toEqual(range(40))
    expect(cluster.located).toBe(1)
    expect(cluster.workers.map((worker) => worker.asked.length)).toEqual([1, 1])
    expect(cluster.workers.flatMap((worker) => worker.asked.flat()).toSorted()).toEqual(
      futures.map((future) => future.key).toSorted(),
    )
  })

  it('keeps shapes, and leaves everything else alone', async () => {
    const [one, two] = [client.submit(identity<number>, 1), client.submit(identity<string>, 'two')]
    const when = new Date(0)
    const structure = {
      list: [one, [two, 3]],
      map: new Map([['a', one]]),
      set: new Set([two]),
      when,
      nothing: null,
      again: one,
    }
    expect(await client.gather(structure)).toEqual({
      list: [1, ['two', 3]],
      map: new Map([['a', 1]]),
      set: new Set(['two']),
      when,
      nothing: null,
      again: 1,
    })
    expect(await client.gather(one)).toBe(1)
  })

  it('raises, skips or returns errors', async () => {
    const odd = client.map((x: number) => {
      if (x % 2 === 1) throw new Error(`odd ${x}`)
      return x
    }, range(4))
    await expect(client.gather(odd)).rejects.toThrow('odd 1')
    expect(await client.gather({ odd, one: odd[1] }, { errors: 'skip' })).toEqual({ odd: [0, 2] })
    const returned = await client.gather(odd, { errors: 'return' })
    expect(returned.map((value) => (value instanceof Error ? value.message : value))).toEqual([0, 'odd 1', 2, 'odd 3'])
  })

  it('raises the first error without waiting for the rest', async () => {
    cluster.running = false
    const [failing, waiting] = client.map(identity<number>, [1, 2]) as [
      ReturnType<typeof client.scatter<number>>,
      ReturnType<typeof client.scatter<number>>,
    ]
    const gathering = client.gather([failing, waiting])
    failing.cancel()
    await expect(gathering).rejects.toMatchObject({ code: 'TASK_CANCELLED' })
    await expect(client.gather([waiting], { timeout: 5 })).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  it('refuses more than the limit, with sizes', async () => {
    const huge = client.submit(identity<number>, 1)
    await huge.result()
    cluster.tell({ op: 'key-in-memory', key: huge.key as never, nbytes: 2 ** 50, type: 'number' })
    await cluster.heard()
    await expect(client.gather([huge])).rejects.toMatchObject({
      code: 'GATHER_TOO_LARGE',
      message: expect.stringContaining('1.00 PiB') as string,
    })
    await expect(huge.result()).rejects.toMatchObject({ code: 'GATHER_TOO_LARGE' })
  })

  it('reads elsewhere when a worker does not have it, is busy, or is gone', async () => {
    const future = client.submit(identity<string>, 'value')
    await future.exception()
    for (const worker of cluster.workers) if (!worker.stored.has(future.key)) cluster.store(worker, future.key, 'value')
    first().busy = 2
    second().busy = 2
    expect(await future.result()).toBe('value')
    await first().listener.close()
    await Promise.all(range(4).map(async () => expect(await future.result()).toBe('value')))
  })

  it('gives up on unreachable workers in the end, and says why', async () => {
    await client.close()
    client = await Client.connect(cluster, { timeout: 300 })
    const future = client.submit(identity<string>, 'value')
    await future.exception()
    for (const worker of cluster.workers) await worker.listener.close()
    await expect(future.result()).rejects.toMatchObject({
      code: 'CONNECT_FAILED',
      message: expect.stringContaining('ports reachable') as string,
    })
  })

  it('waits patiently for a worker that is away', async () => {
    const future = client.submit(() => 'x'.repeat(20_000))
    await wait([future])
    cluster.away.add(future.key)
    const asked = cluster.located
    const result = future.result()
    await expect.poll(() => cluster.located).toBeGreaterThan(asked + 2)
    // Neither computed again nor asked for in every turn.
    expect(cluster.sent('client-desires-keys')).toEqual([])
    cluster.away.clear()
    expect((await result).length).toBe(20_000)
    expect(cluster.located - asked).toBeLessThan(50)
  })

  it('asks the scheduler again about a key that is nowhere to be found', async () => {
    const future = client.submit(identity<string>, 'value')
    await future.result()
    for (const worker of cluster.workers) worker.stored.clear()
    expect(await future.result()).toBe('value')
    expect(cluster.sent('client-desires-keys')).toMatchObject([{ keys: [future.key] }])
  })

  it('refuses what only a relay could do', async () => {
    await expect(client.gather([], { direct: false })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('scatter', () => {
  it('puts values on workers, by content, and they can be arguments at once', async () => {
    const table = { id: [1, 2, 3], name: 'x' }
    const future = client.scatter(table)
    const length = client.submit((t: { id: number[] }) => t.id.length, future)
    expect(future.status).toBe('pending')
    expect(await length.result()).toBe(3)
    expect([future.status, future.type]).toEqual(['finished', 'Object'])
    expect(await future.result()).toEqual(table)
    expect(client.scatter({ ...table }).key).toBe(future.key)
    expect(client.scatter(table, { hash: false }).key).not.toBe(future.key)
    const ops = cluster.messages.map((message) => message.op)
    expect(ops.slice(0, 2)).toEqual(['update-data', 'update-graph'])
  })

  it('spreads many, and sends each to all workers when asked to', async () => {
    const futures = client.scatterAll(range(6))
    expect(await client.gather(futures)).toEqual(range(6))
    expect(cluster.workers.map((worker) => worker.stored.size)).toEqual([3, 3])
    const everywhere = client.scatter('everywhere', { broadcast: true })
    await everywhere.exception()
    await cluster.heard()
    expect(cluster.workers.map((worker) => worker.stored.has(everywhere.key))).toEqual([true, true])
    expect(cluster.sent('update-data').at(-1)?.entries[0]?.workers).toEqual(cluster.workers.map((worker) => worker.id))
  })

  it('copies the value when it is called', async () => {
    const buffer = new Float64Array(3_000_000).fill(1)
    const future = client.scatter(buffer)
    buffer.fill(2)
    expect((await future.result()).every((x) => x === 1)).toBe(true)
  })

  it('tries other workers, and fails with what the last one said', async () => {
    first().refuse = new PlimsollError('STORE_FULL', 'no room')
    const future = client.scatter('value')
    expect(await future.result()).toBe('value')
    second().refuse = first().refuse
    const stuck = client.scatter('another')
    const dependent = client.submit(identity<string>, stuck)
    await expect(stuck.result()).rejects.toMatchObject({ code: 'STORE_FULL' })
    await expect(dependent.result()).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect(cluster.sent('update-graph')).toEqual([])
  })

  it('fails at once when there is no place, with all that waits for it', async () => {
    cluster.noPlace = new PlimsollError('TIMEOUT', 'no worker is running')
    const dependent = client.submit(identity<Uint8Array>, new Uint8Array(2 ** 21))
    const above = client.submit(identity<Uint8Array>, dependent)
    await expect(above.result()).rejects.toMatchObject({ code: 'TIMEOUT' })
    expect([dependent.status, cluster.messages]).toEqual(['error', []])
    cluster.noPlace = null
    expect((await client.submit(identity<Uint8Array>, new Uint8Array(2 ** 21 + 1)).result()).length).toBe(2 ** 21 + 1)
  })

  it('sends nothing for what the cluster has, and says so again', async () => {
    await using other = await Client.connect(cluster, { setAsDefault: false })
    const theirs = other.scatter([1, 2, 3])
    await theirs.exception()
    const ours = client.scatter([1, 2, 3])
    expect(await ours.result()).toEqual([1, 2, 3])
    expect(cluster.sent('update-data')).toHaveLength(1)
  })

  it('refuses what cannot be sent, and futures inside of values', () => {
    expect(() => client.scatter(() => 1)).toThrow(expect.objectContaining({ code: 'NOT_SERIALIZABLE' }))
    expect(() => client.scatterAll([1, { f: client.submit(identity<number>, 1) }])).toThrow(/value 1 has a future/)
  })

  it('stays in order: what is released and scattered again is there', async () => {
    client.scatter(new Uint8Array(2 ** 21))
    client.scatter('again').release()
    const again = client.scatter('again')
    expect(await again.result()).toBe('again')
  })

  it('stays in order: what is cancelled and scattered again is there', async () => {
    client.scatter(new Uint8Array(2 ** 21))
    client.scatter('again').cancel()
    const again = client.scatter('again')
    expect(await again.result()).toBe('again')
    expect(cluster.wanted).toContain(again.key)
  })
})

describe('large arguments', () => {
  it('are sent ahead once, by content, and held as long as the result is', async () => {
    const big = new Float64Array(200_000).fill(3)
    const sums = client.map((xs: Float64Array, k: number) => (xs[0] as number) * k, [big, big, big.slice()], [1, 2, 3])
    big.fill(0)
    expect(await client.gather(sums)).toEqual([3, 6, 9])
    expect(cluster.sent('update-data')).toHaveLength(1)
    const [graph] = cluster.sent('update-graph')
    const dependencies = graph?.groups[0]?.tasks.map((row) => row[2]) ?? []
    expect(new Set(dependencies.flat()).size).toBe(1)
    expect(Math.max(...(graph?.groups[0]?.tasks.map((row) => row[1].length) ?? []))).toBeLessThan(200)
    await cluster.heard()
    expect(cluster.sent('client-releases-keys')).toEqual([])
    client.release(sums)
    await cluster.heard()
    const released = cluster.sent('client-releases-keys').flatMap((message) => message.keys)
    expect(released.toSorted()).toEqual([...sums.map((sum) => sum.key), ...new Set(dependencies.flat())].toSorted())
  })

  it('of other kinds are found by their encoded size', async () => {
    const rows = Array.from({ length: 60_000 }, (_, i) => ({ id: i, name: `row number ${i}` }))
    expect(await client.submit((r: { id: number }[]) => r.length, rows).result()).toBe(60_000)
    expect(await client.submit((s: string, n: number) => s.length + n, 'x'.repeat(3_000_000), 1).result()).toBe(
      3_000_001,
    )
    expect(cluster.sent('update-data')).toHaveLength(2)
  })

  it('keep the order of what is said after them', async () => {
    const slow = client.submit((xs: Uint8Array) => xs.length, new Uint8Array(3_000_000))
    const quick = client.submit((a: number, b: number) => a + b, slow, 1)
    const values = await client.gather([slow, quick])
    expect(values).toEqual([3_000_000, 3_000_001])
    expect(cluster.sent('update-graph').flatMap((graph) => graph.wanted)).toEqual([slow.key, quick.key])
  })
})
