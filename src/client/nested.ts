// Futures inside structures: arrays, plain objects, Maps and Sets are looked into; everything else is a leaf.
// Shapes are kept, and a structure met twice (or inside itself) is one structure in the result as well.

/** Stands for a member that is to be left out. */
export const OMIT: unique symbol = Symbol('omit')

/** Calls `visit` for every leaf that is an object, and `visitOther` for any other. */
export function forEachLeaf(
  root: unknown,
  visit: (leaf: object) => void,
  visitOther: ((leaf: unknown) => void) | null = null,
): void {
  const seen = new Set<object>()
  const pending: unknown[] = [root]
  while (pending.length > 0) {
    const value = pending.pop()
    if (typeof value !== 'object' || value === null) {
      visitOther?.(value)
      continue
    }
    const members = membersOf(value)
    if (members === null) {
      visit(value)
    } else if (!seen.has(value)) {
      seen.add(value)
      // Backwards, because the stack turns them round: leaves come in reading order.
      for (let i = members.length - 1; i >= 0; i--) pending.push(members[i])
    }
  }
}

/** A copy of `root` with every object leaf replaced; `OMIT` leaves the member out (an array closes up). */
export function mapLeaves(root: unknown, replace: (leaf: object) => unknown): unknown {
  const copies = new Map<object, unknown>()
  const copy = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value
    const known = copies.get(value)
    if (known !== undefined) return known
    if (Array.isArray(value))
      return fill(value, [] as unknown[], (into, source) =>
        source.forEach((item) => keep(copy(item), (made) => into.push(made))),
      )
    if (value instanceof Map) {
      return fill(value, new Map<unknown, unknown>(), (into, source) =>
        source.forEach((item, key) => keep(copy(item), (made) => into.set(key, made))),
      )
    }
    if (value instanceof Set) {
      return fill(value, new Set<unknown>(), (into, source) =>
        source.forEach((item) => keep(copy(item), (made) => into.add(made))),
      )
    }
    if (!isPlainObject(value)) return replace(value)
    return fill(
      value,
      Object.create(Object.getPrototypeOf(value) as object | null) as Record<string, unknown>,
      (into, source) => {
        for (const [key, item] of Object.entries(source)) keep(copy(item), (made) => define(into, key, made))
      },
    )
  }
  const fill = <S extends object, T extends object>(source: S, into: T, members: (into: T, source: S) => void): T => {
    copies.set(source, into)
    members(into, source)
    return into
  }
  const copied = copy(root)
  return copied === OMIT ? undefined : copied
}

export function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function membersOf(value: object): readonly unknown[] | null {
  if (Array.isArray(value)) return value as unknown[]
  if (value instanceof Map) return [...(value as Map<unknown, unknown>).values()]
  if (value instanceof Set) return [...(value as Set<unknown>)]
  return isPlainObject(value) ? Object.values(value) : null
}

function keep(made: unknown, add: (made: unknown) => void): void {
  if (made !== OMIT) add(made)
}

// Assignment would run a setter for a key such as "__proto__".
function define(into: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}
