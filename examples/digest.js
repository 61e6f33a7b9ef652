// A module whose functions run on workers by reference: they may use imports.
import { createHash } from 'node:crypto'

/** SHA-256 of a map of numbers, as hex. */
export function digest(table) {
  const hash = createHash('sha256')
  for (const [key, value] of table) hash.update(`${key}=${value};`)
  return hash.digest('hex')
}
