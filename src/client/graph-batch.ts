// Joins the graphs of one turn: a loop of `submit` says thousands of graphs of one task, each with function, name and
// options, and each an intake of its own in the scheduler. As one graph they say that once.
//
// J1. Nothing is overtaken: whatever else is said, or asked, comes after the graph that is open (`flush`).
// J2. It leaves at the end of the microtask at the latest, before the messages of the turn are written.
// J3. It leaves when it has TASKS_MAX tasks, so that the scheduler begins while the loop goes on.

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

const TASKS_MAX = 512

export class GraphBatch {
  readonly #send: (message: ClientToScheduler) => void
  #open: OpenGraph | null = null
  #tasks = 0
  #flushDue = false

  constructor(send: (message: ClientToScheduler) => void) {
    this.#send = send
  }

  send(message: ClientToScheduler): void {
    if (message.op === 'update-graph' && isSingle(message)) {
      this.#join(message)
      return
    }
    this.flush()
    this.#send(message)
  }

  /** Says what is open, now. */
  flush(): void {
    const graph = this.#open
    if (graph === null) return
    this.#open = null
    this.#tasks = 0
    this.#send(graph)
  }

  #join({ groups, functions, wanted }: UpdateGraph): void {
    this.#open ??= { op: 'update-graph', groups: [], functions: [], wanted: [] }
    const open = this.#open
    const [group] = groups as readonly [TaskGroupWire]
    const last = open.groups.at(-1)
    if (last !== undefined && isAlike(last, group)) last.tasks.push(...group.tasks)
    else open.groups.push({ ...group, tasks: [...group.tasks] })
    open.functions.push(...functions)
    open.wanted.push(...wanted)
    if (++this.#tasks >= TASKS_MAX) this.flush()
    else this.#scheduleFlush()
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

function isSingle({ groups }: UpdateGraph): boolean {
  return groups.length === 1 && groups[0]?.tasks.length === 1
}

function isAlike(one: TaskGroupWire, other: TaskGroupWire): boolean {
  return one.fn === other.fn && one.name === other.name && areAlike(one.options, other.options)
}

/** Options of one `task(...)` are one object; plain functions have none. */
function areAlike(one: TaskOptionsWire, other: TaskOptionsWire): boolean {
  return one === other || (Object.keys(one).length === 0 && Object.keys(other).length === 0)
}
