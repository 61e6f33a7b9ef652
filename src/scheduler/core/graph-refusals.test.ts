// What a graph is refused for: cycles, and keys that stand for another call. The rule for keys is ours; the reference warns
// and silently returns the value of the earlier call.

import { describe, expect, it } from 'vitest'
import { clientId, functionId, type RunId, taskKey, workerId } from '../../base/ids.ts'
import type { TaskRow } from '../../protocol/tasks.ts'
import type { ClientMessage } from './effects.ts'
import { cluster, CoreFixture } from './fixture.conformance.ts'

/** Keys refused, with code and message. */
function refused(messages: readonly ClientMessage[]): [key: string, code: string, message: string][] {
  return messages.flatMap((message) => {
    if (message.op !== 'task-erred' || message.failure.error.kind !== 'raised') return []
    return [[message.key, message.failure.error.code, message.failure.error.message]]
  })
}

describe('a graph with a cycle', () => {
  it('is refused by name with the keys of the cycle, and with it what needs one of them; the rest runs', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: ['z'], y: ['x'], z: ['y'], after: ['x'], ok: [] })
    const told = refused(sim.told('c'))
    expect(told.map(([key, code]) => [key, code])).toEqual(['x', 'y', 'z', 'after'].map((key) => [key, 'GRAPH_CYCLE']))
    expect(told[0]?.[2]).toMatch(/x needs z needs y needs x/)
    expect([...sim.state.tasks.keys()]).toEqual(['ok'])
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['ok'])
    sim.release('x', 'after', 'ok')
    expect(sim.state.tasks.size).toBe(0)
    expect(sim.state.functions.get(functionId('f'))?.families.size).toBe(0)
  })

  it('of one task that needs itself is one, too', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: ['x'] })
    expect(refused(sim.told('c'))[0]?.[2]).toContain('x needs x')
  })

  it('is one also when an older graph holds a part of it', () => {
    const sim = cluster({ a: {} })
    const entries = [{ key: taskKey('y'), nbytes: 10, type: 'array' }]
    const question = { entries, broadcast: false, timeoutMs: 1000 }
    sim.request((request) => ({ kind: 'ScatterRequested', request, client: clientId('c'), question }))
    const value = { key: taskKey('y'), runId: sim.task('y').runId as RunId }
    const workers = [workerId('a')]
    sim.says('c', { op: 'update-data', entries: [{ ...value, nbytes: 10, type: 'array', workers }] })
    sim.graph({ x: ['y'], z: ['x'] }, { wanted: ['z'] })
    sim.finish('x')
    sim.finish('z')
    sim.workerSays('a', { op: 'release-worker-data', keys: [value] })
    sim.take()
    expect([sim.stateOf('x'), sim.stateOf('y'), sim.stateOf('z')]).toEqual(['released', 'forgotten', 'memory'])
    sim.graph({ y: ['z'], x: ['y'], w: ['x'] }, { wanted: ['w'] })
    const [told] = refused(sim.told('c'))
    expect(told?.slice(0, 2)).toEqual(['w', 'GRAPH_CYCLE'])
    expect(told?.[2]).toContain('x needs y needs z needs x')
  })

  it('says only so much of a long one', () => {
    const sim = cluster({ a: {} })
    const keys = Array.from({ length: 500 }, (_, n) => `t${n}`)
    sim.graph(Object.fromEntries(keys.map((key, n) => [key, [keys[(n + 1) % keys.length] as string]])))
    const told = refused(sim.told('c'))
    expect(told).toHaveLength(500)
    expect(told[0]?.[2].length).toBeLessThan(400)
  })
})

