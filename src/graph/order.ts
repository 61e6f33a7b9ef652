// The static order of a graph: in which sequence its tasks should run so that values are used up soon after they are
// made. Linear in tasks and edges. It decides priorities only; correctness never depends on it.
//
// The walk takes the tasks in the order in which they were given. Each is preceded by what it needs (depth first), and
// whatever becomes runnable by a task follows at once, before anything else is started: a partition is loaded, reduced
// by every reduction that only waits for it, and can be freed before the next one is loaded. Independent tasks keep
// their order.

export interface Order {
  /** Position of each task, from 0. Tasks on a cycle, and those that need one, have -1. */
  readonly positions: Int32Array
  /** Tasks on a cycle in the order in which each needs the next; null when there is none. */
  readonly cycle: readonly number[] | null
}

/** `inputs[n]` lists the tasks that task `n` needs, by number. */
export function orderTasks(inputs: readonly (readonly number[])[]): Order {
  const walk = new Walk(inputs)
  for (let task = 0; task < inputs.length; task++) walk.visit(task)
  return { positions: walk.positions, cycle: walk.cycle }
}

const NEW = 0
const OPEN = 1
const DONE = 2

class Walk {
  readonly positions: Int32Array
  cycle: number[] | null = null
  readonly #inputs: readonly (readonly number[])[]
  readonly #dependents: readonly number[][]
  readonly #marks: Uint8Array
  /** Inputs of each task without a position. */
  readonly #missing: Int32Array
  #next = 0

  constructor(inputs: readonly (readonly number[])[]) {
    this.positions = new Int32Array(inputs.length).fill(-1)
    this.#inputs = inputs
    this.#marks = new Uint8Array(inputs.length)
    this.#missing = Int32Array.from(inputs, (each) => each.length)
    const dependents: number[][] = inputs.map(() => [])
    for (let task = 0; task < inputs.length; task++)
      for (const input of inputs[task] ?? []) dependents[input]?.push(task)
    this.#dependents = dependents
  }

  /** Gives positions to everything that `root` needs, and to `root`. */
  visit(root: number): void {
    const path = [root]
    const cursors = [0]
    while (path.length > 0) {
      const task = path.at(-1) as number
      if (this.#marks[task] === DONE) {
        path.pop()
        cursors.pop()
        continue
      }
      this.#marks[task] = OPEN
      const cursor = cursors.at(-1) as number
      const input = this.#inputs[task]?.[cursor]
      cursors[cursors.length - 1] = cursor + 1
      if (input === undefined) this.#finish(task)
      else if (this.#marks[input] === NEW) {
        path.push(input)
        cursors.push(0)
      } else if (this.#marks[input] === OPEN) this.cycle ??= path.slice(path.indexOf(input))
    }
  }

  /** A task whose inputs were all looked at; then whatever it makes runnable, deepest first. */
  #finish(task: number): void {
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
        const missing = (this.#missing[dependent] ?? 0) - 1
        this.#missing[dependent] = missing
        if (missing === 0) ready.push(dependent)
      }
    }
  }
}
