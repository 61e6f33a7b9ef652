import { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { encodeValue } from './encode.ts'
import { dumps, isSerializable, loads } from './families.ts'

function refusalOf(value: unknown): { path: string; reason: string; message: string } {
  try {
    encodeValue(value, { root: 'result' })
  } catch (error) {
    expect(error).toBeInstanceOf(PlimsollError)
    const { code, fields, message } = error as PlimsollError
    expect(code).toBe('NOT_SERIALIZABLE')
    return { path: String(fields['path']), reason: String(fields['reason']), message }
  }
  throw new Error('was not refused')
}

class Pool {
  size = 1
}

describe('what cannot be sent', () => {
  it('is named with its path', () => {
    const cases: [value: unknown, message: string][] = [
      [{ rows: [1, 2, 3, { onClick: () => 1 }] }, 'result.rows[3].onClick is a function'],
      [() => 1, 'result is a function'],
      [{ 'odd key': Symbol('s') }, 'result["odd key"] is a symbol'],
      [[[Promise.resolve(1)]], 'result[0][0] is a promise: await it first'],
      [{ a: new WeakMap() }, 'result.a is a WeakMap, whose content cannot be sent'],
      [{ a: new WeakRef({}) }, 'result.a is a WeakRef, whose content cannot be sent'],
      [{ p: new Proxy({}, {}) }, 'result.p is a Proxy'],
      [new Proxy([], {}), 'result is a Proxy'],
      [new Map([['k', { f: () => 1 }]]), 'result.get("k").f is a function'],
      [new Map([[() => 1, 1]]), 'result.keys() is a function'],
      [new Set([{ f: () => 1 }]), 'result.values().f is a function'],
      [Object.assign([1], { index: () => 1 }), 'result.index is a function'],
      [{ n: new Intl.NumberFormat() }, 'result.n is a NumberFormat, whose content cannot be sent'],
      [{ s: new AbortController().signal }, 'result.s is an AbortSignal, whose content cannot be sent'],
      [{ b: new Blob(['x']) }, 'result.b is a Blob, whose content cannot be sent'],
    ]
    for (const [value, message] of cases) expect(refusalOf(value).message).toBe(message)
  })

  it('includes shared memory, bare and seen through a view', () => {
    expect(refusalOf({ m: new SharedArrayBuffer(8) }).message).toContain('result.m is a SharedArrayBuffer')
    expect(refusalOf([new Int32Array(new SharedArrayBuffer(8))]).message).toContain(
      'result[0] is a view of a SharedArrayBuffer',
    )
  })

  it('includes generators, iterators, sockets and emitters', () => {
    function* numbers(): Generator<number> {
      yield 1
    }
    expect(refusalOf(numbers()).reason).toContain('is a generator')
    expect(refusalOf([[1].values()]).reason).toContain('is an iterator')
    expect(refusalOf(new Map().entries()).reason).toContain('is an iterator')
    const socket = new Socket()
    expect(refusalOf({ db: { socket } }).message).toContain('result.db.socket is a Socket')
    socket.destroy()
    expect(refusalOf({ e: new EventEmitter() }).reason).toContain('EventEmitter')
  })

  it('includes buffers that were transferred away', () => {
    const buffer = new ArrayBuffer(64)
    const view = new Uint8Array(buffer)
    structuredClone(buffer, { transfer: [buffer] })
    expect(refusalOf({ view }).message).toContain('result.view was transferred away')
    expect(refusalOf({ buffer }).message).toContain('result.buffer was transferred away')
  })

  it('includes what throws while it is read, with the cause', () => {
    const value = {
      fine: 1,
      get bad(): number {
        throw new RangeError('no value')
      },
    }
    expect(refusalOf({ value }).message).toBe('result.value.bad threw when it was read: no value')
    expect(() => encodeValue(value)).toThrow(expect.objectContaining({ cause: new RangeError('no value') }))
  })

  it('is found in cycles and among many values', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    cycle['f'] = () => 1
    expect(refusalOf(cycle).message).toBe('result.f is a function')
    const rows = Array.from({ length: 10_000 }, (_, i) => ({ i, value: i === 9_876 ? () => 1 : i }))
    expect(refusalOf(rows).message).toBe('result[9876].value is a function')
  })
})

