// What clients hear of results: in the order in which they came to be, and nothing that follows from one before it.

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import type { WorkerToScheduler } from '../../protocol/scheduler-worker.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'

function heard(sim: CoreFixture, client = 'c'): string[] {
  return sim.told(client).flatMap((message) => ('key' in message ? [`${message.op} ${message.key}`] : []))
}

function finished(sim: CoreFixture, key: string): WorkerToScheduler {
  const runId = sim.task(key).runId as RunId
  return { op: 'task-finished', key: taskKey(key), runId, nbytes: 1, type: 't', durable: false, durationMs: 1 }
}

describe('key-in-memory', () => {
  it('comes in the order of completion, within a message and between workers', () => {
    const sim = cluster({ a: { nthreads: 3 }, b: { nthreads: 3 } })
    sim.graph(range(6))
    const on = (worker: string): string[] => Array.from(sim.workerRecord(worker).processing, (task) => task.key)
    const [x = '', y = '', z = ''] = on('a')
    const [u = ''] = on('b')
    sim.workerSays('a', finished(sim, z), finished(sim, x))
    sim.workerSays('b', finished(sim, u))
    sim.workerSays('a', finished(sim, y))
    expect(heard(sim)).toEqual([z, x, u, y].map((key) => `key-in-memory ${key}`))
  })

  it('of an input comes before that of its dependents, for every client that wants both', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [], y: ['x'], z: ['y'] })
    sim.says('d', { op: 'client-desires-keys', keys: ['z', 'y', 'x'].map(taskKey) })
    for (const key of ['x', 'y', 'z']) sim.finish(key)
    const order = ['x', 'y', 'z'].map((key) => `key-in-memory ${key}`)
    expect([heard(sim), heard(sim, 'd')]).toEqual([order, order])
  })

  it('comes before the errors and losses that follow it in one message', () => {
    const sim = cluster({ a: { nthreads: 2 } })
    sim.graph({ x: [], bad: [] })
    const run = { key: taskKey('bad'), runId: sim.task('bad').runId as RunId }
    const x = { key: taskKey('x'), runId: sim.task('x').runId as RunId }
    sim.workerSays(
      'a',
      finished(sim, 'x'),
      { op: 'task-erred', ...run, kind: 'user', error: new Uint8Array(1), durationMs: 1 },
      { op: 'release-worker-data', keys: [x] },
    )
    expect(heard(sim)).toEqual(['key-in-memory x', 'task-erred bad', 'lost-data x'])
    sim.finish('x')
    expect(heard(sim)).toEqual(['key-in-memory x'])
  })
})
