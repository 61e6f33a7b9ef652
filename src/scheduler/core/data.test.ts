// Scattered data, replicas, clients that go, restart, retirement.

import { describe, expect, it } from 'vitest'
import { clientId, taskKey, workerId, type RunId, type WorkerId } from '../../base/ids.ts'
import { cluster, type CoreFixture } from './fixture.conformance.ts'
import type { SchedulerRequests } from '../../protocol/scheduler-client.ts'

type Placed = SchedulerRequests['scatter-place'][1]['placed']

function place(
  sim: CoreFixture,
  keys: readonly string[],
  options: {
    readonly client?: string
    readonly workers?: readonly string[]
    readonly broadcast?: boolean | number
    readonly timeoutMs?: number
  } = {},
): number {
  const { client = 'c', workers, broadcast = false, timeoutMs = 1000 } = options
  const entries = keys.map((key) => ({ key: taskKey(key), nbytes: 10, type: 'array' }))
  return sim.request((request) => ({
    kind: 'ScatterRequested',
    request,
    client: clientId(client),
    question: { entries, broadcast, timeoutMs, ...(workers && { workers }) },
  }))
}

function placedIn(sim: CoreFixture, request: number): Placed {
  const effect = sim.answer(request)
  if (effect?.kind !== 'Answer') throw new Error(`not answered: ${JSON.stringify(effect)}`)
  return (effect.answer as { placed: Placed }).placed
}

function scatter(
  sim: CoreFixture,
  key: string,
  workers: readonly string[],
  options: Parameters<typeof place>[2] = {},
): void {
  const [placed] = placedIn(sim, place(sim, [key], { workers, ...options }))
  arrive(sim, key, placed?.runId as RunId, placed?.workers.map((holder) => holder.id) ?? [])
}

function arrive(sim: CoreFixture, key: string, runId: RunId, workers: readonly WorkerId[]): void {
  sim.says('c', { op: 'update-data', entries: [{ key: taskKey(key), runId, nbytes: 10, type: 'array', workers }] })
}

