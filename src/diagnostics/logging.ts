// Logging of Plimsoll's own processes: records of the category `plimsoll` go to stderr, as lines for people on a terminal
// and as one JSON object per line otherwise. A program that only uses the library decides for itself: nothing here is
// called in it, and LogTape is silent until it is configured.

import { inspect } from 'node:util'
import type { LoggerConfig, LogRecord } from '@logtape/logtape'
import { deferLogging, LOG_LEVELS, type LogLevel, type LogTape } from '../base/part-logger.ts'
import type { Config } from '../config/index.ts'

export interface LoggingOptions {
  readonly level: LogLevel
  /** Levels of single parts (`nanny`, `scheduler`, `comm`, …) that differ from `level`. */
  readonly levels?: Readonly<Record<string, LogLevel>>
  /** Default: stderr. */
  readonly stream?: LogStream
  /** One JSON object per line; default: unless `stream` is a terminal. */
  readonly json?: boolean
}

export interface LogStream {
  write(text: string): unknown
  on?(event: 'error', listener: (error: Error) => void): unknown
  readonly isTTY?: boolean
}

/** Sets logging up for this process, or anew; LogTape is loaded when there is something to log. */
export function configureLogging(options: LoggingOptions): void {
  const levels = [options.level, ...Object.values(options.levels ?? {})]
  const least = LOG_LEVELS.find((level) => levels.includes(level)) ?? options.level
  deferLogging(least, (logTape) => configureNow(logTape, options))
}

function configureNow(logTape: LogTape, options: LoggingOptions): void {
  const stream = options.stream ?? process.stderr
  const json = options.json ?? stream.isTTY !== true
  const format = json ? formatJson : stream.isTTY === true ? formatColoured : formatHuman
  ignoreErrorsOf(stream)
  const loggers: LoggerConfig<'stream', string>[] = [
    { category: ['plimsoll'], lowestLevel: options.level, sinks: ['stream'] },
    { category: ['logtape', 'meta'], lowestLevel: 'error', sinks: ['stream'] },
  ]
  for (const [part, level] of Object.entries(options.levels ?? {})) {
    // A sink of its own: what reaches an inherited one must pass the level above as well.
    loggers.push({
      category: ['plimsoll', ...part.split('.')],
      lowestLevel: level,
      sinks: ['stream'],
      parentSinks: 'override',
    })
  }
  logTape.configureSync({ reset: true, sinks: { stream: (record) => void stream.write(format(record)) }, loggers })
}

/** The same from the configuration, for processes that have no options of their own. */
export function configureLoggingFrom(config: Config): void {
  const format = config.get('logging.format')
  configureLogging({
    level: config.get('logging.level'),
    levels: config.get('logging.levels'),
    ...(format === 'auto' ? {} : { json: format === 'json' }),
  })
}

/** `12:03:44.120 warning nanny: text` */
export function formatHuman(record: LogRecord): string {
  return `${clock(record.timestamp)} ${record.level} ${partOf(record)}: ${textOf(record)}\n`
}

/** `{"time":"…","level":"warning","part":"nanny","text":"…",…properties}` */
export function formatJson(record: LogRecord): string {
  const fields = {
    time: new Date(record.timestamp).toISOString(),
    level: record.level,
    part: partOf(record),
    pid: process.pid,
    text: textOf(record),
  }
  return `${safeJson({ ...record.properties, ...fields })}\n`
}

const COLOURS: Readonly<Record<LogLevel, string>> = {
  trace: '\u001B[2m',
  debug: '\u001B[2m',
  info: '\u001B[36m',
  warning: '\u001B[33m',
  error: '\u001B[31m',
  fatal: '\u001B[1;31m',
}

function formatColoured(record: LogRecord): string {
  const reset = '\u001B[0m'
  const head = `\u001B[2m${clock(record.timestamp)}${reset} ${COLOURS[record.level]}${record.level}${reset}`
  return `${head} ${partOf(record)}: ${textOf(record)}\n`
}

function clock(timestamp: number): string {
  return new Date(timestamp).toTimeString().slice(0, 8) + ((timestamp % 1000) / 1000).toFixed(3).slice(1)
}

function partOf(record: LogRecord): string {
  return record.category.slice(record.category[0] === 'plimsoll' ? 1 : 0).join('.') || 'plimsoll'
}

function textOf(record: LogRecord): string {
  // Odd places hold the values that were put into the text.
  return record.message
    .map((part, i) => (typeof part === 'string' ? part : i % 2 === 0 ? String(part) : shown(part)))
    .join('')
}

function shown(value: unknown): string {
  return value instanceof Error ? value.message : inspect(value, { depth: 3, breakLength: Number.POSITIVE_INFINITY })
}

function safeJson(value: object): string {
  const replacer = (_key: string, member: unknown): unknown => {
    if (typeof member === 'bigint') return String(member)
    if (member instanceof Error) return { name: member.name, message: member.message, stack: member.stack }
    return member
  }
  try {
    return JSON.stringify(value, replacer)
  } catch {
    return JSON.stringify({ text: inspect(value, { depth: 2 }) }) // A cycle among the properties.
  }
}

const guarded = new WeakSet<LogStream>()

/** A log whose reader is gone (EPIPE) must not end the process that is about to clean up after it. */
function ignoreErrorsOf(stream: LogStream): void {
  if (guarded.has(stream)) return
  guarded.add(stream)
  stream.on?.('error', () => {})
}
