// New processes for single workers: 4.6-11 of the reference's facts.

import { describe, expect, it } from 'vitest'
import type { RunId } from '../../base/ids.ts'
import { taskKey } from '../../base/ids.ts'
import { cluster, type CoreFixture } from './fixture.conformance.ts'

function restart(sim: CoreFixture, ...workers: readonly string[]): number {
  return sim.request((request) => ({ kind: 'RestartWorkersRequested', request, workers, timeoutMs: 20_000 }))
}

function outcomes(sim: CoreFixture, request: number): unknown {
  const effect = sim.answer(request)
  return effect?.kind === 'Answer' ? (effect.answer as { outcomes: unknown }).outcomes : effect
}

function twoWithNannies(): CoreFixture {
  const sim = cluster({ a: { name: 'alice' }, b: { name: 'bob' } })
  for (const worker of ['a', 'b']) sim.nanny(worker)
  sim.take()
  return sim
}

describe('restarting single workers', () => {
  it('kills them by their nannies, keeps what is in files, runs again what ran, and blames nobody', () => {
    const sim = twoWithNannies()
    sim.graph({ file: [], inline: [] }, { options: { workers: ['alice'] } })
    sim.finish('file', { durable: true })
    sim.finish('inline')
    sim.graph({ running: [] }, { fn: 'g', options: { workers: ['alice', 'bob'] } })
    const other = sim.on('running') === 'a'
    sim.take()
    const request = restart(sim, 'alice')
    expect(sim.take().filter(({ kind }) => kind === 'SendToNanny')).toMatchObject([
      { worker: 'a', message: { op: 'kill-worker', asked: true } },
    ])
    expect([sim.stateOf('file'), sim.stateOf('inline')]).toEqual(['memory', 'no-worker'])
    if (other) expect(sim.on('running')).toBe('b')
    // What the old process still says counts for nothing.
    sim.exited('a', [sim.task('running').runId])
    expect(outcomes(sim, request)).toBeUndefined()
    const keys = [
      {
        key: taskKey('file'),
        runId: sim.task('file').acceptedRunId as RunId,
        nbytes: 100,
        type: 'number',
        durable: true,
      },
    ]
    sim.worker('a', { name: 'alice', incarnation: 2, inventory: { keys, tasks: [] } })
    expect(outcomes(sim, request)).toEqual({ alice: 'ok' })
    expect(sim.task('file').holders.map(({ id }) => id)).toEqual(['a'])
    expect(sim.on('inline')).toBe('a')
    for (const key of ['inline', 'running']) expect(sim.task(key).trouble?.crashes ?? 0).toBe(0)
  })

  it('says which were given up, and which are not back in time', () => {
    const sim = twoWithNannies()
    const request = restart(sim, 'a', 'tcp://b')
    sim.exited('a', [], false)
    sim.exited('b')
    sim.advance(3000)
    expect(outcomes(sim, request)).toBeUndefined()
    sim.exited('b')
    for (let n = 0; n < 3; n++) {
      sim.advance(6000)
      if (sim.state.workers.size > 0) sim.exited('b')
    }
    expect(outcomes(sim, request)).toEqual({ alice: 'removed', bob: 'timed-out' })
    expect(sim.state.requests.size).toBe(0)
  })

  it('refuses workers that are not known, or have no nanny', () => {
    const sim = cluster({ a: {} })
    expect(outcomes(sim, restart(sim, 'x'))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'there is no worker "x"',
    })
    expect(outcomes(sim, restart(sim, 'a'))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('tcp://a has none') as string,
    })
    expect(outcomes(sim, restart(sim))).toEqual({})
  })
})
