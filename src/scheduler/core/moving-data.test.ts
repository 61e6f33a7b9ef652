// Data where it is wanted: replicate, rebalance, scatter and the memory manager (4.5, 4.7, 5.11, 5.12 of the reference's facts,
// acceptance checks 26, 50 and 52 to 55).

import { describe, expect, it } from 'vitest'
import { clientId, type RunId, taskKey } from '../../base/ids.ts'
import type { SchedulerToWorker } from '../../protocol/scheduler-worker.ts'
import { cluster, CoreFixture, range, type WorkerSetup } from './fixture.conformance.ts'
import { reduceReplicas } from './reduce-replicas.ts'

const MIB = 2 ** 20
const LIMIT = 1000 * MIB

/** What workers were told and have not done yet, so that a test can look at any moment between. */
class Movers {
  readonly sim: CoreFixture
  readonly inbox = new Map<string, SchedulerToWorker[]>()
  /** The least number of live copies that any value ever had. */
  fewestCopies = Infinity

  constructor(sim: CoreFixture) {
    this.sim = sim
  }

  /** Copies and removals as far as they are ordered, one message after the other, until there are none. */
  settle(): void {
    for (let busy = true; busy;) {
      busy = false
      for (const worker of this.sim.state.workers.values()) {
        for (const message of this.sim.sent(worker.id)) busy = this.obey(worker.id, message) || busy
      }
    }
  }

  obey(worker: string, message: SchedulerToWorker): boolean {
    if (message.op === 'acquire-replicas') {
      for (const { key, runId, holders } of message.inputs) {
        const here = this.sim.workerRecord(worker).replicas.has(this.sim.task(key))
        expect(here || holders.length > 0).toBe(true)
        const kept = this.sim.state.runCounter as RunId
        this.sim.workerSays(worker, { op: 'add-keys', keys: [{ key, runId, durable: false, kept }] })
      }
    } else if (message.op === 'remove-replicas') {
      for (const key of message.keys) {
        const runId = this.sim.task(key).acceptedRunId as RunId
        this.sim.workerSays(worker, { op: 'release-worker-data', keys: [{ key, runId }] })
        const left = this.sim.task(key).holders.filter(({ link }) => link === 'live').length
        this.fewestCopies = Math.min(this.fewestCopies, left)
      }
    } else return false
    return true
  }
}

function put(sim: CoreFixture, key: string, worker: string, nbytes = 100): void {
  sim.graph({ [key]: [] }, { options: { workers: [worker] } })
  sim.finish(key, { nbytes })
}

/** As after a fetch for a task: the worker may drop it again. */
function fetched(sim: CoreFixture, key: string, worker: string): void {
  const runId = sim.task(key).acceptedRunId as RunId
  sim.workerSays(worker, { op: 'add-keys', keys: [{ key: taskKey(key), runId, durable: false }] })
}

const holders = (sim: CoreFixture, key: string): string[] => sim.task(key).holders.map(({ id }) => id as string)

const acquired = (messages: readonly SchedulerToWorker[]): string[] =>
  messages.flatMap((message) => (message.op === 'acquire-replicas' ? message.inputs.map(({ key }) => key) : []))

interface Replicate {
  readonly n?: number
  readonly workers?: readonly string[]
  readonly branchingFactor?: number
}

function replicate(sim: CoreFixture, keys: readonly string[], options: Replicate = {}): number {
  const { n = null, workers = null, branchingFactor = 2 } = options
  const kind = 'ReplicateRequested'
  return sim.request((request) => ({ kind, request, keys: keys.map(taskKey), n, workers, branchingFactor }))
}

function rebalance(sim: CoreFixture, options: { keys?: readonly string[]; workers?: readonly string[] } = {}): number {
  const keys = options.keys?.map(taskKey) ?? null
  const workers = options.workers ?? null
  return sim.request((request) => ({ kind: 'RebalanceRequested', request, keys, workers, measure: null }))
}

function manage(sim: CoreFixture, action: 'start' | 'stop' | 'run-once' | 'ask' = 'run-once'): unknown {
  const request = sim.request((number) => ({ kind: 'MemoryManagerRequested', request: number, action }))
  return answerOf(sim, request)
}

function answerOf(sim: CoreFixture, request: number): unknown {
  const effect = sim.answer(request)
  return effect?.kind === 'Answer' ? effect.answer : (effect ?? undefined)
}

