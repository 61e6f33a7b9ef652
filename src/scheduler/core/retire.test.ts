// Retiring workers: 5.10 of the reference's facts; and what is said when a worker is lost for good (5.9-4).

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, type CoreFixture, type WorkerSetup } from './fixture.conformance.ts'

function retire(sim: CoreFixture, workers: readonly string[], closeWorkers = true): number {
  return sim.request((request) => ({ kind: 'RetireRequested', request, workers, closeWorkers }))
}

function put(sim: CoreFixture, key: string, worker: string, nbytes = 100): void {
  sim.graph({ [key]: [] }, { options: { workers: [worker] } })
  sim.finish(key, { nbytes })
}

/** The worker says that it has fetched its copy. */
function copied(sim: CoreFixture, key: string, worker: string): void {
  const runId = sim.task(key).acceptedRunId as RunId
  sim.workerSays(worker, { op: 'add-keys', keys: [{ key: taskKey(key), runId, durable: false, kept: 1e9 as RunId }] })
}

function pause(sim: CoreFixture, worker: string): void {
  sim.workerSays(worker, { op: 'worker-status-change', status: 'paused' })
}

function refuse(sim: CoreFixture, worker: string, key: string): void {
  const runId = sim.task(key).acceptedRunId as RunId
  sim.workerSays(worker, { op: 'release-worker-data', keys: [{ key: taskKey(key), runId }] })
}

const asked = (sim: CoreFixture, worker: string): string[] =>
  sim.sent(worker).flatMap((message) => (message.op === 'acquire-replicas' ? message.inputs.map(({ key }) => key) : []))

const retired = (sim: CoreFixture, request: number): unknown => {
  const effect = sim.answer(request)
  return effect?.kind === 'Answer' ? effect.answer : undefined
}

const three: Record<string, WorkerSetup> = { a: { name: 'alice' }, b: { name: 'bob' }, c1: { name: 'carol' } }

