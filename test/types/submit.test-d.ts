// Checked by the compiler alone: what `submit` and `map` accept, and what they give back.

import type { Client, Future } from '../../src/index.ts'
import { fromModule, range, task } from '../../src/index.ts'
import { typeOf } from './expect.ts'

declare const client: Client
declare const number: Future<number>
declare const text: Future<string>
declare const numbers: Future<number>[]
declare const array: Future<Float64Array>
declare const unknown: Future<unknown>

// The result is the awaited result of the function.
typeOf(client.submit((a: number, b: number) => a + b, 1, 2))<Future<number>>()
typeOf(client.submit(async (a: number) => String(a), 1))<Future<string>>()
typeOf(client.submit(() => null))<Future<null>>()
typeOf(client.submit(() => ({ rows: [1] })))<Future<{ rows: number[] }>>()

// Parameters without a type take that of the argument, of a future as well.
typeOf(client.submit((x) => x * 2, 10))<Future<number>>()
typeOf(client.submit((x) => x * 2, number))<Future<number>>()
typeOf(client.map((x) => x.length, ['a', 'b']))<Future<number>[]>()

// Futures in place of values, at any depth.
typeOf(client.submit((a: number, b: number) => a + b, number, 2))<Future<number>>()
typeOf(client.submit((xs: number[]) => xs.length, numbers))<Future<number>>()
typeOf(client.submit((xs: readonly number[]) => xs.length, [1, number]))<Future<number>>()
typeOf(client.submit((pair: [number, string]) => pair[1], [number, text]))<Future<string>>()
typeOf(client.submit((o: { a: number; b: { c: string[] } }) => o.b.c, { a: number, b: { c: [text, 'x'] } }))<
  Future<string[]>
>()
typeOf(client.submit((m: Map<string, number>) => m.size, new Map([['a', number]])))<Future<number>>()
typeOf(client.submit((s: Set<number>) => s.size, new Set([number])))<Future<number>>()
typeOf(client.submit((x: Float64Array) => x, array))<Future<Float64Array>>()
typeOf(client.submit((x: unknown) => typeof x, { anything: [number] }))<
  Future<'string' | 'number' | 'bigint' | 'boolean' | 'symbol' | 'undefined' | 'object' | 'function'>
>()

// Optional and rest parameters.
typeOf(client.submit((a: number, b?: string) => b ?? a, 1))<Future<string | number>>()
typeOf(client.submit((a: number, ...rest: string[]) => rest.length + a, 1, 'a', text))<Future<number>>()
typeOf(client.submit(Math.max, 1, number, 3))<Future<number>>()
typeOf(client.submit((o: { a?: number }) => o.a, { a: number }))<Future<number | undefined>>()

// Unions and recursive types.
type Json = string | number | null | Json[] | { [key: string]: Json }
typeOf(client.submit((x: Json) => x === null, { a: [1, number, { b: text }] }))<Future<boolean>>()
typeOf(client.submit((x: 'a' | 'b') => x, 'a'))<Future<'a' | 'b'>>()
typeOf(client.submit((x: string | number) => x, text))<Future<string | number>>()

// Functions with options and functions of modules keep their types.
const careful = task((x: number, y: string) => x + y.length, { retries: 3 })
typeOf(careful)<(x: number, y: string) => number>()
typeOf(client.submit(careful, 1, text))<Future<number>>()
const resize = fromModule<(path: string, width: number) => Promise<Uint8Array>>('file:///resize.js', 'resize')
typeOf(client.submit(resize, 'a.png', number))<Future<Uint8Array>>()

// map zips iterables of values and futures.
typeOf(client.map((a: number, b: string) => `${a}${b}`, [1, number], new Set(['a'])))<Future<string>[]>()
typeOf(client.map((seed: number) => new Float64Array(seed), range(3)))<Future<Float64Array<ArrayBuffer>>[]>()
typeOf(client.map(async (x: number) => [x], numbers))<Future<number[]>[]>()
typeOf(client.map((xs: number[]) => xs.length, [[1, number], numbers]))<Future<number>[]>()

// Wrong types are errors where they are written.
// @ts-expect-error a text for a number
client.submit((a: number) => a, 'x')
// @ts-expect-error a future of a text for a number
client.submit((a: number) => a, text)
// @ts-expect-error too few arguments
client.submit((a: number) => a)
// @ts-expect-error too many arguments
client.submit((a: number) => a, 1, 2)
// @ts-expect-error futures of the wrong type inside of a list
client.submit((xs: number[]) => xs, [text])
// @ts-expect-error a future of the wrong type inside of an object
client.submit((o: { a: number }) => o, { a: text })
// @ts-expect-error a future of something unknown
client.submit((a: number) => a, unknown)
// @ts-expect-error not a function
client.submit('add', 1)
// @ts-expect-error not iterable
client.map((a: number) => a, 1)
// @ts-expect-error an iterable of the wrong type
client.map((a: number) => a, ['x'])
// @ts-expect-error no such option
task((a: number) => a, { retry: 3 })
