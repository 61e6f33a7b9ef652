import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeFrames } from './decode.ts'
import { encodeValue } from './encode.ts'
import { dumps, loads } from './families.ts'

const roundTrip = (value: unknown): unknown => loads(dumps(value))

/** Also through frames that are ArrayBuffers, as an executor maps them. */
function throughFrames(value: unknown): unknown {
  const encoded = encodeValue(value)
  const frames = encoded.frames.map((frame) => Uint8Array.from(frame).buffer)
  const header = {
    meta: { clusterId: '', generation: 0, key: 'k', runId: 0 },
    family: encoded.family,
    type: encoded.type,
    bodyLength: frames[0]?.byteLength ?? 0,
    frames: frames.map((frame) => ({ offset: 0, length: frame.byteLength, crc32: 0 })),
    totalBytes: 0,
  }
  return decodeFrames(header, frames)
}

describe('values that structured clone copies', () => {
  it('come back equal to what structured clone makes of them', () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSet: true,
      withSparseArray: true,
      withTypedArray: true,
      withUnicodeString: true,
      maxDepth: 4,
    })
    fc.assert(
      fc.property(anything, (value) => {
        const expected: unknown = structuredClone(value)
        expect(roundTrip(value)).toStrictEqual(expected)
        expect(throughFrames(value)).toStrictEqual(expected)
      }),
      { numRuns: 500 },
    )
  })

  it('keep every number, bit by bit where it has a sign or no value', () => {
    fc.assert(
      fc.property(fc.double(), (number) => {
        expect(Object.is(roundTrip(number), number)).toBe(true)
        expect(
          Object.is(
            (roundTrip([number, number, number, number, number, number, number, number]) as number[])[7],
            number,
          ),
        ).toBe(true)
      }),
    )
    for (const number of [
      0,
      -0,
      1,
      -1,
      127,
      128,
      -128,
      2 ** 31 - 1,
      -(2 ** 31),
      2 ** 31,
      2 ** 32,
      2 ** 53,
      NaN,
      Infinity,
      -Infinity,
    ]) {
      expect(Object.is(roundTrip(number), number)).toBe(true)
    }
  })

  it('keep packed arrays of numbers, with their zeros and not-a-numbers', () => {
    const arrays = [
      [0, -0, 0, 0, 0, 0, 0, 0],
      [1, NaN, 3, 4, 5, 6, 7, 8],
      Array.from({ length: 1000 }, (_, i) => i - 500),
      Array.from({ length: 1000 }, (_, i) => i / 3),
      [1, 2, 3, 4, 5, 6, 7, 'eight'],
      [1, 2, 3, 4, 5, 6, 7, undefined],
    ]
    for (const array of arrays) expect(roundTrip(array)).toStrictEqual(array)
  })

  it('keep every string, also lone surrogates and long ones', () => {
    const strings = [
      '',
      'é',
      'ÿ',
      'Ā',
      '\0',
      '\ud800',
      'x\udfff',
      '😀',
      'x'.repeat(31),
      'x'.repeat(32),
      'x'.repeat(63),
      'x'.repeat(64),
      'é'.repeat(5000),
      '😀'.repeat(5000),
    ]
    for (const string of strings) expect(roundTrip(string)).toBe(string)
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (string) => roundTrip(string) === string))
  })

  it('keep bigints of any size and sign', () => {
    fc.assert(fc.property(fc.bigInt(), (number) => roundTrip(number) === number))
    const huge = -(2n ** 4000n) + 1n
    expect(roundTrip(huge)).toBe(huge)
  })

  it('keep undefined, null and the difference between them', () => {
    expect(roundTrip(undefined)).toBeUndefined()
    expect(roundTrip(null)).toBeNull()
    expect(roundTrip({ a: undefined, b: null })).toStrictEqual({ a: undefined, b: null })
    expect(Object.keys(roundTrip({ a: undefined }) as object)).toEqual(['a'])
  })

  it('keep keys that mean something to JavaScript as data', () => {
    const tricky = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2, "toString": 3, "": 4}') as object
    const back = roundTrip(tricky) as object
    expect(Object.getOwnPropertyNames(back)).toEqual(Object.getOwnPropertyNames(tricky))
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
    expect(({} as { polluted?: number }).polluted).toBeUndefined()
  })

  it('keep dictionaries with more keys than a record may have', () => {
    const dictionary = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`key ${i}`, { i }]))
    expect(roundTrip(dictionary)).toStrictEqual(dictionary)
  })

  it('keep many different records', () => {
    const records = Array.from({ length: 6000 }, (_, i) => ({ [`only ${i}`]: i, [`also ${i % 30}`]: true }))
    expect(roundTrip(records)).toStrictEqual(records)
  })

  it('keep holes, very sparse arrays and the results of regular expressions', () => {
    const holes = [1, , 3] // oxlint-disable-line no-sparse-arrays
    expect(roundTrip(holes)).toStrictEqual(holes)
    const trailing: unknown[] = [{}]
    trailing.length = 5
    expect(roundTrip(trailing)).toStrictEqual(trailing)
    const sparse: unknown[] = [{ first: 1 }]
    sparse[1e9] = { last: 1 }
    const back = roundTrip(sparse) as unknown[]
    expect(back.length).toBe(1e9 + 1)
    expect([back[0], back[1e9], Object.keys(back)]).toEqual([{ first: 1 }, { last: 1 }, ['0', '1000000000']])
    const match = /(?<year>\d+)-(\d+)/.exec('on 2024-05')
    expect(roundTrip(match)).toEqual(structuredClone(match))
    expect((roundTrip(match) as RegExpExecArray).index).toBe(3)
  })

  it('keep dates, regular expressions, boxed values and URLs', () => {
    expect(roundTrip(new Date(5))).toStrictEqual(new Date(5))
    expect((roundTrip(new Date(NaN)) as Date).getTime()).toBeNaN()
    expect(roundTrip(/a\/b/giu)).toStrictEqual(/a\/b/giu)
    expect(roundTrip(Object(5n))).toStrictEqual(Object(5n))
    expect(roundTrip(Object('text'))).toStrictEqual(Object('text'))
    expect((roundTrip(new URL('https://example.org/a?b#c')) as URL).href).toBe('https://example.org/a?b#c')
    expect(String(roundTrip(new URLSearchParams('a=1&b=2')))).toBe('a=1&b=2')
  })

  it('become plain below the top when they are instances of unregistered classes', () => {
    class Point {
      x = 1
      #hidden = 2
      get sum(): number {
        return this.x + this.#hidden
      }
    }
    expect(roundTrip([new Point()])).toStrictEqual([{ x: 1 }])
    expect(roundTrip(Object.create(null))).toStrictEqual({})
  })
})

