/** Compiles only when `T` is `true`. */
export type Expect<T extends true> = T

/** True when the two types are the same, `any` and `unknown` told apart. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Checks the type of a value: `typeOf(x)<Expected>()`. */
export function typeOf<Actual>(
  _value: Actual,
): <Expected>(..._mismatch: Equal<Actual, Expected> extends true ? [] : [never]) => void {
  return () => {}
}
