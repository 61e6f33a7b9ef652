// The schema, built from the table of keys: one valibot schema per kind turns what people write into what the program
// uses. Kinds hold no policy; what several keys must satisfy together is checked by load.ts.

import * as v from 'valibot'
import { parseBytes, parseDurationMs } from '../base/units.ts'
import { CONFIG_KEY_NAMES, type ConfigKey, entryOf } from './defaults.ts'
import { ACCEPTED, type KeyEntry, type Kind, LOG_LEVELS } from './kinds.ts'

type Schema = v.GenericSchema<unknown, unknown>

const bytes = readAs(v.union([v.number(), v.string()]), (value) => parseBytes(value))
const durationText = v.pipe(v.string(), v.regex(/[a-z]\s*$/i))
const duration = readAs(v.union([v.pipe(v.number(), v.minValue(0)), durationText]), (value) => parseDurationMs(value))
const fraction = v.pipe(v.number(), v.gtValue(0), v.maxValue(1))
const name = v.pipe(v.string(), v.minLength(1))
const infinity = readAs(v.picklist(['inf', '.inf', 'Infinity']), () => Number.POSITIVE_INFINITY)
const environmentText = readAs(v.nullable(v.union([v.string(), v.number(), v.boolean()])), (value) =>
  value === null ? null : String(value),
)

const KIND_SCHEMAS: Readonly<Record<Exclude<Kind, 'enum'>, Schema>> = {
  'fraction-or-false': v.union([v.literal(false), fraction]),
  'fraction-or-bytes': v.union([fraction, bytes]),
  bytes,
  'bytes-or-false': v.union([v.literal(false), bytes]),
  'bytes-or-null': v.union([offAsNull(), bytes]),
  duration,
  'duration-or-null': v.union([offAsNull(), duration]),
  count: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  'count-from-1': v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  'positive-number': v.union([infinity, v.pipe(v.number(), v.gtValue(0))]),
  boolean: v.boolean(),
  'string-or-null': v.nullable(name),
  amounts: v.record(name, v.pipe(v.number(), v.minValue(0), v.finite())),
  durations: v.record(name, duration),
  environment: v.record(name, environmentText),
  levels: v.record(name, v.picklist(LOG_LEVELS)),
}

const SCHEMAS = new Map<ConfigKey, Schema>(CONFIG_KEY_NAMES.map((key) => [key, schemaOf(entryOf(key))]))

/** The value as the program uses it, or why it cannot be one. Map kinds get their merged mapping. */
export function readValue(
  key: ConfigKey,
  raw: unknown,
): { ok: true; value: unknown } | { ok: false; accepted: string } {
  const schema = SCHEMAS.get(key) as Schema
  const result = v.safeParse(schema, raw, { abortEarly: true })
  return result.success ? { ok: true, value: result.output } : { ok: false, accepted: acceptedBy(entryOf(key)) }
}

/** What a key accepts, in words. */
export function acceptedBy(entry: KeyEntry): string {
  return entry.kind === 'enum' ? (entry.values ?? []).join(', ') : ACCEPTED[entry.kind]
}

function schemaOf(entry: KeyEntry): Schema {
  return entry.kind === 'enum' ? v.picklist(entry.values ?? []) : KIND_SCHEMAS[entry.kind]
}

function offAsNull(): Schema {
  return readAs(v.union([v.null(), v.literal(false)]), () => null)
}

/** A schema that accepts what `from` does and what `read` does not throw on. */
function readAs<T>(from: v.GenericSchema<unknown, T>, read: (value: T) => unknown): Schema {
  return v.pipe(
    from,
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      try {
        return read(dataset.value)
      } catch (error) {
        addIssue({ message: String(error) })
        return NEVER
      }
    }),
  )
}
