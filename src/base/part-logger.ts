// What the parts of Plimsoll log goes to LogTape, category `plimsoll`, a part each. A process that has nothing to say never
// loads LogTape: that would be 25 ms of CPU in each of a cluster's processes, and in `import 'plimsoll'`.
//
// L1. A process of Plimsoll's own says how it logs (`deferLogging`); that is put into effect by the first record that counts.
// L2. In anybody else's program a record reaches LogTape if the program has loaded it (LogTape leaves a mark on globalThis
//     that all of its copies share); otherwise nobody can be listening, and it is dropped.

import { createRequire } from 'node:module'
import type * as LogTapeModule from '@logtape/logtape'

export type LogTape = typeof LogTapeModule

/** From the least severe up. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'fatal'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** `{name}` in the text stands for a property. */
type Log = (text: string, properties?: Readonly<Record<string, unknown>>) => void

export interface PartLogger {
  readonly debug: Log
  readonly info: Log
  readonly warn: Log
  readonly error: Log
  readonly fatal: Log
}

interface DeferredLogging {
  readonly least: LogLevel
  readonly configure: (logTape: LogTape) => void
}

const MARK = Symbol.for('logtape.rootLogger')

let logTape: LogTape | null = null
let deferred: DeferredLogging | null = null

/** From now on records below `least` are dropped; the first other one calls `configure`, and reaches what that has set up. */
export function deferLogging(least: LogLevel, configure: DeferredLogging['configure']): void {
  deferred = { least, configure }
}

/** The logger of a part, such as `partLogger('nanny')`. */
export function partLogger(...part: readonly string[]): PartLogger {
  const log =
    (level: LogLevel): Log =>
    (text, properties = {}) => {
      if (deferred !== null) {
        if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(deferred.least)) return
        const { configure } = deferred
        deferred = null
        configure(loadLogTape())
      }
      if (!(MARK in globalThis)) return
      loadLogTape()
        .getLogger(['plimsoll', ...part])
        [level](text, { ...properties })
    }
  return { debug: log('debug'), info: log('info'), warn: log('warning'), error: log('error'), fatal: log('fatal') }
}

/** At once, since a record must be out before the next line of code runs: it may be the last one. */
function loadLogTape(): LogTape {
  logTape ??= createRequire(import.meta.url)('@logtape/logtape') as LogTape
  return logTape
}
