// Connections to peers, kept for reuse. Each is lent to one user at a time. At most one attempt to connect per address
// is under way; whoever waits takes the first connection that is ready, new or given back.
//
// P1. Open connections plus attempts never exceed `limit`; beyond it an idle one elsewhere is closed, or users wait.
// P2. A user who waits gets a connection, the failed attempt's error, or COMM_CLOSED from `remove` or `close`.

import { timerMs } from '../base/clock.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'

/** What the pool needs of a connection. */
export interface Poolable {
  readonly closed: boolean
  onClose(handler: (reason: Error | null) => void): void
  close(): Promise<void>
  abort(reason?: Error): void
}

export interface ConnectionPoolOptions<C extends Poolable> {
  readonly connect: (address: string) => Promise<C>
  /** Open connections in all; default 512. */
  readonly limit?: number
  /** Unused for this long, a connection is closed; default 60 s. */
  readonly idleMs?: number
}

interface Waiter<C> {
  take(connection: C): void
  fail(error: Error): void
}

interface Idle<C> {
  readonly connection: C
  readonly timer: NodeJS.Timeout
}

/** Everything about one address; dropped from the table when it is empty. */
interface Place<C> {
  readonly address: string
  readonly idle: Idle<C>[]
  readonly lent: Set<C>
  readonly waiters: Waiter<C>[]
  connecting: boolean
  /** Set by `remove`: an attempt that ends later is of no use. */
  removed: boolean
}

const LIMIT = 512
const IDLE_MS = 60_000

export class ConnectionPool<C extends Poolable> {
  readonly #connect: (address: string) => Promise<C>
  readonly #limit: number
  readonly #idleMs: number
  readonly #places = new Map<string, Place<C>>()
  readonly #connections = new Set<C>()
  #attempts = 0
  #closed = false

  constructor(options: ConnectionPoolOptions<C>) {
    this.#connect = options.connect
    this.#limit = options.limit ?? LIMIT
    this.#idleMs = options.idleMs ?? IDLE_MS
  }

  /** Connections open or being opened. */
  get open(): number {
    return this.#connections.size + this.#attempts
  }

  /**
   * Lends one connection to `address` for the time of `fn`.
   * @throws whatever `connect` or `fn` rejects with; COMM_CLOSED when the address is removed or the pool closed.
   */
  async use<T>(address: string, fn: (connection: C) => Promise<T>): Promise<T> {
    if (this.#closed) throw this.#gone(address, 'the pool is closed')
    const place = this.#placeOf(address)
    const connection = await this.#borrow(place)
    try {
      return await fn(connection)
    } finally {
      this.#giveBack(place, connection)
    }
  }

  /** Closes all connections to an address; their users and whoever waits for one get COMM_CLOSED. */
  remove(address: string): void {
    const place = this.#places.get(address)
    if (place === undefined) return
    const error = this.#gone(address, 'the peer was removed')
    for (const connection of this.#clear(place, error)) connection.abort(error)
  }

  /** Closes everything: idle connections in good order, lent ones at once. Later uses are refused. */
  async close(): Promise<void> {
    this.#closed = true
    const idle = Array.from(this.#places.values(), (place) =>
      this.#clear(place, this.#gone(place.address, 'the pool is closed')),
    )
    await Promise.all(idle.flat().map((connection) => connection.close()))
  }

  /** Ends a place for its users; returns the connections nobody used. */
  #clear(place: Place<C>, error: PlimsollError): C[] {
    this.#places.delete(place.address)
    place.removed = true
    for (const waiter of place.waiters.splice(0)) waiter.fail(error)
    for (const connection of place.lent) connection.abort(error)
    return place.idle.splice(0).map(({ connection, timer }) => {
      clearTimeout(timer)
      return connection
    })
  }

  #borrow(place: Place<C>): Promise<C> {
    const idle = place.idle.pop()
    if (idle !== undefined) {
      clearTimeout(idle.timer)
      place.lent.add(idle.connection)
      return Promise.resolve(idle.connection)
    }
    return new Promise<C>((resolve, reject) => {
      place.waiters.push({ take: resolve, fail: reject })
      this.#openFor(place)
    })
  }

