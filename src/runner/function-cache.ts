// Functions by their content hash: sent once, compiled once, kept until the worker says that nobody has use for them.

import type { FunctionId } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { rebuild } from '../functions/rebuild.ts'
import type { TaskFunction } from './run-task.ts'

export class FunctionCache {
  readonly #bytes = new Map<FunctionId, Uint8Array>()
  readonly #functions = new Map<FunctionId, TaskFunction>()

  learn(id: FunctionId, bytes: Uint8Array): void {
    this.#bytes.set(id, bytes)
  }

  /** The function if it was compiled before, else a promise of it. A failure is not remembered: a module may appear later. */
  get(id: FunctionId): TaskFunction | Promise<TaskFunction> {
    return this.#functions.get(id) ?? this.#rebuild(id)
  }

  forget(ids: readonly FunctionId[]): void {
    for (const id of ids) {
      this.#bytes.delete(id)
      this.#functions.delete(id)
    }
  }

  async #rebuild(id: FunctionId): Promise<TaskFunction> {
    const bytes = this.#bytes.get(id)
    if (bytes === undefined)
      throw new PlimsollError('INTERNAL', `the executor was not sent the function ${id}`, { function: id })
    const fn = (await rebuild(bytes)) as TaskFunction
    if (this.#bytes.has(id)) this.#functions.set(id, fn)
    return fn
  }
}
