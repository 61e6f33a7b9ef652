import { describe, expect, it } from 'vitest'
import { registerSizeof, sizeof } from './sizeof.ts'

describe('sizeof', () => {
  it('is exact about buffers and counts each once', () => {
    const view = new Float64Array(1000)
    expect(sizeof(view)).toBe(8000 + 64)
    expect(sizeof([view, view])).toBeLessThan(8300)
    expect(sizeof([view, new Uint8Array(view.buffer)])).toBeLessThan(8400)
    expect(sizeof(new ArrayBuffer(500))).toBe(564)
  })

  it('charges a slice for what it keeps alive', () => {
    expect(sizeof(new Float64Array(1e6).subarray(0, 10))).toBeGreaterThan(8e6)
    expect(sizeof(Buffer.from('small and pooled'))).toBeLessThan(200)
  })

  it('extrapolates from a few elements', () => {
    const rows = Array.from({ length: 100_000 }, (_, i) => ({ i, text: 'x'.repeat(100) }))
    const size = sizeof(rows)
    expect(size).toBeGreaterThan(100_000 * 120)
    expect(size).toBeLessThan(100_000 * 300)
    expect(sizeof(new Map(rows.map((row) => [row.i, row])))).toBeGreaterThan(size)
  })

  it('ends in cycles and never throws', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    expect(sizeof(cycle)).toBeLessThan(100)
    const hostile = {
      get x(): number {
        throw new Error('no')
      },
    }
    expect(sizeof(hostile)).toBe(1_000_000)
    for (const value of [null, undefined, 1, 'text', 1n, Symbol('s'), () => 1, new Set([1]), new Error('e')])
      expect(sizeof(value)).toBeGreaterThan(0)
  })

  it('can be told', () => {
    class Handle {}
    registerSizeof(Handle, () => 12_345)
    expect(sizeof(new Handle())).toBe(12_345)
  })
})
