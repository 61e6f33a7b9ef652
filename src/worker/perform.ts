import { assertNever } from '../base/invariant.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { WorkerToScheduler } from '../protocol/scheduler-worker.ts'
import type { Store, StoredValue } from '../store/store.ts'
import { encodeError } from '../values/error.ts'
import type { WorkerEffect, WorkerMessage } from './core/effects.ts'
import type { ReplicaName } from './core/events.ts'
import type { ExecutorPool } from './executor/index.ts'
import type { PeerClient } from './peer-client.ts'
import type { EventBody } from './core-driver.ts'
import type { RunDesk } from './run-desk.ts'

export interface PerformerParts {
  readonly store: Store
  readonly desk: RunDesk
  readonly peers: PeerClient
  pool(): ExecutorPool
  send(message: WorkerToScheduler): void
  setTimer(delayMs: number, event: EventBody): void
  dispatch(event: EventBody): void
  /** What stored values take from RAM. */
  tierBytes(): number
  /** Empties the store; events wait until it is empty. */
  wipe(generation: number): void
  close(reason: string): void
}

function isCopy(value: StoredValue | undefined): boolean {
  return value !== undefined && (value.fetched || value.borrowed)
}

/** Does what the core wants done. Decides nothing. */
export class Performer {
  readonly #parts: PerformerParts

  constructor(parts: PerformerParts) {
    this.#parts = parts
  }

  perform(effect: WorkerEffect): void {
    const { desk, peers } = this.#parts
    switch (effect.kind) {
      case 'SendToScheduler':
        for (const message of effect.messages)
          this.#parts.send('attach' in message ? this.#withValue(message) : message)
        return
      case 'ReportFailure':
        return this.#reportFailure(effect)
      case 'Execute':
        for (const order of effect.runs) desk.start(order)
        return
      case 'CancelExecution':
        return this.#parts.pool().cancel(effect.runId, effect.force)
      case 'WithdrawExecutions':
        return desk.withdraw(effect.runIds)
      case 'StoreResult':
        return desk.storeResult(effect.runId)
      case 'DropResult':
        return desk.dropResult(effect.runId)
      case 'GatherFromPeer':
        return peers.gather(effect.transferId, effect.address, effect.keys)
      case 'AbortTransfer':
        return peers.abort(effect.transferId)
      case 'FreeFromStore':
        return this.#free(effect.values)
      case 'KeepReplicas':
        return this.#keepReplicas(effect)
      case 'MakeRoom':
        return this.#makeRoom(effect)
      case 'WipeStore':
        return this.#parts.wipe(effect.generation)
      case 'ForgetFunctions':
        return this.#parts.pool().forgetFunctions(effect.ids)
      case 'SetTimer':
        return this.#parts.setTimer(effect.delayMs, effect.event)
      case 'CloseWorker':
        return this.#parts.close(effect.reason)
      default:
        return assertNever(effect, 'effect of the worker')
    }
  }

  #keepReplicas({ keys, durable }: Extract<WorkerEffect, { kind: 'KeepReplicas' }>): void {
    const { store } = this.#parts
    const keep = (): EventBody => ({ kind: 'ReplicasKept', values: store.keepReplicas(keys) })
    const kept = keep()
    if (durable !== true) return this.#parts.dispatch(kept)
    // A copy may go and another one come while it is being written: what is told is what is kept then.
    void store.persist(keys).then(() => this.#parts.dispatch(keep()))
  }

  #makeRoom({ bytes, keep }: Extract<WorkerEffect, { kind: 'MakeRoom' }>): void {
    const { store } = this.#parts
    const kept = keep.filter((key) => isCopy(store.get(key))).map((key) => store.pin(key))
    const answer = (): void => {
      this.#parts.dispatch({ kind: 'RoomMade', tierBytes: this.#parts.tierBytes() })
      for (const pin of kept) pin?.release()
    }
    // The store reports by itself what it cannot move.
    store.makeRoom(Math.max(0, store.totals.managed - bytes)).then(answer, answer)
  }

  /** What the store holds of another run by now is none of ours. */
  #free(values: readonly ReplicaName[]): void {
    const { store } = this.#parts
    const keys = values.filter(({ key, runId }) => (store.get(key)?.runId ?? runId) === runId).map(({ key }) => key)
    store.free(keys)
  }

  /** Copied: the store may give its bytes up before the message is written. */
  #withValue({ attach: _attach, ...message }: Extract<WorkerMessage, { readonly attach: true }>): WorkerToScheduler {
    const pin = this.#parts.store.pin(message.key)
    if (pin === undefined) return message
    const { source, runId } = pin
    const blob = source.via === 'inline' && runId === message.runId ? Uint8Array.from(source.bytes) : null
    pin.release()
    return blob === null ? message : { ...message, blob }
  }

  #reportFailure(effect: Extract<WorkerEffect, { kind: 'ReportFailure' }>): void {
    const { key, runId, failure, code, message } = effect
    const error = encodeError(new PlimsollError(code, message, { key }))
    this.#parts.send({ op: 'task-erred', key, runId, kind: failure, error, durationMs: 0 })
  }
}
