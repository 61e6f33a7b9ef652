import { describe, expect, it } from 'vitest'
import { functionId } from '../../base/ids.ts'
import { FunctionNeeds, type Origin } from './function-needs.ts'

const of = (name: string, fn = name): Origin => ({ fn: functionId(fn), name })

describe('what functions need', () => {
  it('is unknown before the first run, then as high as all but one of twenty runs', () => {
    const needs = new FunctionNeeds()
    expect(needs.of(of('f'))).toBeUndefined()
    for (let n = 1; n <= 40; n++) {
      needs.notePeak(of('f'), n, 5)
      needs.noteResult(of('f'), 100 * n)
    }
    expect(needs.of(of('f'))).toMatchObject({ peakBytes: 38, resultBytes: 3800 })
    expect(needs.medianMs(of('f'))).toBe(5)
  })

  it('forgets what was long ago', () => {
    const needs = new FunctionNeeds()
    needs.notePeak(of('f'), 1000, 1)
    for (let n = 0; n < 64; n++) needs.notePeak(of('f'), 10, 1)
    expect(needs.of(of('f'))?.peakBytes).toBe(10)
  })

  it('rises at once', () => {
    const needs = new FunctionNeeds()
    for (let n = 0; n < 20; n++) needs.notePeak(of('f'), 10, 1)
    for (let n = 0; n < 4; n++) needs.notePeak(of('f'), 500, 1)
    expect(needs.of(of('f'))?.peakBytes).toBe(500)
  })

  it('is kept apart by function', () => {
    const needs = new FunctionNeeds()
    needs.notePeak(of('f'), 10, 1)
    needs.notePeak(of('g'), 20, 3)
    expect([needs.of(of('f'))?.peakBytes, needs.of(of('g'))?.peakBytes, needs.medianMs(of('g'))]).toEqual([10, 20, 3])
    expect(needs.medianMs(of('h'))).toBe(0)
  })

  it('is that of its name for a function not seen before, but for shortages', () => {
    const needs = new FunctionNeeds()
    needs.notePeak(of('lambda', 'a'), 10, 1)
    needs.noteShortage(of('lambda', 'b'), 500)
    expect(['a', 'b', 'c'].map((fn) => needs.of(of('lambda', fn))?.peakBytes)).toEqual([10, 500, 10])
  })
})
