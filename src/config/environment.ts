// Configuration from environment variables: PLIMSOLL_WORKER__MEMORY__TARGET=0.5. A double underscore is a level, a single
// one is a dash. Variables with this prefix that are something else are reserved.

import { nearestName } from '../base/nearest-name.ts'
import { type ConfigKey, entryOf } from './defaults.ts'
import { parseYamlValue } from './files.ts'
import { type Kind, MAP_KINDS } from './kinds.ts'
import { canonicalName, findKey, type Setting, unknownKey } from './settings.ts'
import type { ConfigSource } from './source.ts'

const PREFIX = 'PLIMSOLL_'

/** Names with our prefix that are not keys. */
const RESERVED: ReadonlySet<string> = new Set(['CONFIG', 'TOKEN', 'TOKEN_FILE', 'NO_KOFFI', 'EXECUTOR'])

/** Shorter names of keys that are often set by hand. */
const SHORT_NAMES: Readonly<Record<string, ConfigKey>> = { LOG_LEVEL: 'logging.level', LOG_FORMAT: 'logging.format' }

/** The settings among the variables. @throws PlimsollError CONFIG_INVALID for a name that is no key. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): Setting[] {
  const settings: Setting[] = []
  for (const variable of Object.keys(env).sort()) {
    const text = env[variable]
    if (!variable.startsWith(PREFIX) || text === undefined) continue
    const name = variable.slice(PREFIX.length)
    if (!RESERVED.has(name)) settings.push(...readVariable(name, text, { kind: 'environment', name: variable }))
  }
  return settings
}

function readVariable(name: string, text: string, source: ConfigSource): Setting[] {
  const short = SHORT_NAMES[name]
  if (short !== undefined) return [{ key: short, raw: readText(text, entryOf(short).kind), source }]
  const parts = name.split('__')
  for (let length = parts.length; length > 0; length--) {
    const key = findKey(parts.slice(0, length).join('.'))
    if (key === undefined) continue
    const kind = entryOf(key).kind
    if (length === parts.length) return [{ key, raw: readText(text, kind), source }]
    // Below a mapping the rest of the name is the entry's own name, as it is spelt.
    if (MAP_KINDS.has(kind)) return [{ key, raw: { [parts.slice(length).join('__')]: readEntry(text, kind) }, source }]
    break
  }
  // One level and nothing like a key: another program's variable (Kubernetes makes PLIMSOLL_PORT for a service).
  if (parts.length === 1 && nearestName(canonicalName(name), ['local-directory', 'memory-directory']) === undefined)
    return []
  throw unknownKey(parts.join('.'), source)
}

function readText(text: string, kind: Kind): unknown {
  if (MAP_KINDS.has(kind)) return readMapping(text, kind)
  if (kind === 'texts' && !text.trimStart().startsWith('[')) return text.split(',').map((each) => each.trim())
  if (kind === 'string-or-null' || kind === 'enum') return /^(null|none)$/i.test(text) ? null : text
  return readScalar(text)
}

/** `{A: 1, B: 2}` or `A=1,B=2`. */
function readMapping(text: string, kind: Kind): unknown {
  if (text.trim() === '') return {}
  if (text.trimStart().startsWith('{')) {
    try {
      return parseYamlValue(text)
    } catch {
      return text // The schema refuses it and says what is accepted.
    }
  }
  const pairs = text.split(',').map((part) => part.split(/=(.*)/s))
  if (pairs.some((pair) => pair.length < 2)) return text
  return Object.fromEntries(pairs.map(([name, value]) => [(name ?? '').trim(), readEntry((value ?? '').trim(), kind)]))
}

function readEntry(text: string, kind: Kind): unknown {
  if (kind === 'environment') return /^(null|none)$/i.test(text) ? null : text
  return readScalar(text)
}

function readScalar(text: string): unknown {
  const trimmed = text.trim()
  if (/^(null|none|~)$/i.test(trimmed)) return null
  if (/^true$/i.test(trimmed)) return true
  if (/^false$/i.test(trimmed)) return false
  if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(trimmed)) return Number(trimmed)
  return trimmed
}
