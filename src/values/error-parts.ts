// What of an error travels, and how it comes back. v8's own encoding of errors differs between Node majors and drops
// their properties, so errors have this one everywhere: thrown by a task, nested in a value, in fields of messages.
//
// E1. Taking an error apart never throws, whatever its getters do.
// E2. At most MAX_CAUSES errors within errors; deeper ones are described by their first line.
// E3. A property that cannot be sent, or is large, becomes a text that describes it; functions are left out.
// E4. It comes back as an instance of the builtin class it descends from; classes of the user come back by name only
//     (`error.constructor.name`), unless they are registered.

import { inspect } from 'node:util'
import { ERROR_CODES, type ErrorCode } from '../errors/codes.ts'
import { PlimsollError, type ErrorFields } from '../errors/plimsoll-error.ts'

export const MAX_CAUSES = 16
const MAX_TEXT_LENGTH = 32 * 1024
const MAX_PROPERTIES = 64
const MAX_AGGREGATED = 100
const MAX_DESCRIPTION_LENGTH = 200

export interface ErrorParts {
  /** Class, builtin base class, `name`, `message`, `stack` (empty = none). */
  readonly texts: readonly [className: string, baseName: string, name: string, message: string, stack: string]
  readonly properties: readonly (readonly [key: string, value: unknown, describe: () => string])[]
}

type ErrorClass = new (message?: string) => Error
const BASES: ReadonlyMap<string, ErrorClass> = new Map<string, ErrorClass>(
  [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError].map((Class) => [Class.name, Class]),
)

export function describeError(error: object): ErrorParts {
  const read = (key: string): unknown => {
    try {
      return (error as Record<string, unknown>)[key]
    } catch {
      return undefined
    }
  }
  const text = (key: string, otherwise: string): string => {
    const value = read(key)
    return typeof value === 'string' ? shorten(value) : otherwise
  }
  const { className, baseName } = classesOf(error)
  const properties: [string, unknown, () => string][] = []
  for (const key of ownKeys(error)) {
    if (properties.length >= MAX_PROPERTIES) break
    if (key === 'name' || key === 'message' || key === 'stack') continue
    const value = read(key)
    if (typeof value === 'function' || typeof value === 'symbol') continue
    const bounded: unknown = key === 'errors' && Array.isArray(value) ? value.slice(0, MAX_AGGREGATED) : value
    properties.push([key, bounded, () => describe(value)])
  }
  return { texts: [className, baseName, text('name', 'Error'), text('message', ''), text('stack', '')], properties }
}

/** Enumerable properties, and the two that carry other errors. */
function ownKeys(error: object): string[] {
  try {
    const keys = Object.keys(error)
    for (const hidden of ['cause', 'errors'])
      if (Object.hasOwn(error, hidden) && !keys.includes(hidden)) keys.push(hidden)
    return keys
  } catch {
    return []
  }
}

function classesOf(error: object): { className: string; baseName: string } {
  let className = ''
  try {
    for (
      let proto = Object.getPrototypeOf(error) as object | null;
      proto !== null;
      proto = Object.getPrototypeOf(proto) as object | null
    ) {
      const descriptor = Object.getOwnPropertyDescriptor(proto, 'constructor')
      const Class: unknown = descriptor?.value
      if (typeof Class !== 'function') continue
      if (className === '') className = Class.name.slice(0, MAX_DESCRIPTION_LENGTH)
      if (isBaseName(Class.name)) return { className, baseName: Class.name }
    }
  } catch {
    // A Proxy with traps of its own: an Error will do.
  }
  return { className: className === '' ? 'Error' : className, baseName: 'Error' }
}

const isBaseName = (name: string): boolean =>
  BASES.has(name) || name === 'AggregateError' || name === 'DOMException' || name === 'PlimsollError'

const shorten = (text: string): string =>
  text.length <= MAX_TEXT_LENGTH
    ? text
    : `${text.slice(0, MAX_TEXT_LENGTH)}… (${text.length - MAX_TEXT_LENGTH} more characters)`

/** A short text for what cannot be sent. */
function describe(value: unknown): string {
  try {
    if (value instanceof Error) return `[${value.name}: ${value.message}]`.slice(0, MAX_DESCRIPTION_LENGTH)
    const shown = inspect(value, {
      depth: 0,
      breakLength: Infinity,
      maxStringLength: 100,
      maxArrayLength: 5,
      customInspect: false,
    })
    return shown.slice(0, MAX_DESCRIPTION_LENGTH)
  } catch {
    return '[not serializable]'
  }
}

/** An error with the class, texts and stack of the original; its properties are set by `setErrorProperty` afterwards. */
export function makeError([className, baseName, name, message, stack]: ErrorParts['texts']): Error {
  const error = makeBase(baseName, name, message)
  if (className !== baseName) giveClass(error, className)
  if (error.name !== name) hidden(error, 'name', name)
  hidden(error, 'stack', stack === '' ? `${name}: ${message}` : stack)
  return error
}

function makeBase(baseName: string, name: string, message: string): Error {
  if (baseName === 'AggregateError') return new AggregateError([], message)
  if (baseName === 'DOMException') return new DOMException(message, name) as Error
  // The code follows as a property.
  if (baseName === 'PlimsollError') return new PlimsollError('INTERNAL', message)
  return new (BASES.get(baseName) ?? Error)(message)
}

/** A prototype between the error and its base, so that logs and `error.constructor.name` show the class it had. */
function giveClass(error: Error, className: string): void {
  const base = Object.getPrototypeOf(error) as object
  const Class = { [className]: class extends Error {} }[className] as ErrorClass
  const prototype = Object.create(base, { constructor: { value: Class, writable: true, configurable: true } }) as object
  Object.setPrototypeOf(error, prototype)
}

export function setErrorProperty(error: Error, key: string, value: unknown): void {
  if (key === 'cause' || key === 'errors') return hidden(error, key, value)
  if (error instanceof PlimsollError && key === 'code' && !isErrorCodeName(value)) return
  if (error instanceof PlimsollError && key === 'fields' && !isFields(value)) return
  Object.defineProperty(error, key, { value, writable: true, enumerable: true, configurable: true })
}

const isErrorCodeName = (value: unknown): value is ErrorCode =>
  typeof value === 'string' && Object.hasOwn(ERROR_CODES, value)
const isFields = (value: unknown): value is ErrorFields => typeof value === 'object' && value !== null

function hidden(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, { value, writable: true, enumerable: false, configurable: true })
}
