import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { PathStep } from './encoder.ts'
import { Refusal } from './refusals.ts'

const MAX_STEPS = 12
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u

/** `result.rows[3].onClick`; long paths keep both ends. */
export function pathText(root: string, path: readonly PathStep[]): string {
  if (path.length <= MAX_STEPS) return root + path.map(stepText).join('')
  const half = MAX_STEPS / 2
  return `${root}${path.slice(0, half).map(stepText).join('')}…(${path.length - MAX_STEPS} more)…${path.slice(-half).map(stepText).join('')}`
}

function stepText(step: PathStep): string {
  if (typeof step === 'number') return `[${step}]`
  if (typeof step !== 'string') return step.text
  if (IDENTIFIER.test(step)) return `.${step}`
  return /^\d+$/.test(step) ? `[${step}]` : `[${JSON.stringify(step.length > 80 ? `${step.slice(0, 80)}…` : step)}]`
}

/** V8 gives this error nothing but its text. */
export const isStackOverflow = (thrown: unknown): boolean =>
  thrown instanceof RangeError && /call stack/i.test(thrown.message)

/** What made an encoder fail, as a reason that continues the path. */
export function reasonOf(thrown: unknown): { reason: string; cause?: unknown } {
  if (thrown instanceof Refusal) return { reason: thrown.reason, cause: thrown.cause }
  if (isStackOverflow(thrown)) {
    return { reason: 'is nested too deeply for the call stack: use a flat structure', cause: thrown }
  }
  return {
    reason: `threw when it was read: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
    cause: thrown,
  }
}

export function notSerializable(path: string, thrown: unknown): PlimsollError {
  const { reason, cause } = reasonOf(thrown)
  return new PlimsollError(
    'NOT_SERIALIZABLE',
    `${path} ${reason}`,
    { path, reason },
    cause === undefined ? undefined : { cause },
  )
}
