// The whole life of tasks, as effects: what each event makes the scheduler say, and nothing else.

import { describe, expect, it } from 'vitest'
import { clientId, functionId, type RunId, taskKey } from '../../base/ids.ts'
import { cluster, CoreFixture, range } from './fixture.conformance.ts'
import { recover, step } from './step.ts'

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)

describe('a task', () => {
  it('is sent with its function, reported when finished and freed when released', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] }, { fn: 'inc' })
    expect(sim.take()).toEqual([
      {
        kind: 'SendToWorker',
        worker: 'a',
        messages: [
          {
            op: 'compute-task',
            key: 'x',
            runId: 1,
            name: 'inc',
            priority: [-0, 0, 0],
            fn: 'inc',
            fnBytes: bytes(7),
            args: bytes(1),
            inputs: [],
            options: {},
            attempt: 1,
          },
        ],
      },
    ])
    sim.finish('x', { nbytes: 8 })
    expect(sim.take()).toEqual([
      { kind: 'SendToClient', client: 'c', messages: [{ op: 'key-in-memory', key: 'x', nbytes: 8, type: 'number' }] },
    ])
    sim.release('x')
    expect(sim.take()).toEqual([{ kind: 'SendToWorker', worker: 'a', messages: [{ op: 'free-keys', keys: ['x'] }] }])
    expect(sim.state.tasks.size).toBe(0)
  })

  it('whose value is awaited brings it along, once, wherever it runs', () => {
    const sim = cluster({ a: { nthreads: 2 } })
    const awaits = (...keys: string[]): void => sim.says('c', { op: 'client-awaits-values', keys: keys.map(taskKey) })
    sim.graph({ x: [], y: ['x'] })
    sim.take()
    awaits('x', 'y', 'unknown')
    expect(sim.sent('a')).toEqual([{ op: 'attach-values', runs: [{ key: 'x', runId: 1 }] }])
    sim.finish('x', { blob: bytes(5) })
    expect(sim.told('c')).toEqual([{ op: 'key-in-memory', key: 'x', nbytes: 100, type: 'number', blob: bytes(5) }])
    expect(sim.sent('a').at(-1)).toEqual({ op: 'attach-values', runs: [{ key: 'y', runId: 2 }] })
    sim.take()
    awaits('x')
    expect(sim.take()).toEqual([])
    sim.client('d')
    sim.graph({ x: [] }, { client: 'd' })
    expect(sim.told('d')).toEqual([{ op: 'key-in-memory', key: 'x', nbytes: 100, type: 'number' }])
    // Its worker is lost: the next run is told as well.
    sim.worker('b')
    sim.workerLost('a')
    sim.advance(60_000)
    expect(sim.sent('b').filter(({ op }) => op === 'attach-values')).toEqual([])
    sim.finish('x')
    expect(sim.sent('b').at(-1)).toMatchObject({ op: 'attach-values', runs: [{ key: 'y' }] })
  })

  it('5.2-11 gets its inputs named with run, size and holders, and its function only once', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x', { nbytes: 50 })
    sim.graph({ y: ['x'] })
    const [compute] = sim.sent('a').slice(1)
    expect(compute).toMatchObject({
      op: 'compute-task',
      key: 'y',
      inputs: [{ key: 'x', runId: 1, nbytes: 50, holders: [{ id: 'a', address: 'tcp://a' }] }],
    })
    expect(compute).not.toHaveProperty('fnBytes')
  })

  it('5.8-1 runs when its last input is there; an input nobody wants is freed after that', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: [], sum: ['x', 'y'] }, { wanted: ['sum'] })
    expect(sim.stateOf('sum')).toBe('waiting')
    sim.finish('x')
    expect(sim.stateOf('sum')).toBe('waiting')
    sim.finish('y')
    expect(sim.stateOf('sum')).toBe('processing')
    sim.take()
    sim.finish('sum')
    expect(sim.sent('a')).toEqual([{ op: 'free-keys', keys: ['x', 'y'] }])
    expect(sim.told('c')).toEqual([{ op: 'key-in-memory', key: 'sum', nbytes: 100, type: 'number' }])
    expect(sim.take()).toEqual([])
    expect([sim.stateOf('x'), sim.stateOf('y'), sim.stateOf('sum')]).toEqual(['released', 'released', 'memory'])
    sim.release('sum')
    expect(sim.state.tasks.size).toBe(0)
  })

  it('that is released while it runs is cancelled, with everything that only it needed', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ x: [], y: ['x'] }, { wanted: ['y'] })
    sim.take()
    sim.release('y')
    expect(sim.take()).toEqual([{ kind: 'SendToWorker', worker: 'a', messages: [{ op: 'free-keys', keys: ['x'] }] }])
    expect(sim.state.tasks.size).toBe(0)
  })

  it('is one of very many that are released at once', () => {
    const sim = cluster({ a: {} }, { validate: false })
    const keys = Object.keys(range(30_000))
    sim.graph(range(30_000))
    for (let n = 0; n < 500; n++) sim.finish(keys[n] as string, { durationMs: 0.1 })
    sim.release(...keys)
    expect(sim.state.tasks.size).toBe(0)
  })

  it('5.8-5 that is known is not submitted again: done, failed and under way', () => {
    const sim = cluster({ a: { nthreads: 4 } })
    sim.graph({ done: [], bad: [], slow: [] })
    sim.finish('done')
    sim.fail('bad')
    sim.client('d')
    sim.take()
    sim.graph({ done: [], bad: [], slow: [] }, { client: 'd' })
    expect(sim.told('d')).toMatchObject([
      { op: 'key-in-memory', key: 'done' },
      { op: 'task-erred', key: 'bad' },
    ])
    expect(sim.take()).toEqual([])
    sim.finish('slow')
    expect(sim.told('c')).toHaveLength(1)
    expect(sim.told('d')).toHaveLength(1)
  })

  it('shared by two clients outlives the one that releases it', () => {
    const sim = cluster({ a: {} })
    sim.client('d')
    sim.graph({ x: [] })
    sim.graph({ x: [] }, { client: 'd' })
    sim.finish('x')
    sim.release('x')
    expect(sim.stateOf('x')).toBe('memory')
    sim.says('d', { op: 'client-releases-keys', keys: [taskKey('x')] })
    expect(sim.stateOf('x')).toBe('forgotten')
  })

  it('5.8-2 that was released keeps its recipe for its dependents and runs again when it is wanted', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x'] }, { wanted: ['y'] })
    sim.finish('x')
    sim.finish('y')
    expect(sim.stateOf('x')).toBe('released')
    sim.says('c', { op: 'client-desires-keys', keys: [taskKey('x')] })
    expect(sim.stateOf('x')).toBe('processing')
    sim.finish('x')
    expect(sim.stateOf('x')).toBe('memory')
  })

  it('that nobody knows any more is reported as cancelled to who desires it', () => {
    const sim = cluster()
    sim.says('c', { op: 'client-desires-keys', keys: [taskKey('gone')] })
    expect(sim.take()).toEqual([
      {
        kind: 'SendToClient',
        client: 'c',
        messages: [{ op: 'cancelled-keys', keys: ['gone'], reason: 'already forgotten', code: 'TASK_CANCELLED' }],
      },
    ])
  })
})

