import type { ConfigKey, ConfigValues } from './defaults.ts'

/** Where a value comes from. */
export type ConfigSource =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly path: string; readonly line: number; readonly column: number }
  | { readonly kind: 'environment'; readonly name: string }
  /** Given by code or a command-line option. */
  | { readonly kind: 'program' }

/** `default`, `/etc/plimsoll/a.yaml:3:5`, `environment variable PLIMSOLL_…`, `program`. */
export function describeSource(source: ConfigSource): string {
  switch (source.kind) {
    case 'file':
      return `${source.path}:${source.line}:${source.column}`
    case 'environment':
      return `environment variable ${source.name}`
    default:
      return source.kind
  }
}

export interface ConfigEntry {
  readonly key: ConfigKey
  readonly value: unknown
  readonly source: ConfigSource
}

/** A whole, checked configuration; it does not change any more. Made by `loadConfig`. */
export class Config {
  readonly #entries: ReadonlyMap<ConfigKey, ConfigEntry>

  constructor(entries: ReadonlyMap<ConfigKey, ConfigEntry>) {
    this.#entries = entries
  }

  /** The value of a key: sizes in bytes, durations in milliseconds. */
  get<K extends ConfigKey>(key: K): ConfigValues[K] {
    return (this.#entries.get(key) as ConfigEntry).value as ConfigValues[K]
  }

  source(key: ConfigKey): ConfigSource {
    return (this.#entries.get(key) as ConfigEntry).source
  }

  /** Every key, in the order of the table. */
  entries(): readonly ConfigEntry[] {
    return [...this.#entries.values()]
  }

  /** What differs from the defaults, as plain JSON data: `loadConfig({ overrides, env: {}, files: [] })` gives the same values elsewhere. */
  overrides(): Record<string, unknown> {
    const changed: Record<string, unknown> = {}
    for (const { key, value, source } of this.#entries.values()) {
      if (source.kind !== 'default') changed[key] = value === Number.POSITIVE_INFINITY ? 'inf' : value
    }
    return changed
  }
}
