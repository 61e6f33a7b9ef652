import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PlimsollError, isErrorCode } from '../errors/plimsoll-error.ts'
import { decodeError, encodeError } from './error.ts'
import { dumps, loads } from './families.ts'

const roundTrip = (thrown: unknown): Error & Record<string, unknown> =>
  decodeError(encodeError(thrown)) as Error & Record<string, unknown>

class ValidationError extends TypeError {
  readonly field: string
  constructor(message: string, field: string) {
    super(message)
    this.field = field
  }
}

describe('an error', () => {
  it('keeps message, stack, class and own properties', () => {
    const error = Object.assign(new RangeError('too far'), { code: 'E_FAR', limits: { max: [1, 2] } })
    const back = roundTrip(error)
    expect(back).toBeInstanceOf(RangeError)
    expect(back.message).toBe('too far')
    expect(back.stack).toBe(error.stack)
    expect(back['code']).toBe('E_FAR')
    expect(back['limits']).toEqual({ max: [1, 2] })
    expect(Object.keys(back)).toEqual(['code', 'limits'])
  })

  it('is of the builtin class that its own class descends from, and names its own', () => {
    const error = new ValidationError('bad', 'age')
    const back = roundTrip(error)
    expect(back).toBeInstanceOf(TypeError)
    expect(back.constructor.name).toBe('ValidationError')
    expect(back['field']).toBe('age')
    expect(back.name).toBe(error.name)
    expect(roundTrip(back).constructor.name).toBe('ValidationError')
    const named = new Error('x')
    named.name = 'Custom'
    expect(roundTrip(named).name).toBe('Custom')
    expect(String(roundTrip(named))).toBe('Custom: x')
  })

  it('keeps every builtin class', () => {
    for (const Class of [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError]) {
      const back = roundTrip(new Class('m'))
      expect(Object.getPrototypeOf(back)).toBe(Class.prototype)
    }
    const abort = roundTrip(new DOMException('stop', 'AbortError'))
    expect(abort).toBeInstanceOf(DOMException)
    expect([abort.name, abort.message]).toEqual(['AbortError', 'stop'])
  })

  it('keeps its causes and aggregated errors', () => {
    const back = roundTrip(
      new AggregateError([new TypeError('a'), 'b'], 'both', { cause: new Error('c', { cause: 42 }) }),
    )
    expect(back).toBeInstanceOf(AggregateError)
    const { errors, cause } = back as unknown as AggregateError
    expect(errors[0]).toBeInstanceOf(TypeError)
    expect(errors[1]).toBe('b')
    expect((cause as Error).cause).toBe(42)
    expect(Object.keys(back)).toEqual([])
  })

  it('of Plimsoll comes back as one, with code and fields', () => {
    const back = roundTrip(new PlimsollError('STORE_FULL', 'no room', { bytes: 5 }, { cause: new Error('ENOSPC') }))
    expect(back).toBeInstanceOf(PlimsollError)
    expect(isErrorCode(back, 'STORE_FULL')).toBe(true)
    expect(back['fields']).toEqual({ bytes: 5 })
    expect((back as unknown as PlimsollError).reaction).toBe('retry')
    expect((back.cause as Error).message).toBe('ENOSPC')
    expect(isErrorCode(roundTrip(Object.assign(back, { code: 'OF_THE_FUTURE' })), 'INTERNAL')).toBe(true)
  })

  it('is made of whatever was thrown', () => {
    expect(roundTrip('a text').message).toBe('a text')
    expect(roundTrip(42).cause).toBe(42)
    expect(roundTrip(undefined)).toBeInstanceOf(Error)
    expect(roundTrip({ message: 'like an error', code: 7 }).message).toBe('like an error')
    expect(roundTrip(Object.create(null))).toBeInstanceOf(Error)
    expect(roundTrip(Symbol('s'))).toBeInstanceOf(Error)
    fc.assert(fc.property(fc.anything(), (thrown) => roundTrip(thrown) instanceof Error))
  })

  it('has what cannot be sent described, and functions left out', () => {
    const error = Object.assign(new Error('e'), {
      handler: () => 1,
      request: { socket: new Proxy({}, {}), id: 1 },
      weak: new WeakMap(),
    })
    const back = roundTrip(error)
    expect(Object.keys(back)).toEqual(['request', 'weak'])
    expect(back['request']).toBeTypeOf('string')
    expect(back['weak']).toContain('WeakMap')
  })

  it('may contain itself', () => {
    const error: Error & { self?: unknown } = new Error('loop')
    error.self = { again: error }
    error.cause = error
    const back = roundTrip(error)
    expect(back.cause).toBe(back)
    expect((back['self'] as { again: unknown }).again).toBe(back)
  })

  it('never makes encoding throw, whatever its getters do', () => {
    const hostile = new Error('x')
    for (const key of ['stack', 'message', 'name', 'cause', 'extra']) {
      Object.defineProperty(hostile, key, {
        enumerable: true,
        get: () => {
          throw new Error('gotcha')
        },
      })
    }
    expect(roundTrip(hostile)).toBeInstanceOf(Error)
    const proxied = new Proxy(new Error('p'), {
      get: () => {
        throw new Error('get')
      },
      getPrototypeOf: () => {
        throw new Error('proto')
      },
    })
    expect(roundTrip(proxied)).toBeInstanceOf(Error)
  })

  it('is bounded in size', () => {
    let chain = new Error('root')
    for (let i = 0; i < 1000; i++) chain = new Error(`level ${i}`, { cause: chain })
    const fat = Object.assign(
      new AggregateError(
        Array.from({ length: 10_000 }, () => chain),
        'm'.repeat(1e6),
      ),
      {
        huge: 'x'.repeat(1e7),
        ...Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`p${i}`, 'y'.repeat(100_000)])),
      },
    )
    const bytes = encodeError(fat)
    expect(bytes.length).toBeLessThan(2 * 1024 * 1024)
    const back = decodeError(bytes)
    expect(back.message).toMatch(/^m+… \(\d+ more characters\)$/)
    expect(back).toBeInstanceOf(AggregateError)
  })

  it('cuts long chains of causes but keeps their beginning', () => {
    let chain: Error = new Error('root')
    for (let i = 0; i < 100; i++) chain = new Error(`level ${i}`, { cause: chain })
    let depth = 0
    let at: unknown = roundTrip(chain)
    for (; at instanceof Error; at = at.cause) depth++
    expect(depth).toBe(16)
    expect(at).toContain('level 83')
  })

  it('that is damaged still gives an error', () => {
    const bytes = encodeError(new TypeError('x', { cause: new Error('y') }))
    for (let length = 0; length < bytes.length; length++)
      expect(decodeError(bytes.subarray(0, length))).toBeInstanceOf(Error)
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Uint8Array.from(bytes)
      damaged[at]! ^= 0xff
      expect(decodeError(damaged)).toBeInstanceOf(Error)
    }
  })

  it('nested in a value keeps all of this', () => {
    const value = {
      failures: [new ValidationError('bad', 'age')],
      map: new Map([[1, new PlimsollError('TIMEOUT', 't', { ms: 5 })]]),
    }
    const back = loads(dumps(value)) as typeof value
    expect(back.failures[0]).toBeInstanceOf(TypeError)
    expect(back.failures[0]?.field).toBe('age')
    expect(back.failures[0]?.stack).toBe(value.failures[0]?.stack)
    expect(back.map.get(1)?.fields).toEqual({ ms: 5 })
  })

  it('nested in a value keeps its buffers out of band', () => {
    const error = Object.assign(new Error('e'), { data: new Float64Array(1000).fill(3) })
    const back = loads(dumps([error, error])) as (typeof error)[]
    expect(back[0]?.data[999]).toBe(3)
    expect(back[1]).toBe(back[0])
  })
})
