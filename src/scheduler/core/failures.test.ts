// What becomes of a task whose run fails: each kind of bad luck has its own budget, and only the executing run is blamed.

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, CoreFixture } from './fixture.conformance.ts'
import type { TaskFailure } from './records.ts'

function codeOf(failure: TaskFailure | null): string {
  return failure?.error.kind === 'raised' ? failure.error.code : (failure?.error.kind ?? 'none')
}

describe('errors of the task itself', () => {
  it('are retried as often as asked for, without a word to the client, then reported (5.5-5)', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { options: { retries: 2 } })
    sim.fail('x')
    sim.fail('x', 'timeout')
    expect(sim.told('c')).toEqual([])
    expect(sim.stateOf('x')).toBe('processing')
    expect(sim.task('x').attempts).toBe(3)
    sim.fail('x', 'user', [3])
    expect(sim.told('c')).toEqual([
      {
        op: 'task-erred',
        key: 'x',
        failure: {
          origin: 'x',
          worker: 'tcp://a',
          error: { kind: 'encoded', bytes: new Uint8Array([3]) },
          history: { attempts: 3, workers: ['tcp://a'] },
        },
      },
    ])
  })

  it('are not retried when the worker could not run the task at all', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { options: { retries: 2 } })
    sim.fail('x', 'system')
    expect(sim.stateOf('x')).toBe('erred')
  })

  it('fail every waiting dependent with the root cause; recipes stay for a retry (5.5-8)', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x'], z: ['y'], other: [] }, { wanted: ['z', 'other'] })
    sim.fail('x')
    expect(sim.told('c')).toMatchObject([{ op: 'task-erred', key: 'z', failure: { origin: 'x' } }])
    expect([sim.stateOf('x'), sim.stateOf('y'), sim.stateOf('z')]).toEqual(['erred', 'erred', 'erred'])
    sim.release('z')
    expect(sim.state.tasks.size).toBe(1)
  })
})

describe('retry', () => {
  it('goes back to the deepest failure and runs everything above again (5.5-6, 4.6-7)', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x'], z: ['y'] }, { wanted: ['z'] })
    sim.fail('x')
    sim.take()
    const request = sim.request((number) => ({
      kind: 'RetryRequested',
      request: number,
      keys: [taskKey('z'), taskKey('no')],
    }))
    expect(sim.answer(request)).toEqual({ kind: 'Answer', request, answer: { retried: ['z'] } })
    expect(sim.told('c')).toEqual([{ op: 'task-retried', keys: ['z'] }])
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['x'])
    for (const key of ['x', 'y', 'z']) sim.finish(key)
    expect(sim.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'z' }])
  })

  it('gives the whole budget again', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { options: { retries: 1 } })
    sim.fail('x')
    sim.fail('x')
    sim.request((number) => ({ kind: 'RetryRequested', request: number, keys: [taskKey('x')] }))
    sim.fail('x')
    expect(sim.stateOf('x')).toBe('processing')
  })
})