describe('scattered data', () => {
  it('is placed round robin under fresh runs and is in memory when it has arrived', () => {
    const sim = cluster({ a: {}, b: {} })
    const placed = placedIn(sim, place(sim, ['x', 'y', 'z']))
    expect(placed.map((each) => [each.runId, each.workers.map((holder) => holder.id)])).toEqual([
      [1, ['a']],
      [2, ['b']],
      [3, ['a']],
    ])
    sim.graph({ use: ['x'] })
    expect(sim.stateOf('use')).toBe('waiting')
    sim.take()
    arrive(sim, 'x', 1 as RunId, [workerId('a')])
    expect(sim.told('c')).toEqual([{ op: 'key-in-memory', key: 'x', nbytes: 10, type: 'array' }])
    expect(sim.on('use')).toBe('a')
    expect(sim.workerRecord('a').replicas.get(sim.task('x'))).toBe(true)
  })

  it('goes to the named workers, to several, or to all', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} })
    const targets = (options: Parameters<typeof place>[2], key: string) =>
      placedIn(sim, place(sim, [key], options))[0]?.workers.map((holder) => holder.id)
    expect(targets({ workers: ['b'] }, 'x')).toEqual(['b'])
    expect(targets({ broadcast: true }, 'y')?.toSorted()).toEqual(['a', 'b', 'c1'])
    expect(targets({ broadcast: 2 }, 'z')).toHaveLength(2)
    arrive(sim, 'y', 2 as RunId, [workerId('a'), workerId('b'), workerId('c1')])
    expect(sim.task('y').holders).toHaveLength(3)
  })

  it('that is known need not be sent; on its way it may go to another worker too', () => {
    const sim = cluster({ a: {}, b: {} })
    scatter(sim, 'x', ['a'])
    sim.client('d')
    expect(placedIn(sim, place(sim, ['x'], { client: 'd' }))).toEqual([{ key: 'x', runId: null, workers: [] }])
    expect(sim.told('d')).toMatchObject([{ op: 'key-in-memory', key: 'x' }])
    const [first] = placedIn(sim, place(sim, ['y']))
    const [second] = placedIn(sim, place(sim, ['y'], { client: 'd' }))
    expect(second?.runId).toBe(first?.runId)
    expect(second?.workers[0]?.id).not.toBe(first?.workers[0]?.id)
  })

  it('that is lost while another scatter of it waits for a worker is placed anew', () => {
    const sim = cluster({ a: {} })
    scatter(sim, 'x', ['a'])
    sim.client('d')
    sim.workerLost('a')
    const waiting = place(sim, ['x'], { client: 'd' })
    expect(sim.answer(waiting)).toBeUndefined()
    sim.worker('a', { inventory: { keys: [], tasks: [] } })
    expect(placedIn(sim, waiting)).toMatchObject([{ key: 'x', runId: 2, workers: [{ id: 'a' }] }])
    expect(sim.told('d')).toEqual([])
  })

  it('waits for a worker, and times out with what was asked for', () => {
    const sim = cluster({})
    const soon = place(sim, ['x'])
    const late = place(sim, ['y'], { workers: ['nobody'] })
    sim.worker('a')
    expect(placedIn(sim, soon)).toMatchObject([{ key: 'x', runId: 1 }])
    sim.advance(1000)
    expect(sim.answer(late)).toMatchObject({
      kind: 'Refuse',
      code: 'TIMEOUT',
      message: expect.stringContaining('nobody') as string,
    })
    expect(sim.timers).toEqual([])
  })

  it('5.9-3 that is lost takes its dependents with it; values that are there stay', () => {
    const sim = cluster({ a: {}, b: {} })
    scatter(sim, 'x', ['a'])
    sim.graph({ done: ['x'], run: ['x'], after: ['run'] }, { options: { workers: ['b'] } })
    sim.finish('done')
    sim.take()
    sim.workerLost('a')
    sim.advance(6000)
    const told = sim.told('c')
    expect(told).toMatchObject([{ op: 'cancelled-keys', code: 'DATA_LOST' }])
    expect(new Set((told[0] as { readonly keys?: readonly string[] }).keys)).toEqual(new Set(['x', 'run', 'after']))
    expect(sim.sent('b')).toMatchObject([{ op: 'remove-worker' }, { op: 'free-keys', keys: ['run'] }])
    expect([...sim.state.tasks.keys()]).toEqual(['done'])
    sim.workerSays('b', {
      op: 'release-worker-data',
      keys: [{ key: taskKey('done'), runId: sim.task('done').acceptedRunId as RunId }],
    })
    expect(sim.told('c')).toMatchObject([
      { op: 'lost-data' },
      { op: 'cancelled-keys', keys: ['done'], reason: 'lost dependencies', code: 'DATA_LOST' },
    ])
    expect(sim.state.tasks.size).toBe(0)
  })

  it('that arrives after its client gave it up is freed', () => {
    const sim = cluster({ a: {} })
    placedIn(sim, place(sim, ['x']))
    sim.release('x')
    expect(sim.state.tasks.size).toBe(0)
    // It may be there already.
    expect(sim.sent('a')).toEqual([{ op: 'free-runs', runs: [{ key: 'x', runId: 1 }] }])
    arrive(sim, 'x', 1 as RunId, [workerId('a')])
    expect(sim.sent('a')).toEqual([{ op: 'free-runs', runs: [{ key: 'x', runId: 1 }] }])
  })

  it('of a client that died before it could say so is freed, whether it was there by then or comes later', () => {
    const sim = cluster({ a: {} })
    placedIn(sim, place(sim, ['x', 'y']))
    sim.workerSays('a', { op: 'keys-scattered', keys: [{ key: taskKey('x'), runId: 1 as RunId }] })
    expect(sim.sent('a')).toEqual([])
    sim.says('c', { op: 'close-client' })
    expect(sim.sent('a')).toEqual([
      {
        op: 'free-runs',
        runs: [
          { key: 'x', runId: 1 },
          { key: 'y', runId: 2 },
        ],
      },
    ])
    sim.workerSays('a', { op: 'keys-scattered', keys: [{ key: taskKey('y'), runId: 2 as RunId }] })
    expect(sim.sent('a')).toEqual([{ op: 'free-runs', runs: [{ key: 'y', runId: 2 }] }])
  })

  it('of a client that died is freed everywhere, also where it was before another worker came back with it', () => {
    const sim = cluster({ a: {}, b: {} })
    const x = { key: taskKey('x'), runId: 1 as RunId }
    placedIn(sim, place(sim, ['x'], { broadcast: true }))
    for (const worker of ['a', 'b']) sim.workerSays(worker, { op: 'keys-scattered', keys: [x] })
    sim.workerLost('a')
    sim.worker('a', { inventory: { keys: [{ ...x, nbytes: 10, type: 'array', durable: true }], tasks: [] } })
    expect(sim.sent('b')).toMatchObject([{ op: 'acquire-replicas', inputs: [x] }])
    sim.workerSays('b', { op: 'add-keys', keys: [{ ...x, durable: true, kept: 1 as RunId }] })
    sim.take()
    sim.says('c', { op: 'close-client' })
    for (const worker of ['a', 'b']) expect(sim.sent(worker)).toEqual([{ op: 'free-runs', runs: [x] }])
  })

  it('does not leave a copy of its earlier life where that arrives while the same content is being scattered again', () => {
    const sim = cluster({ a: {}, b: {} })
    scatter(sim, 'x', ['a'])
    sim.release('x')
    placedIn(sim, place(sim, ['x'], { workers: ['a'] }))
    sim.take()
    // Fetched for a task, or because it was asked for; the news crossed all of that.
    sim.workerSays('b', { op: 'add-keys', keys: [{ key: taskKey('x'), runId: 1 as RunId, durable: true }] })
    expect(sim.sent('b')).toEqual([{ op: 'free-runs', runs: [{ key: 'x', runId: 1 }] }])
    // Not so what was just sent there.
    sim.workerSays('a', { op: 'add-keys', keys: [{ key: taskKey('x'), runId: 2 as RunId, durable: true }] })
    expect(sim.sent('a')).toEqual([])
  })

  it('is called back from workers that it was sent to and that may be fetching it, when it is given up', () => {
    const sim = cluster({ a: {}, b: {} })
    placedIn(sim, place(sim, ['x'], { broadcast: true }))
    arrive(sim, 'x', 1 as RunId, [workerId('a')])
    expect(sim.sent('b')).toMatchObject([{ op: 'acquire-replicas', inputs: [{ key: 'x', runId: 1 }] }])
    sim.release('x')
    expect(sim.sent('b')).toEqual([{ op: 'remove-replicas', keys: ['x'] }])
    expect(sim.state.copies.late.size).toBe(0)
  })

  it('whose arrival was told to nobody is found in the inventory', () => {
    const sim = cluster({ a: {} })
    placedIn(sim, place(sim, ['x']))
    sim.workerLost('a')
    const inventory = {
      keys: [{ key: taskKey('x'), runId: 1 as RunId, nbytes: 10, type: 'array', durable: true }],
      tasks: [],
    }
    sim.worker('a', { inventory })
    expect(sim.stateOf('x')).toBe('memory')
    arrive(sim, 'x', 1 as RunId, [workerId('a')])
    expect(sim.task('x').holders).toHaveLength(1)
  })
})

