// Every message between the scheduler and a worker or nanny, lost with the connection that carried it: the next inventory
// settles it, and nothing that still exists is made again.

import { describe, expect, it } from 'vitest'
import { taskKey, workerId, type RunId } from '../../base/ids.ts'
import type { Inventory } from '../../protocol/scheduler-worker.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'

interface Had {
  /** Values of these keys, under the last run that was assigned or accepted. */
  readonly keys?: readonly string[]
  readonly durable?: boolean
  readonly tasks?: Readonly<Record<string, number>>
  readonly received?: number
  readonly status?: 'running' | 'paused'
}

function inventory(core: CoreFixture, { keys = [], durable = false, tasks = {}, received }: Had): Inventory {
  return {
    keys: keys.map((key) => {
      const task = core.state.tasks.get(key)
      return { key: taskKey(key), runId: (task?.runId ?? 1) as RunId, nbytes: 100, type: 'number', durable }
    }),
    tasks: Object.entries(tasks).map(([key, runId]) => ({
      key: taskKey(key),
      runId: runId as RunId,
      state: 'executing',
    })),
    ...(received !== undefined && { received: received as RunId }),
  }
}

/** The connection of `a` breaks, swallowing what was on its way, and `a` is back with this; returns the answer. */
function reconnect(core: CoreFixture, had: Had = {}, meanwhile: () => void = () => {}): Record<string, unknown> {
  core.sent('a')
  core.workerLost('a')
  meanwhile()
  const effect = core.worker('a', { inventory: inventory(core, had), status: had.status ?? 'running' })
  return (effect as unknown as { answer: Record<string, unknown> }).answer
}

/** One worker, with tasks of these names assigned to it. */
function assigned(...names: readonly string[]): CoreFixture {
  const core = cluster({ a: { nthreads: 4 } })
  core.graph(Object.fromEntries(names.map((name) => [name, []])))
  return core
}

