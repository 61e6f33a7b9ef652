// Fetches values from peers: one request per transfer, as the core ordered it (core/gather.ts). On the same host a peer
// names files, which are linked (S7) or, where that is impossible, asked for again as bytes; bytes are written into granted
// places as they come. Every transfer ends with exactly one `onEnded`.

import { partLogger } from '../base/part-logger.ts'
import type { Clock } from '../base/clock.ts'
import type { TaskKey } from '../base/ids.ts'
import { isErrorCode, toError } from '../errors/plimsoll-error.ts'
import { hostToken } from '../native/host-token.ts'
import type { SumAside } from '../native/sum-aside.ts'
import type { ServedValue, WorkerRequests } from '../protocol/worker-worker.ts'
import type { Connection, ConnectionPool } from '../rpc/index.ts'
import type { Store, StoredValue } from '../store/store.ts'
import { Bandwidths } from './bandwidths.ts'
import { BlobIntake } from './blob-intake.ts'
import { verifyBlob } from './blob-verifier.ts'
import type { ReplicaOrder } from './core/effects.ts'
import type { TransferOutcome } from './core/events.ts'

export type PeerConnection = Connection<never, never, object, WorkerRequests>

export interface PeerClientParts {
  readonly store: Store
  readonly pool: ConnectionPool<PeerConnection>
  readonly clock: Clock
  readonly linksSameHost: boolean
  readonly inlineLimit: number
  /** Sums large pieces of what arrives; this thread does when absent. */
  readonly sumAside?: SumAside
  /** False when nobody waits for the value any more: its bytes are thrown away. */
  isWanted(transferId: number, order: ReplicaOrder): boolean
  onReceived(transferId: number, value: StoredValue): void
  /** There will never be room for this one. */
  onRefused(transferId: number, order: ReplicaOrder, reason: string): void
  onEnded(transferId: number, outcome: TransferOutcome): void
}

type Served<Via extends ServedValue['via']> = Extract<ServedValue, { readonly via: Via }>

/** A peer that says nothing for this long is taken for unreachable. */
const SILENCE_MS = 30_000

export class PeerClient {
  readonly #parts: PeerClientParts
  readonly #open = new Map<number, AbortController>()
  readonly #bandwidths = new Bandwidths()
  readonly #log = partLogger('worker')
  /** Peers whose files cannot be linked from here. */
  readonly #unlinkable = new Set<string>()

  constructor(parts: PeerClientParts) {
    this.#parts = parts
  }

  gather(transferId: number, address: string, orders: readonly ReplicaOrder[]): void {
    const abort = new AbortController()
    this.#open.set(transferId, abort)
    const transfer = new Transfer(this.#parts, transferId, orders)
    this.#run(transfer, address, abort.signal).then(
      (outcome) => this.#end(transferId, outcome),
      (error: unknown) => this.#end(transferId, this.#outcomeOf(toError(error), abort.signal, address)),
    )
  }

  abort(transferId: number): void {
    this.#open.get(transferId)?.abort(new Error('the transfer is not wanted any more'))
  }

  /** Bytes/s per peer address since the last call. */
  takeBandwidths(): Record<string, number> {
    return this.#bandwidths.take()
  }

  abortAll(): void {
    for (const transferId of this.#open.keys()) this.abort(transferId)
  }

  #end(transferId: number, outcome: TransferOutcome): void {
    this.#open.delete(transferId)
    this.#parts.onEnded(transferId, outcome)
  }

