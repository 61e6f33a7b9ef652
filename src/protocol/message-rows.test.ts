import { pack, unpack } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { functionId, runId, taskKey, workerId } from '../base/ids.ts'
import { packMessages, unpackMessages } from './message-rows.ts'
import type { ClientToScheduler, SchedulerToClient } from './scheduler-client.ts'
import type { SchedulerToWorker, WorkerToScheduler } from './scheduler-worker.ts'

type Message = SchedulerToWorker | WorkerToScheduler | SchedulerToClient | ClientToScheduler

const key = taskKey('inc-1')
const bytes = Buffer.from([1, 2, 3])
const options = { retries: 2 }
const holders = [
  { id: workerId('a'), address: 'tcp://a' },
  { id: workerId('b'), address: 'tcp://b' },
]
const task = {
  op: 'compute-task',
  key,
  runId: runId(2 ** 40),
  name: 'inc',
  priority: [0, 3, -1.5],
  fn: functionId('f'),
  args: bytes,
  inputs: [],
  options,
  attempt: 1,
} as const
const row = [key, bytes, []] as const
const graph = (wanted: readonly string[]): Message => ({
  op: 'update-graph',
  groups: [
    { fn: functionId('f'), name: 'inc', options, tasks: [row] },
    { fn: functionId('g'), name: 'dec', options: {}, tasks: [[taskKey('dec-1'), bytes, [key]]] },
  ],
  functions: [{ id: functionId('f'), bytes }],
  wanted: wanted.map(taskKey),
})

const MESSAGES: readonly Message[] = [
  { ...task, fnBytes: bytes },
  task,
  {
    ...task,
    inputs: [
      { key, runId: runId(1), nbytes: 9, holders },
      { key, runId: runId(2), nbytes: 0, holders: [] },
    ],
  },
  { ...task, options: { retries: 2 } },
  { ...task, fn: functionId('g'), name: 'dec' },
  { op: 'free-keys', keys: [key] },
  { ...task, reserve: { bytes: 2 ** 33, alone: true } },
  task,
  { op: 'task-finished', key, runId: runId(7), nbytes: 12, type: 'number', durable: true, durationMs: 0.125 },
  {
    op: 'task-finished',
    key,
    runId: runId(7),
    nbytes: 12,
    type: 'number',
    durable: true,
    durationMs: 0.125,
    blob: bytes,
  },
  { op: 'key-in-memory', key, nbytes: 12, type: 'number' },
  { op: 'key-in-memory', key, nbytes: 12, type: 'number', blob: bytes },
  graph([]),
  graph(['inc-1']),
  graph(['inc-1', 'dec-1']),
  graph(['dec-1', 'inc-1']),
  graph(['inc-1', 'dec-1', 'more']),
  { op: 'update-graph', groups: [], functions: [], wanted: [] },
  { op: 'close-client' },
]

describe('message rows', () => {
  it('give back what was packed, whatever comes before or after', () => {
    expect(unpackMessages(unpack(pack(packMessages(MESSAGES))) as unknown[])).toEqual(MESSAGES)
    for (const message of MESSAGES) expect(unpackMessages(packMessages([message]))).toEqual([message])
  })

  it('say what tasks have in common once, and wanted keys not at all', () => {
    const many = packMessages(Array.from({ length: 3 }, () => task)) as unknown[][]
    expect(many.map((each) => each.length)).toEqual([12, 9, 9])
    expect((packMessages([graph(['inc-1', 'dec-1'])])[0] as unknown[])[3]).toBe(0)
  })

  it('are refused when they cannot be rows', () => {
    const bad = [
      [99],
      [],
      [0, key],
      [3, 5, [], 0],
      [3, [{ tasks: [5] }], [], 0],
      [0, key, 1, 0, 0, 0, bytes, 1, 7, 'n', 'f', {}],
    ]
    for (const each of bad) expect(() => unpackMessages([each])).toThrow()
  })
})
