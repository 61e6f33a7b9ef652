// Why did this task end up here: the last transitions of all tasks, in one ring. Written millions of times and read
// rarely, so it is columns of numbers and references that never allocate; text is made when somebody asks.

import type { TaskKey } from '../../base/ids.ts'
import type { StoryEntry } from '../../protocol/scheduler-client.ts'
import { TASK_STATES, type TaskRecord, type TaskState } from './records.ts'

const STATE_NUMBERS = Object.fromEntries(TASK_STATES.map((state, index) => [state, index])) as Record<TaskState, number>

export class Story {
  readonly #keys: TaskKey[] = []
  readonly #workers: (string | undefined)[] = []
  readonly #causes: string[] = []
  readonly #from: Uint8Array
  readonly #to: Uint8Array
  readonly #at: Float64Array
  readonly #runs: Float64Array
  readonly #capacity: number
  /** Transitions recorded so far. */
  total = 0

  constructor(capacity: number) {
    this.#capacity = capacity
    this.#from = new Uint8Array(capacity)
    this.#to = new Uint8Array(capacity)
    this.#at = new Float64Array(capacity)
    this.#runs = new Float64Array(capacity)
  }

  record(task: TaskRecord, from: TaskState, at: number, cause: string): void {
    const index = this.total++ % this.#capacity
    this.#keys[index] = task.key
    this.#workers[index] = (task.processingOn ?? task.holders[0])?.info.address
    this.#causes[index] = cause
    this.#from[index] = STATE_NUMBERS[from]
    this.#to[index] = STATE_NUMBERS[task.state]
    this.#at[index] = at
    this.#runs[index] = task.state === 'memory' ? task.acceptedRunId : task.runId
  }

  /** What is remembered of this key, oldest first. */
  of(key: string): StoryEntry[] {
    const entries: StoryEntry[] = []
    for (let n = Math.max(0, this.total - this.#capacity); n < this.total; n++) {
      const index = n % this.#capacity
      if (this.#keys[index] === key)
        entries.push({ where: 'scheduler', at: this.#at[index] ?? 0, key, text: this.#text(index) })
    }
    return entries
  }

  #text(index: number): string {
    const to = TASK_STATES[this.#to[index] ?? 0]
    const run = (to === 'processing' || to === 'memory') && this.#workers[index] !== undefined
    const where = run ? `, run ${this.#runs[index]} at ${this.#workers[index]}` : ''
    return `${TASK_STATES[this.#from[index] ?? 0]} -> ${to}${where} (${this.#causes[index]})`
  }
}
