// What becomes of a task whose run fails: each kind of bad luck has its own budget, and only the executing run is blamed.

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, CoreFixture } from './fixture.conformance.ts'
import type { TaskFailure } from './records.ts'

function codeOf(failure: TaskFailure | null): string {
  return failure?.error.kind === 'raised' ? failure.error.code : (failure?.error.kind ?? 'none')
}

describe('errors of the task itself', () => {
  it('are retried as often as asked for, without a word to the client, then reported', () => {
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

  it('fail every waiting dependent with the root cause; recipes stay for a retry', () => {
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
  it('goes back to the deepest failure and runs everything above again', () => {
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
      message: expect.stringContaining('poison was running on 2 workers') as string,
    })
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
  it('fail the task at once; a worker without limit takes it', () => {
    const sim = cluster({ a: { memoryLimit: 1000 }, b: { memoryLimit: 500 } })
    sim.graph({ x: [], y: [] })
    sim.finish('x', { nbytes: 600 })
    sim.finish('y', { nbytes: 600 })
    sim.graph({ both: ['x', 'y'] })
    expect(codeOf(sim.task('both').failure)).toBe('INPUTS_EXCEED_LIMIT')
    sim.worker('c', { memoryLimit: 0 })
    sim.graph({ again: ['x', 'y'] })
    expect(sim.on('again')).toBe('c')
  })
})
