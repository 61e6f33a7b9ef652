import type { ConfigKey, ConfigValues } from './defaults.ts'
import { findKey, unknownKey } from './settings.ts'
import type { ConfigSource } from './source.ts'

export interface ConfigEntry {
  readonly key: ConfigKey
  readonly value: unknown
  /** Where it was set, in words. */
  readonly source: string
  readonly origin: ConfigSource
}

/** A whole, checked configuration; it does not change any more. Made by `loadConfig`. */
export class Config {
  readonly #entries: ReadonlyMap<ConfigKey, ConfigEntry>
  readonly #derive: (overrides: Readonly<Record<string, unknown>>) => Config

  constructor(
    entries: ReadonlyMap<ConfigKey, ConfigEntry>,
    derive: (overrides: Readonly<Record<string, unknown>>) => Config,
  ) {
    this.#entries = entries
    this.#derive = derive
  }

  /** The value of a key: sizes in bytes, durations in milliseconds. */
  get<K extends ConfigKey>(key: K): ConfigValues[K] {
    return this.#entry(key).value as ConfigValues[K]
  }

  /** Where a key was set: `default`, `program`, a place in a file, or an environment variable. */
  source(key: ConfigKey): string {
    return this.#entry(key).source
  }

  /** Value and source of a key by its name as people write it. @throws PlimsollError CONFIG_INVALID for an unknown one. */
  entry(name: string): ConfigEntry {
    const key = findKey(name)
    if (key === undefined) throw unknownKey(name, { kind: 'program' })
    return this.#entry(key)
  }

  /** Every key, in the order of the table. */
  entries(): readonly ConfigEntry[] {
    return [...this.#entries.values()]
  }

  /** The same with some keys set by the program. @throws PlimsollError CONFIG_INVALID. */
  with(overrides: Readonly<Record<string, unknown>>): Config {
    return this.#derive(overrides)
  }

  /** What differs from the defaults, as plain JSON data: `loadConfig({ overrides, env: {}, files: [] })` gives the same values elsewhere. */
  overrides(): Record<string, unknown> {
    const changed: Record<string, unknown> = {}
    for (const { key, value, origin } of this.#entries.values()) {
      if (origin.kind !== 'default') changed[key] = value === Number.POSITIVE_INFINITY ? 'inf' : value
    }
    return changed
  }

  #entry(key: ConfigKey): ConfigEntry {
    return this.#entries.get(key) as ConfigEntry
  }
}