describe('a graph', () => {
  it('with an unknown input loses the task and what depends on it, and nothing else', () => {
    const sim = cluster({ a: {} })
    sim.graph({ bad: ['nowhere'], worse: ['bad'], good: [] })
    expect(sim.told('c')).toEqual([
      { op: 'cancelled-keys', keys: ['bad', 'worse'], reason: 'lost dependencies', code: 'TASK_CANCELLED' },
    ])
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['good'])
    expect(sim.state.tasks.size).toBe(1)
  })

  it('5.8-5 is culled: what is in memory is not computed again, nor what only that needed', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x'] }, { wanted: ['y'] })
    sim.finish('x')
    sim.finish('y')
    sim.release('y')
    sim.graph({ y: [] })
    sim.finish('y')
    sim.take()
    sim.graph({ x: [], y: ['x'], z: ['y'], unused: [] }, { wanted: ['z'] })
    expect(CoreFixture.assigned(sim.sent('a'))).toEqual(['z'])
    expect(sim.state.tasks.has('unused')).toBe(false)
    expect(sim.state.tasks.has('x')).toBe(false)
  })

  it('5.5-8 on a failed input fails at once, with the root error', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.fail('x', 'user', [9])
    sim.take()
    sim.graph({ y: ['x'], z: ['y'] })
    const worker = 'tcp://a'
    const failure = { origin: 'x', worker, error: { kind: 'encoded', bytes: bytes(9) } }
    expect(sim.told('c')).toEqual([
      { op: 'task-erred', key: 'y', failure },
      { op: 'task-erred', key: 'z', failure },
    ])
    expect(sim.task('y').failure).toBe(sim.task('x').failure)
  })

  it('of an unknown function is a protocol error and changes nothing', () => {
    const sim = cluster({ a: {} })
    const group = {
      fn: functionId('never sent'),
      name: 'g',
      options: {},
      tasks: [[taskKey('x'), bytes(), []]] as const,
    }
    expect(() => sim.says('c', { op: 'update-graph', groups: [group], functions: [], wanted: [taskKey('x')] })).toThrow(
      /never sent/,
    )
    expect(sim.state.tasks.size).toBe(0)
  })

  it('takes an input twice without counting it twice', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [], y: ['x', 'x'] }, { wanted: ['y'] })
    sim.finish('x')
    sim.finish('y')
    sim.release('y')
    expect(sim.state.tasks.size).toBe(0)
  })
})

