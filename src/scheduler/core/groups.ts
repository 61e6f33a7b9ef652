// Functions, families and groups: what tasks share, and how long it is kept.

import type { FunctionId, TaskKey } from '../../base/ids.ts'
import type { TaskGroupWire, TaskOptionsWire } from '../../protocol/tasks.ts'
import { stepOf } from './fairness.ts'
import {
  NO_TASKS,
  TaskRecord,
  type ClientRecord,
  type FunctionRecord,
  type TaskFamily,
  type TaskGroup,
} from './records.ts'
import { allowedWorkers } from './restrictions.ts'
import { prefixOf, type SchedulerState } from './state.ts'

const NO_OPTIONS: TaskOptionsWire = Object.freeze({})

export function learnFunction(state: SchedulerState, client: ClientRecord, id: FunctionId, bytes: Uint8Array): void {
  let fn = state.functions.get(id)
  if (fn === undefined) {
    fn = { id, bytes, groups: 0, clients: 0, measured: { meanMs: -1, meanBytes: -1 }, families: new Map() }
    state.functions.set(id, fn)
  }
  if (client.functions.has(id)) return
  client.functions.add(id)
  fn.clients++
}

/** The record of one wire group. Single tasks of one function without options, as a loop of `submit` makes them, share one. */
export function groupFor(state: SchedulerState, client: ClientRecord, wire: TaskGroupWire): TaskGroup {
  const fn = state.functions.get(wire.fn) as FunctionRecord
  const family = familyOf(fn, client.graphGeneration)
  const plain = wire.tasks.length === 1 && Object.keys(wire.options).length === 0
  const last = client.lastGroup
  if (plain && last !== null && last.family === family && last.prefix === state.prefixes.get(wire.name)) return last
  const { options } = wire
  const prefix = prefixOf(state, wire.name)
  const labels = options.workers !== undefined && options.workers.length > 0 ? options.workers : null
  const amounts = Object.entries(options.resources ?? {})
  const resources = amounts.length > 0 ? amounts : null
  const group: TaskGroup = {
    fn,
    prefix,
    family,
    options,
    userPriority: options.priority ?? 0,
    client,
    stepMs: stepOf(state, { fn, prefix }),
    labels,
    resources,
    live: 0,
    allowed: labels === null && resources === null ? null : allowedWorkers(state, options),
  }
  if (plain) client.lastGroup = group
  return group
}

/** Scattered values of one type. */
export function scatterGroup(state: SchedulerState, type: string): TaskGroup {
  return {
    fn: null,
    prefix: prefixOf(state, type),
    family: null,
    options: NO_OPTIONS,
    userPriority: 0,
    client: null,
    stepMs: 0,
    labels: null,
    resources: null,
    live: 0,
    allowed: null,
  }
}

/** Makes a task known: released, linked to its inputs, wanted by nobody yet. */
export function addTask(
  state: SchedulerState,
  group: TaskGroup,
  task: {
    readonly key: TaskKey
    readonly args: Uint8Array | null
    readonly turn: number
    readonly order: number
  },
): TaskRecord {
  const record = new TaskRecord(task.key, group, task.args, task.turn, task.order)
  state.tasks.set(task.key, record)
  group.prefix.counts.released++
  const { family, fn } = group
  if (group.live++ === 0 && fn !== null) fn.groups++
  if (family !== null) {
    family.total++
    if (family.live++ === 0) family.fn.families.set(family.generation, family)
  }
  return record
}

/** A group that got no task after all leaves nothing behind. */
export function dropIfEmpty(group: TaskGroup): void {
  if (group.family?.live === 0) group.family.fn.families.delete(group.family.generation)
}

export function link(task: TaskRecord, inputs: readonly TaskRecord[]): void {
  task.dependencies = inputs.length === 0 ? NO_TASKS : inputs
  for (const input of inputs) (input.dependents ??= new Set()).add(task)
}

function familyOf(fn: FunctionRecord, generation: number): TaskFamily {
  let family = fn.families.get(generation)
  if (family === undefined) {
    family = { fn, generation, total: 0, live: 0, inputs: new Set(), share: null }
    fn.families.set(generation, family)
  }
  return family
}
