import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { runId, taskKey } from '../base/ids.ts'
import { TaskRef, encodeArgs } from '../values/args.ts'
import { blobToBytes } from '../values/blob.ts'
import { decodeBlob } from '../values/decode.ts'
import { encodeValue } from '../values/encode.ts'
import { decodeError } from '../values/error.ts'
import { InputReader } from './input-reader.ts'
import { type Outcome, type TaskAttempt, prepare, produce, thrownBy } from './run-task.ts'

const reader = new InputReader({ libc: null, mapThreshold: Infinity, onUnmapped: () => {} })

function attempt(args: readonly unknown[], values: Record<string, unknown> = {}): TaskAttempt {
  const inputs = Object.entries(values).map(([key, value]) => ({
    key: taskKey(key),
    source: {
      via: 'inline',
      bytes: blobToBytes({ clusterId: 'c', generation: 1, key, runId: 1 }, encodeValue(value)),
    } as const,
  }))
  return {
    runId: runId(2),
    key: taskKey('t'),
    args: encodeArgs(args, () => undefined).bytes,
    inputs,
    clusterId: 'c',
    generation: 1,
  }
}

const errorOf = (outcome: Outcome): unknown => (outcome.kind === 'erred' ? decodeError(outcome.error) : outcome)

describe('one attempt', () => {
  it('puts the values of other tasks where the arguments name them, each read once', () => {
    const prepared = prepare(
      attempt([new TaskRef('a'), { nested: [new TaskRef('a'), new TaskRef('b')] }], { a: { x: 1 }, b: 'text' }),
      reader,
      () => {},
    )
    const { args } = prepared as { args: [object, { nested: [object, string] }] }
    expect(args).toEqual([{ x: 1 }, { nested: [{ x: 1 }, 'text'] }])
    expect(args[1].nested[0]).toBe(args[0])
  })

  it('tells a bad input from a task that cannot be run', () => {
    const broken = attempt([new TaskRef('a')], { a: 1 })
    const cut = {
      ...broken,
      inputs: broken.inputs.map(({ key }) => ({ key, source: { via: 'inline', bytes: new Uint8Array(30) } as const })),
    }
    expect(prepare(cut, reader, () => {})).toMatchObject({ outcome: { kind: 'input-bad', key: 'a' } })
    expect(prepare(attempt([new TaskRef('a')]), reader, () => {})).toMatchObject({
      outcome: { kind: 'erred', failure: 'system' },
    })
    expect(prepare({ ...attempt([1]), args: new Uint8Array([9, 9]) }, reader, () => {})).toMatchObject({
      outcome: { kind: 'erred', failure: 'system' },
    })
  })

  it('makes a whole blob of a small value, and pieces of a large one', () => {
    const small = produce(attempt([]), { answer: 42 }, 1000)
    if (small.kind !== 'inline') throw new Error(small.kind)
    expect(decodeBlob(small.blob)).toMatchObject({
      header: { meta: { key: 't', runId: 2, clusterId: 'c' } },
      value: { answer: 42 },
    })
    const large = produce(attempt([]), new Uint8Array(2000).fill(7), 1000)
    if (large.kind !== 'large') throw new Error(large.kind)
    const { head, pieces, seal } = large.blob
    seal(pieces.reduce<number[]>((sums, { bytes, frame }) => (frame === null ? sums : [...sums, crc32(bytes)]), []))
    const whole = Buffer.concat([head, ...pieces.map(({ bytes }) => bytes)])
    expect(whole.byteLength).toBe(large.nbytes)
    expect(decodeBlob(whole).value).toEqual(new Uint8Array(2000).fill(7))
  })

  it('fails with the path to what cannot be serialised', () => {
    expect(errorOf(produce(attempt([]), { a: [() => 1] }, 1000))).toMatchObject({
      code: 'NOT_SERIALIZABLE',
      fields: { path: 'result.a[0]' },
    })
  })

  it('is failed by an error whose properties throw, with as much of it as can be read', () => {
    const trap = new Error('read me')
    Object.defineProperty(trap, 'code', {
      get: () => {
        throw new Error('no')
      },
    })
    expect(errorOf(thrownBy(attempt([]), trap))).toMatchObject({ message: 'read me' })
    const refuse = (): never => {
      throw new Error('no')
    }
    for (const thrown of [new Proxy(new Error('x'), { get: refuse, getPrototypeOf: refuse }), Object.create(null)])
      expect(thrownBy(attempt([]), thrown)).toMatchObject({ kind: 'erred', failure: 'user' })
  })

  it('calls a refused buffer out of memory, and no other RangeError', () => {
    const refused = (): unknown => new ArrayBuffer(Number.MAX_SAFE_INTEGER)
    let thrown: unknown
    try {
      refused()
    } catch (error) {
      thrown = error
    }
    expect(thrownBy(attempt([]), thrown)).toMatchObject({ failure: 'out-of-memory' })
    expect(thrownBy(attempt([]), new RangeError('precision out of range'))).toMatchObject({ failure: 'user' })
  })
})
