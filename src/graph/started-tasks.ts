// Heaps of tasks that have some of their inputs and miss others, for the static order (order.ts): any two can be joined.
//
// H1. On top is a task that misses the fewest inputs, of several the one with the smallest number.
// H2. What is added or joined costs O(log n), averaged over a walk (a skew heap). A heap is the number of the entry on its top,
//     0 when it is empty.
// H3. A task that comes nearer is added again; the older entry stays where it is until it comes to the top.

export class StartedTasks {
  /** Comparisons so far. */
  steps = 0
  /** By entry; entry 0 stands for none. */
  readonly #tasks: number[] = [0]
  readonly #missing: number[] = [0]
  readonly #left: number[] = [0]
  readonly #right: number[] = [0]

  /** A heap of one. */
  add(task: number, missing: number): number {
    this.#tasks.push(task)
    this.#missing.push(missing)
    this.#left.push(0)
    return this.#right.push(0) - 1
  }

  taskOf(entry: number): number {
    return this.#tasks[entry] as number
  }

  missingOf(entry: number): number {
    return this.#missing[entry] as number
  }

  /** The heap without its top; empty stays empty. */
  rest(heap: number): number {
    return this.join(this.#left[heap] as number, this.#right[heap] as number)
  }

  /** Both in one; neither may be used on its own afterwards. */
  join(one: number, other: number): number {
    if (one === 0 || other === 0) return one + other
    let upper = one
    let lower = other
    let top = 0
    let parent = 0
    while (upper !== 0 && lower !== 0) {
      this.steps++
      if (this.#isBefore(lower, upper)) {
        const entry = upper
        upper = lower
        lower = entry
      }
      if (parent === 0) top = upper
      else this.#left[parent] = upper
      const right = this.#right[upper] as number
      this.#right[upper] = this.#left[upper] as number
      parent = upper
      upper = right
    }
    this.#left[parent] = upper + lower
    return top
  }

  #isBefore(one: number, other: number): boolean {
    const difference = this.missingOf(one) - this.missingOf(other)
    return difference < 0 || (difference === 0 && this.taskOf(one) < this.taskOf(other))
  }
}
