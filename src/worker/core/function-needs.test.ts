import { describe, expect, it } from 'vitest'
import { FunctionNeeds } from './function-needs.ts'

describe('what functions need', () => {
  it('is unknown before the first run, then as high as all but one of twenty runs', () => {
    const needs = new FunctionNeeds()
    expect(needs.of('f')).toBeUndefined()
    for (let n = 1; n <= 40; n++) {
      needs.notePeak('f', n, 5)
      needs.noteResult('f', 100 * n)
    }
    expect(needs.of('f')).toMatchObject({ peakBytes: 38, resultBytes: 3800 })
    expect(needs.medianMs('f')).toBe(5)
  })

  it('forgets what was long ago', () => {
    const needs = new FunctionNeeds()
    needs.notePeak('f', 1000, 1)
    for (let n = 0; n < 64; n++) needs.notePeak('f', 10, 1)
    expect(needs.of('f')?.peakBytes).toBe(10)
  })

  it('rises at once', () => {
    const needs = new FunctionNeeds()
    for (let n = 0; n < 20; n++) needs.notePeak('f', 10, 1)
    for (let n = 0; n < 4; n++) needs.notePeak('f', 500, 1)
    expect(needs.of('f')?.peakBytes).toBe(500)
  })

  it('is kept apart by function', () => {
    const needs = new FunctionNeeds()
    needs.notePeak('f', 10, 1)
    needs.notePeak('g', 20, 3)
    expect([needs.of('f')?.peakBytes, needs.of('g')?.peakBytes, needs.medianMs('g')]).toEqual([10, 20, 3])
    expect(needs.medianMs('h')).toBe(0)
  })
})