const four: Record<string, WorkerSetup> = { a: {}, b: {}, c1: {}, d: {} }
const limited = (ids: readonly string[]): Record<string, WorkerSetup> =>
  Object.fromEntries(ids.map((id) => [id, { memoryLimit: LIMIT }]))
/** As by default. */
const REBALANCE = { measure: 'optimistic', senderMin: 0.3, recipientMax: 0.6, gap: 0.1 } as const
const reducing = {
  memoryManager: { start: false, intervalMs: 2000, measure: 'managed', policies: [reduceReplicas] },
} as const

describe('replicate', () => {
  it('4.7-6 copies as a tree: as many at a time as the branching factor says for each that has one', () => {
    const sim = cluster(Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`w${n}`, {}])))
    put(sim, 'x', 'w0')
    sim.take()
    const request = replicate(sim, ['x'], { branchingFactor: 2 })
    const rounds: number[] = []
    for (let open = true; open;) {
      const round = [...sim.state.workers.keys()].filter((id) => acquired(sim.sent(id)).length > 0)
      open = round.length > 0
      if (open) rounds.push(round.length)
      for (const id of round) new Movers(sim).obey(id, acquire(sim, 'x'))
    }
    expect(rounds).toEqual([2, 6, 1])
    expect(answerOf(sim, request)).toEqual({ copies: 9, incomplete: [] })
    expect(holders(sim, 'x')).toHaveLength(10)
    expect(sim.state.copies.orders.size).toBe(0)
  })

  const acquire = (sim: CoreFixture, key: string): SchedulerToWorker => {
    const { acceptedRunId, nbytes } = sim.task(key)
    const first = sim.task(key).holders[0]?.holder
    const input = {
      key: taskKey(key),
      runId: acceptedRunId as RunId,
      nbytes,
      holders: first === undefined ? [] : [first],
    }
    return { op: 'acquire-replicas', inputs: [input] }
  }

  it('4.7-4 4.7-7 goes to the workers named, at most to all of them', () => {
    const sim = cluster({ a: { name: 'alice' }, b: { name: 'bob' }, c1: { host: 'hall' }, d: {} })
    put(sim, 'x', 'a')
    sim.take()
    const request = replicate(sim, ['x'], { workers: ['bob', 'hall'], n: 5 })
    new Movers(sim).settle()
    expect(answerOf(sim, request)).toEqual({ copies: 2, incomplete: [] })
    expect(holders(sim, 'x')).toEqual(['a', 'b', 'c1'])
  })

  it('4.7-5 with a smaller number removes copies, one stays', () => {
    const sim = cluster(four)
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    expect(holders(sim, 'x')).toHaveLength(4)
    const request = replicate(sim, ['x'], { n: 1 })
    expect(answerOf(sim, request)).toBeUndefined()
    movers.settle()
    expect(answerOf(sim, request)).toEqual({ copies: 0, incomplete: [] })
    expect(holders(sim, 'x')).toHaveLength(1)
    expect(movers.fewestCopies).toBe(1)
  })

  it('counts a copy that was fetched for a task only when its worker keeps it', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a')
    fetched(sim, 'x', 'b')
    sim.take()
    const request = replicate(sim, ['x'], { n: 2 })
    expect(acquired(sim.sent('b'))).toEqual(['x'])
    expect(answerOf(sim, request)).toBeUndefined()
    new Movers(sim).obey('b', acquire(sim, 'x'))
    expect(answerOf(sim, request)).toEqual({ copies: 1, incomplete: [] })
  })

  it('refuses workers of which none is there', () => {
    const sim = cluster({ a: {} })
    put(sim, 'x', 'a')
    const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('none of the workers bob') as string }
    expect(answerOf(sim, replicate(sim, ['x'], { workers: ['bob'] }))).toMatchObject(refused)
    expect(answerOf(sim, rebalance(sim, { workers: ['bob'] }))).toMatchObject(refused)
  })

  it('refuses what is not in memory, by name', () => {
    const sim = cluster({ a: {} })
    sim.graph({ running: [] })
    for (const [key, how] of [
      ['running', 'processing'],
      ['unknown', 'not known'],
    ] as const)
      expect(answerOf(sim, replicate(sim, [key]))).toMatchObject({
        kind: 'Refuse',
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(new RegExp(`"${key}" is ${how}`)) as string,
      })
  })

  it('copies only where there is room, and says what is missing when nothing moves any more', () => {
    const sim = cluster({ ...limited(['a', 'b']), d: { memoryLimit: LIMIT } })
    put(sim, 'x', 'a', 300 * MIB)
    sim.beat('b', { process: 600 * MIB })
    sim.beat('d', { process: 100 * MIB })
    const request = replicate(sim, ['x'])
    expect(acquired(sim.sent('b'))).toEqual([])
    new Movers(sim).settle()
    sim.advance(5000)
    expect(answerOf(sim, request)).toBeUndefined()
    sim.advance(6000)
    expect(answerOf(sim, request)).toEqual({ copies: 1, incomplete: [{ key: 'x', copies: 2, wanted: 3 }] })
    expect(sim.state.requests.size).toBe(0)
  })

  it('goes on when a worker has room again', () => {
    const sim = cluster(limited(['a', 'b']))
    put(sim, 'x', 'a', 300 * MIB)
    sim.beat('b', { process: 600 * MIB })
    const request = replicate(sim, ['x'])
    sim.advance(3000)
    expect(acquired(sim.sent('b'))).toEqual([])
    sim.beat('b', { process: 100 * MIB })
    sim.advance(300)
    new Movers(sim).settle()
    expect(answerOf(sim, request)).toEqual({ copies: 1, incomplete: [] })
  })

  it('asks another worker when one is lost on the way', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} })
    put(sim, 'x', 'a')
    put(sim, 'ballast', 'c1', 500)
    sim.take()
    const request = replicate(sim, ['x'], { n: 2 })
    expect(acquired(sim.sent('b'))).toEqual(['x'])
    sim.workerLost('b')
    new Movers(sim).settle()
    expect(answerOf(sim, request)).toEqual({ copies: 1, incomplete: [] })
    expect(holders(sim, 'x')).toEqual(['a', 'c1'])
  })
})

