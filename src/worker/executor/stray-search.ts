// The search for what dead executors have left running. It goes through all processes of the machine, so the ends that come
// together share one.

import { killMarked } from '../../native/process-family.ts'

export class StraySearch {
  #marks: string[] = []
  #next: Promise<void> | null = null
  #last: Promise<unknown> = Promise.resolve()

  /** Resolves when nobody carries this mark any more, or cannot be ended. Never rejects. */
  end(mark: string): Promise<void> {
    this.#marks.push(mark)
    this.#next ??= this.#last.then(() => this.#search())
    return this.#next
  }

  async #search(): Promise<void> {
    const marks = this.#marks
    this.#marks = []
    this.#next = null
    this.#last = killMarked(marks)
    await this.#last
  }
}
