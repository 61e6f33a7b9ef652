import { describe, expect, it } from 'vitest'
import { runId, type RunId, taskKey, type TaskKey, workerId } from '../../base/ids.ts'
import {
  computeTask,
  Core,
  executed,
  FN,
  gathered,
  holder,
  input,
  kinds,
  messagesOf,
  NO_BYTES,
  order,
  sent,
  stored,
} from './fixture.conformance.ts'
import type { InputWire } from '../../protocol/tasks.ts'
import { statusOf, wantsReplica } from './state.ts'
import { story } from './story.ts'

describe('computing', () => {
  it('6.2-2 6.5-2 runs a task without inputs and reports it once the store has its value', () => {
    const core = new Core()
    expect(core.compute('a', 1)).toEqual([{ kind: 'Execute', runs: [order('a', 1)] }])
    expect(core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 2, depth: 1 })).toEqual([
      { kind: 'StoreResult', runId: 1 },
    ])
    expect(core.stateOf('a')).toBe('executing')
    expect(core.send({ kind: 'ValueStored', runId: runId(1), nbytes: 10, type: 'number', durable: false })).toEqual([
      sent({ op: 'task-finished', key: 'a', runId: 1, nbytes: 10, type: 'number', durable: false, durationMs: 2 }),
    ])
    expect(core.stateOf('a')).toBe('memory')
    expect(core.receive({ op: 'free-keys', keys: [taskKey('a')] })).toEqual([
      { kind: 'FreeFromStore', values: [{ key: 'a', runId: 1 }] },
    ])
    expect(core.stateOf('a')).toBe('unknown')
  })

  it('has a small value attached to the news of it when that was asked for before its end', () => {
    const core = new Core({ nthreads: 3 })
    core.receive(computeTask('small', 1), computeTask('large', 2), computeTask('other', 3))
    core.receive({
      op: 'attach-values',
      runs: [
        { key: taskKey('small'), runId: runId(1) },
        { key: taskKey('large'), runId: runId(2) },
        { key: taskKey('other'), runId: runId(9) },
        { key: taskKey('unknown'), runId: runId(4) },
      ],
    })
    expect(messagesOf(core.finish(1, 1024))).toMatchObject([{ op: 'task-finished', key: 'small', attach: true }])
    for (const effects of [core.finish(2, 1025), core.finish(3)])
      expect(messagesOf(effects)[0]).not.toHaveProperty('attach')
  })

  it('frees the slot when the executor is done, not when the store is', () => {
    const core = new Core()
    core.compute('a', 1)
    expect(core.compute('b', 2)).toEqual([])
    expect(kinds(core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 1 }))).toEqual([
      'StoreResult',
      'Execute',
    ])
  })

  it('6.7-1 starts the most urgent task of a batch first, comparing priorities element by element', () => {
    const core = new Core()
    core.receive(
      computeTask('low', 1, { priority: [0, 1, 0] }),
      computeTask('lower', 2, { priority: [1, 0, 0] }),
      computeTask('high', 3, { priority: [0, 0, 9] }),
    )
    expect([core.stateOf('high'), core.stateOf('low'), core.stateOf('lower')]).toEqual(['executing', 'ready', 'ready'])
    expect(executed(core.finish(3))).toEqual(['low'])
  })

  it('hands as many runs to the executors as their depth for that function allows', () => {
    const core = new Core({ nthreads: 2 })
    core.receive(...[1, 2, 3, 4, 5, 6, 7].map((run) => computeTask(`t${run}`, run)))
    expect(core.state.running).toBe(2)
    core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 4 })
    // One run of depth 1 counts a whole thread, four of depth 4 fill the other one.
    expect(core.state.running).toBe(5)
    expect(core.state.load).toBeCloseTo(2)
  })

  it('6.4-2 ignores a repeated assignment, and confirms one that is done', () => {
    const core = new Core()
    core.compute('a', 1)
    expect(core.compute('a', 1)).toEqual([])
    core.finish(1)
    expect(messagesOf(core.compute('a', 1))).toMatchObject([{ op: 'task-finished', runId: 1 }])
    expect(core.state.runs.size).toBe(0)
  })

  it('does not run again what failed under the same run id', () => {
    const core = new Core()
    core.compute('a', 1)
    expect(core.send({ kind: 'RunErred', runId: runId(1), failure: 'user', error: NO_BYTES, durationMs: 3 })).toEqual([
      sent({ op: 'task-erred', key: 'a', runId: 1, kind: 'user', error: NO_BYTES, durationMs: 3 }),
    ])
    expect(core.compute('a', 1)).toEqual([])
    expect(executed(core.compute('a', 2))).toEqual(['a'])
  })

  it('6.4-2 computes anew what it holds of an older run', () => {
    const core = new Core()
    core.hold('a', 1)
    expect(kinds(core.compute('a', 2))).toEqual(['FreeFromStore', 'Execute'])
  })

  it('6.3-15 reports a value that the store refused', () => {
    const core = new Core()
    core.compute('a', 1)
    core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 2, depth: 1 })
    expect(messagesOf(core.send({ kind: 'ValueRefused', runId: runId(1), error: NO_BYTES }))).toMatchObject([
      { op: 'task-erred', kind: 'store-full', durationMs: 2 },
    ])
  })

  it('takes back a run that was never started, and gives it up after several times', () => {
    const core = new Core()
    core.compute('a', 1)
    for (let i = 0; i < 5; i++)
      expect(executed(core.send({ kind: 'RunReturned', runId: runId(1), reason: 'executor died' }))).toEqual(['a'])
    expect(messagesOf(core.send({ kind: 'RunReturned', runId: runId(1), reason: 'executor died' }))).toMatchObject([
      { op: 'reschedule', key: 'a', runId: 1 },
    ])
    expect(core.stateOf('a')).toBe('unknown')
  })

  it('reports a function whose code it does not have', () => {
    const core = new Core()
    const { fnBytes: _, ...message } = computeTask('a', 1)
    expect(core.receive(message)).toMatchObject([{ kind: 'ReportFailure', key: 'a', runId: 1, failure: 'system' }])
    expect(core.stateOf('a')).toBe('unknown')
  })

  it('runs on with a function that the scheduler told it to forget meanwhile', () => {
    const core = new Core()
    core.receive(computeTask('a', 1), computeTask('b', 2))
    expect(core.receive({ op: 'free-functions', ids: [FN] })).toEqual([{ kind: 'ForgetFunctions', ids: ['f'] }])
    expect(executed(core.finish(1))).toEqual(['b'])
  })
})