describe('acceptance check 26: a paused worker is no destination', () => {
  const paused = { a: {}, b: { status: 'paused' }, c1: {} } as const

  it('of scatter, which waits while all are paused and goes on when one resumes', () => {
    const sim = cluster({ b: { status: 'paused' } })
    const question = { entries: [{ key: taskKey('x'), nbytes: 10, type: 't' }], broadcast: true, timeoutMs: 1000 }
    const request = sim.request((number) => ({
      kind: 'ScatterRequested',
      request: number,
      client: clientId('c'),
      question,
    }))
    expect(answerOf(sim, request)).toBeUndefined()
    sim.workerSays('b', { op: 'worker-status-change', status: 'running' })
    expect(answerOf(sim, request)).toMatchObject({ placed: [{ key: 'x', workers: [{ id: 'b' }] }] })
  })

  it('of replicate', () => {
    const sim = cluster(paused)
    put(sim, 'x', 'a')
    const request = replicate(sim, ['x'])
    new Movers(sim).settle()
    expect(holders(sim, 'x')).toEqual(['a', 'c1'])
    expect(answerOf(sim, request)).toEqual({ copies: 1, incomplete: [] })
  })

  it('of rebalance', () => {
    const sim = cluster({ ...limited(['a', 'c1']), b: { memoryLimit: LIMIT, status: 'paused' } })
    for (let n = 0; n < 14; n++) put(sim, `x${n}`, 'a', 50 * MIB)
    rebalance(sim)
    new Movers(sim).settle()
    expect(sim.workerRecord('b').nbytes).toBe(0)
    expect(sim.workerRecord('c1').nbytes).toBeGreaterThan(0)
  })

  it('of the memory manager', () => {
    const twice = {
      name: 'twice',
      *run(state: CoreFixture['state']) {
        for (const task of state.tasks.values()) yield { op: 'replicate' as const, task }
      },
    }
    const memoryManager = { ...reducing.memoryManager, policies: [twice, twice, twice] }
    const sim = cluster(paused, { memoryManager })
    put(sim, 'x', 'a')
    manage(sim)
    new Movers(sim).settle()
    expect(holders(sim, 'x')).toEqual(['a', 'c1'])
  })

  it('of a task that may run elsewhere; one that may not waits', () => {
    const sim = cluster(paused)
    sim.graph({ free: [] }, { options: { workers: ['b'], allowOtherWorkers: true } })
    sim.graph({ bound: [] }, { options: { workers: ['b'] } })
    expect(['a', 'c1']).toContain(sim.on('free'))
    expect(sim.stateOf('bound')).toBe('no-worker')
    sim.workerSays('b', { op: 'worker-status-change', status: 'running' })
    expect(sim.on('bound')).toBe('b')
  })
})