describe('identity', () => {
  it('is kept for what appears twice', () => {
    const shared = { n: 1 }
    const back = roundTrip({ a: shared, b: [shared], m: new Map([[shared, shared]]) }) as {
      a: object
      b: object[]
      m: Map<object, object>
    }
    expect(back.b[0]).toBe(back.a)
    expect(back.m.get(back.a)).toBe(back.a)
  })

  it('is kept in cycles, also through maps, sets and errors', () => {
    const cycle: Record<string, unknown> = { list: [], map: new Map(), set: new Set(), error: new Error('e') }
    cycle['self'] = cycle
    ;(cycle['list'] as unknown[]).push(cycle)
    ;(cycle['map'] as Map<unknown, unknown>).set(cycle, cycle)
    ;(cycle['set'] as Set<unknown>).add(cycle)
    ;(cycle['error'] as { of?: unknown }).of = cycle
    const back = roundTrip(cycle) as typeof cycle
    expect(back['self']).toBe(back)
    expect((back['list'] as unknown[])[0]).toBe(back)
    expect((back['map'] as Map<unknown, unknown>).get(back)).toBe(back)
    expect((back['set'] as Set<unknown>).has(back)).toBe(true)
    expect((back['error'] as { of?: unknown }).of).toBe(back)
  })

  it('is kept among more objects than are searched one by one', () => {
    const objects = Array.from({ length: 50 }, (_, i) => ({ i }))
    const back = roundTrip([...objects, ...objects]) as object[]
    for (let i = 0; i < 50; i++) expect(back[i]).toBe(back[i + 50])
  })
})