describe('lost on the way to a worker', () => {
  it('compute-task: given again under another run, and not counted as an attempt', () => {
    const core = assigned('x', 'y')
    const [x, y] = [core.task('x').runId, core.task('y').runId]
    const answer = reconnect(core, { tasks: { x }, received: x })
    expect(answer).toMatchObject({ drop: [], cancel: [] })
    expect(core.sent('a')).toMatchObject([{ op: 'compute-task', key: 'y', attempt: 1 }])
    expect(core.task('x').runId).toBe(x)
    expect(core.task('y').runId).toBeGreaterThan(y)
  })

  it('compute-task of a task that must not run twice: it did not run', () => {
    const core = cluster({ a: { nthreads: 4 } })
    core.graph({ x: [] }, { options: { idempotent: false } })
    reconnect(core, { received: 0 })
    expect(core.stateOf('x')).toBe('processing')
    // This one arrived, and nothing is known of what became of it.
    reconnect(core, { received: core.task('x').runId })
    expect(core.stateOf('x')).toBe('erred')
  })

  it('the answer to the first registration, with all that follows it: it did not run either', () => {
    const core = cluster({ a: { nthreads: 4 } })
    core.graph({ x: [] }, { options: { idempotent: false } })
    core.workerLost('a')
    core.worker('a')
    expect(core.stateOf('x')).toBe('processing')
    expect(core.task('x').attempts).toBe(1)
  })

  it('free-keys: named in the answer, values and runs', () => {
    const core = assigned('x', 'y')
    core.finish('x')
    const run = core.task('y').runId
    core.release('x', 'y')
    const answer = reconnect(core, { keys: ['x'], tasks: { y: run } })
    expect(answer).toMatchObject({ drop: ['x'], cancel: [run] })
  })

  it('free-keys and the next compute-task of the same key: the old run ends, the new one is given again', () => {
    const core = assigned('x')
    const run = core.task('x').runId
    core.release('x')
    core.graph({ x: [] })
    const answer = reconnect(core, { tasks: { x: run } })
    expect(answer).toMatchObject({ cancel: [run] })
    expect(core.sent('a')).toMatchObject([{ op: 'compute-task', key: 'x' }])
  })

  it('cancel-task: the run is named in the answer', () => {
    const core = assigned('x')
    const run = core.task('x').runId
    core.says('c', { op: 'cancel-keys', keys: [taskKey('x')], force: false, reason: 'enough', cancel: 1 })
    expect(reconnect(core, { tasks: { x: run } })).toMatchObject({ cancel: [run] })
    expect(core.stateOf('x')).toBe('forgotten')
  })

  it('remove-replicas: the copy counts again', () => {
    const core = cluster({ a: {}, b: {} })
    core.graph({ x: [] }, { options: { workers: ['a'] } })
    core.finish('x')
    const run = core.task('x').acceptedRunId as RunId
    core.workerSays('b', { op: 'add-keys', keys: [{ key: taskKey('x'), runId: run, durable: false }] })
    core.says('c', { op: 'report-missing', key: taskKey('x'), runId: run, workers: [workerId('a')] })
    expect(core.task('x').holders.map(({ id }) => id)).toEqual(['b'])
    expect(reconnect(core, { keys: ['x'] })).toMatchObject({ drop: [] })
    expect(core.task('x').holders.map(({ id }) => id)).toEqual(['b', 'a'])
  })

  it('steal-request: the run stays, and may be asked for again', () => {
    const core = cluster({ a: {} }, { workStealing: true, saturation: Infinity })
    core.graph(range(10))
    core.worker('b')
    core.advance(20)
    const asked = core.state.stealing.steals.size
    expect(asked).toBeGreaterThan(0)
    const tasks = Object.fromEntries(Array.from(core.workerRecord('a').processing, ({ key, runId }) => [key, runId]))
    reconnect(core, { tasks })
    expect(core.state.stealing.steals.size).toBe(0)
    core.advance(20)
    expect(core.state.stealing.steals.size).toBe(asked)
  })

  it('set-status: said again, also that it is over', () => {
    const core = assigned('x')
    const request = core.request((number) => ({
      kind: 'RetireRequested',
      request: number,
      workers: ['a'],
      closeWorkers: false,
    }))
    reconnect(core, { tasks: { x: core.task('x').runId } })
    expect(core.sent('a')).toEqual([{ op: 'set-status', status: 'retiring' }])
    reconnect(core, { tasks: { x: core.task('x').runId } }, () => core.event({ kind: 'RequestAbandoned', request }))
    expect(core.sent('a')).toEqual([])
    expect(core.workerRecord('a').status).toBe('running')
  })

  it('close: a worker that was retired is not taken back, its next process is', () => {
    const core = cluster({ a: {}, b: {} })
    core.request((request) => ({ kind: 'RetireRequested', request, workers: ['a'], closeWorkers: true }))
    expect(core.sent('a').at(-1)).toEqual({ op: 'close', reason: 'retired' })
    expect(core.worker('a')).toMatchObject({
      kind: 'Refuse',
      message: expect.stringContaining('was retired') as string,
    })
    expect(core.worker('a', { incarnation: 2 })).toMatchObject({ kind: 'Answer' })
  })

  it('wipe: another generation’s values and runs are all named', () => {
    const core = assigned('x', 'y')
    core.finish('x')
    const had = inventory(core, { keys: ['x'], tasks: { y: core.task('y').runId } })
    core.request((request) => ({ kind: 'RestartRequested', request, timeoutMs: 1000, waitForWorkers: false }))
    core.sent('a')
    core.workerLost('a')
    const effect = core.worker('a', { inventory: had, generation: 1 })
    expect(effect).toMatchObject({
      answer: { generation: 2, drop: ['x'], cancel: had.tasks.map(({ runId }) => runId) },
    })
  })
})

describe('lost on the way from a worker', () => {
  it('task-finished: the value counts', () => {
    const core = assigned('x')
    const run = core.task('x').runId
    expect(reconnect(core, { keys: ['x'], received: run })).toMatchObject({ drop: [] })
    expect(core.told('c')).toMatchObject([{ op: 'key-in-memory', key: 'x' }])
    expect(core.sent('a')).toEqual([])
    // It was not lost after all, but late: nothing changes.
    core.finish('x', { runId: run, worker: 'a' })
    expect([core.stateOf('x'), core.sent('a')]).toEqual(['memory', []])
  })

  it('task-erred: the run is the worker’s until it has said so again, once or twice', () => {
    const core = assigned('x')
    const run = core.task('x').runId
    reconnect(core, { tasks: { x: run }, received: run })
    expect(core.sent('a')).toEqual([])
    core.fail('x')
    expect(core.stateOf('x')).toBe('erred')
    reconnect(core, { tasks: { x: run }, received: run })
    core.workerSays('a', {
      op: 'task-erred',
      key: taskKey('x'),
      runId: run as RunId,
      kind: 'user',
      error: new Uint8Array([1]),
      durationMs: 1,
    })
    expect(core.told('c').filter((message) => message.op === 'task-erred')).toHaveLength(1)
  })

  it('reschedule and steal-response: the task is placed anew', () => {
    const core = assigned('x')
    const run = core.task('x').runId
    reconnect(core, { received: run })
    expect(core.sent('a')).toMatchObject([{ op: 'compute-task', key: 'x' }])
  })

  it('add-keys, release-worker-data, keys-durable and worker-status-change: the inventory says it', () => {
    const core = cluster({ a: {}, b: {} })
    core.graph({ copied: [], dropped: [], durable: [] }, { options: { workers: ['b'] } })
    for (const key of ['copied', 'dropped', 'durable']) {
      core.finish(key)
      if (key === 'copied') continue
      const runId = core.task(key).acceptedRunId as RunId
      core.workerSays('a', { op: 'add-keys', keys: [{ key: taskKey(key), runId, durable: false }] })
    }
    reconnect(core, { keys: ['copied', 'durable'], durable: true, status: 'paused' })
    const worker = core.workerRecord('a')
    expect(Array.from(worker.replicas, ([task, durable]) => [task.key, durable])).toEqual([
      ['durable', true],
      ['copied', true],
    ])
    expect(worker.status).toBe('paused')
  })
})

