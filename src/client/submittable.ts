// The types that carry values through futures. `Submittable<T>` is what a parameter of type T accepts in `submit` and
// `map`; `Gathered<T>` is what `gather` makes of a structure. Neither exists at run time.

import type { Future } from './future.ts'

/** Anything that is sent whole: never taken apart to look for futures inside it. */
type Opaque =
  | string
  | number
  | boolean
  | bigint
  | symbol
  | null
  | undefined
  | ((...args: never[]) => unknown)
  | Date
  | RegExp
  | Error
  | ArrayBuffer
  | SharedArrayBuffer
  | ArrayBufferView
  | Promise<unknown>
  | Future<unknown>

/** A value of type T, a Future of one, or arrays, plain objects, Maps and Sets with futures in the place of values. */
export type Submittable<T> = T | Future<T> | Nested<T>

// Arrays come before tuples and objects and are written out: a mapped type over an array is instantiated at once, and a
// recursive T (JSON) would never end.
type Nested<T> = T extends Opaque
  ? never
  : T extends ReadonlyMap<infer K, infer V>
    ? ReadonlyMap<K, Submittable<V>>
    : T extends ReadonlySet<infer V>
      ? ReadonlySet<Submittable<V>>
      : T extends readonly unknown[]
        ? number extends T['length']
          ? readonly Submittable<T[number]>[]
          : { readonly [K in keyof T]: Submittable<T[K]> }
        : T extends object
          ? { readonly [K in keyof T]: Submittable<T[K]> }
          : never

/** The arguments that `submit(fn, ...)` takes for a function of parameters A. */
export type SubmittableArgs<A extends unknown[]> = { [I in keyof A]: Submittable<A[I]> }

/** The iterables that `map(fn, ...)` takes for a function of parameters A. */
export type SubmittableIterables<A extends unknown[]> = { [I in keyof A]: Iterable<Submittable<A[I]>> }

/** The shape of T with every Future replaced by its value (`OnError` is what may stand in for a failed one). */
export type Gathered<T, OnError = never> =
  T extends Future<infer V>
    ? V | OnError
    : T extends Opaque
      ? T
      : T extends ReadonlyMap<infer K, infer V>
        ? Map<K, Gathered<V, OnError>>
        : T extends ReadonlySet<infer V>
          ? Set<Gathered<V, OnError>>
          : T extends readonly unknown[]
            ? number extends T['length']
              ? Gathered<T[number], OnError>[]
              : { -readonly [K in keyof T]: Gathered<T[K], OnError> }
            : T extends object
              ? { -readonly [K in keyof T]: Gathered<T[K], OnError> }
              : T

/** `Gathered` for `errors: 'skip'`: failed futures leave their arrays, so a tuple becomes an array. */
export type GatheredSome<T> =
  T extends Future<infer V>
    ? V | undefined
    : T extends Opaque
      ? T
      : T extends ReadonlyMap<infer K, infer V>
        ? Map<K, SomeMember<V>>
        : T extends ReadonlySet<infer V>
          ? Set<SomeMember<V>>
          : T extends readonly unknown[]
            ? SomeMember<T[number]>[]
            : T extends object
              ? { -readonly [K in keyof T]+?: SomeMember<T[K]> }
              : T

type SomeMember<T> = T extends Future<infer V> ? V : GatheredSome<T>
