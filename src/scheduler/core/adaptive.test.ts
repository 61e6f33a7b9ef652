// How many workers there should be: 5.15 and 5.10-9 of the reference's facts.

import { describe, expect, it } from 'vitest'
import { adaptiveTarget, workersToClose } from './adaptive.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'

const ids = (workers: readonly { readonly id: string }[]): string[] => workers.map(({ id }) => id)

function target(sim: CoreFixture, options: { minimum?: number; maximum?: number } = {}) {
  const { minimum = 0, maximum = Infinity } = options
  const answer = adaptiveTarget(sim.state, { targetDurationMs: 5000, minimum, maximum })
  return { target: answer.target, close: ids(answer.close) }
}

function put(sim: CoreFixture, key: string, worker: string, nbytes: number): void {
  sim.graph({ [key]: [] }, { options: { workers: [worker] } })
  sim.finish(key, { nbytes })
}

describe('the number of workers', () => {
  it('5.15-1 is what does the expected work in time', () => {
    const sim = cluster({ a: {} })
    sim.graph(range(1))
    sim.finish('t-0', { durationMs: 1000 })
    sim.graph(range(40, 'u'))
    expect(target(sim)).toEqual({ target: 8, close: [] })
  })

  it('5.15-2 is never above that of the tasks, and counts the threads of a worker', () => {
    const sim = cluster({ a: { nthreads: 2 } })
    sim.graph(range(1))
    sim.finish('t-0', { durationMs: 60_000 })
    sim.graph(range(6, 'u'))
    expect(target(sim)).toEqual({ target: 3, close: [] })
  })

  it('5.15-3 is one while anything waits and there is none', () => {
    const sim = cluster({})
    expect(target(sim)).toEqual({ target: 0, close: [] })
    sim.graph(range(1))
    expect(target(sim)).toEqual({ target: 1, close: [] })
    expect(target(sim, { minimum: 2 })).toEqual({ target: 2, close: [] })
  })

  it('5.15-4 doubles while more than 0.6 of all limits is stored; without limits never', () => {
    const limited = cluster({ a: { memoryLimit: 1000 }, b: { memoryLimit: 1000 } })
    put(limited, 'x', 'a', 1300)
    expect(target(limited).target).toBe(4)
    expect(target(limited, { maximum: 3 }).target).toBe(3)
    const boundless = cluster({ a: {}, b: { memoryLimit: 1000 } })
    put(boundless, 'x', 'b', 1300)
    expect(target(boundless).target).toBeLessThanOrEqual(2)
  })

  it('5.15-5 shrinks only as far as what is stored allows', () => {
    const sim = cluster(Object.fromEntries(['a', 'b', 'c1', 'd'].map((id) => [id, { memoryLimit: 1000 }])))
    put(sim, 'x', 'a', 600)
    put(sim, 'y', 'b', 400)
    expect(target(sim)).toEqual({ target: 2, close: ['d', 'c1'] })
    expect(target(sim, { minimum: 3 })).toEqual({ target: 3, close: ['d'] })
    sim.release('x', 'y')
    expect(target(sim).target).toBe(0)
  })

  it('is cut to the maximum whatever the workers do', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} })
    sim.graph(range(3))
    expect(target(sim, { maximum: 1 })).toMatchObject({ target: 1, close: { length: 2 } })
  })
})

describe('workers that can go', () => {
  it('5.10-9 are idle ones first, with the fewest bytes first', () => {
    const sim = cluster({ a: {}, b: {}, c1: {}, d: {} })
    put(sim, 'x', 'b', 500)
    put(sim, 'y', 'c1', 100)
    sim.graph({ run: [] }, { options: { workers: ['a'] } })
    expect(ids(workersToClose(sim.state, { n: 4 }))).toEqual(['d', 'c1', 'b', 'a'])
    expect(ids(workersToClose(sim.state, { n: 1 }))).toEqual(['d'])
  })

  it('5.10-9 without a number are those that are idle and not needed for the data', () => {
    const sim = cluster({ a: {}, b: {}, c1: {} })
    sim.graph({ run: [] }, { options: { workers: ['a'] } })
    expect(ids(workersToClose(sim.state, {}))).toEqual(['c1', 'b'])
    sim.graph({ more: [] }, { options: { workers: ['b'] } })
    sim.graph({ most: [] }, { options: { workers: ['c1'] } })
    expect(workersToClose(sim.state, {})).toEqual([])
  })

  it('are named to nobody who asks for none', () => {
    expect(workersToClose(cluster({ a: {} }).state, { n: 0 })).toEqual([])
  })
})