describe('priorities', () => {
  const priorityOf = (sim: CoreFixture, key: string): readonly number[] => {
    const task = sim.task(key)
    return [-task.group.userPriority || 0, task.turn, task.order]
  }

  it('5.5-2 older graphs of a client first, in whatever time they follow one another', () => {
    const sim = cluster({})
    sim.client('d')
    sim.graph({ a: [] })
    sim.now += 80
    sim.graph({ b: [] })
    sim.graph({ other: [] }, { client: 'd' })
    sim.now += 101
    sim.graph({ c: [] })
    expect([priorityOf(sim, 'a'), priorityOf(sim, 'b'), priorityOf(sim, 'c')]).toEqual([
      [0, 0, 0],
      [0, 1, 1],
      [0, 2, 2],
    ])
    expect(priorityOf(sim, 'other')).toEqual([0, 0, 0])
  })

  it('5.5-1 of the user come first, then turn, then order: tasks without workers go out that way', () => {
    const sim = cluster({})
    sim.graph(range(3, 'low'), { options: { priority: -1 } })
    sim.graph(range(3, 'high'), { options: { priority: 5 } })
    sim.worker('a', { nthreads: 1 })
    expect(CoreFixture.assigned(sim.sent('a'))[0]).toBe('high-0')
  })
})

describe('messages of old runs', () => {
  it('5.5-7 a result of a stale run is freed, unless the worker runs the task anew', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.release('x')
    sim.take()
    sim.workerSays('a', {
      op: 'task-finished',
      key: taskKey('x'),
      runId: 1 as RunId,
      nbytes: 1,
      type: 't',
      durable: false,
      durationMs: 1,
    })
    expect(sim.sent('a')).toEqual([{ op: 'free-runs', runs: [{ key: 'x', runId: 1 }] }])
    sim.graph({ x: [] })
    sim.take()
    sim.finish('x', { runId: 1 })
    expect(sim.take()).toEqual([])
    expect(sim.stateOf('x')).toBe('processing')
  })

  it('a result told twice counts once', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    sim.take()
    sim.finish('x', { worker: 'a', nbytes: 5000 })
    expect(sim.take()).toEqual([])
    expect(sim.task('x').nbytes).toBe(100)
  })

  it('5.5-7 a stale error, hand-back or cancellation changes nothing', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.take()
    const stale = { key: taskKey('x'), runId: 77 as RunId }
    sim.workerSays(
      'a',
      { op: 'task-erred', ...stale, kind: 'user', error: bytes(), durationMs: 1 },
      { op: 'reschedule', ...stale, reason: 'paused' },
      { op: 'task-cancelled', ...stale },
      { op: 'steal-response', taken: [stale], kept: [stale] },
    )
    expect(sim.take()).toEqual([])
    expect(sim.stateOf('x')).toBe('processing')
  })
})

describe('functions', () => {
  it('are dropped when no task uses them and their client is gone; workers are told', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    sim.release('x')
    expect(sim.state.functions.size).toBe(1)
    sim.take()
    sim.says('c', { op: 'close-client' })
    expect(sim.sent('a')).toEqual([{ op: 'free-functions', ids: ['f'] }])
    expect(sim.state.functions.size).toBe(0)
  })
})

describe('an unstarted task handed back', () => {
  it('is placed again without blame and counts no attempt', () => {
    const sim = cluster({ a: {}, b: {} })
    sim.graph({ x: [] })
    const first = sim.on('x') as string
    sim.workerSays(first, { op: 'worker-status-change', status: 'paused' })
    sim.take()
    sim.workerSays(first, { op: 'reschedule', key: taskKey('x'), runId: 1 as RunId, reason: 'paused' })
    const other = first === 'a' ? 'b' : 'a'
    expect(sim.sent(other)).toMatchObject([{ op: 'compute-task', key: 'x', runId: 2, attempt: 1 }, { op: 'hold-runs' }])
    expect(sim.task('x').trouble).toMatchObject({ crashes: 0, workers: [], avoid: null })
  })
})

describe('a message that cannot be handled', () => {
  it('throws, and what was decided before it is not lost', () => {
    const sim = cluster({ a: {} })
    const task = (fn: string, key: string) => ({
      fn: functionId(fn),
      name: fn,
      options: {},
      tasks: [[taskKey(key), bytes(), []]] as const,
    })
    const connection = sim.state.clients.get(clientId('c'))?.connection as number
    const messages = [
      {
        op: 'update-graph' as const,
        groups: [task('f', 'x')],
        functions: [{ id: functionId('f'), bytes: bytes() }],
        wanted: [taskKey('x')],
      },
      { op: 'update-graph' as const, groups: [task('unknown', 'y')], functions: [], wanted: [taskKey('y')] },
    ]
    const event = { kind: 'ClientMessages' as const, client: clientId('c'), connection, messages, now: sim.now, at: 0 }
    expect(() => step(sim.state, event)).toThrow()
    expect(recover(sim.state)).toMatchObject([{ kind: 'SendToWorker', messages: [{ op: 'compute-task', key: 'x' }] }])
    expect(recover(sim.state)).toEqual([])
  })
})

describe('the story', () => {
  it('5.1-6 tells every transition of a key with run and worker', () => {
    const sim = cluster({ a: {} })
    sim.graph({ x: [] })
    sim.finish('x')
    expect(sim.state.story.of('x').map((entry) => entry.text)).toEqual([
      'released -> waiting (update-graph)',
      'waiting -> processing, run 1 at tcp://a (update-graph)',
      'processing -> memory, run 1 at tcp://a (task-finished)',
    ])
  })
})
