import { describe, expect, it } from 'vitest'
import { range } from './range.ts'
import { zip } from './zip.ts'

describe('zip', () => {
  it('ends with the shortest, and lets the others go', () => {
    let ended = false
    function* endless(): Generator<number> {
      try {
        for (let i = 0; ; i++) yield i
      } finally {
        ended = true
      }
    }
    expect([...zip([endless(), 'ab'])]).toEqual([
      [0, 'a'],
      [1, 'b'],
    ])
    expect(ended).toBe(true)
  })

  it('names what is not iterable', () => {
    expect(() => [...zip([[1], 2])]).toThrow(/Argument 1 of map is not iterable/)
    expect(() => [...zip([])]).toThrow(/at least one iterable/)
  })
})

describe('range', () => {
  it('counts like everybody expects', () => {
    expect([range(3), range(1, 7, 2), range(3, 0, -1), range(2, 2), range(-1)]).toEqual([
      [0, 1, 2],
      [1, 3, 5],
      [3, 2, 1],
      [],
      [],
    ])
    expect(() => range(0, 1, 0)).toThrow(RangeError)
  })
})
