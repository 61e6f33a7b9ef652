// What a task leaves running behind its back (timers, sockets, requests): it could crash later and be blamed on another
// task, so an executor with leftovers is replaced. Resources that were unreferenced do not count.

/** Kinds that come and go by themselves: our own turns of the loop. */
const IGNORED = new Set(['Immediate'])

export class Leftovers {
  readonly #baseline: ReadonlyMap<string, number>
  /** The last list that had nothing in it: most tasks leave the same one, which need not be counted again. */
  #clean: readonly string[] = []

  constructor() {
    this.#baseline = countActive()
  }

  /** Names of what is there beyond the beginning, or null. */
  find(): string | null {
    const active = process.getActiveResourcesInfo()
    if (isSameList(active, this.#clean)) return null
    const found: string[] = []
    for (const [kind, count] of countActive(active)) {
      const extra = count - (this.#baseline.get(kind) ?? 0)
      if (extra > 0) found.push(`${extra} ${kind}`)
    }
    if (found.length > 0) return found.join(', ')
    this.#clean = active
    return null
  }
}

/** Our own turns come last in a list. */
function isSameList(some: readonly string[], others: readonly string[]): boolean {
  const length = ownPartBegins(some)
  if (length !== ownPartBegins(others)) return false
  for (let index = 0; index < length; index++) if (some[index] !== others[index]) return false
  return true
}

function ownPartBegins(kinds: readonly string[]): number {
  let length = kinds.length
  while (length > 0 && IGNORED.has(kinds[length - 1] as string)) length--
  return length
}

function countActive(kinds: readonly string[] = process.getActiveResourcesInfo()): Map<string, number> {
  const counts = new Map<string, number>()
  for (const kind of kinds) if (!IGNORED.has(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}