describe('retiring', () => {
  it('refuses when none of the workers is known', () => {
    const sim = cluster(three)
    expect(sim.answer(retire(sim, ['nope', 'x']))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'retireWorkers found none of the workers nope, x',
    })
    expect(retired(sim, retire(sim, []))).toEqual({ retired: [] })
  })

  it('5.10-1 5.10-2 takes workers by name, address or id, which get no new task from then on', () => {
    for (const label of ['alice', 'tcp://a', 'a']) {
      const sim = cluster(three)
      put(sim, 'x', 'a')
      retire(sim, [label])
      expect(sim.workerRecord('a').status).toBe('retiring')
      sim.graph(Object.fromEntries(Array.from({ length: 6 }, (_, n) => [`t${n}`, []])), { fn: 'g' })
      expect(sim.workerRecord('a').processing.size).toBe(0)
    }
  })

  it('5.10-4 copies what only the worker holds, and nothing else', () => {
    const sim = cluster(three)
    put(sim, 'both', 'a')
    copied(sim, 'both', 'b')
    put(sim, 'alone', 'a')
    sim.take()
    const request = retire(sim, ['alice'])
    const takers = { b: asked(sim, 'b'), c1: asked(sim, 'c1') }
    expect([...takers.b, ...takers.c1]).toEqual(['alone'])
    copied(sim, 'alone', takers.b.length > 0 ? 'b' : 'c1')
    sim.advance(100)
    expect(retired(sim, request)).toEqual({ retired: ['tcp://a'] })
    expect([sim.stateOf('both'), sim.stateOf('alone')]).toEqual(['memory', 'memory'])
    expect(sim.told('c').filter(({ op }) => op === 'lost-data')).toEqual([])
  })

  it('5.10-4 of all holders of a value copies it to one that stays', () => {
    const sim = cluster(three)
    put(sim, 'x', 'a')
    copied(sim, 'x', 'b')
    sim.take()
    const request = retire(sim, ['alice', 'bob'])
    expect(asked(sim, 'c1')).toContain('x')
    copied(sim, 'x', 'c1')
    sim.advance(100)
    expect(retired(sim, request)).toEqual({ retired: ['tcp://a', 'tcp://b'] })
    expect(sim.task('x').holders.map(({ id }) => id)).toEqual(['c1'])
  })

  it('5.10-5 5.10-11 waits for what runs there, and takes its value along; nobody is blamed', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ late: [] }, { options: { workers: ['a'] } })
    const request = retire(sim, ['a'])
    sim.advance(1000)
    expect(retired(sim, request)).toBeUndefined()
    sim.finish('late')
    sim.take()
    sim.advance(100)
    expect(asked(sim, 'b')).toEqual(['late'])
    copied(sim, 'late', 'b')
    sim.advance(100)
    expect(retired(sim, request)).toEqual({ retired: ['tcp://a'] })
    expect(sim.task('late').trouble).toBeNull()
  })

  it.each([
    ['there is no other worker', {}],
    ['the others are paused', { b: { status: 'paused' } }],
    ['no other has room (5.10-12 is a fault of the reference)', { b: { memoryLimit: 50 } }],
  ] as const)(
    'acceptance check 57, 5.10-6: is called off when %s, and the worker works on',
    (_why, others: Record<string, WorkerSetup>) => {
      const sim = cluster({ a: {}, ...others })
      put(sim, 'x', 'a', 1000)
      sim.take()
      const request = retire(sim, ['a'])
      // Others that are full may spill.
      if ('b' in others) {
        expect(retired(sim, request)).toBeUndefined()
        sim.advance(6000)
      }
      expect(retired(sim, request)).toEqual({ retired: [] })
      expect(sim.workerRecord('a').status).toBe('running')
      const warnings = sim.take().filter((effect) => effect.kind === 'Log' && effect.level === 'warning')
      expect(warnings).toMatchObject([{ message: expect.stringContaining('cannot retire') as string }])
    },
  )

  it.each([
    ['is overdue', 9000, 2000, () => {}],
    ['will not come soon: its worker paused', 0, 1000, (sim: CoreFixture) => pause(sim, 'b')],
    ['was refused', 0, 1000, (sim: CoreFixture) => refuse(sim, 'b', 'x')],
  ] as const)('5.10-7 asks another when a copy %s', (_how, beforeMs, afterMs, happens) => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a')
    sim.take()
    retire(sim, ['a'])
    expect(asked(sim, 'b')).toEqual(['x'])
    sim.worker('d')
    put(sim, 'ballast', 'b', 1000)
    sim.advance(beforeMs)
    expect(asked(sim, 'd')).toEqual([])
    happens(sim)
    sim.advance(afterMs)
    expect(asked(sim, 'd')).toEqual(['x'])
  })

  it.each([
    ['is overdue', 12_000, () => {}],
    ['will not come soon: its worker paused', 1000, (sim: CoreFixture) => pause(sim, 'b')],
  ] as const)('calls a copy back that %s, when the value goes', (_how, afterMs, happens) => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a')
    retire(sim, ['a'])
    sim.worker('d')
    put(sim, 'ballast', 'b', 1000)
    happens(sim)
    sim.advance(afterMs)
    expect(asked(sim, 'd')).toEqual(['x'])
    sim.take()
    sim.release('x')
    for (const worker of ['b', 'd']) expect(sim.sent(worker)).toEqual([{ op: 'remove-replicas', keys: ['x'] }])
    expect(sim.state.copies.late.size).toBe(0)
  })

  it('calls nothing back that has come late, or was refused', () => {
    for (const ends of [copied, (sim: CoreFixture) => refuse(sim, 'b', 'x')]) {
      const sim = cluster({ a: {}, b: {} })
      put(sim, 'x', 'a')
      retire(sim, ['a'])
      pause(sim, 'b')
      sim.advance(1000)
      ends(sim, 'x', 'b')
      sim.take()
      sim.release('x')
      expect(sim.sent('b').filter(({ op }) => op === 'remove-replicas')).toEqual([])
    }
  })

  it('5.10-8 leaves the worker where it is when it is not to be closed', () => {
    const sim = cluster({ a: {}, b: {} })
    const request = retire(sim, ['a'], false)
    expect(retired(sim, request)).toEqual({ retired: ['tcp://a'] })
    expect(sim.sent('a')).toEqual([{ op: 'set-status', status: 'retiring' }])
    expect(sim.workerRecord('a').status).toBe('retiring')
  })

  it('5.10-10 5.10-15 of several at a time answers each with its own', () => {
    const sim = cluster(three)
    put(sim, 'x', 'a')
    const first = retire(sim, ['alice'])
    const second = retire(sim, ['bob', 'nobody'])
    expect([retired(sim, first), retired(sim, second)]).toEqual([undefined, { retired: ['tcp://b'] }])
    sim.advance(11_000)
    copied(sim, 'x', 'c1')
    sim.advance(100)
    expect(retired(sim, first)).toEqual({ retired: ['tcp://a'] })
  })

  it('5.10-14 of nine of ten workers loses none of a thousand values', () => {
    const workers = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`w${n}`, {}]))
    const sim = cluster(workers)
    for (let n = 0; n < 1000; n++) put(sim, `v${n}`, `w${n % 10}`, 10)
    sim.take()
    const request = retire(sim, Object.keys(workers).slice(1))
    const keys = asked(sim, 'w0')
    expect(keys).toHaveLength(900)
    for (const key of keys) copied(sim, key, 'w0')
    sim.advance(100)
    expect(retired(sim, request)).toMatchObject({ retired: { length: 9 } })
    expect(taskStates(sim)).toEqual(new Set(['memory']))
  })
})

