import { describe, expect, it } from 'vitest'
import { editDistance, nearestName } from './nearest-name.ts'

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['abc', 'abc', 0],
    ['abc', 'acb', 1],
    ['kitten', 'sitting', 3],
    ['', 'abc', 3],
  ])('from %s to %s is %d', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance)
    expect(editDistance(b, a)).toBe(distance)
  })
})

describe('nearestName', () => {
  it('finds what was meant, whatever the case, and nothing when nothing is near', () => {
    const names = ['nthreads', 'memoryLimit', 'nWorkers']
    expect(nearestName('nthread', names)).toBe('nthreads')
    expect(nearestName('memorylimit', names)).toBe('memoryLimit')
    expect(nearestName('dashboard', names)).toBe(undefined)
  })
})