describe('acceptance check 50: a thousand producers and one thread', () => {
  const peak = (saturation: number): number => {
    const sim = cluster({ a: { nthreads: 1 } }, { saturation })
    sim.says('c', {
      op: 'update-graph',
      groups: [
        group(
          'root',
          Array.from({ length: 1000 }, (_, n) => [`root-${n}`, []]),
        ),
        group(
          'reduce',
          Array.from({ length: 1000 }, (_, n) => [`reduce-${n}`, [`root-${n}`]]),
        ),
      ],
      functions: [
        { id: 'root' as never, bytes: new Uint8Array([1]) },
        { id: 'reduce' as never, bytes: new Uint8Array([2]) },
      ],
      wanted: Array.from({ length: 1000 }, (_, n) => taskKey(`reduce-${n}`)),
    })
    let most = 0
    const worker = sim.workerRecord('a')
    while (worker.processing.size > 0) {
      // A worker runs what is most urgent of what it has.
      const [next] = [...worker.processing].sort((a, b) => a.turn - b.turn || a.order - b.order)
      sim.finish(next?.key ?? '', { nbytes: next?.key.startsWith('root') === true ? 10 * MIB : 8, durationMs: 1000 })
      most = Math.max(most, worker.nbytes)
      sim.take()
    }
    expect(sim.stateOf('reduce-999')).toBe('memory')
    return most
  }

  const group = (name: string, tasks: readonly (readonly [string, readonly string[]])[]) => ({
    fn: name as never,
    name,
    options: {},
    tasks: tasks.map(([key, inputs]) => [taskKey(key), new Uint8Array([1]), inputs.map(taskKey)] as const),
  })

  it('keeps as many results as there are slots, and one', () => {
    expect(peak(1.1)).toBeLessThanOrEqual(3 * 10 * MIB + 8 * 1000)
  })
})

