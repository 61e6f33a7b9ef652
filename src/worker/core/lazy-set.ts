// Sets that most of their owners never fill: an empty one costs nothing. Owners keep what `withMember` and `withoutMember`
// return.

/** Shared by all owners; never changed. */
export const EMPTY_SET: ReadonlySet<never> = new Set<never>()

export function withMember<T>(set: ReadonlySet<T>, member: T): ReadonlySet<T> {
  if (set === EMPTY_SET) return new Set([member])
  ;(set as Set<T>).add(member)
  return set
}

export function withoutMember<T>(set: ReadonlySet<T>, member: T): ReadonlySet<T> {
  if (set === EMPTY_SET) return set
  ;(set as Set<T>).delete(member)
  return set.size === 0 ? EMPTY_SET : set
}