describe('freeing, cancelling and stealing', () => {
  it('6.3-13 lets go of a running key at once and drops its result when it comes', () => {
    const core = new Core()
    core.compute('a', 1)
    expect(core.receive({ op: 'free-keys', keys: [taskKey('a')] })).toEqual([
      { kind: 'CancelExecution', runId: 1, force: false },
    ])
    expect(core.stateOf('a')).toBe('unknown')
    expect(core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 1 })).toEqual([
      { kind: 'DropResult', runId: 1 },
    ])
    expect(core.state.runs.size).toBe(0)
  })

  it('6.3-7 6.3-8 does not start a key again before its discarded run has ended', () => {
    const core = new Core({ nthreads: 2 })
    core.compute('a', 1)
    core.receive({ op: 'free-keys', keys: [taskKey('a')] })
    expect(core.compute('a', 2)).toEqual([])
    expect(core.stateOf('a')).toBe('waiting')
    expect(executed(core.send({ kind: 'RunCancelled', runId: runId(1) }))).toEqual(['a'])
  })

  it('replaces an assignment by a newer one, and ignores an older one', () => {
    const core = new Core({ nthreads: 2 })
    core.compute('a', 5)
    expect(core.compute('a', 4)).toEqual([])
    expect(kinds(core.compute('a', 6))).toEqual(['CancelExecution'])
    expect(
      executed(core.send({ kind: 'RunErred', runId: runId(5), failure: 'user', error: NO_BYTES, durationMs: 1 })),
    ).toEqual(['a'])
    expect(messagesOf(core.finish(6))).toMatchObject([{ op: 'task-finished', runId: 6 }])
  })

  it('6.3-13 drops a value that is being stored when its key is freed', () => {
    const core = new Core()
    core.compute('a', 1)
    core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 1 })
    expect(core.receive({ op: 'free-keys', keys: [taskKey('a')] })).toEqual([])
    expect(core.send({ kind: 'ValueStored', runId: runId(1), nbytes: 1, type: 'number', durable: true })).toEqual([
      { kind: 'FreeFromStore', values: [{ key: 'a', runId: 1 }] },
    ])
  })

  it('6.4-4 answers a cancelled task when it has ended, whatever way', () => {
    const core = new Core()
    core.receive(computeTask('a', 1), computeTask('b', 2))
    expect(core.receive({ op: 'cancel-task', key: taskKey('b'), runId: runId(2), force: false })).toEqual([
      sent({ op: 'task-cancelled', key: 'b', runId: 2 }),
    ])
    expect(core.receive({ op: 'cancel-task', key: taskKey('a'), runId: runId(1), force: false })).toEqual([
      { kind: 'CancelExecution', runId: 1, force: false },
    ])
    expect(core.receive({ op: 'cancel-task', key: taskKey('a'), runId: runId(1), force: true })).toEqual([
      { kind: 'CancelExecution', runId: 1, force: true },
    ])
    expect(core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 1 })).toEqual([
      { kind: 'DropResult', runId: 1 },
      sent({ op: 'task-cancelled', key: 'a', runId: 1 }),
    ])
    expect(core.stateOf('a')).toBe('unknown')
  })

  it('6.4-8 gives a task that was not started to a thief, and no other', () => {
    const core = new Core()
    core.receive(computeTask('a', 1), computeTask('b', 2))
    const run = (key: string, id: number): { key: TaskKey; runId: RunId } => ({ key: taskKey(key), runId: runId(id) })
    const [a, b, x] = [run('a', 1), run('b', 2), run('x', 9)]
    expect(core.receive({ op: 'steal-request', runs: [a, b, b, x] })).toEqual([
      { kind: 'WithdrawExecutions', runIds: [1] },
      sent({ op: 'steal-response', taken: [b], kept: [b, x] }),
    ])
    expect(core.send({ kind: 'RunsKept', runIds: [runId(1)] })).toEqual([
      sent({ op: 'steal-response', taken: [], kept: [a] }),
    ])
    expect(core.stateOf('a')).toBe('executing')
  })

  it('gives a thief what an executor has and did not start; asked twice it answers once', () => {
    const core = new Core()
    core.receive(computeTask('a', 1))
    const runs = [{ key: taskKey('a'), runId: runId(1) }]
    core.receive({ op: 'steal-request', runs })
    expect(core.receive({ op: 'steal-request', runs })).toEqual([])
    expect(core.send({ kind: 'RunReturned', runId: runId(1), reason: 'withdrawn' })).toEqual([
      sent({ op: 'steal-response', taken: runs, kept: [] }),
    ])
    expect(core.stateOf('a')).toBe('unknown')
  })

  it('answers a theft with the end of the run when that comes first', () => {
    const core = new Core()
    core.receive(computeTask('a', 1))
    core.receive({ op: 'steal-request', runs: [{ key: taskKey('a'), runId: runId(1) }] })
    core.finish(1)
    expect(core.stateOf('a')).toBe('memory')
    expect(core.send({ kind: 'RunsKept', runIds: [runId(1)] })).toEqual([])
  })

  it('wipes everything, and blocks a key until its old run is really over', () => {
    const core = new Core({ nthreads: 2 })
    core.hold('held', 1)
    core.receive(computeTask('a', 2), computeTask('b', 3, { inputs: [input('x', 1, ['p'])] }))
    const effects = core.receive({ op: 'wipe', generation: 7 })
    expect(effects).toEqual([
      { kind: 'CancelExecution', runId: 2, force: true },
      { kind: 'AbortTransfer', transferId: 1 },
      { kind: 'WipeStore', generation: 7 },
    ])
    expect(core.state.tasks.size).toBe(0)
    expect(executed(core.receive(computeTask('a', 4)))).toEqual([])
    expect(executed(core.send({ kind: 'RunCancelled', runId: runId(2) }))).toEqual(['a'])
    expect(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'aborted' })).toEqual([])
    expect(core.state.peers.size).toBe(0)
  })

  it('drops what the scheduler does not want after a registration', () => {
    const core = new Core()
    core.send({ kind: 'ValuesAdopted', values: [stored('a', 1), stored('b', 2)] })
    core.receive(computeTask('c', 3), computeTask('d', 4))
    const effects = core.send({ kind: 'Registered', generation: 1, drop: [taskKey('a')], cancel: [runId(3), runId(4)] })
    expect(effects).toEqual([
      { kind: 'FreeFromStore', values: [{ key: 'a', runId: 1 }] },
      { kind: 'CancelExecution', runId: 3, force: false },
      { kind: 'ForgetFunctions', ids: ['f'] },
    ])
    expect(core.state.heldBytes).toBe(10)
  })
})