  /** Starts an attempt for a place that has waiters, if the limit allows. */
  #openFor(place: Place<C>): void {
    if (place.connecting || place.waiters.length === 0 || place.removed) return
    if (this.open >= this.#limit && !this.#closeOneIdle()) return
    place.connecting = true
    this.#attempts++
    this.#connect(place.address).then(
      (connection) => this.#connected(place, connection),
      (error: unknown) => this.#connectFailed(place, toError(error)),
    )
  }

  #connected(place: Place<C>, connection: C): void {
    if (connection.closed) {
      this.#connectFailed(place, this.#gone(place.address, 'the peer closed it at once'))
      return
    }
    place.connecting = false
    this.#attempts--
    this.#connections.add(connection)
    connection.onClose(() => this.#connectionClosed(place, connection))
    if (place.removed) connection.abort(this.#gone(place.address, 'the peer was removed'))
    else this.#offer(place, connection)
    this.#openFor(place)
  }

  #connectFailed(place: Place<C>, error: Error): void {
    place.connecting = false
    this.#attempts--
    for (const waiter of place.waiters.splice(0)) waiter.fail(error)
    this.#forgetIfEmpty(place)
    this.#serveOthers()
  }

  #giveBack(place: Place<C>, connection: C): void {
    if (!place.lent.delete(connection) || connection.closed || place.removed) return
    this.#offer(place, connection)
    this.#serveOthers()
  }

  #offer(place: Place<C>, connection: C): void {
    const waiter = place.waiters.shift()
    if (waiter !== undefined) {
      place.lent.add(connection)
      waiter.take(connection)
      return
    }
    const timer = setTimeout(() => this.#closeIdle(place, connection), timerMs(this.#idleMs))
    timer.unref()
    place.idle.push({ connection, timer })
  }

  /** A connection is idle, or was closed: somebody elsewhere may have waited for the room. */
  #serveOthers(): void {
    for (const place of this.#places.values()) this.#openFor(place)
  }

  #closeOneIdle(): boolean {
    for (const place of this.#places.values()) {
      const [oldest] = place.idle
      if (oldest === undefined) continue
      this.#closeIdle(place, oldest.connection)
      return true
    }
    return false
  }

  /** Its room is free at once; the goodbye takes its time. Whoever waits for room has taken idle ones already. */
  #closeIdle(place: Place<C>, connection: C): void {
    this.#forget(place, connection)
    void connection.close()
  }

  #connectionClosed(place: Place<C>, connection: C): void {
    if (this.#forget(place, connection)) this.#serveOthers()
  }

  /** False when it was forgotten before. */
  #forget(place: Place<C>, connection: C): boolean {
    if (!this.#connections.delete(connection)) return false
    const at = place.idle.findIndex((idle) => idle.connection === connection)
    if (at >= 0) clearTimeout(place.idle.splice(at, 1)[0]?.timer)
    place.lent.delete(connection)
    this.#forgetIfEmpty(place)
    return true
  }

  #placeOf(address: string): Place<C> {
    let place = this.#places.get(address)
    if (place === undefined) {
      place = { address, idle: [], lent: new Set(), waiters: [], connecting: false, removed: false }
      this.#places.set(address, place)
    }
    return place
  }

  #forgetIfEmpty(place: Place<C>): void {
    const empty = place.idle.length === 0 && place.lent.size === 0 && place.waiters.length === 0 && !place.connecting
    if (empty && this.#places.get(place.address) === place) this.#places.delete(place.address)
  }

  #gone(address: string, why: string): PlimsollError {
    return new PlimsollError('COMM_CLOSED', `no connection to ${address}: ${why}`, { address })
  }
}
