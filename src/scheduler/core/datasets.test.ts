// Published datasets: 4.13 of the reference's facts.

import { describe, expect, it } from 'vitest'
import { clientId, taskKey } from '../../base/ids.ts'
import { cluster, type CoreFixture } from './fixture.conformance.ts'
import { datasets } from './view.ts'

const VALUE = new Uint8Array([1])

function publish(sim: CoreFixture, name: string, keys: readonly string[], override = false) {
  const question = { name, value: VALUE, keys: keys.map(taskKey), override }
  return sim.answer(sim.request((request) => ({ kind: 'PublishRequested', request, question })))
}

function get(sim: CoreFixture, client: string, name: string) {
  return sim.answer(sim.request((request) => ({ kind: 'DatasetRequested', request, client: clientId(client), name })))
}

function unpublish(sim: CoreFixture, name: string) {
  return sim.answer(sim.request((request) => ({ kind: 'UnpublishRequested', request, name })))
}

/** Two finished tasks of client c. */
function published(): CoreFixture {
  const sim = cluster({ a: {} })
  sim.graph({ x: [], y: [] })
  sim.finish('x')
  sim.finish('y')
  expect(publish(sim, 'days', ['x', 'y'])).toMatchObject({ kind: 'Answer', answer: {} })
  return sim
}

const known = (sim: CoreFixture): string[] => [...sim.state.tasks.keys()]

describe('a published dataset', () => {
  it('outlives its publisher, and ends with unpublishing (4.13-2)', () => {
    const sim = published()
    sim.says('c', { op: 'close-client' })
    expect(known(sim)).toEqual(['x', 'y'])
    expect(datasets(sim.state)).toEqual({ days: { keys: 2, nbytes: 200 } })
    expect(unpublish(sim, 'days')).toMatchObject({ kind: 'Answer' })
    expect(known(sim)).toEqual([])
    expect(sim.state.clients.size).toBe(0)
  })

  it('gives its keys to whoever asks, without a gap (4.13-4)', () => {
    const sim = published()
    sim.client('d')
    expect(get(sim, 'd', 'days')).toMatchObject({ answer: { value: VALUE, keys: ['x', 'y'] } })
    unpublish(sim, 'days')
    sim.says('c', { op: 'close-client' })
    expect(known(sim)).toEqual(['x', 'y'])
    sim.take()
    sim.says('d', { op: 'client-desires-keys', keys: [taskKey('x'), taskKey('y')] })
    expect(sim.told('d')).toMatchObject([
      { op: 'key-in-memory', key: 'x' },
      { op: 'key-in-memory', key: 'y' },
    ])
    sim.says('d', { op: 'close-client' })
    expect(known(sim)).toEqual([])
  })

  it('is replaced only with override, which lets go of what only the old one held (4.13-1)', () => {
    const sim = published()
    expect(publish(sim, 'days', ['x'])).toMatchObject({ kind: 'Refuse', code: 'DATASET_EXISTS' })
    sim.graph({ z: [] })
    sim.finish('z')
    expect(publish(sim, 'days', ['x', 'z'], true)).toMatchObject({ kind: 'Answer' })
    sim.says('c', { op: 'close-client' })
    expect(known(sim)).toEqual(['x', 'z'])
  })

  it('may hold tasks that still run, and gets them computed again when their values are lost', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'], allowOtherWorkers: true } })
    publish(sim, 'soon', ['x'])
    sim.says('c', { op: 'close-client' })
    sim.finish('x')
    expect(sim.stateOf('x')).toBe('memory')
    sim.workerSays('a', { op: 'release-worker-data', keys: [{ key: taskKey('x'), runId: 1 as never }] })
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('is not told of what happens to its keys, and survives their end', () => {
    const sim = published()
    sim.take()
    sim.says('c', { op: 'cancel-keys', keys: [taskKey('x')], force: true, reason: 'enough', cancel: 1 })
    expect(known(sim)).toEqual(['y'])
    expect(sim.state.datasets.get('days')?.pseudo.farewells.size).toBe(0)
    expect(get(sim, 'c', 'days')).toMatchObject({ answer: { keys: ['x', 'y'] } })
    sim.says('c', { op: 'client-desires-keys', keys: [taskKey('x')] })
    expect(sim.told('c')).toMatchObject([{ op: 'cancelled-keys' }, { op: 'cancelled-keys', keys: ['x'] }])
  })

  it('is gone after a restart (4.6-8)', () => {
    const sim = published()
    sim.request((request) => ({ kind: 'RestartRequested', request, timeoutMs: 100, waitForWorkers: false }))
    expect(sim.state.datasets.size).toBe(0)
    expect([...sim.state.clients.keys()]).toEqual(['c'])
    expect(get(sim, 'c', 'days')).toMatchObject({ kind: 'Refuse', code: 'DATASET_UNKNOWN' })
  })

  it('with keys that nobody knows is refused', () => {
    const sim = published()
    expect(publish(sim, 'other', ['x', 'gone'])).toMatchObject({
      kind: 'Refuse',
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('"gone"') as string,
    })
    expect([...sim.state.datasets.keys()]).toEqual(['days'])
  })

  it('under another name is refused with the nearest one, or with those there are', () => {
    const sim = published()
    expect(get(sim, 'c', 'day')).toMatchObject({ message: expect.stringContaining('did you mean "days"?') as string })
    expect(unpublish(sim, 'entirely different')).toMatchObject({
      code: 'DATASET_UNKNOWN',
      message: expect.stringContaining('published are days.') as string,
    })
    unpublish(sim, 'days')
    expect(unpublish(sim, 'days')).toMatchObject({ message: expect.stringContaining('none is published') as string })
  })
})