describe('fetching inputs', () => {
  it('6.4-3 6.3-17 fetches what is not here, runs with what is, and announces the copies', () => {
    const core = new Core()
    core.hold('y', 2)
    const effects = core.compute('a', 9, { inputs: [input('x', 1, ['p'], 100), input('y', 2, ['q'])] })
    expect(effects).toEqual([
      {
        kind: 'GatherFromPeer',
        transferId: 1,
        peer: 'p',
        address: 'tcp://p:1',
        keys: [{ key: 'x', runId: 1, nbytes: 100 }],
      },
    ])
    expect(wantsReplica(core.state, 1, taskKey('x'), runId(1))).toBe(true)
    expect(core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('x', 1, 100) })).toEqual([
      { kind: 'Execute', runs: [order('a', 9, ['x', 'y'])] },
      sent({ op: 'add-keys', keys: [{ key: 'x', runId: 1, durable: true }] }),
    ])
    expect(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'done' })).toEqual([])
    expect(core.state.incomingBytes).toBe(0)
    expect(core.state.peers.size).toBe(0)
  })

  it('6.2-7 6.6-2 asks one peer once at a time and puts several keys into one request', () => {
    const core = new Core({ messageBytesLimit: 100 })
    const effects = core.receive(
      computeTask('a', 10, { inputs: [input('x1', 1, ['p'], 60)] }),
      computeTask('b', 11, { inputs: [input('x2', 2, ['p'], 40)] }),
      computeTask('c', 12, { inputs: [input('x3', 3, ['p'], 30)] }),
    )
    expect(gathered(effects)).toEqual([{ peer: 'p', keys: ['x1', 'x2'] }])
    expect(gathered(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'busy' }))).toEqual([])
    core.now = 150
    // What is left of the first request comes first again: its tasks are more urgent.
    expect(gathered(core.send({ kind: 'PeerRetryDue', peer: workerId('p') }))).toEqual([
      { peer: 'p', keys: ['x1', 'x2'] },
    ])
  })

  it('6.6-2 asks for a key above the message limit alone, and for any size when nothing is on its way', () => {
    const core = new Core({ messageBytesLimit: 100, incomingBytesLimit: 500 })
    const effects = core.receive(
      computeTask('a', 10, { inputs: [input('big', 1, ['p'], 1000)] }),
      computeTask('b', 11, { inputs: [input('small', 2, ['q'], 1)] }),
    )
    expect(gathered(effects)).toEqual([{ peer: 'p', keys: ['big'] }])
    expect(gathered(core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('big', 1, 1000) }))).toEqual([
      { peer: 'q', keys: ['small'] },
    ])
  })

  it('6.6-1 prefers the same host, then the peer with most to give', () => {
    const core = new Core({ incomingCountLimit: 1 })
    const near = { id: workerId('near'), address: 'tcp://10.0.0.1:7' }
    const x: InputWire = { ...input('x', 1, ['p', 'q']), holders: [holder('p'), near, holder('q')] }
    expect(gathered(core.compute('a', 10, { inputs: [x] }))).toEqual([{ peer: 'near', keys: ['x'] }])
    const other = new Core()
    const effects = other.compute('a', 10, { inputs: [input('x', 1, ['p', 'q']), input('y', 2, ['q'])] })
    expect(gathered(effects)).toEqual([{ peer: 'q', keys: ['x', 'y'] }])
  })

  it('6.2-8 6.4-12 leaves a busy peer alone for 150 ms, tries the other holders, and asks for more when all are busy', () => {
    const core = new Core()
    core.now = 10_000
    core.compute('a', 10, {
      inputs: [{ ...input('x', 1, []), holders: [{ id: workerId('near'), address: 'tcp://10.0.0.1:7' }, holder('q')] }],
    })
    const effects = core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'busy' })
    expect(effects).toMatchObject([
      { kind: 'SetTimer', delayMs: 150, event: { kind: 'PeerRetryDue', peer: 'near' } },
      { kind: 'GatherFromPeer', peer: 'q' },
    ])
    expect(messagesOf(core.send({ kind: 'TransferEnded', transferId: 2, outcome: 'busy' }))).toEqual([
      { op: 'request-refresh-who-has', keys: ['x'] },
    ])
    core.now += 150
    expect(gathered(core.send({ kind: 'PeerRetryDue', peer: workerId('near') }))).toEqual([
      { peer: 'near', keys: ['x'] },
    ])
  })

  it('6.4-13 forgets a peer for all its keys when it cannot be reached, and asks the scheduler', () => {
    const core = new Core({ messageBytesLimit: 10 })
    core.compute('a', 10, { inputs: [input('x', 1, ['p']), input('y', 2, ['p'])] })
    const effects = core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'unreachable' })
    expect(kinds(effects)).toEqual(['SetTimer', 'SetTimer', 'SendToScheduler'])
    expect(messagesOf(effects)).toEqual([{ op: 'request-refresh-who-has', keys: expect.arrayContaining(['x', 'y']) }])
    // The same dead peer again: it is not asked before its time.
    expect(core.receive({ op: 'refresh-who-has', keys: [input('x', 1, ['p']), input('y', 2, ['p'])] })).toEqual([])
    core.now = 150
    expect(gathered(core.send({ kind: 'PeerRetryDue', peer: workerId('p') }))).toEqual([{ peer: 'p', keys: ['x'] }])
  })

  it('6.4-11 asks again for missing keys, less and less often', () => {
    const core = new Core()
    const first = core.compute('a', 10, { inputs: [input('x', 1, [])] })
    expect(first).toEqual([
      { kind: 'SetTimer', delayMs: 1000, event: { kind: 'MissingDue' } },
      sent({ op: 'request-refresh-who-has', keys: ['x'] }),
    ])
    core.now = 1000
    expect(core.send({ kind: 'MissingDue' })).toEqual([
      { kind: 'SetTimer', delayMs: 2000, event: { kind: 'MissingDue' } },
      sent({ op: 'request-refresh-who-has', keys: ['x'] }),
    ])
    core.receive({ op: 'refresh-who-has', keys: [input('x', 1, ['p'])] })
    expect(core.stateOf('x')).toBe('flight')
    core.now = 3000
    expect(core.send({ kind: 'MissingDue' })).toEqual([])
  })

  it('gives the task back when nobody has its input', () => {
    const core = new Core()
    core.compute('a', 10, { inputs: [input('x', 1, [])] })
    expect(messagesOf(core.receive({ op: 'refresh-who-has', keys: [input('x', 1, [])] }))).toMatchObject([
      { op: 'reschedule', key: 'a', runId: 10 },
    ])
    expect(core.state.tasks.size).toBe(0)
  })

  it('6.3-9 aborts a transfer that nobody wants any more, and joins one that is wanted again', () => {
    const core = new Core()
    core.compute('a', 10, { inputs: [input('x', 1, ['p']), input('y', 2, ['p'])] })
    core.compute('b', 11, { inputs: [input('y', 2, ['p'])] })
    expect(core.receive({ op: 'free-keys', keys: [taskKey('a')] })).toEqual([])
    expect(core.stateOf('x')).toBe('unknown')
    expect(core.compute('c', 12, { inputs: [input('x', 1, ['p'])] })).toEqual([])
    expect(core.stateOf('x')).toBe('flight')
    expect(core.receive({ op: 'free-keys', keys: [taskKey('b'), taskKey('c')] })).toEqual([
      { kind: 'AbortTransfer', transferId: 1 },
    ])
    core.compute('d', 13, { inputs: [input('x', 1, ['q'])] })
    expect(core.stateOf('x')).toBe('fetch')
    expect(gathered(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'aborted' }))).toEqual([
      { peer: 'q', keys: ['x'] },
    ])
  })

  it('drops a copy that came after nobody wanted it', () => {
    const core = new Core()
    core.compute('a', 10, { inputs: [input('x', 1, ['p'])] })
    core.receive({ op: 'free-keys', keys: [taskKey('a')] })
    expect(core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('x', 1) })).toEqual([
      { kind: 'FreeFromStore', values: [{ key: 'x', runId: 1 }] },
    ])
  })

  it('6.3-11 computes a key itself only when its abandoned transfer has ended', () => {
    const core = new Core()
    core.compute('a', 10, { inputs: [input('x', 1, ['p'])] })
    expect(kinds(core.compute('x', 11))).toEqual(['AbortTransfer'])
    expect(executed(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'aborted' }))).toEqual(['x'])
    expect(executed(core.finish(11))).toEqual(['a'])
  })

  it('6.4-15 looks elsewhere for a key that a peer does not have', () => {
    const core = new Core()
    core.compute('a', 10, {
      inputs: [{ ...input('x', 1, []), holders: [{ id: workerId('near'), address: 'tcp://10.0.0.1:7' }, holder('q')] }],
    })
    expect(gathered(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'done' }))).toEqual([
      { peer: 'q', keys: ['x'] },
    ])
    expect(messagesOf(core.send({ kind: 'TransferEnded', transferId: 2, outcome: 'done' }))).toEqual([
      { op: 'request-refresh-who-has', keys: ['x'] },
    ])
  })

  it('6.4-14 fails the tasks whose input finds no room', () => {
    const core = new Core()
    core.compute('a', 10, { inputs: [input('x', 1, ['p'])] })
    expect(
      core.send({ kind: 'ReplicaRefused', transferId: 1, key: taskKey('x'), reason: 'both tiers are full' }),
    ).toMatchObject([{ kind: 'ReportFailure', key: 'a', runId: 10, code: 'STORE_FULL' }])
    core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'done' })
    expect(core.state.tasks.size).toBe(0)
  })

  it('6.4-10 forgets a worker that the scheduler removed, with its open transfer', () => {
    const core = new Core()
    core.compute('a', 10, { inputs: [input('x', 1, ['p'])] })
    expect(core.receive({ op: 'remove-worker', id: workerId('p'), address: 'tcp://p:1' })).toEqual([
      { kind: 'AbortTransfer', transferId: 1 },
    ])
    expect(messagesOf(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'aborted' }))).toEqual([
      { op: 'request-refresh-who-has', keys: ['x'] },
    ])
  })
})