describe('a key that stands for another call', () => {
  it('is refused to the second caller, with what needs it; the first keeps what it has', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] }, { fn: 'load' })
    sim.finish('x')
    sim.take()
    sim.graph({ x: [], y: ['x'], z: ['y'], own: [] }, { client: 'd', fn: 'other' })
    const told = refused(sim.told('d'))
    expect(told.map(([key, code]) => [key, code])).toEqual(['x', 'y', 'z'].map((key) => [key, 'KEY_CONFLICT']))
    expect(told[0]?.[2]).toMatch(/"x" stands for another call, of load \(memory on the cluster\)/)
    expect([...sim.state.tasks.keys()]).toEqual(['x', 'own'])
    expect(sim.told('c')).toEqual([])
    expect(sim.task('x').wantedBy.map((client) => client.id)).toEqual(['c'])
  })

  it('is one with other arguments of the same function', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.take()
    const group = { fn: functionId('f'), name: 'f', options: {} }
    const tasks = [[taskKey('x'), new Uint8Array([2]), []]] as const
    sim.says('c', { op: 'update-graph', groups: [{ ...group, tasks }], functions: [], wanted: [taskKey('x')] })
    expect(refused(sim.told('c')).map(([key, code]) => [key, code])).toEqual([['x', 'KEY_CONFLICT']])
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('is the same call when nothing differs: one run for both (5.8-5)', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] })
    sim.graph({ x: [] }, { client: 'd' })
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['x'])
    sim.finish('x')
    expect(sim.told('d')).toMatchObject([{ op: 'key-in-memory', key: 'x' }])
  })

  it('is free again when nobody holds it any more', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { fn: 'load' })
    sim.finish('x')
    sim.release('x')
    sim.graph({ x: [] }, { fn: 'other' })
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('is refused to what needs it in later graphs as well, until its caller gives it up', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] }, { fn: 'load' })
    sim.graph({ x: [] }, { client: 'd', fn: 'other' })
    sim.take()
    sim.graph({ y: ['x'], z: ['y'] }, { client: 'd', fn: 'other', wanted: ['z'] })
    expect(refused(sim.told('d')).map(([key, code]) => [key, code])).toEqual([['z', 'KEY_CONFLICT']])
    expect([...sim.state.tasks.keys()]).toEqual(['x'])
    // The first caller's own dependents are no concern of it.
    sim.graph({ y: ['x'] }, { fn: 'other' })
    sim.graph({ y: ['x'] }, { client: 'd', fn: 'other' })
    expect(refused(sim.told('d')).map(([key, code]) => [key, code])).toEqual([['y', 'KEY_CONFLICT']])
    sim.says('d', { op: 'client-releases-keys', keys: ['x', 'y', 'z'].map(taskKey) })
    expect(sim.state.clients.get(clientId('d'))?.refused.size).toBe(0)
    sim.take()
    sim.graph({ x: [], y: ['x'] }, { client: 'd', fn: 'load', wanted: ['x'] })
    expect(refused(sim.told('d'))).toEqual([])
    expect(sim.task('x').wantedBy.map((client) => client.id)).toEqual(['c', 'd'])
  })

  it('is refused no longer when the key is free and submitted again', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] }, { fn: 'load' })
    sim.graph({ x: [] }, { client: 'd', fn: 'other' })
    sim.release('x')
    sim.take()
    sim.graph({ x: [] }, { client: 'd', fn: 'other' })
    sim.graph({ y: ['x'] }, { client: 'd', fn: 'other' })
    expect(refused(sim.told('d'))).toEqual([])
    expect(sim.stateOf('y')).toBe('waiting')
  })
})

describe('graphs that came as one', () => {
  it('are refused by their keys alone: a cycle and a taken key of some do not touch the others', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] }, { fn: 'load' })
    sim.take()
    const row = (key: string, ...inputs: string[]): TaskRow => [taskKey(key), new Uint8Array([1]), inputs.map(taskKey)]
    const rows: Record<string, TaskRow[]> = {
      cyclic: [row('c0', 'c1'), row('c1', 'c0')],
      good: [row('g0'), row('g1', 'g0')],
      taken: [row('x'), row('t', 'x')],
      lost: [row('l', 'nobody-made-it')],
      other: [row('o', 'g1')],
    }
    sim.says('d', {
      op: 'update-graph',
      groups: Object.entries(rows).map(([name, tasks]) => ({ fn: functionId(name), name, options: {}, tasks })),
      functions: Object.keys(rows).map((name) => ({ id: functionId(name), bytes: new Uint8Array([7]) })),
      wanted: Object.values(rows).flatMap((tasks) => tasks.map(([key]) => key)),
    })
    const told = sim.told('d')
    expect(refused(told).map(([key, code]) => [key, code])).toEqual([
      ['c0', 'GRAPH_CYCLE'],
      ['c1', 'GRAPH_CYCLE'],
      ['x', 'KEY_CONFLICT'],
      ['t', 'KEY_CONFLICT'],
    ])
    expect(told).toContainEqual(expect.objectContaining({ op: 'cancelled-keys', keys: ['l'] }))
    expect([...sim.state.tasks.keys()]).toEqual(['x', 'g0', 'g1', 'o'])
    for (const key of ['g0', 'g1', 'o']) sim.finish(key)
    expect(sim.told('d')).toMatchObject(['g0', 'g1', 'o'].map((key) => ({ op: 'key-in-memory', key })))
  })
})
