// The static order of a graph: in which sequence its tasks should run so that values are used up soon after they are
// made. It decides priorities only; correctness never depends on it.
//
// R1. The tasks are taken in the order in which they were given, each preceded by what it needs, depth first.
// R2. Whatever becomes runnable by a task follows it at once: a partition is loaded, and reduced by every reduction that
//     only waits for it.
// R3. What was started is finished: before the next task in the order given, those that have some inputs and miss others
//     are visited, fewest missing inputs first, then in the order given. Two blocks that are added are made one after the
//     other, however far apart they were submitted; the total of all sums is not looked for while a sum can be finished.
// R4. The same holds on the way to the inputs of a task, for what those inputs started, but only where that misses fewer
//     inputs than the task itself: of two things begun, the one that is nearer to its end goes first. Such a detour is given
//     up where it leads back to a task that it interrupts, a few times at most for each task.
// R5. Everything is iterative, and of O((n + e) log e) steps for n tasks with e inputs.

import { StartedTasks } from './started-tasks.ts'

export interface Order {
  /** Position of each task, from 0. Tasks on a cycle, and those that need one, have -1. */
  readonly positions: Int32Array
  /** Tasks on a cycle in the order in which each needs the next; null when there is none. */
  readonly cycle: readonly number[] | null
  /** What it took: looks at a task on the way, and at entries of the heaps. */
  readonly steps: number
}

/** `inputs[n]` lists the tasks that task `n` needs, by number. */
export function orderTasks(inputs: readonly (readonly number[])[]): Order {
  const walk = new Walk(inputs)
  for (let task = 0; task < inputs.length; task++) walk.visit(task)
  return { positions: walk.positions, cycle: walk.cycle, steps: walk.steps }
}

const NEW = 0
const OPEN = 1
const DONE = 2

/** So often a task may be on a detour that is given up (R4). */
const GIVEN_UP_MAX = 3

/** A task on the way, between those that need it and what it needs. */
interface Frame {
  readonly task: number
  /** Which input is next. */
  cursor: number
  /** Heap of what was started by what it needs. */
  started: number
  /** Where on the path the detour begins that it belongs to. */
  readonly detour: number
}

class Walk {
  readonly positions: Int32Array
  cycle: number[] | null = null
  readonly #inputs: readonly (readonly number[])[]
  readonly #dependents: readonly number[][]
  readonly #marks: Uint8Array
  /** Inputs of each task without a position. */
  readonly #missing: Int32Array
  /** Place on the path of each open task. */
  readonly #places: Int32Array
  /** Which open task each was last in the way of, when a detour was given up; and how often. */
  readonly #blockers: Int32Array
  readonly #givenUp: Uint8Array
  readonly #started: StartedTasks
  #path: Frame[] = []
  /** Heap of what was started and waits until nothing is open. */
  #waiting = 0
  #next = 0
  #steps = 0

  constructor(inputs: readonly (readonly number[])[]) {
    const size = inputs.length
    this.positions = new Int32Array(size).fill(-1)
    this.#inputs = inputs
    this.#marks = new Uint8Array(size)
    this.#missing = Int32Array.from(inputs, (each) => each.length)
    this.#places = new Int32Array(size)
    this.#blockers = new Int32Array(size).fill(-1)
    this.#givenUp = new Uint8Array(size)
    this.#started = new StartedTasks()
    const dependents: number[][] = inputs.map(() => [])
    for (let task = 0; task < size; task++) for (const input of inputs[task] ?? []) dependents[input]?.push(task)
    this.#dependents = dependents
  }

  get steps(): number {
    return this.#steps + this.#started.steps
  }

