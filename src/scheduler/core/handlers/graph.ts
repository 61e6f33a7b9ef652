// Intake of a graph: `update-graph`.
//
// G1. A key that is known is not submitted again, whatever state it is in: its client just wants it. If it stands for
//     another call (function or arguments differ), it is refused for this client, with what needs it, in this graph and in
//     later ones as long as the client holds the refused key.
// G2. Only what the wanted keys need is created, down to values that are there.
// G3. A task with an unknown input is never created, nor is what depends on it: its clients are told `lost dependencies`.
//     Tasks on a cycle, and what needs one, are refused with the keys of the cycle.
// G4. Priorities: within one update-graph the static order of graph/order.ts; a client's graphs in the order in which they
//     came; between clients by turns (fairness.ts). Graphs within FIFO_WINDOW_MS of one another count as one generation:
//     their tasks of one function are one family (queueing.ts).

import type { TaskKey } from '../../../base/ids.ts'
import { PlimsollError } from '../../../errors/plimsoll-error.ts'
import { orderTasks } from '../../../graph/order.ts'
import type { ClientToScheduler } from '../../../protocol/scheduler-client.ts'
import type { TaskRow } from '../../../protocol/tasks.ts'
import { joinTurns, nextTurn } from '../fairness.ts'
import { addTask, dropIfEmpty, groupFor, learnFunction, link } from '../groups.ts'
import {
  cycleThrough,
  failedForCycle,
  isSameCall,
  refusedInput,
  spreadRefusals,
  takenKey,
  type Refusals,
} from './graph-refusals.ts'
import { noteInputs } from '../queueing.ts'
import { NO_TASKS, type ClientRecord, type TaskGroup, type TaskRecord } from '../records.ts'
import { addWant, recommend, reportTo, type SchedulerState } from '../state.ts'
import { transition } from '../transitions/table.ts'

type UpdateGraph = Extract<ClientToScheduler, { readonly op: 'update-graph' }>

const FIFO_WINDOW_MS = 100

interface Draft {
  readonly row: TaskRow
  readonly group: TaskGroup
}

export function updateGraph(state: SchedulerState, client: ClientRecord, message: UpdateGraph): void {
  for (const { id, bytes } of message.functions) learnFunction(state, client, id, bytes)
  for (const { fn } of message.groups) {
    if (!state.functions.has(fn))
      throw new PlimsollError(
        'PROTOCOL_ERROR',
        `client ${client.id} submitted tasks of function ${fn} without having sent it`,
      )
  }
  startGraph(state, client)
  const refusals: Refusals = new Map()
  const { drafts, known } = draftNeeded(state, client, message, refusals)
  const created = create(state, client, drafts, refusals)
  for (const [task, row] of known) relink(state, task, row)
  const unknown: TaskKey[] = []
  for (const key of message.wanted) {
    const refusal = refusals.get(key)
    const task = state.tasks.get(key)
    if (refusal !== undefined) {
      client.refused.set(key, refusal)
      state.outbox.refuseKey(client, key, refusal)
    } else if (task === undefined) unknown.push(key)
    else {
      client.refused.delete(key)
      want(state, client, task)
    }
  }
  if (unknown.length > 0)
    state.outbox.toClient(client, {
      op: 'cancelled-keys',
      keys: unknown,
      reason: 'lost dependencies',
      code: 'TASK_CANCELLED',
    })
  if (created.some((task) => task.dependencies.length > 0)) startConnected(state, created)
  else for (const task of created) recommend(state, task, 'settled')
}

export function want(state: SchedulerState, client: ClientRecord, task: TaskRecord): void {
  addWant(client, task)
  reportTo(state, client, task)
  if (task.state === 'released') recommend(state, task, 'settled')
}

function startGraph(state: SchedulerState, client: ClientRecord): void {
  if (client.graphGeneration === 0 || state.now - client.graphAtMs > FIFO_WINDOW_MS) {
    client.graphGeneration = ++state.graphGeneration
    client.lastGroup = null
  }
  client.graphAtMs = state.now
}

/** The rows to create: all unknown ones when everything is wanted, else those that the wanted keys need. */
function draftNeeded(
  state: SchedulerState,
  client: ClientRecord,
  message: UpdateGraph,
  refusals: Refusals,
): { drafts: Draft[]; known: [TaskRecord, TaskRow][] } {
  const drafts: Draft[] = []
  const known: [TaskRecord, TaskRow][] = []
  const size = message.groups.reduce((sum, group) => sum + group.tasks.length, 0)
  const needed = message.wanted.length === size ? null : neededKeys(state, message)
  for (const wire of message.groups) {
    let group: TaskGroup | null = null
    for (const row of wire.tasks) {
      if (needed !== null && !needed.has(row[0])) continue
      const task = state.tasks.get(row[0])
      if (task !== undefined) {
        if (isSameCall(task, wire.fn, row)) known.push([task, row])
        else refusals.set(task.key, takenKey(task))
      } else drafts.push({ row, group: (group ??= groupFor(state, client, wire)) })
    }
  }
  if (refusals.size + client.refused.size === 0) return { drafts, known }
  spreadRefusals(refusals, client.refused, [...known.map(([, row]) => row), ...drafts.map(({ row }) => row)])
  return { drafts, known: known.filter(([task]) => !refusals.has(task.key)) }
}