describe('replicas', () => {
  it('6.4-7 acquires copies behind the inputs of tasks', () => {
    const core = new Core({ messageBytesLimit: 10 })
    const effects = core.receive(
      { op: 'acquire-replicas', inputs: [input('copy', 1, ['p'])] },
      computeTask('a', 10, { inputs: [input('x', 2, ['p'])] }),
    )
    expect(gathered(effects)).toEqual([{ peer: 'p', keys: ['x'] }])
    core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('x', 2) })
    expect(gathered(core.send({ kind: 'TransferEnded', transferId: 1, outcome: 'done' }))).toEqual([
      { peer: 'p', keys: ['copy'] },
    ])
    core.send({ kind: 'ReplicaReceived', transferId: 2, value: stored('copy', 1) })
    expect(core.stateOf('copy')).toBe('memory')
  })

  it('says that a copy is kept when the store has confirmed it, and that one will not come', () => {
    const core = new Core()
    core.hold('x', 1)
    const acquire = { op: 'acquire-replicas', inputs: [input('x', 1, ['p'])] } as const
    expect(core.receive(acquire)).toEqual([{ kind: 'KeepReplicas', keys: ['x'] }])
    expect(core.send({ kind: 'ReplicasKept', values: [{ key: taskKey('x'), runId: runId(1) }] })).toEqual([
      sent({ op: 'add-keys', keys: [{ key: 'x', runId: 1, durable: true, kept: 0 }] }),
    ])
    const durable = { ...input('x', 1, ['p']), durable: true } as const
    expect(core.receive({ op: 'acquire-replicas', inputs: [durable] })).toEqual([
      { kind: 'KeepReplicas', keys: ['x'], durable: true },
    ])
    core.receive({ op: 'acquire-replicas', inputs: [input('y', 2, ['p'])] })
    const refused = { kind: 'ReplicaRefused', transferId: 1, key: taskKey('y'), reason: 'no room' } as const
    expect(core.send(refused)).toEqual([sent({ op: 'release-worker-data', keys: [{ key: 'y', runId: 2 }] })])
  })

  it('6.4-6 keeps a replica that a task here needs, and says of each what became of it', () => {
    const core = new Core()
    core.hold('x', 1)
    core.hold('y', 2)
    core.compute('a', 10, { inputs: [input('x', 1, [])] })
    expect(core.receive({ op: 'remove-replicas', keys: [taskKey('x'), taskKey('y'), taskKey('unknown')] })).toEqual([
      { kind: 'FreeFromStore', values: [{ key: 'y', runId: 2 }] },
      sent(
        { op: 'add-keys', keys: [{ key: 'x', runId: 1, durable: true }] },
        {
          op: 'release-worker-data',
          keys: [
            { key: 'y', runId: 2 },
            { key: 'unknown', runId: 0 },
          ],
        },
      ),
    ])
    expect(core.stateOf('x')).toBe('memory')
  })

  it('treats an unreadable input as a lost copy and fetches another', () => {
    const core = new Core()
    core.hold('x', 1)
    core.compute('a', 10, { inputs: [input('x', 1, [])] })
    const effects = core.send({
      kind: 'InputBad',
      runId: runId(10),
      key: taskKey('x'),
      valueRunId: runId(1),
      reason: 'checksum',
    })
    expect(effects[0]).toEqual({ kind: 'FreeFromStore', values: [{ key: 'x', runId: 1 }] })
    expect(messagesOf(effects)).toEqual([
      { op: 'release-worker-data', keys: [{ key: 'x', runId: 1, unreadable: 'checksum' }] },
      { op: 'request-refresh-who-has', keys: ['x'] },
    ])
    const fetching = core.receive({ op: 'refresh-who-has', keys: [input('x', 1, ['p'])] })
    expect(gathered(fetching)).toEqual([{ peer: 'p', keys: ['x'] }])
    // It may be the same file: the peer is to check it.
    expect(fetching.find(({ kind }) => kind === 'GatherFromPeer')).toMatchObject({ keys: [{ suspect: true }] })
    expect(executed(core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('x', 1) }))).toEqual(['a'])
  })

  it('says of a value that its store could not give back that it was lost by that', () => {
    const core = new Core()
    core.hold('x', 1)
    const values = [{ key: taskKey('x'), runId: runId(1) }]
    const reason = 'the container threw: no'.padEnd(10_000, '!')
    const effects = core.send({ kind: 'ReplicasLost', values, reason, unreadable: true })
    expect(messagesOf(effects)).toEqual([
      { op: 'release-worker-data', keys: [{ key: 'x', runId: 1, unreadable: reason.slice(0, 500) }] },
    ])
  })

  it('takes a ready task back to waiting when the store dropped its input', () => {
    const core = new Core()
    core.hold('x', 1)
    core.receive(computeTask('busy', 9), computeTask('a', 10, { inputs: [input('x', 1, [])] }))
    expect(core.stateOf('a')).toBe('ready')
    const effects = core.send({
      kind: 'ReplicasLost',
      values: [{ key: taskKey('x'), runId: runId(1) }],
      reason: 'room',
    })
    expect(messagesOf(effects)[0]).toEqual({ op: 'release-worker-data', keys: [{ key: 'x', runId: 1 }] })
    expect(kinds(effects)).not.toContain('FreeFromStore')
    expect(core.stateOf('a')).toBe('waiting')
  })

  it('fetches a value anew that was recomputed since', () => {
    const core = new Core()
    core.hold('x', 1)
    const effects = core.compute('a', 10, { inputs: [input('x', 2, ['p'])] })
    expect(kinds(effects)).toEqual(['FreeFromStore', 'GatherFromPeer', 'SendToScheduler'])
  })

  it('tells once that a value has become durable', () => {
    const core = new Core()
    core.compute('a', 1)
    core.finish(1)
    const values = [{ key: taskKey('a'), runId: runId(1) }]
    expect(core.send({ kind: 'ValuesDurable', values })).toEqual([sent({ op: 'keys-durable', keys: values })])
    expect(core.send({ kind: 'ValuesDurable', values })).toEqual([])
  })

  it('lets a scattered value of a newer run void an assignment', () => {
    const core = new Core()
    core.compute('a', 1)
    expect(core.send({ kind: 'ValueScattered', value: stored('a', 5) })).toMatchObject([
      { kind: 'CancelExecution', runId: 1, force: false },
      { kind: 'SendToScheduler', messages: [{ op: 'keys-scattered', keys: [{ key: 'a', runId: 5 }] }] },
    ])
    expect(core.stateOf('a')).toBe('memory')
    core.send({ kind: 'RunCancelled', runId: runId(1) })
    expect(core.stateOf('a')).toBe('memory')
  })
})