describe('replicas', () => {
  it('5.7-2 of the accepted run are booked; others are dropped again', () => {
    const sim = cluster({ a: {}, b: {} })
    scatter(sim, 'x', ['a'])
    sim.take()
    sim.workerSays('b', {
      op: 'add-keys',
      keys: [
        { key: taskKey('x'), runId: 1 as RunId, durable: false },
        { key: taskKey('unknown'), runId: 9 as RunId, durable: false },
      ],
    })
    expect(sim.take()).toEqual([
      { kind: 'SendToWorker', worker: 'b', messages: [{ op: 'free-runs', runs: [{ key: 'unknown', runId: 9 }] }] },
    ])
    expect(sim.task('x').holders).toHaveLength(2)
    expect(sim.workerRecord('b').nbytes).toBe(10)
  })

  it('5.7-7 become durable, and are named to workers that ask', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    sim.finish('x')
    sim.workerSays('a', { op: 'keys-durable', keys: [{ key: taskKey('x'), runId: 1 as RunId }] })
    expect(sim.workerRecord('a').replicas.get(sim.task('x'))).toBe(true)
    sim.take()
    sim.workerSays('b', { op: 'request-refresh-who-has', keys: [taskKey('x'), taskKey('no')] })
    expect(sim.sent('b')).toEqual([
      {
        op: 'refresh-who-has',
        keys: [
          { key: 'x', runId: 1, nbytes: 100, holders: [{ id: 'a', address: 'tcp://a' }] },
          { key: 'no', runId: 0, nbytes: 0, holders: [] },
        ],
      },
    ])
  })

  it('do not count when what is said of them crosses the order to drop them', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [], y: ['x'] }, { options: { workers: ['a'] } })
    sim.finish('x')
    const news = { key: taskKey('x'), runId: 1 as RunId, durable: false }
    sim.workerSays('b', { op: 'add-keys', keys: [news] })
    sim.finish('y')
    sim.release('x')
    expect(sim.stateOf('x')).toBe('released')
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    sim.workerSays('b', { op: 'add-keys', keys: [{ ...news, kept: 1 as RunId }] })
    expect(sim.stateOf('x')).toBe('processing')
    sim.finish('x')
    expect(sim.task('x').holders.map((worker) => worker.id)).toEqual(['a'])
  })

  it('that a worker asks for although it is counted among those who have it are named to it, for it to say so', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    sim.take()
    sim.workerSays('a', { op: 'request-refresh-who-has', keys: [taskKey('x')] })
    expect(sim.sent('a')).toMatchObject([{ op: 'refresh-who-has', keys: [{ key: 'x', holders: [{ id: 'a' }] }] }])
  })

  it('5.7-3 5.7-8 5.9-11 reported missing are removed and dropped; the last one is recomputed', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    sim.finish('x')
    sim.workerSays('b', { op: 'add-keys', keys: [{ key: taskKey('x'), runId: 1 as RunId, durable: false }] })
    sim.take()
    sim.says('c', {
      op: 'report-missing',
      key: taskKey('x'),
      runId: 1 as RunId,
      workers: [workerId('b'), workerId('nobody')],
    })
    expect(sim.take()).toEqual([
      { kind: 'SendToWorker', worker: 'b', messages: [{ op: 'remove-replicas', keys: ['x'] }] },
    ])
    sim.says('c', { op: 'report-missing', key: taskKey('x'), runId: 1 as RunId, workers: [workerId('a')] })
    expect(sim.told('c')).toEqual([{ op: 'lost-data', key: 'x' }])
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('that can never be read are computed five times again, then the task fails with the reason; a retry begins anew', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    /** The client that missed it is heard first, or its worker. */
    const lose = (clientFirst: boolean): void => {
      const key = taskKey('x')
      const runId = sim.task('x').acceptedRunId as RunId
      const missing = { op: 'report-missing', key, runId, workers: [workerId('a')] } as const
      if (clientFirst) sim.says('c', missing)
      sim.workerSays('a', { op: 'release-worker-data', keys: [{ key, runId, unreadable: 'the disk is broken' }] })
      if (!clientFirst) sim.says('c', missing)
    }
    for (let loss = 0; loss < 6; loss++) {
      sim.finish('x')
      expect(sim.stateOf('x')).toBe('memory')
      lose(loss % 2 === 0)
    }
    // The last news of it came when it was being computed once more.
    if (sim.stateOf('x') === 'processing') {
      sim.finish('x')
      lose(false)
    }
    expect(sim.stateOf('x')).toBe('erred')
    expect(sim.told('c').at(-1)).toMatchObject({
      op: 'task-erred',
      failure: {
        error: {
          kind: 'raised',
          code: 'DATA_LOST',
          message: expect.stringMatching(/the disk is broken/) as string,
        },
      },
    })
    sim.request((number) => ({ kind: 'RetryRequested', request: number, keys: [taskKey('x')] }))
    sim.finish('x')
    lose(false)
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('that are one of several, or were not said to be unreadable, are made up for as often as it takes', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    for (let loss = 0; loss < 30; loss++) {
      sim.finish('x')
      const key = taskKey('x')
      const runId = sim.task('x').acceptedRunId as RunId
      sim.workerSays('b', { op: 'add-keys', keys: [{ key, runId, durable: false }] })
      sim.workerSays('b', { op: 'release-worker-data', keys: [{ key, runId, unreadable: 'a bad copy' }] })
      expect(sim.stateOf('x')).toBe('memory')
      sim.workerSays('a', { op: 'release-worker-data', keys: [{ key, runId }] })
      expect(sim.stateOf('x')).toBe('processing')
    }
  })

  it('5.1-4 announced while the value is being recomputed end the recomputation', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    sim.finish('x')
    sim.workerSays('a', { op: 'release-worker-data', keys: [{ key: taskKey('x'), runId: 1 as RunId }] })
    sim.take()
    sim.workerSays('b', { op: 'add-keys', keys: [{ key: taskKey('x'), runId: 1 as RunId, durable: false }] })
    expect(sim.sent('a')).toEqual([{ op: 'free-keys', keys: ['x'] }])
    expect(sim.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'x' }])
  })
})