  /** Gives positions to everything that `root` needs, to `root`, and to what is finished after it. */
  visit(root: number): void {
    if (this.#marks[root] !== NEW) return
    this.#open(root, 0)
    for (;;) {
      const top = this.#path.at(-1)
      if (top !== undefined) this.#goOn(top)
      else {
        const started = this.#nextStarted(this.#waiting)
        this.#waiting = this.#started.rest(started)
        if (started === 0) return
        this.#open(this.#started.taskOf(started), 0)
      }
    }
  }

  #open(task: number, detour: number): void {
    this.#marks[task] = OPEN
    this.#places[task] = this.#path.length
    this.#path.push({ task, cursor: 0, started: 0, detour })
  }

  /** One step at the task at the end of the path. */
  #goOn(top: Frame): void {
    this.#steps++
    const { task, detour } = top
    if (this.#marks[task] === DONE) return this.#leave(top)
    top.started = this.#nextStarted(top.started)
    if (top.started !== 0 && this.#started.missingOf(top.started) < (this.#missing[task] as number)) {
      const started = this.#started.taskOf(top.started)
      top.started = this.#started.rest(top.started)
      if ((this.#givenUp[started] as number) < GIVEN_UP_MAX) this.#open(started, this.#path.length)
      return
    }
    const input = this.#inputs[task]?.[top.cursor]
    if (input === undefined) return this.#finish(top)
    if (this.#marks[input] === OPEN) {
      const place = this.#places[input] as number
      if (place < detour) return this.#giveUp(detour, input)
      this.cycle ??= this.#path.slice(place).map((frame) => frame.task)
    } else if (this.#marks[input] === NEW) {
      if (detour > 0 && this.#isBlocked(input, detour)) return this.#giveUp(detour, this.#blockers[input] as number)
      this.#open(input, detour)
    }
    top.cursor++
  }

  /** What it started is now for the task before it on the path. */
  #leave({ started }: Frame): void {
    this.#path.pop()
    const before = this.#path.at(-1)
    if (before === undefined) this.#waiting = this.#started.join(this.#waiting, started)
    else before.started = this.#started.join(before.started, started)
  }

  /** It is known to lead to a task that the detour interrupts, or did so often. */
  #isBlocked(task: number, detour: number): boolean {
    if (this.#givenUp[task] === GIVEN_UP_MAX) return true
    const blocker = this.#blockers[task] as number
    return blocker !== -1 && this.#marks[blocker] === OPEN && (this.#places[blocker] as number) < detour
  }

  /** Takes back what is open from `detour` on: it needs `blocker`, which comes first. */
  #giveUp(detour: number, blocker: number): void {
    while (this.#path.length > detour) {
      const frame = this.#path.at(-1) as Frame
      const { task } = frame
      if (this.#marks[task] === OPEN) {
        this.#marks[task] = NEW
        this.#blockers[task] = blocker
        this.#givenUp[task] = Math.min(GIVEN_UP_MAX, (this.#givenUp[task] as number) + 1)
      }
      this.#leave(frame)
      this.#steps++
    }
  }

  /** The heap without tasks at its top that have begun meanwhile; 0 = nothing is left. */
  #nextStarted(heap: number): number {
    let top = heap
    while (top !== 0 && this.#marks[this.#started.taskOf(top)] !== NEW) top = this.#started.rest(top)
    return top
  }

  /** A task whose inputs were all looked at; then whatever it makes runnable, deepest first (R2). */
  #finish(frame: Frame): void {
    const { task } = frame
    this.#marks[task] = DONE
    if (this.#missing[task] !== 0) return
    const ready = [task]
    for (let each = ready.pop(); each !== undefined; each = ready.pop()) {
      if (this.positions[each] !== -1) continue
      this.positions[each] = this.#next++
      this.#marks[each] = DONE
      const dependents = this.#dependents[each] ?? []
      for (let n = dependents.length - 1; n >= 0; n--) {
        const dependent = dependents[n] as number
        const missing = (this.#missing[dependent] as number) - 1
        this.#missing[dependent] = missing
        this.#steps++
        if (missing === 0) ready.push(dependent)
        else if (this.#marks[dependent] === NEW)
          frame.started = this.#started.join(frame.started, this.#started.add(dependent, missing))
      }
    }
  }
}
