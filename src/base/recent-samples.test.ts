import { expect, it } from 'vitest'
import { Prng } from './prng.ts'
import { Samples } from './recent-samples.ts'

it('the largest but some is what sorting gives', () => {
  const prng = new Prng(1)
  for (const capacity of [1, 4, 64]) {
    const samples = new Samples(capacity)
    for (let n = 0; n < 3 * capacity; n++) {
      samples.add(prng.int(20))
      const sorted = samples.sorted()
      for (let above = 0; above < Math.min(4, sorted.length); above++)
        expect(samples.largestBut(above)).toBe(sorted[sorted.length - 1 - above])
    }
  }
})
