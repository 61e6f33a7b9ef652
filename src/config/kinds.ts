// The kinds of values that configuration keys have: what each gives to the program, and what it accepts from people.

import { LOG_LEVELS, type LogLevel } from '../base/part-logger.ts'

/** What `config.get` returns for a key of each kind. */
export interface KindValues {
  readonly fraction: number
  readonly 'fraction-or-false': number | false
  /** Up to 1 a part of something the reader knows, above it bytes. */
  readonly 'fraction-or-bytes': number
  readonly bytes: number
  readonly 'bytes-or-false': number | false
  readonly 'bytes-or-false-or-auto': number | false | 'auto'
  readonly 'bytes-or-null': number | null
  /** Milliseconds. */
  readonly duration: number
  readonly 'duration-or-null': number | null
  /** Milliseconds between two times of something that is done again and again. */
  readonly 'duration-from-10ms': number
  readonly count: number
  readonly 'count-from-1': number
  readonly 'positive-number': number
  readonly boolean: boolean
  readonly enum: string
  readonly 'string-or-null': string | null
  readonly texts: readonly string[]
  /** Names with amounts. */
  readonly amounts: Readonly<Record<string, number>>
  /** Names with milliseconds. */
  readonly durations: Readonly<Record<string, number>>
  /** Variables; null takes one out of the defaults. */
  readonly environment: Readonly<Record<string, string | null>>
  /** Parts of the program with log levels. */
  readonly levels: Readonly<Record<string, LogLevel>>
}

export type Kind = keyof KindValues
export type KindValue<K extends Kind> = KindValues[K]

export { LOG_LEVELS, type LogLevel }

/** One row of the table of keys (defaults.ts). */
export interface KeyEntry {
  readonly kind: Kind
  /** As a person would write it. */
  readonly default: unknown
  readonly about: string
  /** Accepted texts, for `enum`. */
  readonly values?: readonly string[]
  /** A second name for the same key. */
  readonly alias?: string
}

/** What a key of each kind accepts, for error messages and docs. */
export const ACCEPTED: Readonly<Record<Kind, string>> = {
  fraction: 'a number from 0 to 1',
  'fraction-or-false': 'a number above 0 and up to 1, or false to switch it off',
  'fraction-or-bytes': 'a part such as 0.25 (up to 1.0), or a size such as "4 GiB"',
  bytes: 'a size such as "64 KiB" or 65536',
  'bytes-or-false': 'a size such as "20 GiB", or false for no bound',
  'bytes-or-false-or-auto': 'auto, a size such as "4 GiB", or false for no bound',
  'bytes-or-null': 'a size such as "256 MiB", or null for the default',
  duration: 'a duration with its unit, such as "100ms" or "30s"',
  'duration-or-null': 'a duration with its unit, such as "30s" or "5 min", or null for never',
  'duration-from-10ms': 'a duration with its unit, at least 10ms, such as "100ms" or "2s"',
  count: 'a whole number, 0 or more',
  'count-from-1': 'a whole number, 1 or more',
  'positive-number': 'a number above 0, or inf',
  boolean: 'true or false',
  enum: 'one of a list',
  'string-or-null': 'a text, or null',
  texts: 'a list of texts',
  amounts: 'names with numbers, such as {GPU: 1}',
  durations: 'names with durations, such as {parse: 20ms}',
  environment: 'names with texts (null takes one out), such as {TZ: UTC}',
  levels: `names with one of ${LOG_LEVELS.join(', ')}, such as {nanny: info}`,
}

/** Kinds whose value is a mapping: layers are merged entry by entry, and names below the key keep their spelling. */
export const MAP_KINDS: ReadonlySet<Kind> = new Set<Kind>(['amounts', 'durations', 'environment', 'levels'])