describe('clients', () => {
  it('that lose their connection keep their futures for client-grace', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: [] })
    sim.clientLost('c')
    sim.finish('x')
    sim.advance(29_999)
    expect(sim.state.tasks.size).toBe(2)
    sim.client('c')
    sim.take()
    sim.says('c', { op: 'client-desires-keys', keys: [taskKey('x'), taskKey('y')] })
    expect(sim.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'x' }])
    sim.clientLost('c')
    sim.advance(30_000)
    expect(sim.state.tasks.size).toBe(0)
    expect(sim.state.clients.size).toBe(0)
    expect(sim.state.functions.size).toBe(0)
  })

  it('5.8-4 that close release everything at once', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x'] })
    sim.says('c', { op: 'close-client' })
    expect([sim.state.tasks.size, sim.state.clients.size]).toEqual([0, 0])
  })

  it('may forget: fired tasks are done once, then dropped', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], bad: [] })
    sim.says('c', { op: 'fire-and-forget', keys: [taskKey('x'), taskKey('bad')] })
    sim.says('c', { op: 'close-client' })
    expect(sim.state.tasks.size).toBe(2)
    sim.finish('x')
    sim.fail('bad')
    expect(sim.state.tasks.size).toBe(0)
  })
})

describe('restart', () => {
  const restart = (sim: CoreFixture, waitForWorkers = true): number =>
    sim.request((request) => ({ kind: 'RestartRequested', request, timeoutMs: 5000, waitForWorkers }))

  it('forgets everything, wipes workers without a nanny and renews the others', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.nanny('a')
    sim.graph({ x: [], y: [], z: ['x'] })
    sim.finish('x')
    sim.take()
    const request = restart(sim)
    expect(sim.told('c')).toEqual([{ op: 'restart', generation: 2 }])
    expect(sim.sent('b')).toEqual([{ op: 'wipe', generation: 2 }])
    expect(sim.take()).toEqual([{ kind: 'SendToNanny', worker: 'a', message: { op: 'restart-worker', generation: 2 } }])
    expect([sim.state.tasks.size, sim.state.generation]).toEqual([0, 2])
    sim.exited('a')
    expect(sim.answer(request)).toBeUndefined()
    sim.worker('a', { incarnation: 2 })
    expect(sim.answer(request)).toEqual({ kind: 'Answer', request, answer: { generation: 2, workers: 2 } })
    sim.graph({ x: [] })
    sim.finish('x')
    expect(sim.stateOf('x')).toBe('memory')
    expect(sim.timers).toEqual([])
  })

  it('times out naming who did not come back', () => {
    const sim = cluster({ a: {} })
    sim.nanny('a')
    const request = restart(sim)
    sim.advance(5000)
    expect(sim.answer(request)).toMatchObject({ kind: 'Refuse', code: 'TIMEOUT', fields: { missing: ['a'] } })
  })

  it('does not wait for a worker whose nanny gives it up, and forgets who never came back', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.nanny('a')
    sim.nanny('b')
    const request = restart(sim)
    sim.exited('b')
    sim.worker('b', { incarnation: 2 })
    const connection = sim.state.nannies.get(workerId('a')) as number
    const gone = { op: 'worker-gone', workerId: workerId('a'), reason: 'it died too often' } as const
    sim.event({ kind: 'NannyMessages', worker: workerId('a'), connection, messages: [gone] })
    expect(sim.answer(request)).toEqual({ kind: 'Answer', request, answer: { generation: 2, workers: 1 } })
    restart(sim)
    sim.event({ kind: 'NannyLost', worker: workerId('b'), connection: sim.state.nannies.get(workerId('b')) as number })
    sim.advance(30_000)
    expect([...sim.state.restarting]).toEqual([])
  })

  it('does not wait for a worker that has left, whether its nanny ends it or its machine died', () => {
    const sim = cluster({ a: {}, b: {}, c: {} }, { connectionGraceMs: 1000 })
    for (const id of ['a', 'b', 'c']) sim.nanny(id)
    const request = restart(sim)
    sim.exited('a')
    sim.worker('a', { incarnation: 2 })
    sim.exited('b', [], false)
    sim.nannyLost('c')
    sim.workerLost('c')
    expect(sim.answer(request)).toBeUndefined()
    sim.advance(4000)
    expect(sim.answer(request)).toEqual({ kind: 'Answer', request, answer: { generation: 2, workers: 1 } })
  })

  it('makes results of older runs strangers', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    restart(sim)
    sim.take()
    sim.workerSays('a', {
      op: 'task-finished',
      key: taskKey('x'),
      runId: 1 as RunId,
      nbytes: 1,
      type: 't',
      durable: false,
      durationMs: 1,
    })
    expect(sim.sent('a')).toEqual([{ op: 'free-runs', runs: [{ key: 'x', runId: 1 }] }])
  })
})

