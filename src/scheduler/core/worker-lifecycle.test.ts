// Workers come, lose their stream, die, come back and are given up (design: inventories, grace, adoption).

import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../../base/ids.ts'
import { cluster, CoreFixture } from './fixture.conformance.ts'

const held = (key: string, runId: number, durable = true, nbytes = 100) => ({
  key: taskKey(key),
  runId: runId as RunId,
  nbytes,
  type: 'number',
  durable,
})
const running = (key: string, runId: number) => ({
  key: taskKey(key),
  runId: runId as RunId,
  state: 'executing' as const,
})
const answerOf = (effect: unknown) => (effect as { answer: { drop: string[]; cancel: number[] } }).answer

/** One worker `a` under a nanny, with these tasks finished there; `durable` ones are in files. */
function withValues(values: Readonly<Record<string, boolean>>, durationMs = 5000): CoreFixture {
  const sim = cluster({ a: {} })
  sim.nanny('a')
  for (const [key, durable] of Object.entries(values)) {
    sim.graph({ [key]: [] })
    sim.finish(key, { durable, durationMs })
  }
  sim.take()
  return sim
}

describe('a lost stream', () => {
  it('5.9-1 without a nanny: everything stays until connection-grace is over, then the worker is dead', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] }, { options: { workers: ['a'], allowOtherWorkers: true } })
    sim.finish('x')
    sim.graph({ y: ['x'] })
    expect(sim.on('y')).toBe('a')
    sim.take()
    sim.workerLost('a')
    expect(sim.stateOf('y')).toBe('processing')
    sim.advance(4999)
    expect(sim.take()).toEqual([])
    sim.advance(1)
    expect(sim.told('c')).toEqual([{ op: 'lost-data', key: 'x' }])
    expect(sim.sent('b')).toMatchObject([
      { op: 'remove-worker', id: 'a', address: 'tcp://a' },
      { op: 'compute-task', key: 'x' },
    ])
    expect(sim.stateOf('y')).toBe('waiting')
    expect(sim.timers).toEqual([])
  })

  it('that comes back with the same process loses nothing', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    sim.graph({ y: ['x'], z: [] })
    sim.take()
    sim.workerLost('a')
    const answer = sim.worker('a', { inventory: { keys: [held('x', 1)], tasks: [running('y', 2), running('z', 3)] } })
    expect(answerOf(answer)).toMatchObject({ drop: [], cancel: [] })
    expect(sim.take()).toEqual([])
    expect(sim.timers).toEqual([])
    sim.finish('y')
    expect(sim.stateOf('y')).toBe('memory')
  })

  it('hides what was said meanwhile: results count, lost assignments are repeated, void runs are stopped', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ done: [], never: [], gone: [] })
    sim.workerLost('a')
    sim.release('gone')
    sim.take()
    const keys = [held('done', 1), held('stranger', 99)]
    const answer = sim.worker('a', { nthreads: 4, inventory: { keys, tasks: [running('gone', 3)] } })
    expect(answerOf(answer)).toMatchObject({ drop: ['stranger'], cancel: [3] })
    expect(sim.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'done' }])
    expect(sim.sent('a')).toMatchObject([{ op: 'compute-task', key: 'never', runId: 4, fnBytes: new Uint8Array([7]) }])
    expect(sim.state.prefixes.get('f')?.runs).toBe(1)
  })

  it('is not noticed when the worker registers again on a new one first', () => {
    const sim = cluster({ a: {} })
    const old = sim.workerRecord('a').connection
    sim.graph({ x: [] })
    sim.take()
    sim.worker('a', { inventory: { keys: [], tasks: [running('x', 1)] } })
    expect(sim.take()).toEqual([{ kind: 'CloseConnection', connection: old, reason: expect.any(String) as string }])
    sim.event({ kind: 'WorkerLost', worker: sim.workerRecord('a').id, connection: old })
    expect(sim.workerRecord('a').link).toBe('live')
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('of a worker that said it closes is its end at once', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] })
    const first = sim.on('x') as string
    sim.workerSays(first, { op: 'worker-status-change', status: 'closing' })
    sim.workerLost(first)
    expect(sim.state.workers.size).toBe(1)
    expect(sim.on('x')).toBe(first === 'a' ? 'b' : 'a')
  })
})