/** Keys of the graph that are wanted, and what they need as long as no value is there or on its way. */
function neededKeys(state: SchedulerState, message: UpdateGraph): Set<TaskKey> {
  const rows = new Map<TaskKey, TaskRow>()
  for (const group of message.groups) for (const row of group.tasks) rows.set(row[0], row)
  const needed = new Set<TaskKey>()
  const open = [...message.wanted]
  for (let key = open.pop(); key !== undefined; key = open.pop()) {
    if (needed.has(key)) continue
    needed.add(key)
    const known = state.tasks.get(key)
    if (known !== undefined && known.state !== 'released') continue
    for (const input of rows.get(key)?.[2] ?? []) open.push(input)
  }
  return needed
}

/** A known task whose inputs were forgotten gets the new ones of the same keys. */
function relink(state: SchedulerState, task: TaskRecord, row: TaskRow): void {
  if (task.state !== 'released' || !task.dependencies.some((input) => input.state === 'forgotten')) return
  const inputs = task.dependencies.map((input) =>
    input.state === 'forgotten' ? (state.tasks.get(input.key) ?? input) : input,
  )
  if (row[2].length !== inputs.length) return
  const cycle = cycleThrough(task, inputs)
  if (cycle === null) return link(task, inputs)
  task.failure = failedForCycle(cycle)
  transition(state, task, 'erred')
}

/** Creates the drafts in their static order, so that inputs come before what needs them. */
function create(
  state: SchedulerState,
  client: ClientRecord,
  drafts: readonly Draft[],
  refusals: Refusals,
): TaskRecord[] {
  const created: TaskRecord[] = []
  joinTurns(state, client)
  for (const { row, group } of inStaticOrder(drafts, refusals)) {
    const [key, args, inputKeys] = row
    if (state.tasks.has(key)) continue
    const refusal = refusals.size === 0 ? undefined : (refusals.get(key) ?? refusedInput(refusals, row))
    if (refusal !== undefined) {
      refusals.set(key, refusal)
      dropIfEmpty(group)
      continue
    }
    const inputs = findInputs(state, inputKeys)
    if (inputs === null) {
      dropIfEmpty(group)
      continue
    }
    const task = addTask(state, group, { key, args, turn: nextTurn(client, group), order: client.nextOrder++ })
    if (inputs.length > 0) {
      link(task, inputs)
      noteInputs(task)
    }
    created.push(task)
  }
  return created
}

/** Tasks on a cycle, and those that need one, are left out and refused. */
function inStaticOrder(drafts: readonly Draft[], refusals: Refusals): readonly Draft[] {
  if (drafts.every(({ row }) => row[2].length === 0)) return drafts
  const numbers = new Map(drafts.map(({ row }, number) => [row[0], number]))
  const inputs = drafts.map(({ row }) => {
    const found: number[] = []
    for (const key of new Set(row[2])) {
      const number = numbers.get(key)
      if (number !== undefined) found.push(number)
    }
    return found
  })
  const sorted: Draft[] = []
  const { positions, cycle } = orderTasks(inputs)
  const failure = cycle === null ? null : failedForCycle(cycle.map((number) => (drafts[number] as Draft).row[0]))
  positions.forEach((position, number) => {
    const draft = drafts[number] as Draft
    if (position >= 0) sorted[position] = draft
    else if (failure !== null) {
      refusals.set(draft.row[0], failure)
      dropIfEmpty(draft.group)
    }
  })
  return sorted
}

/** null: one of them is not known here. */
function findInputs(state: SchedulerState, keys: readonly TaskKey[]): readonly TaskRecord[] | null {
  if (keys.length === 0) return NO_TASKS
  const inputs: TaskRecord[] = []
  for (const key of keys.length === 1 ? keys : new Set(keys)) {
    const input = state.tasks.get(key)
    if (input === undefined) return null
    inputs.push(input)
  }
  return inputs
}

/**
 * Starts tasks that depend on one another: from the last to the first, so that each finds its inputs needed, but those
 * that can run at once do so from the first to the last.
 */
function startConnected(state: SchedulerState, created: readonly TaskRecord[]): void {
  const { todo } = state
  const before = todo.tasks.length
  for (let n = created.length - 1; n >= 0; n--) {
    const task = created[n] as TaskRecord
    if (task.state === 'released' && task.isNeeded) transition(state, task, 'waiting')
    else recommend(state, task, 'settled')
  }
  reverseFrom(todo.tasks, before)
  reverseFrom(todo.goals, before)
}

function reverseFrom(list: unknown[], start: number): void {
  for (let low = start, high = list.length - 1; low < high; low++, high--) {
    const item = list[low]
    list[low] = list[high]
    list[high] = item
  }
}
