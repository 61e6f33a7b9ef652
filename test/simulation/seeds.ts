import { expect, it } from 'vitest'
import { simulate } from '../../src/testing/simulate.ts'

/** Seeds of one test: few enough to say where it hangs, enough to be quick. */
const BATCH = 25

/** Simulates so many fixed seeds from the first on; the message names seed, failure and what is known about it. */
export function simulateSeeds(first: number, count: number): void {
  const batches = Array.from({ length: Math.ceil(count / BATCH) }, (_, n) => first + n * BATCH)
  it.each(batches)(`acceptance check 59: holds for ${BATCH} seeds from %i`, async (from) => {
    for (let seed = from; seed < Math.min(from + BATCH, first + count); seed++) {
      const { failure } = await simulate({ seed })
      const text = failure === null ? '' : [failure.what, ...failure.details].join('\n')
      expect(text, `replay with: npm run sim -- --seed ${seed} --trace`).toBe('')
    }
  })
}
