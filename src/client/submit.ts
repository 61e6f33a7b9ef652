// From a call to messages: captures the function once, encodes arguments, makes keys, and registers the futures. All of it
// is synchronous, so whatever is wrong with a call is thrown by the call.
//
// P1. Everything is encoded before anything is registered or sent: a map whose last argument cannot be encoded leaves
//     no trace.
// P2. A graph that needs values which are still on their way waits behind them in the outbox, and fails with them.
// P3. A key that is held already is not sent again, unless a cancel on its way may be taking it away.
// P4. A key given by hand names one call as long as it is held: another function or other arguments are refused.

import { taskKey, type FunctionId, type TaskKey } from '../base/ids.ts'
import { formatBytes } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { capture, type CapturedFunction } from '../functions/capture.ts'
import type { ClientToScheduler } from '../protocol/scheduler-client.ts'
import type { TaskRow } from '../protocol/tasks.ts'
import { ArgumentEncoder, type EncodedCall, type LargeArgument } from './argument-encoder.ts'
import { claimOf, Future, type FutureOwner } from './future.ts'
import type { FutureState } from './future-state.ts'
import type { FuturesRegistry } from './futures-registry.ts'
import { PART_BYTES_MAX, PART_TASKS_MAX } from './graph-batch.ts'
import { freshKey, PureKeys } from './keys.ts'
import { readTask, type TaskCall, type TaskOptions } from './task-options.ts'

/** A call or map with more than this in its arguments is worth a word. */
const LARGE_GRAPH_BYTES = 10 * 2 ** 20

export interface SubmitDeps {
  readonly owner: FutureOwner
  readonly registry: FuturesRegistry
  /** Nothing waits to be delivered. */
  idle(): boolean
  /** In its turn behind everything said before. */
  post(deliver: () => void): void
  send(message: ClientToScheduler): void
  /** True once per function and connection: its code has to go along. */
  firstUse(id: FunctionId): boolean
  /** Sends a value ahead, if it is not there; what is posted from now on waits until it has arrived. */
  sendAhead(value: LargeArgument): FutureState
  warn(message: string, fields: Record<string, unknown>): void
}

interface NewTask {
  readonly state: FutureState
  readonly row: TaskRow
}

/**
 * Submits one call of `fn` per list of arguments, as one group, or several when they are many. A text as `key` option is the key of a `single`
 * call, and a prefix for a map.
 */
export function submitCalls(
  deps: SubmitDeps,
  fn: unknown,
  calls: Iterable<readonly unknown[]>,
  shape: 'single' | 'map',
): Future[] {
  const call = readTask(fn)
  const { signal } = call.options
  if (signal?.aborted === true) {
    throw new PlimsollError(
      'TASK_CANCELLED',
      'Not submitted: the signal of the task was aborted before.',
      {},
      { cause: signal.reason },
    )
  }
  const captured = capture(call.fn)
  const name = call.options.name ?? (call.fn.name === '' ? 'lambda' : captured.name)
  const encoded = encodeCalls(deps, name, calls)
  const { key } = call.options
  const options = shape === 'single' && typeof key === 'string' ? { ...call.options, key: [key] } : call.options
  const keys = keysOf(options, captured, name, encoded)
  const named = typeof options.key === 'object' ? nameCalls(deps.registry, keys, captured, encoded) : null
  const { futures, fresh } = register(deps, name, keys, encoded, named)
  sendTasks(deps, call, captured, name, fresh)
  if (signal !== undefined) cancelOnAbort(deps.owner, signal, futures)
  return futures
}

function encodeCalls(deps: SubmitDeps, name: string, calls: Iterable<readonly unknown[]>): EncodedCall[] {
  const encoder = new ArgumentEncoder(deps.owner)
  const encoded: EncodedCall[] = []
  let totalBytes = 0
  for (const args of calls) {
    const one = encoder.encode(args)
    totalBytes += one.bytes.length
    encoded.push(one)
  }
  if (totalBytes > LARGE_GRAPH_BYTES) {
    deps.warn(
      '{calls} calls of {name} carry {size} of arguments through the scheduler; scatter shared data and pass its future',
      {
        name,
        calls: encoded.length,
        size: formatBytes(totalBytes),
      },
    )
  }
  return encoded
}

function keysOf(
  options: TaskOptions,
  captured: CapturedFunction,
  name: string,
  calls: readonly EncodedCall[],
): TaskKey[] {
  const { key, pure = true } = options
  if (typeof key === 'object') {
    if (key.length >= calls.length) return calls.map((_, index) => taskKey(key[index] as string))
    const message = `The task option "key" names ${key.length} keys for ${calls.length} calls.`
    throw new PlimsollError('INVALID_ARGUMENT', message, { keys: key.length, calls: calls.length })
  }
  const prefix = key ?? name
  if (!pure) return calls.map(() => freshKey(prefix))
  const keys = new PureKeys(prefix, captured.id)
  return calls.map((call) => keys.keyOf(call.bytes))
}