  #outcomeOf(error: Error, signal: AbortSignal, address: string): TransferOutcome {
    if (signal.aborted) return 'aborted'
    this.#log.info('fetching from {address} failed: {error}', { address, error })
    const unreachable =
      isErrorCode(error, 'CONNECT_FAILED') || isErrorCode(error, 'COMM_CLOSED') || isErrorCode(error, 'TIMEOUT')
    // Anything else the peer said about these values: they are looked for elsewhere.
    return unreachable || isErrorCode(error, 'AUTH_FAILED') || isErrorCode(error, 'VERSION_MISMATCH')
      ? 'unreachable'
      : 'done'
  }

  /** The wait for a connection knows no signal, so an abort ends it here; later the transfer ends by itself. */
  #run(transfer: Transfer, address: string, signal: AbortSignal): Promise<TransferOutcome> {
    return new Promise((resolve, reject) => {
      let connected = false
      signal.addEventListener('abort', () => connected || reject(toError(signal.reason)), { once: true })
      const using = this.#parts.pool.use(address, (connection) => {
        connected = !signal.aborted
        return connected
          ? this.#transfer(transfer, connection, address, signal)
          : Promise.resolve<TransferOutcome>('aborted')
      })
      using.then(resolve, reject)
    })
  }

  async #transfer(
    transfer: Transfer,
    connection: PeerConnection,
    address: string,
    signal: AbortSignal,
  ): Promise<TransferOutcome> {
    const links = this.#parts.linksSameHost && !this.#unlinkable.has(address)
    const startedAt = this.#parts.clock.now()
    await transfer.ask(connection, links ? hostToken() : null, signal)
    const { linkFailure } = transfer
    if (linkFailure !== null) {
      this.#unlinkable.add(address)
      this.#log.info('values of {address} cannot be linked ({reason}); they are copied from now on', {
        address,
        reason: linkFailure,
      })
      await transfer.ask(connection, null, signal)
    }
    this.#bandwidths.add(address, transfer.streamedBytes, this.#parts.clock.now() - startedAt)
    return transfer.outcome
  }
}

const noResult = (): void => {}

/** Failures to link that say nothing about linking. */
const OURS = ['BLOB_CORRUPT', 'TASK_CANCELLED', 'STORE_CLOSED'] as const

/** What became of the orders of one transfer. */
class Transfer {
  readonly #parts: PeerClientParts
  readonly #id: number
  readonly #left: Map<string, ReplicaOrder>
  #intakes: { readonly order: ReplicaOrder; readonly intake: BlobIntake | null; missing: number }[] = []
  #busy = false
  readonly #damaged: TaskKey[] = []
  /** The last taking in of a streamed value, settled or not. */
  #finishing: Promise<void> = Promise.resolve()
  linkFailure: string | null = null
  streamedBytes = 0

  constructor(parts: PeerClientParts, id: number, orders: readonly ReplicaOrder[]) {
    this.#parts = parts
    this.#id = id
    this.#left = new Map(orders.map((order) => [order.key, order]))
  }

  get outcome(): TransferOutcome {
    return this.#busy ? 'busy' : 'done'
  }

  /** One request for everything that is left; rejects when the peer is lost. */
  async ask(connection: PeerConnection, token: string | null, signal: AbortSignal): Promise<void> {
    this.linkFailure = null
    const files: Served<'file'>[] = []
    try {
      await connection.request(
        'get-data',
        { keys: [...this.#left.values()].map((order) => order.key), hostToken: token },
        {
          timeoutMs: SILENCE_MS,
          signal,
          onAnswer: ({ values }) => this.#sort(values, files),
          onChunk: (chunk) => this.#chunk(chunk),
        },
      )
      for (const file of files) await this.#link(file)
      await this.#complain(connection, signal)
    } finally {
      for (const { intake } of this.#intakes.splice(0)) await intake?.cancel()
      // A value that is just being taken in counts before the end of its transfer, not after.
      await this.#finishing
      if (files.length > 0 && !connection.closed) {
        void connection.request('release-pins', { pins: files.map((file) => file.pin) }).catch(() => {})
      }
    }
  }

  /** The peer may be the only one that has them, and would serve them for ever. */
  async #complain(connection: PeerConnection, signal: AbortSignal): Promise<void> {
    const keys = this.#damaged.splice(0)
    if (keys.length === 0) return
    await connection.request('check-values', { keys }, { timeoutMs: SILENCE_MS, signal }).then(noResult, noResult)
  }

  #sort(values: readonly ServedValue[], files: Served<'file'>[]): void {
    for (const value of values) {
      const order = this.#left.get(value.key)
      if (order === undefined) continue
      switch (value.via) {
        case 'inline':
          this.#takeInline(order, value)
          break
        case 'file':
          files.push(value)
          break
        case 'stream':
          this.#expect(order, value)
          break
        case 'busy':
          this.#busy = true
          break
        case 'missing':
          break
      }
    }
  }

  /** Another run than the one asked for is another value. */
  #isRight(order: ReplicaOrder, value: { readonly runId: number }): boolean {
    return value.runId === order.runId && this.#parts.isWanted(this.#id, order)
  }

