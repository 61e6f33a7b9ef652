// Files that clients of this host write values into themselves: 256 MiB that come through a socket cost the worker 700 ms of
// CPU, as a file 10 ms.
//
// G1. A place is granted to one connection, and is taken, cancelled, or given up with it or after `GRANT_MS`, once.

import type { Clock } from '../base/clock.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { WorkerRequests } from '../protocol/worker-worker.ts'
import type { Place, Store, StoredValue } from '../store/store.ts'

/** Enough to write 100 GB; whoever takes longer has stopped. */
const GRANT_MS = 120_000

/** As far as places know it. */
interface Grantee {
  readonly closed: boolean
}

interface Grant {
  readonly place: Place
  readonly grantee: Grantee
  readonly cancelTimer: () => void
}

export class GrantedPlaces {
  readonly #store: Store
  readonly #clock: Clock
  readonly #grants = new Map<number, Grant>()

  constructor(store: Store, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Waits for room if it must. @throws STORE_FULL; COMM_CLOSED when the grantee is gone by then. */
  async grant(grantee: Grantee, nbytes: number): Promise<{ readonly id: number; readonly path: string }> {
    const place = await this.#store.requestPlace(nbytes)
    if (grantee.closed) {
      this.#store.cancelPlace(place)
      throw new PlimsollError('COMM_CLOSED', 'whoever asked for a place is gone')
    }
    const cancelTimer = this.#clock.after(GRANT_MS, () => this.cancel(grantee, place.id))
    this.#grants.set(place.id, { place, grantee, cancelTimer })
    return { id: place.id, path: place.path }
  }

  /** The file was written. @throws PROTOCOL_ERROR for a place that this grantee does not have (any more); as `accept` of the store. */
  async take(grantee: Grantee, { place: id, key, runId, type }: WorkerRequests['put-place'][0]): Promise<StoredValue> {
    const grant = this.#end(grantee, id)
    if (grant === undefined) throw new PlimsollError('PROTOCOL_ERROR', `place ${id} for ${key} is not granted any more`)
    return this.#store.accept(grant.place, { key, runId, type })
  }

  cancel(grantee: Grantee, id: number): void {
    const grant = this.#end(grantee, id)
    if (grant !== undefined) this.#store.cancelPlace(grant.place)
  }

  /** The grantee is gone. */
  forget(grantee: Grantee): void {
    for (const [id, grant] of this.#grants) if (grant.grantee === grantee) this.cancel(grantee, id)
  }

  #end(grantee: Grantee, id: number): Grant | undefined {
    const grant = this.#grants.get(id)
    if (grant?.grantee !== grantee) return undefined
    this.#grants.delete(id)
    grant.cancelTimer()
    return grant
  }
}
