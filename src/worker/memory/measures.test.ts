import { describe, expect, it } from 'vitest'
import { measure, SlidingMinimum } from './measures.ts'

describe('memory measures', () => {
  it('add up for all small inputs, none negative', () => {
    for (let bits = 0; bits < 4 ** 4; bits++) {
      const [privateBytes, tierBytes, managed, old] = [bits & 3, (bits >> 2) & 3, (bits >> 4) & 3, (bits >> 6) & 3]
      const {
        process,
        managed: counted,
        unmanaged,
        unmanagedRecent,
      } = measure(9, { privateBytes, tierBytes, managed, spilled: 7 }, old)
      expect(counted + unmanaged + unmanagedRecent).toBe(process)
      expect(Math.min(process, counted, unmanaged, unmanagedRecent)).toBeGreaterThanOrEqual(0)
      expect(counted).toBe(managed)
      expect(process).toBeGreaterThanOrEqual(privateBytes + tierBytes)
    }
  })

  it('call unmanaged memory old when it was there during the whole window', () => {
    const window = new SlidingMinimum(30)
    window.add(0, 100)
    window.add(10, 500)
    expect(window.value).toBe(100)
    window.add(31, 600)
    expect(window.value).toBe(500)
    window.add(32, 50)
    expect(window.value).toBe(50)
  })
})