/** What each key given by hand stands for. Throws `KEY_CONFLICT` where that is another call than it stands for already (P4). */
function nameCalls(
  registry: FuturesRegistry,
  keys: readonly TaskKey[],
  captured: CapturedFunction,
  calls: readonly EncodedCall[],
): readonly string[] {
  const names = new PureKeys('', captured.id)
  const taken = new Map<TaskKey, string>()
  return calls.map(({ bytes }, index) => {
    const key = keys[index] as TaskKey
    const call: string = names.keyOf(bytes)
    const held = registry.reusable(key)
    const before = taken.get(key) ?? (held === undefined || held.key.endsWith(call) ? call : held.call)
    if (before !== call) throw keyConflict(key)
    taken.set(key, call)
    return call
  })
}

function keyConflict(key: TaskKey): PlimsollError {
  const message =
    `The key "${key}" stands for another function or other arguments already. ` +
    'Choose another key, or cancel or release every future of that key first.'
  return new PlimsollError('KEY_CONFLICT', message, { key })
}

function register(
  deps: SubmitDeps,
  name: string,
  keys: readonly TaskKey[],
  calls: readonly EncodedCall[],
  named: readonly string[] | null,
): { futures: Future[]; fresh: NewTask[] } {
  const { owner, registry } = deps
  const futures: Future[] = []
  const fresh: NewTask[] = []
  for (const [index, { bytes, dependencies, large }] of calls.entries()) {
    const key = keys[index] as TaskKey
    let state = registry.reusable(key)
    if (state === undefined) {
      const ahead = large.map((value) => deps.sendAhead(value))
      state = registry.create(key, name)
      state.call = named?.[index] ?? null
      // What was sent ahead has no future of its own; the task may have to run again as long as it is wanted.
      if (ahead.length > 0) state.releaseInputs = hold(owner, ahead)
      fresh.push({ state, row: [key, bytes, dependencies] })
    } else if (registry.reclaim(state)) fresh.push({ state, row: [key, bytes, dependencies] })
    futures.push(new Future(owner, state))
  }
  return { futures, fresh }
}

/** Keeps states until the result is called. */
function hold(owner: FutureOwner, states: readonly FutureState[]): () => void {
  for (const state of states) owner.retain(state)
  return () => {
    for (const state of states) owner.release(state)
  }
}

function sendTasks(
  deps: SubmitDeps,
  call: TaskCall,
  { id, bytes }: CapturedFunction,
  name: string,
  tasks: readonly NewTask[],
): void {
  const send = (part: readonly NewTask[]): void => {
    if (part.length === 0) return
    deps.send({
      op: 'update-graph',
      groups: [{ fn: id, name, options: call.wire, tasks: part.map((task) => task.row) }],
      functions: deps.firstUse(id) ? [{ id, bytes }] : [],
      wanted: part.map((task) => task.state.key),
    })
  }
  for (const part of split(tasks)) {
    if (deps.idle()) deps.post(() => send(part))
    else sendLater(deps, part, send)
  }
}

/** Behind values that are still on their way: what turns out not to have come fails the tasks that need it (P2). */
function sendLater(deps: SubmitDeps, tasks: readonly NewTask[], send: (tasks: readonly NewTask[]) => void): void {
  const { owner, registry } = deps
  const needs = tasks.map(({ row }) => row[2].map((key) => registry.get(key)).filter((state) => state !== undefined))
  const letGo = hold(owner, needs.flat())
  deps.post(() => {
    const ready = tasks.filter(({ state }, index) => {
      const failed = needs[index]?.find((input) => input.outcome.status !== 'finished' && input.settled)
      if (failed !== undefined) registry.settle(state, failed.outcome)
      return failed === undefined
    })
    send(ready)
    letGo()
  })
}

function* split(tasks: readonly NewTask[]): Generator<readonly NewTask[]> {
  let start = 0
  let bytes = 0
  for (const [index, task] of tasks.entries()) {
    bytes += task.row[1].length
    const full = bytes > PART_BYTES_MAX || index - start === PART_TASKS_MAX
    if (!full || index === start) continue
    yield tasks.slice(start, index)
    start = index
    bytes = task.row[1].length
  }
  if (start === 0) yield tasks
  else yield tasks.slice(start)
}

function cancelOnAbort(owner: FutureOwner, signal: AbortSignal, futures: readonly Future[]): void {
  const states = new Set(futures.map((future) => claimOf(future).state))
  let left = states.size
  const onAbort = () => {
    const pending = [...states].filter((state) => !state.settled)
    owner.cancel(pending, false)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  const onSettled = () => {
    if (--left === 0) signal.removeEventListener('abort', onAbort)
  }
  for (const state of states) state.whenSettled(onSettled)
}
