import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Client, getClient } from '../../src/client/client.ts'
import { asCompleted } from '../../src/client/as-completed.ts'
import { Future } from '../../src/client/future.ts'
import { range } from '../../src/client/range.ts'
import { task } from '../../src/client/task-options.ts'
import { wait } from '../../src/client/wait.ts'
import { isErrorCode } from '../../src/errors/plimsoll-error.ts'
import { FakeCluster } from './fake-cluster.ts'

let cluster: FakeCluster
let client: Client

beforeEach(async () => {
  cluster = await FakeCluster.start(2)
  client = await Client.connect(cluster, { name: 'test', timeout: '2s' })
})

afterEach(async () => {
  await client.close()
  await cluster.close()
})

const add = (a: number, b: number): number => a + b

describe('submit', () => {
  it('gives the value of a call, with futures as arguments at any depth', async () => {
    const three = client.submit(add, 1, 2)
    const ten = client.submit(add, three, 7)
    const sum = client.submit(
      (parts: { list: number[]; map: Map<string, number> }) =>
        parts.list.length + [...parts.map.values()].reduce((a, b) => a + b),
      {
        list: [three, 1],
        map: new Map([['ten', ten]]),
      },
    )
    expect(await sum.result()).toBe(12)
    expect([three.status, three.type, three.done()]).toEqual(['finished', 'number', true])
  })

  it('sends the function once, and the same call not at all', async () => {
    const first = client.submit(add, 1, 2)
    const again = client.submit(add, 1, 2)
    const other = client.submit(add, 1, 3)
    await client.gather([first, again, other])
    expect(again.key).toBe(first.key)
    expect(first.key).toMatch(/^add-[0-9a-f]{32}$/)
    const graphs = cluster.sent('update-graph')
    expect(graphs.flatMap((graph) => graph.functions)).toHaveLength(1)
    expect(graphs.flatMap((graph) => graph.wanted)).toEqual([first.key, other.key])
  })

  it('makes each call of an impure function a task of its own, and takes keys and names as given', async () => {
    const impure = task(add, { pure: false })
    expect(client.submit(impure, 1, 2).key).not.toBe(client.submit(impure, 1, 2).key)
    expect(client.submit(task(add, { key: 'mine' }), 1, 2).key).toBe('mine')
    expect(client.map(task(add, { key: ['a', 'b'] }), [1, 2], [1, 2]).map((future) => future.key)).toEqual(['a', 'b'])
    expect(client.submit(task(add, { name: 'plus' }), 1, 2).key).toMatch(/^plus-/)
    expect(client.submit(() => 1).key).toMatch(/^lambda-/)
    expect(() => client.map(task(add, { key: ['a'] }), [1, 2], [1, 2])).toThrow(/names 1 keys for 2 calls/)
  })

  it('carries the options of the task', async () => {
    const careful = task(add, {
      retries: 2,
      memory: '1 MiB',
      timeout: '5s',
      workers: 'w1',
      allowOtherWorkers: true,
      io: true,
      priority: 3,
    })
    await client.submit(careful, 1, 2).result()
    expect(careful(1, 2)).toBe(3)
    expect(cluster.sent('update-graph')[0]?.groups[0]?.options).toEqual({
      retries: 2,
      memory: 2 ** 20,
      timeoutMs: 5000,
      workers: ['w1'],
      allowOtherWorkers: true,
      io: true,
      priority: 3,
    })
  })

  it('refuses what cannot be sent from the call itself, and sends nothing', async () => {
    const outside = Math.random()
    expect(() => client.submit(() => outside)).toThrow(expect.objectContaining({ code: 'CANNOT_CAPTURE' }))
    expect(() => client.submit((x: unknown) => x, { rows: [1, () => 2] })).toThrow(/argument 0\.rows\[1\]/)
    expect(() => client.map((x: unknown) => x, [1, 2, Symbol('no')])).toThrow(
      expect.objectContaining({ code: 'NOT_SERIALIZABLE' }),
    )
    expect(() => client.submit('add' as unknown as () => number)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
    await cluster.heard()
    expect(cluster.messages).toEqual([])
  })

  it.each<[string, () => unknown]>([
    ['the names of workers of a task', () => client.submit(task(add, { workers: [1] as never }), 1, 2)],
    ['no worker at all', () => client.submit(task(add, { workers: [] }), 1, 2)],
    ['a worker without a name', () => client.submit(task(add, { workers: '' }), 1, 2)],
    ['a key', () => client.submit(task(add, { key: Number.NaN as never }), 1, 2)],
    ['a key that is another one after it was sent', () => client.submit(task(add, { key: '\ud800' }), 1, 2)],
    ['resources', () => client.submit(task(add, { resources: 5 as never }), 1, 2)],
    ['a list of resources', () => client.submit(task(add, { resources: [] as never }), 1, 2)],
    ['resources that are null', () => client.submit(task(add, { resources: null as never }), 1, 2)],
    ['a resource without a name', () => client.submit(task(add, { resources: { '': 1 } }), 1, 2)],
    ['an option of a task', () => client.submit(task(add, { retry: 1 } as never), 1, 2)],
    ['options of a task', () => client.submit(task(add, null as never), 1, 2)],
    ['an option of a result', () => client.submit(add, 1, 2).result({ timeot: 1 } as never)],
    ['a number for options', () => client.submit(add, 1, 2).result(5 as never)],
    ['an option of wait', () => wait([], { return: 'ANY' } as never)],
    ['an option of gather', () => client.gather([], { error: 'skip' } as never)],
    ['an option of scatter', () => client.scatter(1, { worker: 'a' } as never)],
    ['an option of restart', () => client.restart({ wait: true } as never)],
    ['no workers to restart', () => client.restartWorkers(undefined as never)],
    ['a callback', () => client.submit(add, 1, 2).addDoneCallback(5 as never)],
    ['values to scatter', () => client.scatterAll(5 as never)],
    ['the name of a dataset', () => client.publishDataset('\ud800', 1)],
    ['a flag of a task', () => client.submit(task(add, { io: 'yes' as never }), 1, 2)],
    ['the signal of a task', () => client.submit(task(add, { signal: 'abort' as never }), 1, 2)],
    ['the signal of a wait', () => client.submit(add, 1, 2).result({ signal: {} as never })],
    ['nothing to connect to', () => Client.connect(null as never)],
    ['a heartbeat that never rests', () => Client.connect(cluster, { heartbeat: 0 })],
    ['the name of a client', () => Client.connect(cluster, { name: 5 as never })],
    ['a memory', () => client.submit(task(add, { memory: null as never }), 1, 2)],
    ['force', () => client.cancel(client.submit(add, 1, 2), { force: 1 as never })],
    ['force of a future', () => client.submit(add, 1, 2).cancel({ force: 'yes' as never })],
    ['workers of scatter', () => client.scatter(1, { workers: 3 as never })],
    ['broadcast', () => client.scatter(1, { broadcast: 'all' as never })],
    ['errors of gather', () => client.gather([], { errors: 'ignore' as never })],
    ['returnWhen of wait', () => wait([], { returnWhen: 'ANY' as never })],
    ['workers to retire', () => client.retireWorkers({ workers: { 0: 'a' } as never })],
    ['closeWorkers', () => client.retireWorkers({ closeWorkers: 0 as never })],
    ['workers to restart', () => client.restartWorkers(7 as never)],
    ['workers of replicate', () => client.replicate([], { workers: null as never })],
    ['the measure of rebalance', () => client.rebalance([], { measure: 'size' as never })],
    ['a timeout', () => client.waitForWorkers(1, { timeout: [] as never })],
    ['override', () => client.publishDataset('a', 1, { override: 'no' as never })],
    ['waitForWorkers of restart', () => client.restart({ waitForWorkers: 1 as never })],
    ['a key of whoHas', () => client.whoHas([1])],
    ['the key of a story', () => client.story(null as never)],
    ['a key for a future to cancel', () => client.cancel(client.submit(add, 1, 2).key as never)],
    ['nothing to wait for', () => wait(null as never)],
    ['a promise to wait for', () => wait([Promise.resolve(client.submit(add, 1, 2))] as never)],
    ['a text for futures as they complete', () => asCompleted('abc' as never)],
  ])('refuses a wrong option by its name, before anything of it is sent: %s', async (_, call) => {
    await expect(Promise.resolve().then(call)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    // What the scheduler cannot read would have ended the connection.
    expect(await client.submit(add, 20, 3).result()).toBe(23)
    expect(cluster.sent('cancel-keys')).toEqual([])
  })

  it('refuses futures that cannot be used any more', async () => {
    const released = client.submit(add, 1, 2)
    released.release()
    expect(() => client.submit(add, released, 1)).toThrow(/was released/)
    const cancelled = client.submit(add, 3, 4)
    cancelled.cancel()
    expect(() => client.submit(add, cancelled, 1)).toThrow(expect.objectContaining({ code: 'TASK_CANCELLED' }))
    await using other = await Client.connect(cluster, { setAsDefault: false })
    const foreign = other.submit(add, 5, 6)
    expect(() => client.submit(add, foreign, 1)).toThrow(/another client/)
  })

  it('cancels when the signal of the task is aborted, and refuses one that was aborted before', async () => {
    cluster.running = false
    const controller = new AbortController()
    const future = client.submit(task(add, { signal: controller.signal }), 1, 2)
    controller.abort()
    expect(future.status).toBe('cancelled')
    await cluster.heard()
    expect(cluster.sent('cancel-keys')[0]?.keys).toEqual([future.key])
    expect(() => client.submit(task(add, { signal: controller.signal }), 1, 3)).toThrow(
      expect.objectContaining({ code: 'TASK_CANCELLED' }),
    )
  })
})

describe('map', () => {
  it('zips its iterables up to the shortest, in one message and one group', async () => {
    const futures = client.map(add, range(5), new Set([10, 20, 30]))
    expect(await client.gather(futures)).toEqual([10, 21, 32])
    const [graph, ...others] = cluster.sent('update-graph')
    expect(others).toEqual([])
    expect(graph?.groups.map((group) => group.tasks.length)).toEqual([3])
    expect(client.map((x: number) => x, [])).toEqual([])
  })

  it('accepts futures in its iterables, and the same call twice', async () => {
    const inputs = client.map((x: number) => x * x, [1, 2, 2])
    const outputs = client.map(add, inputs, inputs.toReversed())
    expect(await client.gather(outputs)).toEqual([5, 8, 5])
  })
})

describe('a future', () => {
  it('carries the error of its task to result() and exception(), also through dependents', async () => {
    const failing = client.submit((x: number): number => {
      throw Object.assign(new RangeError(`no ${x}`), { detail: { x } })
    }, 7)
    const dependent = client.submit(add, failing, 1)
    const error = await failing.result().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RangeError)
    expect(error).toMatchObject({
      message: 'no 7',
      detail: { x: 7 },
      plimsoll: { key: failing.key, worker: 'inproc://somewhere' },
    })
    await expect(dependent.result()).rejects.toThrow('no 7')
    expect(await failing.exception()).toBe(error)
    expect([failing.status, dependent.status]).toEqual(['error', 'error'])
    expect(await client.submit(add, 1, 1).exception()).toBeUndefined()
  })

  it('times out without cancelling', async () => {
    cluster.running = false
    const future = client.submit(add, 1, 2)
    await expect(future.result({ timeout: 5 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(future.result({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
    const controller = new AbortController()
    const waiting = future.result({ signal: controller.signal })
    controller.abort(new Error('no more'))
    await expect(waiting).rejects.toThrow('no more')
    expect(future.status).toBe('pending')
    // Also when the graph arrives only now.
    cluster.running = true
    await cluster.run()
    expect(await future.result()).toBe(3)
  })

  it('is released with its last handle, once per turn, and kept by whoever waits', async () => {
    cluster.running = false
    const one = client.submit(add, 1, 2)
    const same = client.submit(add, 1, 2)
    const other = client.submit(add, 3, 4)
    const value = one.result()
    one.release()
    one.release()
    {
      using scoped = other
      expect(scoped.status).toBe('pending')
    }
    await cluster.heard()
    expect(cluster.sent('client-releases-keys').map((message) => message.keys)).toEqual([[other.key]])
    expect(other.status).toBe('cancelled')
    await cluster.run()
    expect(await value).toBe(3)
    same.release()
    await cluster.heard()
    expect(cluster.sent('client-releases-keys').at(-1)?.keys).toEqual([same.key])
    await expect(same.result()).rejects.toThrow(/was released/)
  })

  it('is released when it is collected', async () => {
    client.submit(add, 40, 2)
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    for (let turn = 0; turn < 50 && cluster.sent('client-releases-keys').length === 0; turn++) {
      collect()
      await cluster.heard()
    }
    expect(cluster.sent('client-releases-keys')).toHaveLength(1)
  })

  it('can be submitted again in the turn in which it was released', async () => {
    client.submit(add, 1, 2).release()
    const again = client.submit(add, 1, 2)
    expect(await again.result()).toBe(3)
    expect(cluster.messages.map((message) => message.op)).toEqual([
      'update-graph',
      'client-releases-keys',
      'update-graph',
      'client-awaits-values',
    ])
  })

  it('calls back once it is done, in a later turn', async () => {
    const seen: string[] = []
    const future = client.submit(add, 1, 2)
    await new Promise<void>((resolve) => {
      future.addDoneCallback(() => {
        throw new Error('logged, not thrown')
      })
      future.addDoneCallback((done) => {
        seen.push(done.status)
        resolve()
      })
      expect(seen).toEqual([])
    })
    expect(seen).toEqual(['finished'])
  })

  it('is no thenable and shows itself', async () => {
    const future = client.submit(add, 1, 2)
    expect(await Promise.resolve(future)).toBe(future)
    await future.result()
    const { inspect } = await import('node:util')
    expect(inspect(future)).toMatch(/^Future \{ finished number \d+ B 'add-[0-9a-f]+' \}$/)
    expect(JSON.parse(JSON.stringify({ future }))).toMatchObject({
      future: { key: future.key, status: 'finished', type: 'number' },
    })
    expect(future).toBeInstanceOf(Future)
  })
})

describe('keys given by hand', () => {
  it('stand for one call: the same call is the same future, another one is refused before anything is sent', async () => {
    const mine = task(add, { key: 'mine' })
    const future = client.submit(mine, 1, 2)
    expect(client.submit(mine, 1, 2).key).toBe('mine')
    expect(() => client.submit(mine, 1, 3)).toThrow(expect.objectContaining({ code: 'KEY_CONFLICT' }))
    const other = task((a: number, b: number) => a * b, { key: 'mine' })
    expect(() => client.submit(other, 1, 2)).toThrow(/"mine" stands for another function or other arguments/)
    expect(() => client.map(task(add, { key: ['a', 'a'] }), [1, 2], [1, 2])).toThrow(/"a"/)
    expect(await future.result()).toBe(3)
    expect(cluster.sent('update-graph')).toHaveLength(1)
    future.cancel()
    expect(client.submit(other, 3, 4).key).toBe('mine')
  })

  it('may be the one that a call has anyway', async () => {
    const future = client.submit(add, 1, 2)
    expect(client.submit(task(add, { key: future.key }), 1, 2).key).toBe(future.key)
    expect(() => client.submit(task(add, { key: future.key }), 2, 2)).toThrow(/stands for another/)
    expect(await future.result()).toBe(3)
  })
})

describe('cancel and retry', () => {
  it('marks futures at once and tells the scheduler; the key can be submitted again', async () => {
    cluster.running = false
    const futures = client.map(add, [1, 2], [3, 4])
    const waiting = futures[0]?.result()
    client.cancel(futures, { force: true })
    expect(futures.map((future) => future.cancelled())).toEqual([true, true])
    await expect(waiting).rejects.toMatchObject({ code: 'TASK_CANCELLED', fields: { key: futures[0]?.key } })
    await cluster.heard()
    expect(cluster.sent('cancel-keys')).toMatchObject([{ keys: futures.map((future) => future.key), force: true }])
    cluster.running = true
    expect(await client.submit(add, 1, 3).result()).toBe(4)
  })

  it('keeps what was asked for again after the cancel that takes it away, and only that', async () => {
    cluster.running = false
    const build = (): Future<number>[] => {
      const root = client.submit(add, 1, 2)
      return [root, client.submit(add, root, 10), client.submit(add, root, 20)]
    }
    const [root, kept, left] = build() as [Future<number>, Future<number>, Future<number>]
    await cluster.heard()
    root.cancel()
    const again = client.submit(add, 1, 2)
    const dependent = client.submit(add, again, 10)
    cluster.tell({
      op: 'cancelled-keys',
      keys: [kept.key, left.key] as never[],
      reason: 'root was cancelled',
      code: 'TASK_CANCELLED',
      cancel: 1,
    })
    await cluster.heard()
    expect(cluster.sent('update-graph').flatMap((graph) => graph.wanted)).toEqual([
      root.key,
      kept.key,
      left.key,
      root.key,
      kept.key,
    ])
    cluster.running = true
    await cluster.run()
    expect(await dependent.result()).toBe(13)
    expect([root.status, again.status, kept.status, left.status]).toEqual([
      'cancelled',
      'finished',
      'finished',
      'cancelled',
    ])
    client.submit(add, again, 10)
    await cluster.heard()
    expect(cluster.sent('update-graph').flatMap((graph) => graph.wanted)).toHaveLength(5)
  })

  it('leaves a key that was submitted again alone when a future of its lost life is cancelled', async () => {
    const stale = client.submit(add, 1, 2)
    expect(await stale.result()).toBe(3)
    for (const worker of cluster.workers) worker.stored.delete(stale.key)
    cluster.tell({ op: 'cancelled-keys', keys: [stale.key] as never[], reason: 'no copy is left', code: 'DATA_LOST' })
    await cluster.heard()
    expect(stale.status).toBe('lost')
    const again = client.submit(add, 1, 2)
    client.cancel([stale, client.submit(add, 5, 6)])
    await cluster.heard()
    expect(cluster.sent('cancel-keys').flatMap(({ keys }) => keys)).not.toContain(again.key)
    expect([stale.status, await again.result()]).toEqual(['cancelled', 3])
    await cluster.heard()
    stale.cancel()
    expect(cluster.sent('cancel-keys')).toHaveLength(1)
  })

  it('runs failed tasks again', async () => {
    const state = globalThis as { plimsollRetryTest?: number }
    const flaky = client.submit(() => {
      const counter = globalThis as { plimsollRetryTest?: number }
      counter.plimsollRetryTest = (counter.plimsollRetryTest ?? 0) + 1
      if (counter.plimsollRetryTest === 1) throw new Error('not yet')
      return counter.plimsollRetryTest
    })
    await expect(flaky.result()).rejects.toThrow('not yet')
    await flaky.retry()
    expect(flaky.status).toBe('pending')
    expect(await flaky.result()).toBe(2)
    delete state.plimsollRetryTest
  })

  it('hears of keys that the scheduler gave up', async () => {
    cluster.running = false
    const [cancelled, lost] = client.map(add, [1, 2], [3, 4]) as [Future<number>, Future<number>]
    await cluster.heard()
    cluster.tell({
      op: 'cancelled-keys',
      keys: [cancelled.key as never],
      reason: 'lost dependencies',
      code: 'TASK_CANCELLED',
    })
    cluster.tell({ op: 'cancelled-keys', keys: [lost.key as never], reason: 'its worker died', code: 'DATA_LOST' })
    await expect(cancelled.result()).rejects.toThrow(/lost dependencies/)
    await expect(lost.result()).rejects.toMatchObject({ code: 'DATA_LOST' })
    expect([cancelled.status, lost.status]).toEqual(['cancelled', 'lost'])
  })
})

describe('restart', () => {
  it('cancels everything older and keeps what comes after', async () => {
    const old = client.submit(add, 1, 2)
    await old.result()
    const restarting = client.restart()
    expect(old.status).toBe('cancelled')
    const fresh = client.submit(add, 1, 2)
    await restarting
    expect(await fresh.result()).toBe(3)
    old.release()
    await cluster.heard()
    expect(fresh.status).toBe('finished')
    expect(await client.submit(add, fresh, 1).result()).toBe(4)
  })

  it('hears of a restart that somebody else asked for', async () => {
    cluster.running = false
    const future = client.submit(add, 1, 2)
    const waiting = future.result()
    await cluster.heard()
    cluster.tell({ op: 'restart', generation: cluster.generation + 1 })
    await expect(waiting).rejects.toThrow(/restarted/)
  })
})

describe('questions', () => {
  it('are asked after what was said before', async () => {
    const future = client.submit(add, 1, 2)
    await future.result()
    const holders = await client.whoHas([future])
    expect(holders[future.key]).toHaveLength(1)
    expect(await client.nthreads()).toEqual(Object.fromEntries(cluster.workers.map((worker) => [worker.address, 2])))
    await client.waitForWorkers(2, { timeout: 100 })
    await expect(client.waitForWorkers(3, { timeout: 20 })).rejects.toMatchObject({
      code: 'TIMEOUT',
      fields: { running: 2 },
    })
  })
})

describe('the end of a client', () => {
  it('cancels what is pending and refuses everything after', async () => {
    cluster.running = false
    const future = client.submit(add, 1, 2)
    const waiting = future.result()
    await Promise.all([
      client.close(),
      client.close(),
      expect(waiting).rejects.toMatchObject({ code: 'TASK_CANCELLED' }),
    ])
    expect(() => client.submit(add, 1, 2)).toThrow(expect.objectContaining({ code: 'CLIENT_CLOSED' }))
    await expect(client.schedulerInfo()).rejects.toMatchObject({ code: 'CLIENT_CLOSED' })
    await expect(client.gather([])).rejects.toMatchObject({ code: 'CLIENT_CLOSED' })
    expect(cluster.messages.at(-1)?.op).toBe('close-client')
  })

  it('comes with the scheduler: what waits fails promptly', async () => {
    cluster.running = false
    const future = client.submit(add, 1, 2)
    const waiting = expect(future.result()).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    await cluster.heard()
    await cluster.close()
    await waiting
    expect(() => client.submit(add, 1, 2)).toThrow(expect.objectContaining({ code: 'COMM_CLOSED' }))
    expect(client.closed).toBe(true)
  })
})

describe('getClient', () => {
  it('finds the surrounding client, else the newest open one', async () => {
    expect(getClient()).toBe(client)
    await using newer = await Client.connect(cluster)
    expect(getClient()).toBe(newer)
    await client.asCurrent(async () => {
      await Promise.resolve()
      expect(getClient()).toBe(client)
    })
    await newer.close()
    expect(getClient()).toBe(client)
    await client.close()
    expect(() => getClient()).toThrow(/no open client/)
  })
})

describe('connecting', () => {
  it('to nowhere fails in one line within the timeout', async () => {
    const error: unknown = await Client.connect('tcp://127.0.0.1:1', {
      timeout: 200,
      token: cluster.token as string,
    }).catch((thrown: unknown) => thrown)
    expect(isErrorCode(error, 'CONNECT_FAILED')).toBe(true)
    expect(String(error)).not.toContain('\n')
  })
})
