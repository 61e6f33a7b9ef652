import { parseDurationMs } from '../base/units.ts'
import { loadConfig } from '../config/index.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import type { AdaptiveOptions } from './adaptive.ts'

export interface AdaptOptions {
  /** Fewest workers. Default: `adaptive.minimum`. */
  readonly minimum?: number
  /** Most workers. Default: `adaptive.maximum`. */
  readonly maximum?: number
  /** How often to look; milliseconds or text. Default: `adaptive.interval`. */
  readonly interval?: number | string
  /** How many looks in a row a worker must have been of no use before it goes. Default: `adaptive.wait-count`. */
  readonly waitCount?: number
  /** In what time the work that is there should be done. Default: `adaptive.target-duration`. */
  readonly targetDuration?: number | string
}

const NAMES = [
  'minimum',
  'maximum',
  'interval',
  'waitCount',
  'targetDuration',
] as const satisfies readonly (keyof AdaptOptions)[]

/** @throws PlimsollError INVALID_ARGUMENT that names the option. */
export function resolveAdaptOptions(
  options: AdaptOptions,
  overrides: Readonly<Record<string, unknown>>,
): AdaptiveOptions {
  refuseUnknown('adapt', options, NAMES)
  const config = loadConfig({ overrides, env: {}, files: [] })
  const minimum = count('minimum', options.minimum ?? config.get('adaptive.minimum'), 0)
  const maximum = options.maximum ?? config.get('adaptive.maximum')
  if (maximum !== Infinity) count('maximum', maximum, 1)
  if (maximum < minimum) throw invalid('maximum', maximum, `it takes at least the minimum, ${minimum}`)
  return {
    minimum,
    maximum: Math.min(maximum, Number.MAX_SAFE_INTEGER),
    intervalMs: duration('interval', options.interval ?? config.get('adaptive.interval')),
    waitCount: count('waitCount', options.waitCount ?? config.get('adaptive.wait-count'), 1),
    targetDurationMs: duration('targetDuration', options.targetDuration ?? config.get('adaptive.target-duration')),
  }
}

function count(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw invalid(name, value, `it takes a whole number of at least ${least}`)
}

function duration(name: string, value: number | string): number {
  try {
    const ms = parseDurationMs(value)
    if (ms >= 1) return ms
  } catch (error) {
    throw invalid(name, value, toError(error).message)
  }
  throw invalid(name, value, 'it takes at least a millisecond')
}

function invalid(name: string, value: unknown, what: string): PlimsollError {
  return new PlimsollError('INVALID_ARGUMENT', `the option ${name} of adapt is ${String(value)}: ${what}`, {
    option: name,
  })
}