describe('buffers', () => {
  const kinds = [
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
  ]

  it('keep their class and content, small ones in the body and large ones out of band', () => {
    for (const Kind of kinds) {
      for (const length of [0, 3, 5000]) {
        const bytes = new Uint8Array(length * 8).map((_, i) => i * 7)
        const view = new Kind(bytes.buffer, 0, length)
        expect(encodeValue(view).frames.length).toBe(view.byteLength >= 1024 ? 2 : 1)
        for (const back of [roundTrip(view), throughFrames(view)] as (typeof view)[]) {
          expect(back).toStrictEqual(view)
          expect(back.byteOffset).toBe(0)
          expect(back.buffer.byteLength).toBe(view.byteLength)
        }
      }
    }
  })

  it('carry ArrayBuffers and DataViews the same way', () => {
    for (const length of [0, 10, 4096]) {
      const buffer = new Uint8Array(length).map((_, i) => i).buffer
      expect(encodeValue(buffer).frames.length).toBe(length >= 1024 ? 2 : 1)
      expect(roundTrip(buffer)).toStrictEqual(buffer)
      const view = roundTrip({ view: new DataView(buffer, length >> 1) }) as { view: DataView }
      expect(view.view).toBeInstanceOf(DataView)
      expect(view.view.byteLength).toBe(length - (length >> 1))
    }
  })

  it('come back as Buffers when they were, each with memory of its own', () => {
    const [small, large] = roundTrip([Buffer.from('small'), Buffer.alloc(5000, 'x')]) as [Buffer, Buffer]
    expect(Buffer.isBuffer(small) && Buffer.isBuffer(large)).toBe(true)
    expect(small.toString()).toBe('small')
    expect(small.buffer.byteLength).toBe(5)
    expect(large.equals(Buffer.alloc(5000, 'x'))).toBe(true)
  })

  it('are carried as they are seen: a view of a part takes only that part along', () => {
    const whole = new Float64Array(1_000_000)
    const part = whole.subarray(10, 200)
    expect(encodeValue(part).nbytes).toBeLessThan(2000)
    expect((roundTrip(part) as Float64Array).buffer.byteLength).toBe(part.byteLength)
  })

  it('are one frame when the same view appears twice, and two when two views share a buffer', () => {
    const view = new Uint8Array(4096)
    expect(encodeValue([view, view]).frames.length).toBe(2)
    expect(encodeValue([view, new Uint8Array(view.buffer)]).frames.length).toBe(3)
  })

  it('are not copied while encoding, nor while decoding from ArrayBuffers', () => {
    const view = new Float64Array(1000)
    const frame = encodeValue({ view }).frames[1]
    expect(frame?.buffer).toBe(view.buffer)
    const encoded = encodeValue(view)
    const buffer = Uint8Array.from(encoded.frames[1] as Uint8Array).buffer
    const header = {
      meta: { clusterId: '', generation: 0, key: '', runId: 0 },
      family: encoded.family,
      type: '',
      bodyLength: 0,
      totalBytes: 0,
      frames: encoded.frames.map((f) => ({ offset: 0, length: f.length, crc32: 0 })),
    }
    const back = decodeFrames(header, [Uint8Array.from(encoded.frames[0] as Uint8Array).buffer, buffer]) as Float64Array
    expect(back.buffer).toBe(buffer)
  })

  it('keep Float16Array where this Node has it', () => {
    const Float16 = (globalThis as { Float16Array?: new (items: number[]) => ArrayBufferView }).Float16Array
    if (Float16 === undefined) return
    const view = new Float16([1, 2.5])
    expect(roundTrip(view)).toStrictEqual(view)
  })
})

describe('cost', () => {
  it('of a small value is a small body', () => {
    expect(encodeValue(42).nbytes).toBe(1)
    expect(encodeValue(undefined).nbytes).toBe(1)
    expect(encodeValue('hello').nbytes).toBe(6)
    const row = { id: 1, name: 'row' }
    expect(encodeValue([row, { ...row }]).nbytes - encodeValue([row]).nbytes).toBeLessThan(10)
  })

  it('allows a registered serializer to encode while encoding', () => {
    class Nested {
      inner = loads(dumps({ deep: true }))
    }
    expect(roundTrip([new Nested(), new Nested()])).toEqual([{ inner: { deep: true } }, { inner: { deep: true } }])
  })
})
