import { ERROR_CODES, type ErrorCode, type Reaction } from './codes.ts'

/** Plain data only: fields cross process boundaries as they are. */
export type ErrorFields = Readonly<Record<string, unknown>>

/**
 * The one error class of Plimsoll. `code` is stable, `fields` hold the numbers and names the message was made from. Its
 * message says what happened, to what, and what to do. Errors that a user's task throws are never wrapped in it.
 */
export class PlimsollError extends Error {
  override readonly name = 'PlimsollError'
  readonly code: ErrorCode
  readonly fields: ErrorFields

  constructor(code: ErrorCode, message: string, fields: ErrorFields = {}, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.fields = fields
  }

  get reaction(): Reaction {
    return ERROR_CODES[this.code].reaction
  }
}

/** True for any error, also one that crossed a process boundary, that carries this code. Use it instead of `instanceof`. */
export function isErrorCode(error: unknown, code: ErrorCode): error is PlimsollError {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code
}

/** What was thrown, as an Error: anything may be thrown in JavaScript. */
export function toError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown
  if (typeof thrown === 'object' && thrown !== null && typeof (thrown as { message?: unknown }).message === 'string')
    return thrown as Error
  return new Error(typeof thrown === 'string' ? thrown : `a task threw ${String(thrown)}`, { cause: thrown })
}
