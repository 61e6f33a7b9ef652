// docs/config.md and the table of keys say the same, in both directions.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { acceptedBy, CONFIG_KEY_NAMES, entryOf, loadConfig } from '../src/config/index.ts'

const page = readFileSync(new URL('../docs/config.md', import.meta.url), 'utf8')
const rows = new Map(
  [...page.matchAll(/^\| `([a-z.-]+)`(?: \(also `([a-z-]+)`\))? \| `(.+?)` \| (.+?) \| (.+) \|$/gm)].map((match) => [
    match[1],
    { alias: match[2], written: match[3], accepted: match[4], about: match[5] },
  ]),
)

describe('docs/config.md', () => {
  it('has a row per key, in the order of the table, and none for what is no key', () => {
    expect([...rows.keys()]).toEqual(CONFIG_KEY_NAMES)
  })

  it.each([...CONFIG_KEY_NAMES])('says of %s what the table says', (key) => {
    const entry = entryOf(key)
    expect(rows.get(key)).toEqual({
      alias: entry.alias,
      written: written(entry.default),
      accepted: acceptedBy(entry),
      about: entry.about,
    })
  })

  it('gives defaults that the schema accepts', () => {
    expect(() => loadConfig({ env: {}, files: [] })).not.toThrow()
  })
})

function written(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return `[${value.join(', ')}]`
  const members = Object.entries(value).map(([name, member]) => `${name}: ${String(member)}`)
  return `{${members.join(', ')}}`
}
