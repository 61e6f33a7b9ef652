// The schema, built from the table of keys: one reader per kind turns what people write into what the program uses. Kinds hold
// no policy; what several keys must satisfy together is checked by load.ts. Written by hand: every process of a cluster reads
// its configuration before it does anything else, and a library for it took 11 ms of CPU to load.

import { parseBytes, parseDurationMs } from '../base/units.ts'
import { type ConfigKey, entryOf } from './defaults.ts'
import { ACCEPTED, type KeyEntry, type Kind, LOG_LEVELS } from './kinds.ts'
import { isMapping } from './settings.ts'

const REFUSED = Symbol('refused')
/** Returns the value as the program uses it, or REFUSED. */
type Reader = (raw: unknown) => unknown

const fraction = numberIf((value) => value > 0 && value <= 1)
const bytes: Reader = (raw) =>
  typeof raw === 'number' || typeof raw === 'string' ? unlessThrown(() => parseBytes(raw)) : REFUSED
/** A text must have its unit. */
const duration: Reader = (raw) =>
  typeof raw === 'number' || (typeof raw === 'string' && /[a-z]\s*$/i.test(raw))
    ? unlessThrown(() => parseDurationMs(raw))
    : REFUSED
const nothing: Reader = (raw) => (raw === null || raw === false ? null : REFUSED)
const off: Reader = (raw) => (raw === false ? false : REFUSED)
const infinity: Reader = (raw) =>
  raw === 'inf' || raw === '.inf' || raw === 'Infinity' ? Number.POSITIVE_INFINITY : REFUSED
const environmentText: Reader = (raw) => {
  if (raw === null || typeof raw === 'string') return raw
  return (typeof raw === 'number' && !Number.isNaN(raw)) || typeof raw === 'boolean' ? String(raw) : REFUSED
}

const READERS: Readonly<Record<Exclude<Kind, 'enum'>, Reader>> = {
  fraction: numberIf((value) => value >= 0 && value <= 1),
  'fraction-or-false': either(off, fraction),
  'fraction-or-bytes': either(fraction, bytes),
  bytes,
  'bytes-or-false': either(off, bytes),
  'bytes-or-false-or-auto': either(oneOf(['auto']), either(off, bytes)),
  'bytes-or-null': either(nothing, bytes),
  duration,
  'duration-or-null': either(nothing, duration),
  'duration-from-10ms': (raw) => {
    const read = duration(raw)
    return typeof read === 'number' && read >= 10 ? read : REFUSED
  },
  count: numberIf((value) => Number.isSafeInteger(value) && value >= 0),
  'count-from-1': numberIf((value) => Number.isSafeInteger(value) && value >= 1),
  'positive-number': either(
    infinity,
    numberIf((value) => value > 0),
  ),
  boolean: (raw) => (typeof raw === 'boolean' ? raw : REFUSED),
  'string-or-null': (raw) => (raw === null || (typeof raw === 'string' && raw !== '') ? raw : REFUSED),
  texts: (raw) => (Array.isArray(raw) && raw.every((each) => typeof each === 'string' && each !== '') ? raw : REFUSED),
  amounts: mappingOf(numberIf((value) => Number.isFinite(value) && value >= 0)),
  durations: mappingOf(duration),
  environment: mappingOf(environmentText),
  levels: mappingOf(oneOf(LOG_LEVELS)),
}

/** The value as the program uses it, or why it cannot be one. Map kinds get their merged mapping. */
export function readValue(
  key: ConfigKey,
  raw: unknown,
): { ok: true; value: unknown } | { ok: false; accepted: string } {
  const entry = entryOf(key)
  const read = entry.kind === 'enum' ? oneOf(entry.values ?? []) : READERS[entry.kind]
  const value = read(raw)
  return value === REFUSED ? { ok: false, accepted: acceptedBy(entry) } : { ok: true, value }
}

/** What a key accepts, in words. */
export function acceptedBy(entry: KeyEntry): string {
  return entry.kind === 'enum' ? (entry.values ?? []).join(', ') : ACCEPTED[entry.kind]
}

function numberIf(accepts: (value: number) => boolean): Reader {
  return (raw) => (typeof raw === 'number' && accepts(raw) ? raw : REFUSED)
}

function oneOf(values: readonly string[]): Reader {
  return (raw) => (typeof raw === 'string' && values.includes(raw) ? raw : REFUSED)
}

function either(first: Reader, second: Reader): Reader {
  return (raw) => {
    const read = first(raw)
    return read === REFUSED ? second(raw) : read
  }
}

/** Every member as `read` gives it; nameless ones are refused. */
function mappingOf(read: Reader): Reader {
  return (raw) => {
    if (!isMapping(raw)) return REFUSED
    const members = Object.entries(raw).map(([name, member]) => [name, name === '' ? REFUSED : read(member)] as const)
    return members.some(([, member]) => member === REFUSED) ? REFUSED : Object.fromEntries(members)
  }
}

function unlessThrown(read: () => unknown): unknown {
  try {
    return read()
  } catch {
    return REFUSED
  }
}
