// From a tree of names (a file, an object given by code) to settings of known keys. `-` and `_` mean the same in names;
// a name may contain dots instead of nesting.

import { nearestName } from '../base/nearest-name.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { CONFIG_KEY_NAMES, type ConfigKey, entryOf } from './defaults.ts'
import { type ConfigSource, describeSource } from './source.ts'

/** A value somebody gave to a key, not checked yet. */
export interface Setting {
  readonly key: ConfigKey
  readonly raw: unknown
  readonly source: ConfigSource
}

const KEYS_BY_NAME: ReadonlyMap<string, ConfigKey> = new Map([
  ...CONFIG_KEY_NAMES.map((key) => [key, key] as const),
  ...CONFIG_KEY_NAMES.flatMap((key) => {
    const alias = entryOf(key).alias
    return alias === undefined ? [] : [[alias, key] as const]
  }),
])

const GROUPS: ReadonlySet<string> = new Set(
  [...KEYS_BY_NAME.keys()].flatMap((name) => {
    const parts = name.split('.')
    return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('.'))
  }),
)

/** The key behind a name as people write it, also by its alias. */
export function findKey(name: string): ConfigKey | undefined {
  return KEYS_BY_NAME.get(canonicalName(name))
}

export function canonicalName(name: string): string {
  return name.toLowerCase().replaceAll('_', '-')
}

/**
 * The settings in a tree of plain objects. `sourceOf` tells where a path of the tree stands.
 * @throws PlimsollError CONFIG_INVALID for names that are no key.
 */
export function settingsOf(
  tree: Readonly<Record<string, unknown>>,
  sourceOf: (path: readonly string[]) => ConfigSource,
): Setting[] {
  const settings: Setting[] = []
  const walk = (node: Readonly<Record<string, unknown>>, above: readonly string[]): void => {
    for (const [name, value] of Object.entries(node)) {
      const path = [...above, name]
      const key = findKey(path.join('.'))
      if (key !== undefined) settings.push({ key, raw: value, source: sourceOf(path) })
      else if (isMapping(value)) descend(value, path)
      else if (!isGroup(path) || value !== null) throw unknownKey(path.join('.'), sourceOf(path))
    }
  }
  const descend = (node: Readonly<Record<string, unknown>>, path: readonly string[]): void => {
    if (Object.keys(node).length === 0 && !isGroup(path)) throw unknownKey(path.join('.'), sourceOf(path))
    walk(node, path)
  }
  walk(tree, [])
  return settings
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** CONFIG_INVALID for a name that is no key: says where it stands and which key is nearest. */
export function unknownKey(name: string, source: ConfigSource): PlimsollError {
  const canonical = canonicalName(name)
  const where = describeSource(source)
  if (GROUPS.has(canonical)) {
    const members = [...KEYS_BY_NAME.keys()].filter((key) => key.startsWith(`${canonical}.`))
    const message = `${where}: "${canonical}" is a group of configuration keys, not a key; it has ${members.join(', ')}`
    return new PlimsollError('CONFIG_INVALID', message, { key: canonical, source: where, nearest: members[0] ?? null })
  }
  const nearest = nearestName(canonical, KEYS_BY_NAME.keys()) ?? sameLastPart(canonical)
  const hint = nearest === undefined ? '; `plimsoll config list` names all keys' : `; did you mean "${nearest}"?`
  return new PlimsollError('CONFIG_INVALID', `${where}: unknown configuration key "${canonical}"${hint}`, {
    key: canonical,
    source: where,
    nearest: nearest ?? null,
  })
}

function isGroup(path: readonly string[]): boolean {
  return GROUPS.has(canonicalName(path.join('.')))
}

/** `memory.target` was probably meant to be `worker.memory.target`. */
function sameLastPart(name: string): string | undefined {
  const last = name.slice(name.lastIndexOf('.') + 1)
  const matches = [...KEYS_BY_NAME.keys()].filter((key) => key.endsWith(`.${last}`))
  return matches.find((key) => key.endsWith(`.${name}`)) ?? (matches.length === 1 ? matches[0] : undefined)
}
