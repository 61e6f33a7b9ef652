import { nearestName } from '../base/nearest-name.ts'
import { PlimsollError } from './plimsoll-error.ts'

/**
 * A misspelt option would be one that is silently not there.
 * @throws PlimsollError INVALID_ARGUMENT, with the nearest of the known names; `whose` begins the message, such as "A client".
 */
export function refuseUnknown(whose: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    const message = `${whose} takes an object with options, not ${String(options)}: it knows ${known.join(', ')}`
    throw new PlimsollError('INVALID_ARGUMENT', message)
  }
  for (const option of Object.keys(options)) {
    if (known.includes(option)) continue
    const nearest = nearestName(option, known)
    const hint = nearest === undefined ? `it knows ${known.join(', ')}` : `did you mean "${nearest}"?`
    throw new PlimsollError('INVALID_ARGUMENT', `${whose} has no option "${option}"; ${hint}`, {
      option,
      nearest: nearest ?? null,
    })
  }
}
