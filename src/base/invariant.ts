/** A programmer's error: a state that the code rules out was reached. Never caught to be ignored. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/** Asserts what must hold whatever the input was; on in production as well. */
export function invariant(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof message === 'string' ? message : message())
}

/** The end of an exhaustive switch: a missing case is a compile error here. */
export function assertNever(value: never, what = 'value'): never {
  throw new InvariantError(`unexpected ${what}: ${JSON.stringify(value)}`)
}
