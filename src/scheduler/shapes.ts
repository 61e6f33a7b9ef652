// What authenticated peers send is checked here, at the edge, and trusted further in. Checks are shallow and cheap: each
// field has the type that the core reads, lists hold what they should; nothing is copied. Whatever does not fit ends the
// connection it came on, with the name of the field, and nothing else.

import { PlimsollError } from '../errors/plimsoll-error.ts'

export type Check = (value: unknown) => boolean

export const isString: Check = (value) => typeof value === 'string'
export const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value)
export const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
export const isBoolean: Check = (value) => typeof value === 'boolean'
export const isBytes: Check = (value) => value instanceof Uint8Array
export const isPlain: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

export function isListOf(check: Check): Check {
  return (value) => {
    if (!Array.isArray(value)) return false
    for (const item of value) if (!check(item)) return false
    return true
  }
}

/** A plain object whose values all fit. */
export function isMapOf(check: Check): Check {
  return (value) => isPlain(value) && Object.values(value as object).every(check)
}

export function isOneOf(...values: readonly unknown[]): Check {
  return (value) => values.includes(value)
}

export function isOrNull(check: Check): Check {
  return (value) => value === null || check(value)
}

export function isOptional(check: Check): Check {
  return (value) => value === undefined || check(value)
}

/** A plain object with these fields; others are ignored. */
export function isShape(fields: Readonly<Record<string, Check>>): Check {
  const entries = Object.entries(fields)
  return (value) => {
    if (typeof value !== 'object' || value === null) return false
    for (const [name, check] of entries) if (!check((value as Readonly<Record<string, unknown>>)[name])) return false
    return true
  }
}

export type Shapes<Message extends { readonly op: string }> = {
  readonly [Op in Message['op']]: Readonly<Record<string, Check>>
}

/** Checks stream messages by their `op`. @throws PlimsollError PROTOCOL_ERROR naming op and field. */
export function checkMessages<Message extends { readonly op: string }>(
  who: string,
  shapes: Shapes<Message>,
  messages: readonly unknown[],
): asserts messages is readonly Message[] {
  for (const message of messages) {
    const op = (message as { readonly op?: unknown } | null)?.op
    const shape = typeof op === 'string' && Object.hasOwn(shapes, op) ? shapes[op as Message['op']] : undefined
    if (shape === undefined) throw malformed(who, `unknown message ${JSON.stringify(op)?.slice(0, 100)}`)
    checkFields(who, op as string, shape, message as Readonly<Record<string, unknown>>)
  }
}

/** @throws PlimsollError PROTOCOL_ERROR naming op and field. */
export function checkFields(who: string, op: string, shape: Readonly<Record<string, Check>>, value: unknown): void {
  if (!isPlain(value)) throw malformed(who, `"${op}" without fields`)
  for (const name in shape) {
    if (!(shape[name] as Check)((value as Readonly<Record<string, unknown>>)[name]))
      throw malformed(who, `field "${name}" of "${op}"`)
  }
}

function malformed(who: string, what: string): PlimsollError {
  return new PlimsollError('PROTOCOL_ERROR', `${who} sent a malformed message: ${what}`)
}