  #takeInline(order: ReplicaOrder, value: Served<'inline'>): void {
    if (!this.#isRight(order, value)) return
    try {
      const header = verifyBlob(value.bytes, { ...order, nbytes: value.bytes.length })
      const { key, runId } = order
      this.#received(
        order,
        this.#parts.store.putInlineNow({ key, runId, type: header.type, fetched: true }, value.bytes),
      )
    } catch (error) {
      this.#failed(order, error)
    }
  }

  /** Unwanted bytes still have to pass by. */
  #expect(order: ReplicaOrder, value: Served<'stream'>): void {
    const { store, inlineLimit, sumAside } = this.#parts
    const { key, runId } = order
    const options = { fetched: true, durable: false, inlineLimit, sumAside }
    const intake = this.#isRight(order, value)
      ? new BlobIntake(store, { key, runId, nbytes: value.nbytes }, options)
      : null
    this.#intakes.push({ order, intake, missing: value.nbytes })
  }

  /** Chunks of several values come one after the other; one may end within a chunk. */
  async #chunk(chunk: Uint8Array): Promise<void> {
    this.streamedBytes += chunk.length
    for (let at = 0; at < chunk.length;) {
      const current = this.#intakes[0]
      if (current === undefined) return
      const piece = chunk.subarray(at, at + current.missing)
      at += piece.length
      current.missing -= piece.length
      await this.#write(current.order, current.intake, piece, current.missing === 0)
      if (current.missing === 0) this.#intakes.shift()
    }
  }

  async #write(order: ReplicaOrder, intake: BlobIntake | null, piece: Uint8Array, last: boolean): Promise<void> {
    if (intake === null || !this.#left.has(order.key)) return
    try {
      await intake.write(piece)
      if (!last) return
      const finishing = intake.finish()
      this.#finishing = finishing.then(noResult, noResult)
      this.#received(order, await finishing)
    } catch (error) {
      await intake.cancel()
      this.#failed(order, error)
    }
  }

  async #link(file: Served<'file'>): Promise<void> {
    const order = this.#left.get(file.key)
    if (order === undefined || !this.#isRight(order, file)) return
    const { key, runId } = order
    if (order.suspect === true) {
      // The same file again could be read no better.
      this.#left.delete(key)
      this.#damaged.push(key)
      return
    }
    try {
      const entry = { key, runId, type: file.type ?? '', fetched: true }
      const whole = file.mtimeNs === undefined ? entry : { ...entry, mtimeNs: file.mtimeNs }
      this.#received(order, await this.#parts.store.link(file.path, file.nbytes, whole, file.tier))
    } catch (error) {
      if (OURS.some((code) => isErrorCode(error, code))) this.#failed(order, error)
      else this.linkFailure = toError(error).message
    }
  }

  #received(order: ReplicaOrder, value: StoredValue): void {
    this.#left.delete(order.key)
    this.#parts.onReceived(this.#id, value)
  }

  /** The transfer goes on for the other keys; this one is asked for elsewhere. */
  #failed(order: ReplicaOrder, thrown: unknown): void {
    this.#left.delete(order.key)
    if (isErrorCode(thrown, 'BLOB_CORRUPT')) this.#damaged.push(order.key)
    if (isErrorCode(thrown, 'STORE_FULL')) this.#parts.onRefused(this.#id, order, thrown.message)
  }
}
