// The context of each running task, and how code inside of it finds it. An executor that runs one task at a time needs no
// bookkeeping through promises, which would make every await of user code slower; an io executor does.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { RunId } from '../base/ids.ts'
import { type TaskContext, provideTaskContext } from '../base/task-context.ts'

export interface RunContextOptions {
  readonly runId: RunId
  readonly key: string
  readonly attempt: number
  readonly workerAddress: string
  readonly memory: number
  /** Asked by synchronous loops. */
  readonly isCancelled: () => boolean
}

export class RunContext implements TaskContext {
  readonly key: string
  readonly attempt: number
  readonly workerAddress: string
  readonly memory: number
  readonly runId: RunId
  readonly #isCancelled: () => boolean
  #controller: AbortController | null = null
  #reason: unknown = null

  constructor(options: RunContextOptions) {
    this.runId = options.runId
    this.key = options.key
    this.attempt = options.attempt
    this.workerAddress = options.workerAddress
    this.memory = options.memory
    this.#isCancelled = options.isCancelled
  }

  /** Made when it is asked for: most tasks never do. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#reason !== null) this.#controller.abort(this.#reason)
    return this.#controller.signal
  }

  get cancelled(): boolean {
    return this.#reason !== null || this.#isCancelled()
  }

  abort(reason: Error): void {
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}

/** One for all pools of this process: the slot that code inside of tasks looks into is global. */
let sharedStorage: AsyncLocalStorage<RunContext> | undefined

export class Contexts {
  readonly #storage: AsyncLocalStorage<RunContext> | null
  #current: RunContext | undefined

  constructor(concurrency: number) {
    this.#storage = concurrency > 1 ? (sharedStorage ??= new AsyncLocalStorage()) : null
    provideTaskContext(() => this.current())
  }

  current(): RunContext | undefined {
    return this.#storage === null ? this.#current : this.#storage.getStore()
  }

  /** Calls inside of the context, which stays until `leave`. */
  enter<T>(context: RunContext, call: () => T): T {
    if (this.#storage !== null) return this.#storage.run(context, call)
    this.#current = context
    return call()
  }

  leave(): void {
    this.#current = undefined
  }
}
