// Effects to I/O. No decisions: one case per effect.

import { partLogger } from '../base/part-logger.ts'
import { assertNever } from '../base/invariant.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { SchedulerToClient } from '../protocol/scheduler-client.ts'
import { encodeError } from '../values/error.ts'
import type { ClientMessage, Effect, LogLevel } from './core/effects.ts'
import type { TaskFailure } from './core/records.ts'
import type { Peers } from './peers.ts'
import type { PendingAnswers } from './pending-answers.ts'
import type { Timers } from './timers.ts'

export interface Hands {
  readonly peers: Peers
  readonly timers: Timers
  readonly answers: PendingAnswers
  readonly errors: ErrorEncoder
  closeScheduler(reason: string): void
}

export const log = partLogger('scheduler')

export function perform(effect: Effect, hands: Hands): void {
  switch (effect.kind) {
    case 'SendToWorker': {
      const connection = hands.peers.worker(effect.worker)
      for (const message of effect.messages) connection?.send(message)
      return
    }
    case 'SendToClient': {
      const connection = hands.peers.client(effect.client)
      for (const message of effect.messages) connection?.send(hands.errors.onWire(message))
      return
    }
    case 'SendToNanny':
      return hands.peers.nanny(effect.worker)?.send(effect.message)
    case 'Answer':
      return hands.answers.answer(effect.request, effect.answer)
    case 'Refuse':
      return hands.answers.refuse(effect.request, new PlimsollError(effect.code, effect.message, effect.fields))
    case 'SetTimer':
      return hands.timers.set(effect.timer, effect.delayMs)
    case 'ClearTimer':
      return hands.timers.clear(effect.timer)
    case 'ForgetClient':
      return hands.answers.forget(effect.client)
    case 'CloseConnection':
      return hands.peers.get(effect.connection)?.connection.abort(new PlimsollError('COMM_CLOSED', effect.reason))
    case 'Log':
      return writeLog(effect.level, effect.message, effect.fields)
    case 'CloseScheduler':
      return hands.closeScheduler(effect.reason)
    default:
      assertNever(effect, 'effect')
  }
}

/** Failures that the core states are encoded when the first client hears of them, once. */
export class ErrorEncoder {
  readonly #encoded = new WeakMap<TaskFailure, Uint8Array>()

  onWire(message: ClientMessage): SchedulerToClient {
    if (message.op !== 'task-erred') return message
    const { key, failure } = message
    const error = this.#encode(failure)
    const { origin, worker, history } = failure
    return { op: 'task-erred', key, error, origin, ...(worker !== null && { worker }), ...(history && { history }) }
  }

  #encode(failure: TaskFailure): Uint8Array {
    if (failure.error.kind === 'encoded') return failure.error.bytes
    let bytes = this.#encoded.get(failure)
    if (bytes === undefined) {
      const { code, message, fields } = failure.error
      bytes = encodeError(new PlimsollError(code, message, fields))
      this.#encoded.set(failure, bytes)
    }
    return bytes
  }
}

function writeLog(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>): void {
  // The text is data, not a template: braces in it mean nothing.
  const properties = { text: message, ...fields }
  if (level === 'debug') log.debug('{text}', properties)
  else if (level === 'info') log.info('{text}', properties)
  else if (level === 'warning') log.warn('{text}', properties)
  else log.error('{text}', properties)
}
