// The connections of a scheduler, numbered: the core names them by number, and whatever comes on a connection that was
// replaced carries a number that the core does not accept any more.

import type { ClientId, WorkerId } from '../base/ids.ts'
import type { NannyRequests, NannyToScheduler, SchedulerToNanny } from '../protocol/nanny.ts'
import type { ClientToScheduler, SchedulerRequests, SchedulerToClient } from '../protocol/scheduler-client.ts'
import type {
  SchedulerToWorker,
  SchedulerWorkerRequests,
  WorkerControlRequests,
  WorkerToScheduler,
} from '../protocol/scheduler-worker.ts'
import type { Connection } from '../rpc/index.ts'

export type ClientConnection = Connection<ClientToScheduler, SchedulerToClient, SchedulerRequests>
export type WorkerConnection = Connection<
  WorkerToScheduler,
  SchedulerToWorker,
  SchedulerWorkerRequests,
  WorkerControlRequests
>
export type NannyConnection = Connection<NannyToScheduler, SchedulerToNanny, NannyRequests>

/** Who registered on a connection; a probe never does. */
export type Peer =
  | { readonly role: 'client'; readonly connection: ClientConnection; id: ClientId | null }
  | { readonly role: 'worker'; readonly connection: WorkerConnection; id: WorkerId | null }
  | { readonly role: 'nanny'; readonly connection: NannyConnection; id: WorkerId | null }

export class Peers {
  #counter = 0
  readonly #all = new Map<number, Peer>()
  readonly #clients = new Map<ClientId, ClientConnection>()
  readonly #workers = new Map<WorkerId, WorkerConnection>()
  readonly #nannies = new Map<WorkerId, NannyConnection>()

  /** Every open connection, registered or not. */
  get all(): Iterable<Peer> {
    return this.#all.values()
  }

  get size(): number {
    return this.#all.size
  }

  add(peer: Peer): number {
    const number = ++this.#counter
    this.#all.set(number, peer)
    return number
  }

  get(number: number): Peer | undefined {
    return this.#all.get(number)
  }

  /** From now on messages for this client, worker or nanny go out here. */
  register(peer: Peer): void {
    if (peer.id === null) return
    if (peer.role === 'client') this.#clients.set(peer.id, peer.connection)
    else if (peer.role === 'worker') this.#workers.set(peer.id, peer.connection)
    else this.#nannies.set(peer.id, peer.connection)
  }

  /** A worker's registration was refused: the connection that was there before stays its own. */
  restore(id: WorkerId, connection: WorkerConnection): void {
    if (!connection.closed) this.#workers.set(id, connection)
  }

  delete(number: number): Peer | undefined {
    const peer = this.#all.get(number)
    if (peer === undefined) return undefined
    this.#all.delete(number)
    if (peer.id === null) return peer
    if (peer.role === 'client' && this.#clients.get(peer.id) === peer.connection) this.#clients.delete(peer.id)
    if (peer.role === 'worker' && this.#workers.get(peer.id) === peer.connection) this.#workers.delete(peer.id)
    if (peer.role === 'nanny' && this.#nannies.get(peer.id) === peer.connection) this.#nannies.delete(peer.id)
    return peer
  }

  client(id: ClientId): ClientConnection | undefined {
    return this.#clients.get(id)
  }

  worker(id: WorkerId): WorkerConnection | undefined {
    return this.#workers.get(id)
  }

  nanny(id: WorkerId): NannyConnection | undefined {
    return this.#nannies.get(id)
  }

  get workers(): Iterable<WorkerConnection> {
    return this.#workers.values()
  }
}
