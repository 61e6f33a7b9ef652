import { describe, expect, it } from 'vitest'
import { CoreFixture } from './fixture.conformance.ts'

const MIB = 2 ** 20

/** What a client has heard since the last time, as [bytes, whether memory is short]. */
function heard(sim: CoreFixture, client = 'c'): (readonly [number, boolean])[] {
  sim.told(client)
  return sim.memoryTold.splice(0).map(({ limitBytes, isShort }) => [limitBytes, isShort] as const)
}

function cluster(): CoreFixture {
  const sim = new CoreFixture()
  sim.client('c')
  sim.worker('a', { memoryLimit: 1000 * MIB })
  sim.worker('b', { memoryLimit: 1000 * MIB })
  sim.take()
  return sim
}

function store(sim: CoreFixture, key: string, nbytes: number): void {
  sim.graph({ [key]: [] }, { name: key, options: { workers: ['a'] } })
  sim.finish(key, { nbytes })
}

describe('the memory of the cluster', () => {
  it('is told to a client that comes, and when it changes by more than a tenth', () => {
    const sim = new CoreFixture()
    sim.client('c')
    expect(heard(sim)).toEqual([[0, false]])
    sim.worker('a', { memoryLimit: 1000 * MIB })
    expect(heard(sim)).toEqual([[1000 * MIB, false]])
    sim.worker('b', { memoryLimit: 50 * MIB })
    expect(heard(sim)).toEqual([])
    sim.client('d')
    expect(heard(sim, 'd')).toEqual([[1000 * MIB, false]])
    sim.worker('e', { memoryLimit: 0 })
    sim.worker('f', { memoryLimit: 950 * MIB })
    expect(heard(sim)).toEqual([[2000 * MIB, false]])
  })

  it('is short from four fifths of what makes a worker spill, until seven tenths', () => {
    const sim = cluster()
    store(sim, 'x', 400 * MIB)
    store(sim, 'y', 79 * MIB)
    sim.beat('a', {})
    expect(heard(sim)).toEqual([])
    store(sim, 'z', 2 * MIB)
    sim.beat('a', {})
    expect(heard(sim)).toEqual([[2000 * MIB, true]])
    sim.says('c', { op: 'client-releases-keys', keys: ['z' as never] })
    sim.beat('a', {})
    expect(heard(sim)).toEqual([])
    sim.says('c', { op: 'client-releases-keys', keys: ['y' as never] })
    sim.beat('a', {})
    expect(heard(sim)).toEqual([[2000 * MIB, false]])
  })

  it('is short while a worker is crowded or paused, and not for the sake of one that is gone', () => {
    const sim = cluster()
    sim.beat('a', { process: 900 * MIB })
    sim.workerSays('b', { op: 'worker-status-change', status: 'paused' })
    sim.beat('b', {})
    expect(heard(sim)).toEqual([[2000 * MIB, true]])
    sim.beat('a', { process: 100 * MIB })
    expect(heard(sim)).toEqual([])
    sim.event({ kind: 'WorkerLost', worker: 'b' as never, connection: sim.workerRecord('b').connection })
    expect(heard(sim)).toEqual([[2000 * MIB, false]])
  })

  it('is told again after a reconnect', () => {
    const sim = cluster()
    sim.beat('a', { process: 900 * MIB })
    heard(sim)
    sim.says('c', { op: 'report-keys' })
    expect(heard(sim)).toEqual([[2000 * MIB, true]])
  })
})
