import { describe, expect, it } from 'vitest'
import { resolveAdaptOptions } from './adapt-options.ts'
import { AdaptiveDecision } from './adaptive.ts'

describe('an adaptive cluster', () => {
  it('9.6-2 grows at once, to what is recommended', () => {
    const decision = new AdaptiveDecision(3)
    expect(decision.next(['a'], { target: 4, close: [] })).toEqual({ kind: 'up', n: 4 })
    expect(decision.next(['a', 'b', 'c', 'd'], { target: 4, close: [] })).toEqual({ kind: 'same' })
  })

  it('9.6-3 lets a worker go that could go so many times in a row', () => {
    const decision = new AdaptiveDecision(3)
    const step = (close: readonly string[], target = 1) => decision.next(['a', 'b', 'c'], { target, close })
    expect([step(['b', 'c']), step(['b'])]).toEqual([{ kind: 'same' }, { kind: 'same' }])
    expect(step(['b', 'c'])).toEqual({ kind: 'down', workers: ['b'] })
    expect(step(['c'])).toEqual({ kind: 'same' })
    expect(step([], 5)).toEqual({ kind: 'up', n: 5 })
    expect([step(['c']), step(['c'])]).toEqual([{ kind: 'same' }, { kind: 'same' }])
    expect(step(['c', 'x'])).toEqual({ kind: 'down', workers: ['c'] })
  })

  it('9.6-1 takes its defaults from the configuration, and refuses what makes no sense', () => {
    expect(resolveAdaptOptions({}, { 'adaptive.minimum': 2 })).toEqual({
      minimum: 2,
      maximum: Number.MAX_SAFE_INTEGER,
      intervalMs: 1000,
      waitCount: 3,
      targetDurationMs: 5000,
    })
    expect(resolveAdaptOptions({ maximum: 4, interval: '200ms' }, {})).toMatchObject({ maximum: 4, intervalMs: 200 })
    for (const options of [
      { minimum: -1 },
      { maximum: 1.5 },
      { minimum: 3, maximum: 2 },
      { waitCount: 0 },
      { interval: 'x' },
    ])
      expect(() => resolveAdaptOptions(options, {})).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error,
      )
    expect(() => resolveAdaptOptions({ min: 1 } as object, {})).toThrow(/no option "min"/)
  })
})
