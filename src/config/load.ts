// Loading: defaults < /etc/plimsoll/*.yaml < ~/.config/plimsoll/*.yaml < $PLIMSOLL_CONFIG < environment < program.
//
// L1. A configuration that loads is whole and checked: no key is missing, every value passed the schema.
// L2. Every refusal is CONFIG_INVALID and names the source, the key, the value and what is accepted.
// L3. Nothing below the roles reads the configuration by itself: values are passed down as options.

import { PlimsollError } from '../errors/plimsoll-error.ts'
import { Config, type ConfigEntry } from './config.ts'
import { CONFIG_KEY_NAMES, type ConfigKey, entryOf } from './defaults.ts'
import { readEnvironment } from './environment.ts'
import { configFiles, readConfigFile } from './files.ts'
import { MAP_KINDS } from './kinds.ts'
import { acceptedBy, readValue } from './schema.ts'
import { isMapping, type Setting, settingsOf } from './settings.ts'
import { type ConfigSource, describeSource } from './source.ts'

export interface LoadOptions {
  /** Highest precedence: dotted keys or nested objects. Durations may be plain milliseconds here. */
  readonly overrides?: Readonly<Record<string, unknown>>
  /** The environment; default `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Files, least important first; default: the standard places. */
  readonly files?: readonly string[]
}

interface Layered {
  readonly raw: unknown
  readonly source: ConfigSource
}

/** The effective configuration. @throws PlimsollError CONFIG_INVALID. */
export function loadConfig(options: LoadOptions = {}): Config {
  const env = options.env ?? process.env
  const files = options.files ?? configFiles(env)
  return build(new Map(), [
    ...files.flatMap(readConfigFile),
    ...readEnvironment(env),
    ...programmed(options.overrides ?? {}),
  ])
}

function build(below: ReadonlyMap<ConfigKey, Layered>, settings: readonly Setting[]): Config {
  const layered = new Map(below)
  for (const setting of settings) {
    checkUnit(setting)
    layered.set(setting.key, merge(layered.get(setting.key), setting))
  }
  const entries = new Map<ConfigKey, ConfigEntry>()
  for (const key of CONFIG_KEY_NAMES) entries.set(key, effective(key, layered.get(key)))
  checkLadder(entries)
  return new Config(entries, (overrides) => build(layered, programmed(overrides)))
}

function programmed(overrides: Readonly<Record<string, unknown>>): Setting[] {
  return settingsOf(overrides, () => ({ kind: 'program' })).filter((setting) => setting.raw !== undefined)
}

function merge(below: Layered | undefined, { key, raw, source }: Setting): Layered {
  if (!MAP_KINDS.has(entryOf(key).kind) || !isMapping(raw)) return { raw, source }
  return { raw: { ...(isMapping(below?.raw) ? below.raw : {}), ...raw }, source }
}

function effective(key: ConfigKey, layered: Layered | undefined): ConfigEntry {
  const entry = entryOf(key)
  const origin = layered?.source ?? { kind: 'default' }
  const mapped = layered !== undefined && isMapping(layered.raw) && isMapping(entry.default)
  const raw =
    layered === undefined
      ? entry.default
      : mapped
        ? { ...(entry.default as object), ...(layered.raw as object) }
        : layered.raw
  const read = readValue(key, raw)
  if (!read.ok) throw badValue(key, raw, origin, read.accepted)
  return { key, value: read.value, source: describeSource(origin), origin }
}

/** A bare number is milliseconds to a program and seconds to most people: files and variables must say which. */
function checkUnit({ key, raw, source }: Setting): void {
  const entry = entryOf(key)
  if (source.kind === 'program') return
  const values =
    entry.kind === 'durations' && isMapping(raw) ? Object.values(raw) : entry.kind.startsWith('duration') ? [raw] : []
  if (values.some((value) => typeof value === 'number' && value !== 0))
    throw badValue(key, raw, source, acceptedBy(entry))
}

function badValue(key: ConfigKey, raw: unknown, source: ConfigSource, accepted: string): PlimsollError {
  const where = describeSource(source)
  const shown = raw === Number.POSITIVE_INFINITY ? 'inf' : (JSON.stringify(raw) ?? String(raw))
  const message = `${where}: ${key} is ${shown}; accepted: ${accepted}`
  return new PlimsollError('CONFIG_INVALID', message, { key, source: where, value: shown, accepted })
}

const LADDER = [
  'worker.memory.target',
  'worker.memory.spill',
  'worker.memory.pause',
  'worker.memory.kill-task',
  'worker.memory.terminate',
] as const

/** The rungs of the memory ladder act in this order; one above a harsher one would never act, or too late. */
function checkLadder(entries: ReadonlyMap<ConfigKey, ConfigEntry>): void {
  const rungs = LADDER.map((key) => entries.get(key) as ConfigEntry).filter((entry) => entry.value !== false)
  for (let i = 1; i < rungs.length; i++) {
    const lower = rungs[i - 1] as ConfigEntry
    const upper = rungs[i] as ConfigEntry
    if ((lower.value as number) <= (upper.value as number)) continue
    const told = `${lower.key} is ${String(lower.value)} (${lower.source}), above ${upper.key}, which is ${String(upper.value)} (${upper.source})`
    const message = `${told}; they must satisfy target <= spill <= pause <= kill-task <= terminate, and false switches one off`
    throw new PlimsollError('CONFIG_INVALID', message, { key: lower.key, other: upper.key })
  }
}
