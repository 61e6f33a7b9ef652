// What executors keep in memory between tasks.

import { describe, expect, it } from 'vitest'
import { Harness, fromSource } from './executor-harness.ts'

const MIB = 2 ** 20
const LARGE = 40 * MIB

/** Private memory of the only executor above that of an idle one, bytes. */
function grown(harness: Harness): number {
  const [sample] = harness.pool.sample()
  return (sample?.privateBytes ?? NaN) - (sample?.baselineBytes ?? NaN)
}

describe.runIf(process.platform === 'linux')('memory of large results', () => {
  const large = fromSource('function large(nbytes, n) { return new Float64Array(nbytes / 8).fill(n) }')
  const small = fromSource('function small(n) { return n }')

  it('is given back once they are written, before the next task, without a collection of everything', async () => {
    // Without a limit an executor does not collect by itself, whatever it has grown by.
    await using harness = await Harness.start({ memoryLimit: 0 })
    await harness.submit(small, [0])
    let given = 0
    for (let n = 0; n < 12; n++) {
      expect(await harness.submit(large, [LARGE, n])).toMatchObject({ kind: 'finished', via: 'place' })
      // A thread of the engine frees it.
      const isGiven = harness.until(() => grown(harness) < LARGE / 2, 2000)
      given += await isGiven.then(
        () => 1,
        () => 0,
      )
      expect(grown(harness)).toBeLessThan(2.5 * LARGE)
    }
    // Now and then a buffer of the pool is due just then.
    expect(given).toBeGreaterThanOrEqual(10)
  }, 60_000)
})

describe.runIf(process.platform === 'linux')('memory that a task took and left', () => {
  const take = fromSource(
    'async function take(count) { const all = []; for (let n = 0; n < count; n++) { all.push(Buffer.alloc(2 ** 24, 1)); await null } return all.length }',
  )

  it('is free when its end is told', async () => {
    await using harness = await Harness.start({ memoryLimit: 1024 * MIB })
    for (let n = 0; n < 5; n++) {
      expect(await harness.submit(take, [20])).toMatchObject({ kind: 'finished', via: 'inline' })
      expect(grown(harness)).toBeLessThan(64 * MIB)
    }
  }, 60_000)
})
