import { describe, expect, it } from 'vitest'
import { decidePlacement, type PlacementView } from './placement.ts'

const roomy: PlacementView = {
  target: 60,
  allowed: Infinity,
  ceiling: 90,
  memoryUsed: 0,
  memoryComing: 0,
  memoryFree: 1000,
  memoryFreeComing: 0,
  diskUsed: 0,
  maxSpill: Infinity,
  diskFree: 1000,
  diskComing: 0,
  diskBlocked: false,
}
const decide = (
  nbytes: number,
  change: Partial<PlacementView> = {},
  ahead = 0,
  avoid: 'memory' | 'disk' | null = null,
) => decidePlacement(nbytes, ahead, avoid, { ...roomy, ...change })

describe('decidePlacement', () => {
  it('puts in memory what fits below target', () => {
    expect(decide(60)).toBe('memory')
    expect(decide(10, { memoryUsed: 50 })).toBe('memory')
  })

  it('puts on disk what is above target alone, or meets a full RAM file system', () => {
    expect(decide(61)).toBe('disk')
    expect(decide(10, { memoryFree: 9 })).toBe('disk')
  })

  it('puts on disk what process memory has no room for below spill, and in memory what the disk cannot take', () => {
    expect(decide(20, { memoryUsed: 20, allowed: 40 })).toBe('memory')
    expect(decide(20, { memoryUsed: 21, allowed: 40 })).toBe('disk')
    expect(decide(20, { allowed: -1 })).toBe('disk')
    expect(decide(20, { memoryUsed: 21, memoryComing: 21, allowed: 40 })).toBe('disk')
    expect(decide(20, { memoryUsed: 21, allowed: 40 }, 0, 'disk')).toBe('memory')
    expect(decide(20, { memoryUsed: 21, allowed: 40, diskBlocked: true })).toBe('memory')
  })

  it('waits when room is on its way, and takes the disk when it is not', () => {
    expect(decide(20, { memoryUsed: 50, memoryComing: 10 })).toBe('wait')
    expect(decide(20, { memoryUsed: 50, memoryComing: 9 })).toBe('disk')
  })

  it('keeps what earlier requests need away from later ones', () => {
    expect(decide(10, { memoryUsed: 40 }, 20)).toBe('wait')
    expect(decide(10, { memoryUsed: 30 }, 20)).toBe('memory')
  })

  it('goes above target, up to the ceiling, when the disk cannot take it', () => {
    for (const change of [{ diskFree: 0 }, { maxSpill: 0 }, { diskBlocked: true }]) {
      expect(decide(20, { memoryUsed: 60, ...change })).toBe('memory')
      expect(decide(31, { memoryUsed: 60, ...change })).toBe('full')
      expect(decide(70, change)).toBe('memory')
    }
  })

  it('counts what is on disk against max-spill', () => {
    expect(decide(61, { diskUsed: 39, maxSpill: 100 })).toBe('disk')
    expect(decide(61, { diskUsed: 40, maxSpill: 100, memoryUsed: 30 })).toBe('full')
    expect(decide(61, { diskUsed: 40, diskComing: 1, maxSpill: 100, memoryUsed: 30 })).toBe('wait')
  })

  it('avoids a tier when told to', () => {
    expect(decide(10, {}, 0, 'memory')).toBe('disk')
    expect(decide(61, {}, 0, 'disk')).toBe('memory')
    expect(decide(10, { diskFree: 0 }, 0, 'memory')).toBe('full')
  })

  it('never waits for a target that is off', () => {
    expect(decide(1e9, { target: Infinity, ceiling: Infinity, memoryFree: 2e9 })).toBe('memory')
    expect(decide(1e9, { target: Infinity, ceiling: Infinity, memoryFree: 1, diskFree: 2e9 })).toBe('disk')
  })
})
