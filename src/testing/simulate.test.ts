import { describe, expect, it } from 'vitest'
import { REGRESSIONS } from './regressions.ts'
import { simulate } from './simulate.ts'

it('tells the same history for the same seed', async () => {
  const [first, second] = [await simulate({ seed: 7 }), await simulate({ seed: 7, trace: true })]
  expect(second.hash).toBe(first.hash)
  expect(second.events).toBe(first.events)
  expect(second.outcome).toEqual(first.outcome)
  expect(second.trace.length).toBeGreaterThan(first.events / 10)
  expect((await simulate({ seed: 8 })).hash).not.toBe(first.hash)
})

it('finishes without faults', async () => {
  for (let seed = 0; seed < 10; seed++) expect((await simulate({ seed, faults: false })).failure).toBeNull()
})

describe('what failed once holds', () => {
  it.each(REGRESSIONS)('$name (seed $seed)', async ({ seed }) => {
    expect((await simulate({ seed })).failure).toBeNull()
  })
})