describe('deaths', () => {
  it('of executors are forgiven allowed-failures times', () => {
    const sim = cluster({ a: {} }, { allowedFailures: 3 })
    sim.graph({ x: [] })
    for (let n = 0; n < 3; n++) sim.fail('x', 'crashed')
    expect(sim.stateOf('x')).toBe('processing')
    sim.fail('x', 'crashed', [8])
    expect(codeOf(sim.task('x').failure)).toBe('encoded')
  })

  it('of workers blame only the run that was executing; the last one is named', () => {
    const sim = cluster({ a: { nthreads: 2 } }, { allowedFailures: 1 })
    sim.nanny('a')
    sim.graph({ poison: [], bystander: [] })
    for (let incarnation = 2; incarnation <= 3; incarnation++) {
      sim.exited('a', [sim.task('poison').runId])
      sim.worker('a', { nthreads: 2, incarnation })
    }
    expect(sim.stateOf('bystander')).toBe('processing')
    expect(sim.task('bystander').trouble).toBeNull()
    const { failure } = sim.task('poison')
    expect(codeOf(failure)).toBe('WORKER_LOST')
    expect(failure?.error).toMatchObject({
      message: expect.stringMatching(/each of the 2 times .*\(tcp:\/\/a; 2 attempts in all\)/) as string,
      fields: { key: 'poison', deaths: 2, attempts: 2, worker: 'tcp://a', workers: ['tcp://a'] },
    })
  })

  it('of a worker without a nanny blame nobody (5.9-1)', () => {
    const sim = cluster({ a: {}, b: {} }, { allowedFailures: 0 })
    sim.graph({ x: [] })
    const worker = sim.on('x') as string
    sim.workerLost(worker)
    sim.advance(6000)
    expect(sim.on('x')).not.toBe(worker)
    expect(sim.task('x').trouble).toBeNull()
  })

  it('are told with all workers on which they happened', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} }, { allowedFailures: 2 })
    sim.graph({ x: [] })
    const places: string[] = []
    for (let n = 0; n < 3; n++) {
      places.push(`tcp://${sim.on('x')}`)
      sim.fail('x', 'crashed')
    }
    expect(new Set(places).size).toBeGreaterThan(1)
    expect(sim.task('x').failure?.history).toEqual({ attempts: 3, workers: [...new Set(places)] })
  })

  it('for lack of memory have their own budget', () => {
    const sim = cluster({ a: {} }, { allowedOomFailures: 2, allowedFailures: 0 })
    sim.graph({ x: [] })
    sim.fail('x', 'out-of-memory')
    sim.fail('x', 'out-of-memory')
    expect(sim.stateOf('x')).toBe('processing')
    sim.fail('x', 'out-of-memory')
    expect(sim.stateOf('x')).toBe('erred')
  })

  it('for lack of memory are followed by attempts with twice as much, the last one alone', () => {
    const sim = cluster({ a: { memoryLimit: 1000 } }, { allowedOomFailures: 2 })
    sim.graph({ x: [] })
    const reserved = (): unknown[] =>
      sim.sent('a').flatMap((message) => (message.op === 'compute-task' ? [message.reserve] : []))
    expect(reserved()).toEqual([undefined])
    sim.fail('x', 'out-of-memory', [], 150)
    expect(reserved()).toEqual([{ bytes: 300, alone: false }])
    // It had more than it was seen to have taken, and died all the same.
    sim.fail('x', 'out-of-memory', [], 200)
    expect(reserved()).toEqual([{ bytes: 600, alone: true }])
    expect(sim.workerRecord('a').expectedBytes).toBe(1024 + 600)
  })

  it('for lack of memory never ask for more than any worker has', () => {
    const sim = cluster({ a: { memoryLimit: 1000 } }, { allowedOomFailures: 1 })
    sim.graph({ x: [] }, { options: { memory: 900 } })
    sim.fail('x', 'out-of-memory')
    expect(sim.task('x').trouble?.reserve).toEqual({ bytes: 1000, alone: true })
  })
})

describe('a result that no store could take', () => {
  it('is computed again after growing pauses, elsewhere when possible, and gives up after three', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] })
    const places = [sim.on('x')]
    for (const pauseMs of [100, 200, 400]) {
      sim.fail('x', 'store-full')
      expect(sim.stateOf('x')).toBe('no-worker')
      sim.advance(pauseMs - 1)
      expect(sim.stateOf('x')).toBe('no-worker')
      sim.advance(1)
      places.push(sim.on('x'))
    }
    expect(places).toEqual(['a', 'b', 'a', 'b'])
    sim.fail('x', 'store-full')
    expect(sim.stateOf('x')).toBe('erred')
  })

  it('end their pause when the timer fires, though the clock is a fraction behind', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.fail('x', 'store-full')
    sim.advance(99.5)
    sim.event({ kind: 'TimerFired', timer: { kind: 'task-held', key: taskKey('x') } })
    expect(sim.on('x')).toBe('a')
  })
})

describe('a task that must not run twice', () => {
  const options = { idempotent: false, retries: 5 }

  it('fails with its own first error', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { options })
    sim.fail('x')
    expect(codeOf(sim.task('x').failure)).toBe('encoded')
  })

  it('fails when its worker dies with it', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options })
    const worker = sim.on('x') as string
    sim.nanny(worker)
    sim.exited(worker)
    expect(codeOf(sim.task('x').failure)).toBe('WORKER_LOST')
  })

  it('fails when its value is lost', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { options })
    sim.finish('x')
    sim.take()
    sim.workerSays('a', { op: 'release-worker-data', keys: [{ key: taskKey('x'), runId: 1 as RunId }] })
    expect(sim.told('c')).toMatchObject([
      { op: 'lost-data' },
      { op: 'task-erred', failure: { error: { code: 'WORKER_LOST' } } },
    ])
  })

  it('goes elsewhere when it was handed back unstarted, and runs again on request', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { options })
    sim.workerSays('a', { op: 'reschedule', key: taskKey('x'), runId: 1 as RunId, reason: 'paused' })
    expect(sim.stateOf('x')).toBe('processing')
    sim.fail('x')
    sim.request((number) => ({ kind: 'RetryRequested', request: number, keys: [taskKey('x')] }))
    expect(sim.stateOf('x')).toBe('processing')
  })
})

