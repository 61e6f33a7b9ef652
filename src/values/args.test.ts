import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { TaskRef, decodeArgs, encodeArgs } from './args.ts'

class Handle {
  readonly key: string
  readonly #state = 'hidden'
  constructor(key: string) {
    this.key = key
  }
  get state(): string {
    return this.#state
  }
}
const refOf = (value: object): string | undefined => (value instanceof Handle ? value.key : undefined)
const never = (key: string): never => {
  throw new Error(`unexpected ${key}`)
}

describe('arguments', () => {
  it('come back equal', () => {
    const calls: unknown[][] = [
      [],
      [1],
      ['a', undefined, null],
      [[1, 2, 3], { a: { b: [new Date(3)] } }],
      [new Float64Array(500), new Map([[1, new Set(['x'])]])],
    ]
    for (const args of calls) {
      const encoded = encodeArgs(args, refOf)
      expect(encoded.dependencies).toEqual([])
      expect(encoded.pins).toEqual([])
      expect(decodeArgs(encoded.bytes, never)).toStrictEqual(args)
    }
  })

  it('give equal bytes when they are equal, however they were made', () => {
    const fromFloats = [...Float64Array.of(1, 2, 3)]
    const holey: number[] = []
    holey.length = 3
    holey[0] = 1
    holey[1] = 2
    holey[2] = 3
    const doubles = [1.5, 2, 3]
    doubles[0] = 1
    const wide = `x☃`.slice(0, 1)
    const variants: [unknown, unknown][] = [
      [[1, 2, 3], fromFloats],
      [[1, 2, 3], holey],
      [[1, 2, 3], doubles],
      ['x', wide],
      [{ a: 1, b: 2 }, Object.assign(Object.create(null), { a: 1, b: 2 })],
      [NaN, new Float64Array(new BigUint64Array([0xfff8_0000_0000_1234n]).buffer)[0]],
      [new Uint8Array([1, 2]), new Uint8Array([0, 1, 2]).subarray(1)],
    ]
    for (const [one, other] of variants)
      expect(encodeArgs([one], refOf).bytes).toEqual(encodeArgs([other], refOf).bytes)
    fc.assert(
      fc.property(fc.anything({ withMap: true, withSet: true, withDate: true, withTypedArray: true }), (value) => {
        expect(encodeArgs([value], refOf).bytes).toEqual(encodeArgs([structuredClone(value)], refOf).bytes)
      }),
    )
  })

  it('give different bytes when they differ', () => {
    const different = [
      0,
      -0,
      1,
      '1',
      true,
      null,
      undefined,
      1n,
      [1],
      { 0: 1 },
      new Set([1]),
      new Uint8Array([1]),
      new Int8Array([1]),
      [],
      {},
      '',
      NaN,
      new Date(1),
    ]
    const seen = new Set(different.map((value) => Buffer.from(encodeArgs([value], refOf).bytes).toString('hex')))
    expect(seen.size).toBe(different.length)
    expect(encodeArgs([[1], []], refOf).bytes).not.toEqual(encodeArgs([[], [1]], refOf).bytes)
  })

  it('carry references to tasks, nested in arrays, objects, maps and sets', () => {
    const [x, y] = [new Handle('x-1'), new Handle('y-2')]
    const args = [
      x,
      [y, [x]],
      { deep: { y } },
      new Map<unknown, unknown>([
        ['k', x],
        [y, 1],
      ]),
      new Set([y]),
      new TaskRef('z-3'),
    ]
    const { bytes, dependencies, pins } = encodeArgs(args, refOf)
    expect(dependencies).toEqual(['x-1', 'y-2', 'z-3'])
    expect(pins).toEqual([x, y, args[5]])
    const values: Record<string, unknown> = { 'x-1': { value: 1 }, 'y-2': 'why', 'z-3': undefined }
    const back = decodeArgs(bytes, (key) => values[key])
    const vx = values['x-1']
    expect(back).toEqual([
      vx,
      ['why', [vx]],
      { deep: { y: 'why' } },
      new Map<unknown, unknown>([
        ['k', vx],
        ['why', 1],
      ]),
      new Set(['why']),
      undefined,
    ])
    expect(back[0]).toBe((back[1] as [unknown, [unknown]])[1][0])
  })

  it('pin every handle of a key, and depend on the key once', () => {
    const [one, two] = [new Handle('same'), new Handle('same')]
    const { dependencies, pins } = encodeArgs([one, two, one], refOf)
    expect(dependencies).toEqual(['same'])
    expect(pins).toEqual([one, two])
  })

  it('are equal in bytes when their references are', () => {
    expect(encodeArgs([new Handle('a')], refOf).bytes).toEqual(encodeArgs([new TaskRef('a')], refOf).bytes)
    expect(encodeArgs([new Handle('a')], refOf).bytes).not.toEqual(encodeArgs([new Handle('b')], refOf).bytes)
    expect(encodeArgs(['a'], refOf).bytes).not.toEqual(encodeArgs([new TaskRef('a')], refOf).bytes)
  })

  it('that cannot be sent are named by position and path', () => {
    const refusal = (...args: unknown[]): string => {
      try {
        encodeArgs(args, refOf)
        return 'fine'
      } catch (error) {
        expect((error as PlimsollError).code).toBe('NOT_SERIALIZABLE')
        return (error as PlimsollError).message
      }
    }
    expect(refusal(1, 2, { rows: [() => 1] })).toBe('argument 2.rows[0] is a function')
    expect(refusal(1, Promise.resolve(2))).toBe('argument 1 is a promise: await it first')
    expect(refusal(new (class Pool {})())).toContain('argument 0 is an instance of class Pool')
    expect(refusal([new Handle('fine'), Symbol('s')])).toBe('argument 0[1] is a symbol')
    const shared = { a: 1 }
    expect(refusal(shared, [shared, () => 1])).toBe('argument 1[1] is a function')
  })

  it('share identity across positions', () => {
    const shared = { a: 1 }
    const [one, two] = decodeArgs(encodeArgs([shared, [shared]], refOf).bytes, never) as [object, object[]]
    expect(two[0]).toBe(one)
  })

  it('pass on what resolving throws, and call damaged bytes damaged', () => {
    const { bytes } = encodeArgs([[new TaskRef('gone')]], refOf)
    const failure = new RangeError('no such input')
    expect(() =>
      decodeArgs(bytes, () => {
        throw failure
      }),
    ).toThrow(failure)
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeArgs(bytes.subarray(0, length), () => 1)).toThrow(
        expect.objectContaining({ code: 'BLOB_CORRUPT' }),
      )
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (random) => {
        try {
          decodeArgs(random, () => 1)
          return true
        } catch (error) {
          return error instanceof PlimsollError
        }
      }),
    )
  })
})
