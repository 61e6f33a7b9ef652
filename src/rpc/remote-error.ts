import { ERROR_CODES, type ErrorCode } from '../errors/codes.ts'
import { type ErrorFields, PlimsollError, toError } from '../errors/plimsoll-error.ts'

/** A failed request's error. Code and fields survive the way; stacks stay in the log of the side that failed. */
export interface WireError {
  readonly code: string
  readonly message: string
  readonly fields: ErrorFields
}

const MESSAGE_LENGTH_MAX = 10_000

export function toWireError(thrown: unknown): WireError {
  const error = toError(thrown)
  const message = error.message.slice(0, MESSAGE_LENGTH_MAX)
  if (isKnownCode((error as { code?: unknown }).code) && error.name === 'PlimsollError') {
    const { code, fields } = error as PlimsollError
    return { code, message, fields }
  }
  return { code: 'INTERNAL', message: `${error.name}: ${message}`, fields: {} }
}

export function fromWireError(wire: WireError): PlimsollError {
  const code = isKnownCode(wire.code) ? wire.code : 'INTERNAL'
  const fields = typeof wire.fields === 'object' && wire.fields !== null ? wire.fields : {}
  return new PlimsollError(code, String(wire.message), fields)
}

function isKnownCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code)
}
