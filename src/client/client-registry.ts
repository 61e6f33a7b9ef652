// Which client `getClient()` means: the one of the surrounding `client.asCurrent(...)`, else the newest that is open.
// Clients are held weakly: being listed here keeps none of them alive.

import { AsyncLocalStorage } from 'node:async_hooks'
import { currentTaskContext } from '../base/task-context.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export interface Registered {
  readonly closed: boolean
}

export class ClientRegistry<C extends Registered> {
  readonly #current = new AsyncLocalStorage<C>()
  /** Oldest first. */
  #clients: WeakRef<C>[] = []

  add(client: C): void {
    this.#clients = this.#clients.filter((ref) => ref.deref()?.closed === false)
    this.#clients.push(new WeakRef(client))
  }

  remove(client: C): void {
    this.#clients = this.#clients.filter((ref) => ref.deref() !== client)
  }

  run<T>(client: C, fn: () => T): T {
    return this.#current.run(client, fn)
  }

  get(): C {
    const current = this.#current.getStore()
    if (current !== undefined && !current.closed) return current
    for (const ref of this.#clients.toReversed()) {
      const client = ref.deref()
      if (client !== undefined && !client.closed) return client
    }
    const hint =
      currentTaskContext() === undefined
        ? 'make one with Client.local() or Client.connect(address), or start the program with "plimsoll run"'
        : 'tasks have none. Return what comes next needs, and submit that from the program'
    throw new PlimsollError('INVALID_ARGUMENT', `There is no open client here: ${hint}.`)
  }
}
