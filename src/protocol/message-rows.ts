// The frequent stream messages as rows without field names: writing and reading a `compute-task` takes 0.8 us as a row and
// 2.5 us as a map, a `task-finished` 0.5 and 1.3, a `key-in-memory` 0.6 and 0.9 (batches of 64). All other messages stay
// as they are; a message is never an array, so the two kinds can be told apart.
//
// M1. `unpackMessages(packMessages(messages))` equals `messages`.
// M2. Successive `compute-task`s say what they have in common once per batch; a batch does not depend on others.
// M3. A row of an unknown kind, or with something else where a list belongs, is refused. Whether its fields are of the
//     right type is checked by whoever checks the messages.

import type { FunctionId } from '../base/ids.ts'
import type { ClientToScheduler, SchedulerToClient } from './scheduler-client.ts'
import type { SchedulerToWorker, WorkerToScheduler } from './scheduler-worker.ts'
import type { Holder, InputWire, TaskOptionsWire } from './tasks.ts'

type ComputeTask = Extract<SchedulerToWorker, { op: 'compute-task' }>
type TaskFinished = Extract<WorkerToScheduler, { op: 'task-finished' }>
type KeyInMemory = Extract<SchedulerToClient, { op: 'key-in-memory' }>
type UpdateGraph = Extract<ClientToScheduler, { op: 'update-graph' }>

const COMPUTE_TASK = 0
const TASK_FINISHED = 1
const KEY_IN_MEMORY = 2
const UPDATE_GRAPH = 3

type Row = readonly unknown[]
type Common = Pick<ComputeTask, 'name' | 'fn' | 'options'>

const NO_INPUTS: readonly InputWire[] = Object.freeze([])

/** What is sent instead of these messages. */
export function packMessages(messages: readonly unknown[]): readonly unknown[] {
  const packed: unknown[] = []
  let last: ComputeTask | null = null
  for (const message of messages) {
    switch ((message as { readonly op?: unknown }).op) {
      case 'compute-task':
        // The rare attempt after a shortage of memory.
        if ((message as ComputeTask).reserve !== undefined) {
          packed.push(message)
          break
        }
        packed.push(computeTaskRow(message as ComputeTask, last))
        last = message as ComputeTask
        break
      case 'task-finished': {
        const { key, runId, nbytes, type, durable, durationMs, blob } = message as TaskFinished
        const row: unknown[] = [TASK_FINISHED, key, runId, nbytes, type, durable, durationMs]
        if (blob !== undefined) row.push(blob)
        packed.push(row)
        break
      }
      case 'key-in-memory': {
        const { key, nbytes, type, blob } = message as KeyInMemory
        packed.push(blob === undefined ? [KEY_IN_MEMORY, key, nbytes, type] : [KEY_IN_MEMORY, key, nbytes, type, blob])
        break
      }
      case 'update-graph':
        packed.push(updateGraphRow(message as UpdateGraph))
        break
      default:
        packed.push(message)
    }
  }
  return packed
}

/** @throws Error when a row cannot have come from `packMessages`. */
export function unpackMessages(packed: readonly unknown[]): readonly unknown[] {
  const messages: unknown[] = []
  let common: Common | null = null
  for (const row of packed) {
    if (!Array.isArray(row)) {
      messages.push(row)
      continue
    }
    switch (row[0]) {
      case COMPUTE_TASK:
        common = row.length > SAME_LENGTH ? commonOf(row) : common
        if (common === null) throw new Error('a task without the part that the ones before it share')
        messages.push(computeTask(row, common))
        break
      case TASK_FINISHED:
        messages.push(taskFinished(row))
        break
      case KEY_IN_MEMORY:
        messages.push(keyInMemory(row))
        break
      case UPDATE_GRAPH:
        messages.push(updateGraph(row))
        break
      default:
        throw new Error(`an unknown row ${String(row[0])}`)
    }
  }
  return messages
}

/** Fields of a task that shares name, function and options with the one before. */
const SAME_LENGTH = 9

function computeTaskRow(task: ComputeTask, last: ComputeTask | null): Row {
  const { key, runId, priority, args, attempt, name, fn, options, fnBytes } = task
  const inputs = task.inputs.length === 0 ? 0 : task.inputs.map(inputRow)
  const row: unknown[] = [COMPUTE_TASK, key, runId, priority[0], priority[1], priority[2], args, attempt, inputs]
  const same = last !== null && last.fn === fn && last.name === name && last.options === options
  if (fnBytes !== undefined) row.push(name, fn, options, fnBytes)
  else if (!same) row.push(name, fn, options)
  return row
}

function commonOf(row: Row): Common {
  return { name: row[9] as string, fn: row[10] as FunctionId, options: row[11] as TaskOptionsWire }
}

function computeTask(row: Row, { name, fn, options }: Common): ComputeTask {
  const task: ComputeTask = {
    op: 'compute-task',
    key: row[1] as ComputeTask['key'],
    runId: row[2] as ComputeTask['runId'],
    name,
    priority: [row[3] as number, row[4] as number, row[5] as number],
    fn,
    args: row[6] as Uint8Array,
    inputs: row[8] === 0 ? NO_INPUTS : (row[8] as Row[]).map(inputOf),
    options,
    attempt: row[7] as number,
  }
  return row.length > 12 ? { ...task, fnBytes: row[12] as Uint8Array } : task
}

function inputRow({ key, runId, nbytes, holders }: InputWire): Row {
  const row: unknown[] = [key, runId, nbytes]
  for (const { id, address } of holders) row.push(id, address)
  return row
}

function inputOf(row: Row): InputWire {
  const holders: Holder[] = []
  for (let at = 3; at < row.length; at += 2) {
    holders.push({ id: row[at] as Holder['id'], address: row[at + 1] as string })
  }
  const [key, runId, nbytes] = row as unknown as [InputWire['key'], InputWire['runId'], number]
  return { key, runId, nbytes, holders }
}

function taskFinished(row: Row): TaskFinished {
  const message: TaskFinished = {
    op: 'task-finished',
    key: row[1] as TaskFinished['key'],
    runId: row[2] as TaskFinished['runId'],
    nbytes: row[3] as number,
    type: row[4] as string,
    durable: row[5] as boolean,
    durationMs: row[6] as number,
  }
  return row.length > 7 ? { ...message, blob: row[7] as Uint8Array } : message
}

function keyInMemory(row: Row): KeyInMemory {
  const [, key, nbytes, type, blob] = row as readonly [number, KeyInMemory['key'], number, string, Uint8Array?]
  return blob === undefined
    ? { op: 'key-in-memory', key, nbytes, type }
    : { op: 'key-in-memory', key, nbytes, type, blob }
}

/** A map wants all of its tasks: their keys are not sent twice. */
function updateGraphRow({ groups, functions, wanted }: UpdateGraph): Row {
  let index = 0
  for (const { tasks } of groups) {
    for (const [key] of tasks) if (wanted[index++] !== key) return [UPDATE_GRAPH, groups, functions, wanted]
  }
  return [UPDATE_GRAPH, groups, functions, index === wanted.length ? 0 : wanted]
}

function updateGraph(row: Row): UpdateGraph {
  const [, groups, functions, wanted] = row as readonly [number, ...unknown[]]
  const message = { op: 'update-graph', groups, functions, wanted } as UpdateGraph
  if (wanted !== 0) return message
  const keys: UpdateGraph['wanted'][number][] = []
  for (const { tasks } of message.groups) for (const [key] of tasks) keys.push(key)
  return { ...message, wanted: keys }
}
