// What a pause does and what it does not, and how much is fetched at a time, as docs/memory.md promises it.

import { describe, expect, it } from 'vitest'
import { runId, taskKey, workerId } from '../../base/ids.ts'
import { computeTask, Core, executed, gathered, input, kinds, messagesOf, stored } from './fixture.conformance.ts'

const MB = 1_000_000
const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${prefix}${n}`)

describe('a paused worker', () => {
  it('acceptance 21: finishes what runs, starts none of five others, and all of them when it goes on', () => {
    const core = new Core()
    core.receive(computeTask('running', 1), ...names('t', 5).map((name, n) => computeTask(name, n + 2)))
    core.send({ kind: 'MemoryPaused' })
    const after = core.finish(1)
    expect(messagesOf(after)).toMatchObject([{ op: 'task-finished', key: 'running' }])
    expect(executed(after)).toEqual([])
    expect(names('t', 5).map((name) => core.stateOf(name))).toEqual(Array.from({ length: 5 }, () => 'ready'))
    let started = executed(core.send({ kind: 'MemoryResumed' }))
    const order: string[] = []
    for (let run = 2; run < 7; run++) {
      order.push(...started)
      started = executed(core.finish(run))
    }
    expect(order).toEqual(names('t', 5))
  })

  it('acceptance 25: starts no fetch; an open one completes and is kept', () => {
    const core = new Core()
    core.receive(
      computeTask('a', 10, { inputs: [input('x', 1, ['p'])] }),
      computeTask('b', 11, { inputs: [input('y', 2, ['p'])] }),
    )
    core.send({ kind: 'MemoryPaused' })
    expect(gathered(core.compute('c', 12, { inputs: [input('z', 3, ['q'])] }))).toEqual([])
    core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('x', 1) })
    expect(gathered(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'done' }))).toEqual([])
    expect([core.stateOf('x'), core.stateOf('a'), core.stateOf('z')]).toEqual(['memory', 'ready', 'fetch'])
    expect(gathered(core.send({ kind: 'MemoryResumed' }))).toContainEqual({ peer: 'q', keys: ['z'] })
  })
})

/** Lets every open transfer end, one after the other, and watches the bytes that are open. */
function drain(core: Core, effects: ReturnType<Core['send']>): { readonly peaks: number[]; readonly open: number[] } {
  const pending = effects.filter((effect) => effect.kind === 'GatherFromPeer')
  const peaks = [core.state.incomingBytes]
  const open = [core.state.transfers.size]
  for (let transfer = pending.shift(); transfer !== undefined; transfer = pending.shift()) {
    const { transferId, keys } = transfer
    for (const { key, runId: run, nbytes } of keys)
      pending.push(
        ...core
          .send({ kind: 'ReplicaReceived', transferId, value: stored(key, run, nbytes) })
          .filter((effect) => effect.kind === 'GatherFromPeer'),
      )
    pending.push(
      ...core
        .send({ kind: 'TransferEnded', transferId, outcome: 'done' })
        .filter((effect) => effect.kind === 'GatherFromPeer'),
    )
    peaks.push(core.state.incomingBytes)
    open.push(core.state.transfers.size)
  }
  return { peaks, open }
}

describe('transfer', () => {
  it('acceptance 33: twenty inputs of 30 MB from five peers, never more than 100 MB at a time', () => {
    const core = new Core({ incomingBytesLimit: 100 * MB })
    const inputs = names('x', 20).map((name, n) => input(name, n + 1, [`p${n % 5}`], 30 * MB))
    const effects = core.compute('a', 100, { inputs })
    const { peaks } = drain(core, effects)
    expect(Math.max(...peaks)).toBeLessThanOrEqual(100 * MB)
    expect(Math.max(...peaks)).toBeGreaterThan(50 * MB)
    expect(core.stateOf('a')).toBe('executing')
  })

  it('acceptance 34: one input above the limit is fetched all the same, alone', () => {
    const core = new Core({ incomingBytesLimit: 100 * MB })
    const inputs = [input('huge', 1, ['p'], 500 * MB), input('small', 2, ['q'], MB)]
    const effects = core.compute('a', 100, { inputs })
    // The one with most to give comes first among equals; whichever it is, the huge one never has company.
    const { peaks, open } = drain(core, effects)
    expect(Math.max(...open)).toBe(1)
    expect(Math.max(...peaks)).toBe(500 * MB)
    expect(core.stateOf('a')).toBe('executing')
  })

  it('acceptance 35: two hundred inputs of 1 MB on one peer travel in requests of at most 50 MB, one at a time', () => {
    const core = new Core()
    const inputs = names('x', 200).map((name, n) => input(name, n + 1, ['p'], MB))
    const effects = core.compute('a', 1000, { inputs })
    expect(gathered(effects).map(({ keys }) => keys.length)).toEqual([50])
    const { peaks, open } = drain(core, effects)
    expect([Math.max(...peaks), Math.max(...open)]).toEqual([50 * MB, 1])
    expect(core.stateOf('a')).toBe('executing')
  })

  it('acceptance 36: a hundred peers with a little each are asked at once, with much each only fifty', () => {
    const few = new Core()
    const small = names('x', 100).map((name, n) => input(name, n + 1, [`p${n}`], 1000))
    expect(gathered(few.compute('a', 1000, { inputs: small }))).toHaveLength(100)
    const many = new Core()
    const large = names('x', 100).map((name, n) => input(name, n + 1, [`p${n}`], MB))
    const effects = many.compute('a', 1000, { inputs: large })
    expect(gathered(effects)).toHaveLength(50)
    expect(Math.max(...drain(many, effects).open)).toBe(50)
    expect(many.stateOf('a')).toBe('executing')
  })

  it('acceptance 37: a busy peer is left alone for 150 ms, while another holder is asked at once', () => {
    const core = new Core()
    core.now = 1000
    const [asked] = gathered(core.compute('a', 10, { inputs: [input('x', 1, ['p', 'q'])] }))
    const first = asked?.peer ?? ''
    const other = first === 'p' ? 'q' : 'p'
    const effects = core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'busy' })
    expect(gathered(effects)).toEqual([{ peer: other, keys: ['x'] }])
    expect(gathered(core.send({ kind: 'TransferEnded', transferId: 2, outcome: 'busy' }))).toEqual([])
    core.now += 100
    expect(kinds(core.send({ kind: 'PeerRetryDue', peer: workerId(first) }))).toEqual([])
    core.now += 50
    expect(gathered(core.send({ kind: 'PeerRetryDue', peer: workerId(first) }))).toEqual([{ peer: first, keys: ['x'] }])
    core.send({ kind: 'ReplicaReceived', transferId: 3, value: stored('x', 1) })
    expect([core.stateOf('a'), core.state.tasks.get(taskKey('x'))?.runId]).toEqual(['executing', runId(1)])
  })
})