describe('retirement', () => {
  const retire = (sim: CoreFixture, workers: readonly string[]): number =>
    sim.request((request) => ({ kind: 'RetireRequested', request, workers, closeWorkers: true }))

  it('moves what only the worker holds, waits for its tasks, then closes it', () => {
    const sim = cluster({ a: {}, b: {} })
    scatter(sim, 'x', ['a'])
    sim.graph({ t: [] }, { options: { workers: ['a'] } })
    sim.take()
    const request = retire(sim, ['a'])
    expect(sim.sent('a')).toEqual([{ op: 'set-status', status: 'retiring' }])
    expect(sim.sent('b')).toMatchObject([
      // It has no recipe.
      { op: 'acquire-replicas', inputs: [{ key: 'x', holders: [{ id: 'a' }], durable: true }] },
    ])
    sim.workerSays('b', {
      op: 'add-keys',
      keys: [{ key: taskKey('x'), runId: 1 as RunId, durable: true, kept: 1e9 as RunId }],
    })
    sim.advance(200)
    expect(sim.answer(request)).toBeUndefined()
    sim.finish('t')
    sim.advance(100)
    sim.workerSays('b', {
      op: 'add-keys',
      keys: [{ key: taskKey('t'), runId: sim.task('t').acceptedRunId as RunId, durable: false, kept: 1e9 as RunId }],
    })
    sim.advance(100)
    expect(sim.answer(request)).toEqual({ kind: 'Answer', request, answer: { retired: ['tcp://a'] } })
    expect(sim.sent('a').at(-1)).toEqual({ op: 'close', reason: 'retired' })
    expect([...sim.state.workers.keys()]).toEqual(['b'])
    expect(sim.told('c').filter((message) => message.op === 'lost-data')).toEqual([])
  })
})
