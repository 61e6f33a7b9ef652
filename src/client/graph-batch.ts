// Joins the graphs of one turn: every `submit` and every `map` says a graph, with function, name and options, and each is an
// intake of its own in the scheduler. As one graph a loop of `submit` says that once, and the scheduler sees at once what
// maps that build on one another make of each value: its order (graph/order.ts) uses a value up before it makes the next.
//
// J1. Nothing is overtaken: whatever else is said, or asked, comes after the graph that is open (`flush`).
// J2. It leaves at the end of the microtask at the latest, before the messages of the turn are written.
// J3. Tasks that do not need one another leave when there are PART_TASKS_MAX, so that the scheduler begins while a loop goes
//     on, or with the first part of a large map. From the first task on that needs another one of the open graph it collects
//     until J2, up to JOINED_TASKS_MAX: they are worth an order of the whole.
// J4. With more than PART_BYTES_MAX of arguments it goes out without what would bring it there.
// J5. Refusals are by key (handlers/graph.ts on the scheduler): what is wrong with one graph does not concern those it was
//     joined with.

import type { TaskKey } from '../base/ids.ts'
import type { ClientToScheduler } from '../protocol/scheduler-client.ts'
import type { TaskGroupWire, TaskOptionsWire, TaskRow } from '../protocol/tasks.ts'

type UpdateGraph = Extract<ClientToScheduler, { readonly op: 'update-graph' }>
type Mutable<T> = T extends readonly (infer Item)[] ? Item[] : never

interface OpenGroup extends TaskGroupWire {
  readonly tasks: TaskRow[]
}

interface OpenGraph extends UpdateGraph {
  readonly groups: OpenGroup[]
  readonly functions: Mutable<UpdateGraph['functions']>
  readonly wanted: Mutable<UpdateGraph['wanted']>
}

/** Arguments and tasks of one message; a larger map goes out in several, so that its first tasks run while the last are sent. */
export const PART_BYTES_MAX = 32 * 2 ** 20
export const PART_TASKS_MAX = 1024
const JOINED_TASKS_MAX = 16_384

export class GraphBatch {
  readonly #send: (message: ClientToScheduler) => void
  #open: OpenGraph | null = null
  #tasks = 0
  #argumentBytes = 0
  /** A task of the open graph needs another one of it. */
  #isConnected = false
  /** Keys of the open graph, from the first task on that needs anything. */
  #keys: Set<TaskKey> | null = null
  #flushDue = false

  constructor(send: (message: ClientToScheduler) => void) {
    this.#send = send
  }

  send(message: ClientToScheduler): void {
    if (message.op === 'update-graph') this.#join(message)
    else {
      this.flush()
      this.#send(message)
    }
  }

  /** Says what is open, now. */
  flush(): void {
    const graph = this.#open
    if (graph === null) return
    this.#open = null
    this.#tasks = 0
    this.#argumentBytes = 0
    this.#isConnected = false
    this.#keys = null
    this.#send(graph)
  }

  #join({ groups, functions, wanted }: UpdateGraph): void {
    const { tasks, argumentBytes } = sizeOf(groups)
    const isTooMuch = this.#tasks + tasks > JOINED_TASKS_MAX || this.#argumentBytes + argumentBytes > PART_BYTES_MAX
    if (isTooMuch) this.flush()
    this.#open ??= { op: 'update-graph', groups: [], functions: [], wanted: [] }
    const open = this.#open
    for (const group of groups) {
      const last = open.groups.at(-1)
      if (last !== undefined && isAlike(last, group)) append(last.tasks, group.tasks)
      else open.groups.push({ ...group, tasks: [...group.tasks] })
    }
    append(open.functions, functions)
    append(open.wanted, wanted)
    this.#tasks += tasks
    this.#argumentBytes += argumentBytes
    if (!this.#isConnected) this.#noteNeeds(open, groups)
    if (this.#tasks >= (this.#isConnected ? JOINED_TASKS_MAX : PART_TASKS_MAX)) this.flush()
    else this.#scheduleFlush()
  }

  #noteNeeds(open: OpenGraph, groups: readonly TaskGroupWire[]): void {
    if (this.#keys !== null) addKeys(this.#keys, groups)
    for (const { tasks } of groups) {
      for (const [, , inputs] of tasks) {
        if (inputs.length === 0) continue
        const keys = (this.#keys ??= addKeys(new Set(), open.groups))
        if (!inputs.some((input) => keys.has(input))) continue
        this.#isConnected = true
        this.#keys = null
        return
      }
    }
  }

  #scheduleFlush(): void {
    if (this.#flushDue) return
    this.#flushDue = true
    queueMicrotask(() => {
      this.#flushDue = false
      this.flush()
    })
  }
}

function sizeOf(groups: readonly TaskGroupWire[]): { readonly tasks: number; readonly argumentBytes: number } {
  let count = 0
  let argumentBytes = 0
  for (const { tasks } of groups) {
    count += tasks.length
    for (const [, args] of tasks) argumentBytes += args.length
  }
  return { tasks: count, argumentBytes }
}

function addKeys(keys: Set<TaskKey>, groups: readonly TaskGroupWire[]): Set<TaskKey> {
  for (const { tasks } of groups) for (const [key] of tasks) keys.add(key)
  return keys
}

/** Item by item: a list may be longer than the arguments of a call may be. */
function append<T>(list: T[], more: readonly T[]): void {
  for (const item of more) list.push(item)
}

function isAlike(one: TaskGroupWire, other: TaskGroupWire): boolean {
  return one.fn === other.fn && one.name === other.name && areAlike(one.options, other.options)
}

/** Options of one `task(...)` are one object; plain functions have none. */
function areAlike(one: TaskOptionsWire, other: TaskOptionsWire): boolean {
  return one === other || (Object.keys(one).length === 0 && Object.keys(other).length === 0)
}