describe('runs that are freed', () => {
  it('are dropped, unless another run of the key is here by now', () => {
    const core = new Core()
    core.send({ kind: 'ValueScattered', value: stored('a', 5) })
    expect(core.receive({ op: 'free-runs', runs: [{ key: taskKey('a'), runId: runId(4) }] })).toEqual([])
    expect(core.stateOf('a')).toBe('memory')
    core.receive({ op: 'free-runs', runs: [{ key: taskKey('a'), runId: runId(5) }] })
    expect(core.stateOf('a')).toBe('unknown')
    core.compute('b', 6)
    expect(core.receive({ op: 'free-runs', runs: [{ key: taskKey('b'), runId: runId(6) }] })).toEqual([])
  })
})

describe('pausing', () => {
  it('6.4-16 starts and fetches nothing while paused, and goes on after', () => {
    const core = new Core()
    expect(core.send({ kind: 'MemoryPaused' })).toEqual([
      { kind: 'SetTimer', delayMs: 500, event: { kind: 'HandBackDue' } },
      sent({ op: 'worker-status-change', status: 'paused' }),
    ])
    expect(core.receive(computeTask('a', 1), computeTask('b', 2, { inputs: [input('x', 1, ['p'])] }))).toEqual([])
    expect(core.send({ kind: 'MemoryResumed' })).toEqual([
      {
        kind: 'GatherFromPeer',
        transferId: 1,
        peer: 'p',
        address: 'tcp://p:1',
        keys: [{ key: 'x', runId: 1, nbytes: 10 }],
      },
      { kind: 'Execute', runs: [order('a', 1)] },
      sent({ op: 'worker-status-change', status: 'running' }),
    ])
    expect(core.send({ kind: 'HandBackDue' })).toEqual([])
  })

  it('hands back after half a second what has not started and has no open fetch', () => {
    const core = new Core()
    core.receive(
      computeTask('running', 1),
      computeTask('ready', 2),
      computeTask('fetching', 3, { inputs: [input('x', 1, ['p'])] }),
    )
    core.send({ kind: 'MemoryPaused' })
    core.now = 500
    const effects = core.send({ kind: 'HandBackDue' })
    expect(messagesOf(effects)).toMatchObject([{ op: 'reschedule', key: 'ready', runId: 2 }])
    expect(kinds(effects)).toContain('SetTimer')
    core.send({ kind: 'ReplicaReceived', transferId: 1, value: stored('x', 1) })
    expect(messagesOf(core.send({ kind: 'HandBackDue' }))).toMatchObject([
      { op: 'reschedule', key: 'fetching', runId: 3 },
    ])
    expect(core.stateOf('running')).toBe('executing')
    expect(kinds(core.compute('late', 4))).toEqual(['SetTimer'])
  })

  it('keeps what came from a worker that paused for as long as it is told, and hands it back after that', () => {
    const core = new Core()
    core.receive(computeTask('running', 1), computeTask('held', 2), computeTask('free', 3))
    core.receive({ op: 'hold-runs', runs: [{ key: taskKey('held'), runId: runId(2) }], forMs: 900 })
    core.send({ kind: 'MemoryPaused' })
    core.now = 500
    const effects = core.send({ kind: 'HandBackDue' })
    expect(messagesOf(effects)).toMatchObject([{ op: 'reschedule', key: 'free' }])
    expect(kinds(effects)).toContain('SetTimer')
    core.now = 1000
    expect(messagesOf(core.send({ kind: 'HandBackDue' }))).toMatchObject([{ op: 'reschedule', key: 'held' }])
  })

  it('lets one task through alone when it is probed, and hands the others back', () => {
    const core = new Core({ nthreads: 2 })
    core.send({ kind: 'MemoryPaused' })
    core.send({ kind: 'HandBackDue' })
    expect(messagesOf(core.send({ kind: 'MemoryProbed' }))).toEqual([{ op: 'worker-status-change', status: 'running' }])
    const effects = core.receive(computeTask('a', 1), computeTask('b', 2))
    expect(effects).toEqual([
      { kind: 'SetTimer', delayMs: 500, event: { kind: 'HandBackDue' } },
      { kind: 'Execute', runs: [order('a', 1)] },
      sent({ op: 'worker-status-change', status: 'paused' }),
    ])
    expect(messagesOf(core.send({ kind: 'HandBackDue' }))).toMatchObject([{ op: 'reschedule', key: 'b', runId: 2 }])
    expect(core.stateOf('a')).toBe('executing')
  })

  it('is not probed while something runs, without a pause for memory, or in a pause by hand', () => {
    const core = new Core({ nthreads: 2 })
    expect(core.send({ kind: 'MemoryProbed' })).toEqual([])
    core.compute('a', 1)
    core.send({ kind: 'MemoryPaused' })
    core.send({ kind: 'MemoryProbed' })
    core.compute('b', 2)
    expect([core.stateOf('a'), core.stateOf('b')]).toEqual(['executing', 'ready'])
    core.receive({ op: 'set-status', status: 'paused' })
    core.send({ kind: 'RunFinished', runId: runId(1), durationMs: 1, depth: 1 })
    expect(core.stateOf('b')).toBe('ready')
  })

  it('acceptance 27: keeps a pause by hand when memory is fine again', () => {
    const core = new Core()
    core.receive({ op: 'set-status', status: 'paused' })
    core.send({ kind: 'MemoryPaused' })
    expect(core.send({ kind: 'MemoryResumed' })).toEqual([])
    expect(statusOf(core.state)).toBe('paused')
    expect(messagesOf(core.receive({ op: 'set-status', status: 'running' }))).toEqual([
      { op: 'worker-status-change', status: 'running' },
    ])
  })

  it('closes when told so', () => {
    expect(new Core().receive({ op: 'close', reason: 'scaled down' })).toEqual([
      { kind: 'CloseWorker', reason: 'scaled down' },
    ])
  })
})

describe('story', () => {
  it('6.1-5 tells what became of a key, and why', () => {
    const core = new Core()
    core.compute('a', 1)
    core.finish(1)
    expect(story(core.state, taskKey('a')).map((line) => line.text)).toEqual([
      'released -> waiting (run 1, compute-task)',
      'waiting -> ready (run 1, compute-task)',
      'ready -> executing (run 1, compute-task)',
      'executing -> memory (run 1, ValueStored)',
    ])
  })
})
