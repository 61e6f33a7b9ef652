// Tasks of a graph that are refused by name: those on a circle, and those whose key is taken by another call. What needs
// a refused key is refused with the same failure, so that no task ever gets another value than the one its author meant.

import type { TaskKey } from '../../../base/ids.ts'
import type { TaskRow } from '../../../protocol/tasks.ts'
import { raised } from '../failures.ts'
import type { TaskFailure, TaskRecord } from '../records.ts'

/** By key, until the clients of the graph in hand have been told. */
export type Refusals = Map<TaskKey, TaskFailure>

/** Keys named in a message. */
const NAMED_MAX = 10

/** Is this row the call that the key stands for? Keys made from the call always are; keys given by hand may not be. */
export function isSameCall(task: TaskRecord, fn: string, row: TaskRow): boolean {
  return task.group.fn?.id === fn && task.args !== null && sameBytes(task.args, row[1])
}

export function takenKey(task: TaskRecord): TaskFailure {
  const { key, group, state } = task
  const what = group.fn === null ? 'scattered data' : `another call, of ${group.prefix.name}`
  const message =
    `key "${key}" stands for ${what} (${state} on the cluster), so it cannot stand for this one too. ` +
    'Choose another key, or cancel or release every future of that key first.'
  return raised(key, 'KEY_CONFLICT', message, { key, name: group.prefix.name, state })
}

/** `keys` in the order in which each needs the next. */
export function failedForCycle(keys: readonly TaskKey[]): TaskFailure {
  const first = keys[0] as TaskKey
  const named = keys.length > NAMED_MAX ? [...keys.slice(0, NAMED_MAX), '…', first] : [...keys, first]
  const message =
    `the graph has a cycle: ${named.join(' needs ')}. No task on it, and none that needs one of them, can ever run; ` +
    'take one of these dependencies out.'
  return raised(first, 'GRAPH_CYCLE', message, { cycle: keys })
}

/** The cycle that `task` would close if it got these inputs; null = none. */
export function cycleThrough(task: TaskRecord, inputs: readonly TaskRecord[]): TaskKey[] | null {
  const seen = new Set<TaskRecord>()
  const path: TaskRecord[] = []
  const open = inputs.map((input) => ({ input, depth: 0 }))
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { input, depth } = next
    path.length = depth
    if (input === task) return [task, ...path].map((each) => each.key)
    if (seen.has(input)) continue
    seen.add(input)
    path.push(input)
    for (const further of input.dependencies) open.push({ input: further, depth: depth + 1 })
  }
  return null
}

/** What needs a refused key, however deep in these rows, is refused with it. */
export function spreadRefusals(
  refusals: Refusals,
  earlier: ReadonlyMap<TaskKey, TaskFailure>,
  rows: readonly TaskRow[],
): void {
  const own = new Set<TaskKey>()
  const dependents = new Map<TaskKey, TaskKey[]>()
  for (const [key, , inputs] of rows) {
    own.add(key)
    for (const input of inputs) {
      const known = dependents.get(input)
      if (known === undefined) dependents.set(input, [key])
      else known.push(key)
    }
  }
  const open = [...refusals]
  for (const [key, failure] of earlier) if (!own.has(key)) open.push([key, failure])
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [refused, failure] = next
    for (const key of dependents.get(refused) ?? []) {
      if (refusals.has(key)) continue
      refusals.set(key, failure)
      open.push([key, failure])
    }
  }
}

/** What this row needs that was refused. */
export function refusedInput(refusals: Refusals, row: TaskRow): TaskFailure | undefined {
  for (const key of row[2]) {
    const failure = refusals.get(key)
    if (failure !== undefined) return failure
  }
  return undefined
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let n = 0; n < a.length; n++) if (a[n] !== b[n]) return false
  return true
}
