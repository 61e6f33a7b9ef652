// Options as users give them, checked before anything is sent: what the scheduler cannot read ends the connection.

import { PlimsollError } from '../errors/plimsoll-error.ts'

type Refuse = (name: string, rule: string, value: unknown) => never

function refuseOption(name: string, rule: string, value: unknown): never {
  throw new PlimsollError('INVALID_ARGUMENT', `The option "${name}" is ${rule}; it was ${shown(value)}.`, {
    option: name,
  })
}

/** One text, or several, such as names of workers. */
export function textsOption(
  name: string,
  value: string | readonly string[] | undefined,
  refuse: Refuse = refuseOption,
): readonly string[] | undefined {
  if (value === undefined || isTexts(value)) return value
  return isName(value)
    ? [value]
    : refuse(name, 'a text or a list of texts of whole characters, none of them empty', value)
}

/** As `textsOption`, where nobody could satisfy an empty list. */
export function someTextsOption(
  name: string,
  value: string | readonly string[] | undefined,
  refuse: Refuse = refuseOption,
): readonly string[] | undefined {
  const texts = textsOption(name, value, refuse)
  return texts?.length === 0 ? refuse(name, 'a text or a list of at least one text', value) : texts
}

export function flagOption(
  name: string,
  value: boolean | undefined,
  refuse: Refuse = refuseOption,
): boolean | undefined {
  return value === undefined || typeof value === 'boolean' ? value : refuse(name, 'true or false', value)
}

export function choiceOption<const T extends string>(
  name: string,
  value: T | undefined,
  choices: readonly T[],
): T | undefined {
  if (value === undefined || choices.includes(value)) return value
  return refuseOption(name, `one of ${choices.map((choice) => `"${choice}"`).join(', ')}`, value)
}

export function wholeNumberOption(name: string, value: number | undefined, least = 1): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return value
  return refuseOption(name, `a whole number from ${least}`, value)
}

/** Names with numbers, such as resources. */
export function recordOption<T extends object>(
  name: string,
  value: T | undefined,
  refuse: Refuse = refuseOption,
): T | undefined {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value)
  return value === undefined || isRecord ? value : refuse(name, 'an object', value)
}

export function textOption(name: string, value: string | undefined, refuse: Refuse = refuseOption): string | undefined {
  return value === undefined || isName(value) ? value : refuse(name, 'a text of whole characters, not empty', value)
}

export function signalOption(
  name: string,
  value: AbortSignal | undefined,
  refuse: Refuse = refuseOption,
): AbortSignal | undefined {
  return value === undefined || value instanceof AbortSignal ? value : refuse(name, 'an AbortSignal', value)
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isName)
}

/** Text that can name something: there is some, and it is the same after it was sent (half a surrogate pair is not). */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !/\p{Surrogate}/u.test(value)
}

/** A value that was not expected, for a message. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function'
  return isObject ? Object.prototype.toString.call(value) : String(value)
}