describe('a process that died', () => {
  it('loses its runs and what was in it at once; files are waited for, and nobody is told', () => {
    const sim = withValues({ file: true, inline: false })
    sim.worker('b')
    sim.graph({ run: [] }, { options: { workers: ['a'], allowOtherWorkers: true } })
    sim.take()
    sim.exited('a', [])
    expect(sim.told('c')).toEqual([{ op: 'lost-data', key: 'inline' }])
    expect(new Set(CoreFixture.assigned(sim.sent('b')))).toEqual(new Set(['inline', 'run']))
    expect(sim.stateOf('file')).toBe('memory')
    sim.graph({ use: ['file'] }, { fn: 'use' })
    expect(sim.stateOf('use')).toBe('waiting')
    sim.take()
    sim.worker('a', { incarnation: 2, inventory: { keys: [held('file', 1)], tasks: [] } })
    expect(sim.on('use')).toBe('a')
    expect(sim.told('c')).toEqual([])
  })

  it('is given up when it does not come back within worker-grace', () => {
    const sim = withValues({ file: true })
    sim.worker('b')
    sim.exited('a')
    sim.advance(9999)
    expect(sim.stateOf('file')).toBe('memory')
    sim.take()
    sim.advance(1)
    expect(sim.told('c')).toEqual([{ op: 'lost-data', key: 'file' }])
    expect(sim.on('file')).toBe('b')
  })

  it('is waited for however quick its values are computed: a value that exists is never replaced by another', () => {
    const sim = withValues({ quick: true }, 50)
    sim.worker('b')
    sim.exited('a')
    sim.graph({ use: ['quick'] }, { fn: 'use' })
    expect([sim.stateOf('quick'), sim.stateOf('use')]).toEqual(['memory', 'waiting'])
    sim.worker('a', { incarnation: 2, inventory: { keys: [held('quick', 1)], tasks: [] } })
    expect(sim.on('use')).toBe('a')
  })

  it('brings back a value that is being recomputed: the other run is cancelled, its late result dropped', () => {
    // Of its copy on disk nobody had been told.
    const sim = withValues({ quick: false })
    sim.worker('b')
    sim.exited('a')
    sim.take()
    const answer = sim.worker('a', { incarnation: 2, inventory: { keys: [held('quick', 1)], tasks: [] } })
    expect(answerOf(answer).drop).toEqual([])
    expect(sim.sent('b').filter((message) => message.op !== 'remove-worker')).toEqual([
      { op: 'free-keys', keys: ['quick'] },
    ])
    expect(sim.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'quick' }])
    sim.finish('quick', { worker: 'b', runId: 2 })
    expect(sim.sent('b')).toEqual([{ op: 'free-runs', runs: [{ key: 'quick', runId: 2 }] }])
    expect(sim.task('quick').acceptedRunId).toBe(1)
  })

  it('brings back a value too late when a newer run has finished', () => {
    const sim = withValues({ quick: false })
    sim.worker('b')
    sim.exited('a')
    sim.finish('quick')
    const answer = sim.worker('a', { incarnation: 2, inventory: { keys: [held('quick', 1)], tasks: [] } })
    expect(answerOf(answer).drop).toEqual(['quick'])
    expect(sim.task('quick').holders).toHaveLength(1)
  })

  it('brings back a result that was never reported: it counts as finished', () => {
    const sim = cluster({ a: {} })
    sim.nanny('a')
    sim.graph({ x: [] })
    sim.exited('a', [])
    expect(sim.stateOf('x')).toBe('queued')
    sim.take()
    sim.worker('a', { incarnation: 2, inventory: { keys: [held('x', 1)], tasks: [] } })
    expect(sim.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'x' }])
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual([])
  })

  it('brings back what was released meanwhile: it is dropped', () => {
    const sim = withValues({ x: true })
    sim.exited('a')
    sim.release('x')
    expect(answerOf(sim.worker('a', { incarnation: 2, inventory: { keys: [held('x', 1)], tasks: [] } })).drop).toEqual([
      'x',
    ])
  })

  it('brings back values of another cluster or generation: worth nothing', () => {
    const sim = withValues({ x: true })
    sim.exited('a')
    const inventory = { keys: [held('x', 1)], tasks: [running('y', 5)] }
    expect(answerOf(sim.worker('a', { incarnation: 2, inventory, clusterId: 'other' }))).toMatchObject({
      drop: ['x'],
      cancel: [5],
    })
    expect(sim.task('x').acceptedRunId).toBe(1)
    expect(sim.on('x')).toBe('a')
  })

  it('that registers anew before its nanny has spoken is taken as dead; the late word is ignored', () => {
    const sim = withValues({ inline: false, file: true })
    sim.graph({ run: [] })
    sim.take()
    sim.worker('a', { incarnation: 2, inventory: { keys: [held('file', 2)], tasks: [] } })
    expect(sim.stateOf('file')).toBe('memory')
    expect(sim.stateOf('inline')).toBe('processing')
    sim.event({
      kind: 'NannyMessages',
      worker: sim.workerRecord('a').id,
      connection: sim.state.nannies.get(sim.workerRecord('a').id) as number,
      messages: [
        {
          op: 'worker-exited',
          workerId: sim.workerRecord('a').id,
          incarnation: 1,
          code: 1,
          signal: null,
          running: [],
          restarting: true,
        },
      ],
    })
    expect(sim.workerRecord('a').link).toBe('live')
  })

  it('and is not started again takes everything with it', () => {
    const sim = withValues({ x: true })
    sim.exited('a', [], false)
    expect(sim.state.workers.size).toBe(0)
    expect(sim.state.hosts.size).toBe(0)
    expect(sim.told('c')).toEqual([{ op: 'lost-data', key: 'x' }])
  })

  it('whose nanny is lost as well has connection-grace left', () => {
    const sim = withValues({ x: true })
    sim.exited('a')
    sim.advance(3000)
    sim.nannyLost('a')
    sim.advance(4999)
    expect(sim.state.workers.size).toBe(1)
    sim.advance(1)
    expect(sim.state.workers.size).toBe(0)
  })
})