describe('rebalance', () => {
  it('acceptance check 52: spreads what one worker holds until all are near the mean, never with less than one copy', () => {
    const sim = cluster(limited(['a', 'b', 'c1', 'd']))
    for (let n = 0; n < 70; n++) put(sim, `x${n}`, 'a', 10 * MIB)
    const movers = new Movers(sim)
    const request = rebalance(sim)
    movers.settle()
    const moved = answerOf(sim, request) as { moved: number; movedBytes: number; notMoved: readonly string[] }
    expect(moved).toMatchObject({ moved: expect.any(Number) as number, notMoved: [] })
    expect(moved.movedBytes).toBe(moved.moved * 10 * MIB)
    const mean = (70 * 10 * MIB) / 4
    for (const worker of sim.state.workers.values())
      expect(Math.abs(worker.nbytes - mean)).toBeLessThanOrEqual(0.05 * LIMIT)
    for (let n = 0; n < 70; n++) expect(holders(sim, `x${n}`)).toHaveLength(1)
    expect(movers.fewestCopies).toBe(1)
  })

  it('acceptance check 53: moves nothing while all are below 0.3 of their limits', () => {
    const sim = cluster(limited(['a', 'b', 'c1', 'd']))
    for (let n = 0; n < 29; n++) put(sim, `x${n}`, 'a', 10 * MIB)
    expect(answerOf(sim, rebalance(sim))).toEqual({ moved: 0, movedBytes: 0, notMoved: [] })
    expect(sim.sent('b')).toEqual([])
  })

  it('5.11-5 gives nothing to a worker above 0.6 of its limit, nor more than it has room for', () => {
    const sim = cluster({ a: { memoryLimit: 4 * LIMIT }, ...limited(['b', 'c1']) })
    for (let n = 0; n < 30; n++) put(sim, `x${n}`, 'a', 100 * MIB)
    put(sim, 'own', 'b', 650 * MIB)
    // What c1 uses beside values leaves room for two.
    sim.beat('c1', { process: 590 * MIB })
    const request = rebalance(sim)
    expect(acquired(sim.sent('b'))).toEqual([])
    new Movers(sim).settle()
    expect(answerOf(sim, request)).toMatchObject({ moved: 2 })
    expect(sim.workerRecord('c1').nbytes).toBe(200 * MIB)
  })

  it.each([
    ['sender-min', { senderMin: 0.1 }, { senderMin: 0.3 }],
    ['recipient-max', { recipientMax: 0.15 }, { recipientMax: 0.05 }],
    ['sender-recipient-gap', { gap: 0.18 }, { gap: 0.24 }],
  ])('heeds %s', (_key, moves, rests) => {
    // Both are 0.1 of their limit away from their mean.
    const movedWith = (options: object): number => {
      const sim = cluster(limited(['a', 'b']), { rebalance: { ...REBALANCE, senderMin: 0.1, ...options } })
      for (let n = 0; n < 29; n++) put(sim, `x${n}`, 'a', 10 * MIB)
      for (let n = 0; n < 9; n++) put(sim, `y${n}`, 'b', 10 * MIB)
      const request = rebalance(sim)
      new Movers(sim).settle()
      return (answerOf(sim, request) as { readonly moved: number }).moved
    }
    expect(movedWith(moves)).toBeGreaterThan(0)
    expect(movedWith(rests)).toBe(0)
  })

  it.each([
    ['process', 'b', 'a'],
    ['optimistic', 'a', 'b'],
    ['managed', 'b', 'a'],
    ['managedInMemory', 'b', 'a'],
    ['managedTotal', 'a', 'b'],
  ] as const)('compares %s when that is asked for', (measure, from, to) => {
    const sim = cluster(limited(['a', 'b']), { rebalance: { ...REBALANCE, measure } })
    for (let n = 0; n < 60; n++) put(sim, `x${n}`, 'a', 10 * MIB)
    for (let n = 0; n < 30; n++) put(sim, `y${n}`, 'b', 10 * MIB)
    const rest = { limit: LIMIT, unmanaged: 0, unmanagedRecent: 0, spilled: 0 }
    const old = { unmanaged: 400 * MIB, spilled: 500 * MIB }
    sim.beat('a', { memory: { ...rest, ...old, process: 500 * MIB, managed: 100 * MIB } })
    sim.beat('b', { memory: { ...rest, process: 700 * MIB, managed: 300 * MIB, unmanagedRecent: 400 * MIB } })
    sim.take()
    rebalance(sim)
    expect(acquired(sim.sent(to)).length).toBeGreaterThan(0)
    expect(acquired(sim.sent(from))).toEqual([])
  })

  it('5.11-6 without limits makes all hold the same', () => {
    const sim = cluster({ a: {}, b: {} })
    for (let n = 0; n < 10; n++) put(sim, `x${n}`, 'a')
    rebalance(sim)
    new Movers(sim).settle()
    expect([sim.workerRecord('a').nbytes, sim.workerRecord('b').nbytes]).toEqual([500, 500])
  })

  it('5.11-7 5.11-8 5.11-9 gives the oldest value that fits, and none to a worker that has it', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} })
    put(sim, 'there', 'a', 100)
    fetched(sim, 'there', 'b')
    put(sim, 'large', 'a', 900)
    for (let n = 0; n < 5; n++) put(sim, `x${n}`, 'a', 100)
    put(sim, 'other', 'c1', 500)
    sim.take()
    rebalance(sim)
    expect(acquired(sim.sent('b'))).toEqual(['x0', 'x1', 'x2', 'x3', 'x4'])
    expect(acquired(sim.sent('c1'))).toEqual(['there'])
  })

  it('moves only the values and among the workers that are named', () => {
    const sim = cluster({ a: { name: 'alice' }, b: { name: 'bob' }, c1: {} })
    for (let n = 0; n < 6; n++) put(sim, `x${n}`, 'a')
    sim.take()
    const request = rebalance(sim, { keys: ['x4', 'x5'], workers: ['alice', 'bob'] })
    expect([acquired(sim.sent('b')), acquired(sim.sent('c1'))]).toEqual([['x4', 'x5'], []])
    expect(answerOf(sim, request)).toBeUndefined()
    expect(answerOf(sim, rebalance(sim, { keys: ['none'] }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('5.11-13 says what did not move: its worker was lost, or could not take it', () => {
    const sim = cluster({ a: {}, b: {} })
    for (let n = 0; n < 4; n++) put(sim, `x${n}`, 'a')
    sim.take()
    const request = rebalance(sim)
    const [first, second] = acquired(sim.sent('b'))
    const refused = { key: taskKey(first ?? ''), runId: sim.task(first ?? '').acceptedRunId as RunId }
    sim.workerSays('b', { op: 'release-worker-data', keys: [refused] })
    sim.workerLost('b')
    expect(answerOf(sim, request)).toEqual({ moved: 0, movedBytes: 0, notMoved: [first, second] })
    expect(holders(sim, 'x0')).toEqual(['a'])
  })

  it('orders so many moves at a time, and the rest when these have ended', () => {
    const sim = new CoreFixture({ validate: false })
    sim.client('c')
    for (const worker of ['a', 'b']) sim.worker(worker)
    const keys = Object.keys(range(42_000, 'x'))
    sim.graph(Object.fromEntries(keys.map((key) => [key, []])), { options: { workers: ['a'] } })
    for (const key of keys) sim.finish(key)
    sim.take()
    const request = rebalance(sim)
    expect(sim.state.copies.orders.size).toBe(20_000)
    new Movers(sim).settle()
    expect(answerOf(sim, request)).toMatchObject({ moved: 21_000, notMoved: [] })
  })

  it('5.11-15 of nothing is done at once', () => {
    const nothing = { moved: 0, movedBytes: 0, notMoved: [] }
    expect(answerOf(cluster({}), 0)).toBeUndefined()
    const sim = cluster({})
    expect(answerOf(sim, rebalance(sim))).toEqual(nothing)
    expect(answerOf(sim, rebalance(sim, { keys: [] }))).toEqual(nothing)
  })
})

describe('the memory manager', () => {
  it.each([
    ['acceptance check 54: removes copies that nobody needs at its next pass', true, 1],
    ['acceptance check 54: leaves them while it is off', false, 3],
  ] as const)('%s', (_what, start, left) => {
    const sim = cluster(four, { memoryManager: { ...reducing.memoryManager, start } })
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    const request = replicate(sim, ['x'], { n: 3 })
    movers.settle()
    expect(answerOf(sim, request)).toMatchObject({ copies: 2 })
    expect(holders(sim, 'x')).toHaveLength(3)
    sim.advance(2000)
    movers.settle()
    expect(holders(sim, 'x')).toHaveLength(left)
    expect(movers.fewestCopies).toBe(start ? 1 : Infinity)
  })

  it('acceptance check 55: keeps a copy per worker that runs a task which needs it, then one', () => {
    const sim = cluster(four, reducing)
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    for (const worker of ['a', 'b', 'c1']) sim.graph({ [`use-${worker}`]: ['x'] }, { options: { workers: [worker] } })
    manage(sim)
    movers.settle()
    expect(holders(sim, 'x')).toEqual(['a', 'b', 'c1'])
    for (const worker of ['a', 'b', 'c1']) sim.finish(`use-${worker}`)
    manage(sim)
    movers.settle()
    expect(holders(sim, 'x')).toHaveLength(1)
  })

  it('5.12-2 is started, stopped, run once and asked for', () => {
    const sim = cluster(four, reducing)
    expect(manage(sim, 'ask')).toMatchObject({ running: false })
    expect(manage(sim, 'start')).toMatchObject({ running: true })
    expect(sim.timers).toContain('memory-manager')
    expect(manage(sim, 'stop')).toMatchObject({ running: false })
    expect(sim.timers).not.toContain('memory-manager')
  })

  it('5.12-9 drops from workers that are not running first, then from the fullest', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} }, reducing)
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    put(sim, 'ballast', 'c1', 1000)
    sim.workerSays('b', { op: 'worker-status-change', status: 'paused' })
    manage(sim)
    movers.settle()
    expect(holders(sim, 'x')).toEqual(['a'])
  })

  it.each([
    ['process', 'a'],
    ['managed', 'b'],
  ] as const)('5.12-9 compares %s when that is asked for', (measure, left) => {
    const sim = cluster({ a: {}, b: {} }, { memoryManager: { ...reducing.memoryManager, measure } })
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    put(sim, 'ballast', 'a', 1000)
    sim.beat('b', { process: 5000 })
    manage(sim)
    movers.settle()
    expect(holders(sim, 'x')).toEqual([left])
  })

  it('5.12-10 has a copy that may vanish kept before it removes another', () => {
    const sim = cluster({ a: {}, b: {} }, reducing)
    put(sim, 'x', 'a', 100)
    put(sim, 'ballast', 'a', 1000)
    fetched(sim, 'x', 'b')
    sim.take()
    expect(manage(sim)).toMatchObject({ removals: 1 })
    expect(sim.sent('a')).toEqual([])
    // It has vanished: nothing is removed, and nothing lost.
    const runId = sim.task('x').acceptedRunId as RunId
    sim.workerSays('b', { op: 'release-worker-data', keys: [{ key: taskKey('x'), runId }] })
    expect(sim.sent('a')).toEqual([])
    expect(holders(sim, 'x')).toEqual(['a'])
    fetched(sim, 'x', 'b')
    sim.take()
    manage(sim)
    new Movers(sim).settle()
    expect(holders(sim, 'x')).toEqual(['b'])
  })

  it('5.12-12 leaves the only replica on a running worker while tasks on paused ones need theirs', () => {
    const sim = cluster({ a: {}, b: {} }, reducing)
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    sim.graph({ use: ['x'] }, { options: { workers: ['b'] } })
    sim.workerSays('b', { op: 'worker-status-change', status: 'paused' })
    manage(sim)
    movers.settle()
    expect(holders(sim, 'x')).toEqual(['a', 'b'])
  })

  it('5.12-17 learns that a worker kept a copy because a task there needs it', () => {
    const sim = cluster({ a: {}, b: {} }, reducing)
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    manage(sim)
    expect([...sim.state.copies.removals.keys()]).toHaveLength(1)
    const [worker] = [...(sim.state.copies.removals.get(sim.task('x'))?.keys() ?? [])]
    fetched(sim, 'x', worker?.id ?? '')
    expect(sim.state.copies.removals.size).toBe(0)
    expect(holders(sim, 'x')).toHaveLength(2)
  })

  it('5.12-18 counts many waiters one by one, and none twice on one worker', () => {
    const sim = cluster(four, reducing)
    put(sim, 'x', 'a')
    const movers = new Movers(sim)
    replicate(sim, ['x'])
    movers.settle()
    sim.graph({ u: ['x'], v: ['x'], w: ['x'] }, { options: { workers: ['a'] } })
    manage(sim)
    movers.settle()
    expect(holders(sim, 'x')).toEqual(['a'])
  })

  it('logs a policy that throws, and runs the others', () => {
    const broken = {
      name: 'broken',
      // eslint-disable-next-line require-yield
      *run(): Generator<never, void, never> {
        throw new Error('oops')
      },
    }
    const memoryManager = { ...reducing.memoryManager, policies: [broken, reduceReplicas] }
    const sim = cluster({ a: {}, b: {} }, { memoryManager })
    put(sim, 'x', 'a')
    replicate(sim, ['x'])
    new Movers(sim).settle()
    sim.take()
    expect(manage(sim)).toMatchObject({ removals: 1 })
    const warnings = sim.take().filter((effect) => effect.kind === 'Log' && effect.level === 'warning')
    expect(warnings).toMatchObject([{ message: 'the memory policy broken failed: oops' }])
  })
})

describe('the last copy', () => {
  it('is kept by its worker, which may drop others', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a')
    fetched(sim, 'x', 'b')
    sim.take()
    sim.workerLost('a')
    sim.advance(6000)
    expect(holders(sim, 'x')).toEqual(['b'])
    expect(acquired(sim.sent('b'))).toEqual(['x'])
  })
})

describe('scatter', () => {
  it('4.5-3 goes round by threads', () => {
    const sim = cluster({ a: { nthreads: 1 }, b: { nthreads: 3 } })
    const entries = Object.keys(range(8, 's')).map((key) => ({ key: taskKey(key), nbytes: 1, type: 't' }))
    const request = sim.request((number) => ({
      kind: 'ScatterRequested',
      request: number,
      client: clientId('c'),
      question: { entries, broadcast: false, timeoutMs: 1000 },
    }))
    const { placed } = answerOf(sim, request) as { placed: readonly { workers: readonly { id: string }[] }[] }
    const ids = placed.map(({ workers }) => workers[0]?.id)
    expect(ids.filter((id) => id === 'a')).toHaveLength(2)
    expect(ids.slice(0, 2)).toEqual(['a', 'b'])
  })
})