const taskStates = (sim: CoreFixture): Set<string> => new Set([...sim.state.tasks.values()].map(({ state }) => state))

describe('a worker that is lost for good', () => {
  it('5.9-4 is mourned in the log: what is computed again and what is lost', () => {
    const sim = cluster({ a: {}, b: {} })
    put(sim, 'x', 'a')
    sim.take()
    sim.workerLost('a')
    sim.advance(6000)
    const logs = sim.take().flatMap((effect) => (effect.kind === 'Log' ? [`${effect.level}: ${effect.message}`] : []))
    expect(logs).toEqual([
      expect.stringMatching(/^info: worker tcp:\/\/a is removed: it did not come back/),
      expect.stringMatching(/^warning: 1 values that only tcp:\/\/a had are computed again/),
    ])
  })

  it('5.6-4 takes the tasks that only it may run out of the race, until it or its like is back', () => {
    const sim = cluster({ a: { name: 'alice' }, b: {} })
    sim.graph({ x: [], y: ['x'] }, { options: { workers: ['alice'] } })
    sim.finish('x')
    sim.workerLost('a')
    sim.advance(6000)
    expect([sim.stateOf('x'), sim.stateOf('y')]).toEqual(['no-worker', 'waiting'])
    sim.worker('a2', { name: 'alice' })
    expect(sim.on('x')).toBe('a2')
    sim.finish('x')
    expect(sim.on('y')).toBe('a2')
  })

  it('5.2-10 leaves tasks that are looked at again in the order of their priority', () => {
    const sim = cluster({ b: {} })
    const options = (priority: number) => ({ options: { workers: ['alice'], priority } })
    sim.graph({ last: [] }, options(0))
    sim.graph({ first: [] }, options(9))
    sim.graph({ second: [] }, options(3))
    sim.take()
    sim.worker('a', { name: 'alice', nthreads: 1 })
    const order = sim.sent('a').flatMap((message) => (message.op === 'compute-task' ? [message.key] : []))
    expect(order).toEqual(['first', 'second', 'last'])
  })
})