describe('while a worker’s connection is lost', () => {
  it('what it holds is waited for, however cheap it is to compute', () => {
    const core = cluster({ a: {}, b: {} })
    core.graph({ x: [] }, { options: { workers: ['a'], allowOtherWorkers: true } })
    core.finish('x', { durationMs: 1 })
    core.take()
    reconnect(core, { keys: ['x'] }, () => {
      core.graph({ y: ['x'] }, { fn: 'g' })
      expect([core.stateOf('x'), core.stateOf('y')]).toEqual(['memory', 'waiting'])
    })
    expect(core.stateOf('y')).toBe('processing')
    expect(core.sent('b')).toEqual([])
  })

  it('a value that a client has stored there is not lost', () => {
    const core = cluster({ a: {} })
    core.request((request) => ({
      kind: 'ScatterRequested',
      request,
      client: 'c' as never,
      question: { entries: [{ key: taskKey('s'), nbytes: 10, type: 'x' }], broadcast: false, timeoutMs: 100 },
    }))
    core.graph({ y: ['s'] })
    const runId = core.task('s').runId as RunId
    reconnect(core, { keys: ['s'], durable: true }, () => {
      core.says('c', {
        op: 'update-data',
        entries: [{ key: taskKey('s'), runId, nbytes: 10, type: 'x', workers: [workerId('a')] }],
      })
      expect([core.stateOf('s'), core.stateOf('y')]).toEqual(['memory', 'waiting'])
    })
    expect(core.stateOf('y')).toBe('processing')
  })

  it('a value that a client has stored there is lost with the worker', () => {
    const core = cluster({ a: {} })
    core.request((request) => ({
      kind: 'ScatterRequested',
      request,
      client: 'c' as never,
      question: { entries: [{ key: taskKey('s'), nbytes: 10, type: 'x' }], broadcast: false, timeoutMs: 100 },
    }))
    const runId = core.task('s').runId as RunId
    core.workerLost('a')
    core.says('c', {
      op: 'update-data',
      entries: [{ key: taskKey('s'), runId, nbytes: 10, type: 'x', workers: [workerId('a')] }],
    })
    core.told('c')
    core.advance(5000)
    expect(core.told('c')).toMatchObject([{ op: 'cancelled-keys', keys: ['s'], code: 'DATA_LOST' }])
  })
})

describe('lost between nanny and scheduler', () => {
  it('restart-worker: said again when the nanny is back', () => {
    const core = cluster({ a: {} })
    core.nanny('a')
    core.request((request) => ({ kind: 'RestartRequested', request, timeoutMs: 1000, waitForWorkers: false }))
    core.take()
    core.nannyLost('a')
    core.nanny('a')
    expect(core.take()).toContainEqual({
      kind: 'SendToNanny',
      worker: 'a',
      message: { op: 'restart-worker', generation: 2 },
    })
    core.worker('a', { incarnation: 2 })
    core.nannyLost('a')
    core.nanny('a')
    expect(core.take().filter(({ kind }) => kind === 'SendToNanny')).toEqual([])
  })

  it('worker-exited: said again it blames once, and not the next process', () => {
    const core = assigned('x', 'y')
    core.nanny('a')
    const run = core.task('x').runId
    core.exited('a', [run])
    core.nannyLost('a')
    core.nanny('a')
    core.exited('a', [run])
    expect(core.task('x').trouble?.crashes).toBe(1)
    core.worker('a', { incarnation: 2 })
    core.sent('a')
    core.event({
      kind: 'NannyMessages',
      worker: workerId('a'),
      connection: core.state.nannies.get(workerId('a')) as number,
      messages: [
        {
          op: 'worker-exited',
          workerId: workerId('a'),
          incarnation: 1,
          code: null,
          signal: 'SIGKILL',
          running: [run as RunId],
          restarting: true,
        },
      ],
    })
    expect([core.stateOf('x'), core.workerRecord('a').link]).toEqual(['processing', 'live'])
  })
})