describe('class instances', () => {
  it('are refused as a whole result, with the way out', () => {
    expect(refusalOf(new Pool()).message).toMatch(
      /^result is an instance of class Pool, which would lose its class: .*registerSerializer\(Pool/,
    )
    expect(refusalOf(new (class Rows extends Map {})()).message).toContain('class Rows')
    expect(refusalOf(new (class extends Pool {})()).message).toContain('an instance of class')
  })

  it('are fine when they are of the language, of Node, plain or without a prototype', () => {
    const fine = [
      {},
      [],
      Object.create(null),
      new Map(),
      new Set(),
      new Date(),
      /x/,
      new Error('e'),
      new TypeError('e'),
      Buffer.from('x'),
      new Float32Array(2),
      new ArrayBuffer(1),
      Object(1),
      new URL('a:b'),
    ]
    for (const value of fine) expect(isSerializable(value)).toEqual({ ok: true })
    class Failure extends Error {}
    expect(isSerializable(new Failure('own encoding'))).toEqual({ ok: true })
  })

  it('with the name of a class of the platform are the user’s own', () => {
    const Module = class Module {
      n = 1
    }
    expect(loads(dumps([new Module()]))).toEqual([{ n: 1 }])
  })

  it('of Plimsoll say what to do', () => {
    class Future {}
    class Delayed {}
    expect(refusalOf(new Future()).message).toContain('await future.result()')
    expect(refusalOf(new Delayed()).message).toContain('compute it first')
  })
})

describe('deep nesting', () => {
  const nest = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
    let value: unknown = 1
    for (let i = 0; i < depth; i++) value = wrap(value)
    return value
  }
  const wraps: Record<string, (inner: unknown) => unknown> = {
    objects: (next) => ({ next }),
    arrays: (next) => [next],
    maps: (next) => new Map([[1, next]]),
    sets: (next) => new Set([next]),
    errors: (next) => new Error('e', { cause: next }),
  }

  it('of 20,000 levels is refused with both ends of the path', () => {
    for (const kind of ['objects', 'arrays', 'maps', 'sets']) {
      const { message } = refusalOf(nest(20_000, wraps[kind] as (inner: unknown) => unknown))
      expect(message).toMatch(/^result.*more.*nested/)
      expect(message.length).toBeLessThan(400)
    }
    expect(refusalOf(nest(20_000, wraps['objects'] as (inner: unknown) => unknown)).message).toMatch(
      /^result\.next\.next\.next\.next\.next\.next…\(\d+ more\)…/,
    )
  })

  it('of 1,900 levels is fine both ways, in any container', () => {
    for (const wrap of [wraps['objects'], wraps['arrays'], wraps['maps'], wraps['sets']]) {
      const value = nest(1_900, wrap as (inner: unknown) => unknown)
      expect(loads(dumps(value))).toBeTypeOf('object')
    }
  })

  it('of errors is cut, not refused', () => {
    const back = loads(dumps(nest(20_000, wraps['errors'] as (inner: unknown) => unknown)))
    expect(back).toBeInstanceOf(Error)
  })

  it('is refused rather than a stack overflow when the stack is nearly used up', () => {
    const value = nest(1_500, wraps['maps'] as (inner: unknown) => unknown)
    const descend = (left: number): unknown => (left === 0 ? refusalOrValue() : [descend(left - 1)])
    const refusalOrValue = (): string => {
      try {
        encodeValue(value)
        return 'fits'
      } catch (error) {
        return (error as PlimsollError).code
      }
    }
    const seen = new Set<string>()
    for (let depth = 500; depth < 20_000; depth += 250) {
      try {
        seen.add((descend(depth) as unknown[]).flat(Infinity)[0] as string)
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError) // of the test's own recursion
        break
      }
    }
    expect([...seen].every((outcome) => outcome === 'fits' || outcome === 'NOT_SERIALIZABLE')).toBe(true)
  })
})

describe('isSerializable', () => {
  it('says where and why not', () => {
    expect(isSerializable({ a: 1 })).toEqual({ ok: true })
    expect(isSerializable({ a: [() => 1] })).toEqual({ ok: false, path: 'value.a[0]', reason: 'is a function' })
  })

  it('leaves nothing behind that a later encoding would see', () => {
    for (let i = 0; i < 10; i++) isSerializable({ big: 'x'.repeat(100_000), bad: () => 1 })
    expect(loads(dumps({ a: 1 }))).toEqual({ a: 1 })
  })
})