describe('inputs larger than every worker', () => {
  const MiB = 2 ** 20
  const big = (sim: CoreFixture, ...keys: string[]): void => {
    sim.graph(Object.fromEntries(keys.map((key) => [key, []])), { fn: 'big' })
    for (const key of keys) sim.finish(key, { nbytes: 600 * MiB })
  }

  it('acceptance 51: fail the task at once with sizes, limit and advice; a worker without limit takes it', () => {
    const sim = cluster({ a: { memoryLimit: 1000 * MiB }, b: { memoryLimit: 500 * MiB } })
    big(sim, 'x', 'y')
    sim.graph({ both: ['x', 'y'] })
    const { failure } = sim.task('both')
    expect(codeOf(failure)).toBe('INPUTS_EXCEED_LIMIT')
    expect(failure?.error).toMatchObject({
      message: expect.stringMatching(
        /the 2 inputs of task both are 1.17 GiB together \(x 600.00 MiB, y 600.00 MiB\).*largest is 0.98 GiB, of tcp:\/\/a.*tree/,
      ) as string,
      fields: { inputBytes: 1200 * MiB, largestLimitBytes: 1000 * MiB, largestWorker: 'tcp://a', inputCount: 2 },
    })
    sim.worker('c', { memoryLimit: 0 })
    sim.graph({ again: ['x', 'y'] })
    expect(sim.on('again')).toBe('c')
  })

  it('do so also when their sizes are known only later, with all that depends on the task', () => {
    const sim = cluster({ a: { memoryLimit: 1000 * MiB, nthreads: 4 } })
    sim.graph({ x: [], y: [], both: ['x', 'y'], after: ['both'] })
    sim.finish('x', { nbytes: 600 * MiB })
    expect(sim.stateOf('both')).toBe('waiting')
    sim.finish('y', { nbytes: 600 * MiB })
    expect([sim.stateOf('both'), sim.stateOf('after')]).toEqual(['erred', 'erred'])
    expect(sim.told('c').filter((message) => message.op === 'task-erred')).toMatchObject([
      { key: 'both', failure: { origin: 'both', worker: null } },
      { key: 'after', failure: { origin: 'both', worker: null } },
    ])
  })

  it('are measured against the workers that may run the task', () => {
    const sim = cluster({
      small: { memoryLimit: 500 * MiB, resources: { GPU: 1 } },
      large: { memoryLimit: 2000 * MiB },
    })
    big(sim, 'x')
    sim.graph({ named: ['x'] }, { options: { workers: ['small'] } })
    sim.graph({ gpu: ['x'] }, { options: { resources: { GPU: 1 } } })
    sim.graph({ loose: ['x'] }, { options: { workers: ['nobody'], allowOtherWorkers: true } })
    sim.graph({ nowhere: ['x'] }, { options: { workers: ['nobody'] } })
    expect(codeOf(sim.task('named').failure)).toBe('INPUTS_EXCEED_LIMIT')
    expect(sim.task('named').failure?.error).toMatchObject({
      message: expect.stringMatching(/every worker that may run it.*500.00 MiB, of tcp:\/\/small/) as string,
    })
    expect(codeOf(sim.task('gpu').failure)).toBe('INPUTS_EXCEED_LIMIT')
    expect(sim.on('loose')).toBe('large')
    expect(sim.stateOf('nowhere')).toBe('no-worker')
  })

  it('wait for the worker that can hold them while it is paused, instead of going to one that cannot', () => {
    const sim = cluster({ small: { memoryLimit: 500 * MiB }, large: { memoryLimit: 2000 * MiB } })
    sim.workerSays('small', { op: 'worker-status-change', status: 'paused' })
    big(sim, 'x')
    sim.workerSays('small', { op: 'worker-status-change', status: 'running' })
    sim.workerSays('large', { op: 'worker-status-change', status: 'paused' })
    sim.graph({ use: ['x'] })
    expect(sim.stateOf('use')).toBe('no-worker')
    sim.workerSays('large', { op: 'worker-status-change', status: 'running' })
    expect(sim.on('use')).toBe('large')
  })

  it('find the one worker that can hold them among many that cannot', () => {
    const sim = cluster({ a: { memoryLimit: 0 } })
    big(sim, 'x')
    for (let n = 0; n < 40; n++) sim.worker(`s${n}`, { memoryLimit: 500 * MiB })
    sim.graph({ busy1: [], busy2: [] }, { options: { workers: ['a'] } })
    sim.graph({ use: ['x'] })
    expect(sim.on('use')).toBe('a')
  })
})