describe('a loss', () => {
  it('5.9-5 with another replica left is no loss', () => {
    const sim = withValues({ x: true })
    sim.worker('b')
    sim.workerSays('b', { op: 'add-keys', keys: [{ ...held('x', 1), durable: false }] })
    sim.exited('a', [], false)
    expect(sim.told('c')).toEqual([])
    expect(sim.task('x').holders.map((worker) => worker.id)).toEqual(['b'])
  })

  it('5.9-2 recomputes released inputs that are needed again', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [], y: ['x'] }, { wanted: ['y'] })
    sim.finish('x')
    sim.finish('y')
    expect(sim.stateOf('x')).toBe('released')
    const holder = sim.task('y').holders[0]?.id as string
    sim.workerLost(holder)
    sim.advance(6000)
    expect([sim.stateOf('x'), sim.stateOf('y')]).toEqual(['processing', 'waiting'])
    sim.finish('x')
    sim.finish('y')
    expect(sim.stateOf('y')).toBe('memory')
  })

  it('of an input sends its dependents back: they run when it is there again', () => {
    const sim = withValues({ x: false })
    sim.worker('b')
    sim.graph({ y: ['x'] }, { options: { workers: ['b'] } })
    sim.take()
    sim.exited('a')
    expect(sim.sent('b')).toMatchObject([
      { op: 'free-keys', keys: ['y'] },
      { op: 'compute-task', key: 'x' },
    ])
    expect(sim.stateOf('y')).toBe('waiting')
  })
})

describe('registration', () => {
  it('5.9-8 refuses a name or address in use, and an older process', () => {
    const sim = cluster({ a: { name: 'alice' } })
    expect(sim.worker('b', { name: 'alice' })).toMatchObject({ kind: 'Refuse', code: 'INVALID_ARGUMENT' })
    expect(sim.worker('b', { address: 'tcp://a' })).toMatchObject({ kind: 'Refuse' })
    sim.worker('a', { incarnation: 3, name: 'alice' })
    expect(sim.worker('a', { incarnation: 2, name: 'alice' })).toMatchObject({ kind: 'Refuse' })
    expect(sim.state.workers.size).toBe(1)
  })

  it('5.9-6 at a new address tells peers to forget the old one', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.workerLost('a')
    sim.take()
    sim.worker('a', { incarnation: 2, address: 'tcp://elsewhere' })
    expect(sim.sent('b')).toEqual([{ op: 'remove-worker', id: 'a', address: 'tcp://a' }])
    sim.graph({ x: [] }, { options: { workers: ['a'] } })
    sim.finish('x')
    sim.graph({ y: ['x'] }, { options: { workers: ['b'] } })
    expect(sim.sent('b')).toMatchObject([{ inputs: [{ holders: [{ id: 'a', address: 'tcp://elsewhere' }] }] }])
  })
})
