// Abstract counters: what this worker offers (`GPU: 1`), and the tasks that have to wait for a share of it. Nothing measures
// them; they bound how many tasks run at once. The scheduler looks at the supply alone, so what is free is decided here.
//
// R1. A run holds what its task asks for from its start until its executor is free of it, wanted or not by then.
// R2. Tasks that ask for the same wait in one queue, by priority, beside the queue of those that ask for nothing: a task
//     that cannot have its share is passed by.
// R3. What a passed-by task asks for is kept for it: nothing less urgent takes any of these counters first, so a task that
//     asks for much is not starved by many that ask for little.

import { comparePriority, createReadyQueue, type ReadyQueue } from './ready-queue.ts'
import type { LocalTask, Run } from './state.ts'

type Amounts = Readonly<Record<string, number>>

/** Sums of fractions are not exact. */
const EPSILON = 1e-9

/** What a task asks for; null = nothing. */
export function demandOf(task: LocalTask): Amounts | null {
  return task.assignment?.options.resources ?? null
}

export class Resources {
  readonly #supply: Amounts
  readonly #queues = new Map<string, ReadyQueue>()
  readonly #queueOf = new Map<LocalTask, string>()
  /** Runs that hold a share. */
  readonly #holding = new Map<Run, Amounts>()

  constructor(supply: Amounts) {
    this.#supply = supply
  }

  get isEmpty(): boolean {
    return this.#queueOf.size === 0
  }

  add(task: LocalTask): void {
    const name = queueName(task)
    let queue = this.#queues.get(name)
    if (queue === undefined) {
      queue = createReadyQueue()
      this.#queues.set(name, queue)
    }
    queue.add(task)
    this.#queueOf.set(task, name)
  }

  /** Its assignment may be gone by now. */
  delete(task: LocalTask): void {
    const name = this.#queueOf.get(task)
    if (name === undefined) return
    this.#queueOf.delete(task)
    const queue = this.#queues.get(name)
    queue?.delete(task)
    if (queue?.size === 0) this.#queues.delete(name)
  }

  has(task: LocalTask): boolean {
    return this.#queueOf.has(task)
  }

  take(run: Run, demand: Amounts): void {
    this.#holding.set(run, demand)
  }

  giveBack(run: Run): void {
    this.#holding.delete(run)
  }

  /** The most urgent of the waiting tasks that can have its share now. */
  firstAffordable(): LocalTask | undefined {
    if (this.isEmpty) return undefined
    const heads: LocalTask[] = []
    for (const queue of this.#queues.values()) heads.push(queue.peek() as LocalTask)
    heads.sort((a, b) => comparePriority(a.priority, b.priority))
    const kept = new Set<string>()
    for (const head of heads) {
      const demand = Object.entries(demandOf(head) ?? {})
      if (demand.every(([name, amount]) => !kept.has(name) && amount <= this.free(name) + EPSILON)) return head
      for (const [name] of demand) kept.add(name)
    }
    return undefined
  }

  free(name: string): number {
    let free = this.#supply[name] ?? 0
    for (const demand of this.#holding.values()) free -= demand[name] ?? 0
    return free
  }

  /** Names of all counters, the runs that hold shares, and the tasks that wait: for checks. */
  get names(): readonly string[] {
    return Object.keys(this.#supply)
  }

  get holders(): readonly Run[] {
    return [...this.#holding.keys()]
  }

  [Symbol.iterator](): IterableIterator<LocalTask> {
    return this.#queueOf.keys()
  }
}

/** The same for tasks that ask for the same. */
function queueName(task: LocalTask): string {
  return JSON.stringify(Object.entries(demandOf(task) ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)))
}
