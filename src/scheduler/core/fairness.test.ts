// Clients with equal priority share the cluster, whoever came first and with however much; within one client order stays.

import { describe, expect, it } from 'vitest'
import { taskKey } from '../../base/ids.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'
import type { TaskRecord } from './records.ts'

/** A cluster of two threads and clients `c`, `d`. */
function twoClients(): CoreFixture {
  const sim = cluster({ a: {}, b: {} }, { validate: false })
  sim.client('d')
  return sim
}

/** Finishes what the workers run, each the most urgent one it has, until `done`; returns the keys in the order of their ends. */
function run(
  sim: CoreFixture,
  done: (ended: readonly string[]) => boolean,
  durationMs: (key: string) => number = () => 500,
): string[] {
  const ended: string[] = []
  for (let n = 0; n < 5000 && !done(ended); n++) {
    const worker = sim.workerRecord(n % 2 === 0 ? 'a' : 'b')
    const [task] = [...worker.processing].sort(byPriority)
    if (task === undefined) continue
    sim.finish(task.key, { durationMs: durationMs(task.key) })
    ended.push(task.key)
    sim.take()
  }
  return ended
}

function byPriority(a: TaskRecord, b: TaskRecord): number {
  return b.group.userPriority - a.group.userPriority || a.turn - b.turn || a.order - b.order
}

const count = (keys: readonly string[], prefix: string): number => keys.filter((key) => key.startsWith(prefix)).length
const allOf = (prefix: string, size: number) => (ended: readonly string[]) => count(ended, prefix) === size

describe('fairness between clients', () => {
  it('ten tasks do not wait for the thousands that another client sent before', () => {
    const sim = twoClients()
    sim.graph(range(3000, 'many'))
    run(sim, (ended) => ended.length === 100)
    sim.graph(range(10, 'few'), { client: 'd', fn: 'few' })
    const ended = run(sim, allOf('few', 10))
    expect(ended.length).toBeLessThanOrEqual(26)
  })

  it('nor on the workers, where tasks wait that are not queued', () => {
    const sim = twoClients()
    sim.graph(range(500, 'many'), { options: { workers: ['a', 'b'] } })
    expect(sim.state.queue.size).toBe(0)
    run(sim, (ended) => ended.length === 50)
    sim.graph(range(10, 'few'), { client: 'd', options: { workers: ['a', 'b'] }, fn: 'few' })
    expect(run(sim, allOf('few', 10)).length).toBeLessThanOrEqual(26)
  })

  it('two that both have much get the same', () => {
    const sim = twoClients()
    sim.graph(range(1000, 'first'))
    run(sim, (ended) => ended.length === 200)
    sim.graph(range(1000, 'second'), { client: 'd', fn: 'second' })
    const ended = run(sim, (all) => all.length === 400)
    expect(Math.abs(count(ended, 'first') - count(ended, 'second'))).toBeLessThanOrEqual(8)
  })

  it('the same is time, not tasks, once durations are known', () => {
    const sim = twoClients()
    const durationMs = (key: string): number => (key.startsWith('long') ? 1000 : 50)
    for (const [client, name] of [
      ['c', 'long'],
      ['d', 'short'],
    ] as const) {
      sim.graph({ [`${name}-warm`]: [] }, { client, fn: name })
      sim.finish(`${name}-warm`, { durationMs: durationMs(name) })
    }
    sim.graph(range(300, 'long'), { client: 'c', fn: 'long' })
    sim.graph(range(3000, 'short'), { client: 'd', fn: 'short' })
    const ended = run(sim, (all) => all.length === 1000, durationMs)
    const share = count(ended, 'short') / count(ended, 'long')
    expect(share).toBeGreaterThan(15)
    expect(share).toBeLessThan(25)
  })

  it('user priority goes before it', () => {
    const sim = twoClients()
    sim.graph(range(200, 'low'), { options: { priority: -1 } })
    sim.graph(range(200, 'high'), { client: 'd', options: { priority: 1 }, fn: 'high' })
    const ended = run(sim, (all) => all.length === 100)
    expect(count(ended, 'low')).toBeLessThanOrEqual(4)
  })
})

describe('nobody is owed anything', () => {
  it('for having been idle', () => {
    const sim = twoClients()
    sim.graph(range(1000, 'first'))
    run(sim, (ended) => ended.length === 500)
    sim.graph(range(1000, 'late'), { client: 'd', fn: 'late' })
    const ended = run(sim, (all) => all.length === 200)
    expect(count(ended, 'first')).toBeGreaterThanOrEqual(90)
  })

  it('for one task that takes for ever', () => {
    const sim = twoClients()
    sim.client('e')
    sim.graph({ endless: [] }, { client: 'e', fn: 'endless', options: { workers: ['b'] } })
    sim.graph(range(1000, 'first'))
    const onA = (size: number): string[] => {
      const ended: string[] = []
      while (ended.length < size) {
        const task = [...sim.workerRecord('a').processing].sort(byPriority)[0] as TaskRecord
        sim.finish(task.key, { durationMs: 500 })
        ended.push(task.key)
      }
      return ended
    }
    onA(300)
    sim.graph(range(1000, 'late'), { client: 'd', fn: 'late' })
    expect(count(onA(200), 'first')).toBeGreaterThanOrEqual(85)
  })

  it('and nobody pays for what it cancelled, or did alone', () => {
    const sim = twoClients()
    sim.graph(range(2000, 'gone'))
    run(sim, (ended) => ended.length === 10)
    sim.says('c', { op: 'client-releases-keys', keys: Object.keys(range(2000, 'gone')).map(taskKey) })
    sim.graph(range(500, 'other'), { client: 'd', fn: 'other' })
    sim.graph(range(500, 'again'), { fn: 'again' })
    const ended = run(sim, (all) => all.length === 200)
    expect(count(ended, 'again')).toBeGreaterThanOrEqual(90)
  })
})

describe('within one client', () => {
  it('a graph keeps its static order: what was begun is ended before the next is begun', () => {
    const sim = twoClients()
    const graph: Record<string, readonly string[]> = {}
    for (let n = 0; n < 100; n++) {
      graph[`load-${n}`] = []
      graph[`use-${n}`] = [`load-${n}`]
    }
    sim.graph(graph, { wanted: Object.keys(graph).filter((key) => key.startsWith('use')) })
    sim.graph(range(200, 'other'), { client: 'd', fn: 'other' })
    let open = 0
    let most = 0
    for (const key of run(sim, allOf('use', 100))) {
      if (key.startsWith('load')) open++
      if (key.startsWith('use')) open--
      most = Math.max(most, open)
    }
    expect(most).toBeLessThanOrEqual(6)
  })

  it('5.5-2 graphs run in the order in which they came, also while only a part of the first is left', () => {
    const sim = twoClients()
    sim.graph({ ...range(40, 'first'), sum: Object.keys(range(40, 'first')) }, { fn: 'first' })
    run(sim, (ended) => ended.length === 39)
    sim.now += 1000
    sim.graph(range(100, 'second'), { fn: 'second' })
    expect(run(sim, (ended) => ended.includes('sum')).length).toBeLessThanOrEqual(10)
  })
})
