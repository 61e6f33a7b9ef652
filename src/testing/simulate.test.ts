import { expect, it } from 'vitest'
import { simulate } from './simulate.ts'

it('tells the same history for the same seed', async () => {
  const [first, second] = [await simulate({ seed: 7 }), await simulate({ seed: 7, trace: true })]
  expect(second.hash).toBe(first.hash)
  expect(second.events).toBe(first.events)
  expect(second.trace.length).toBeGreaterThan(first.events / 10)
  expect((await simulate({ seed: 8 })).hash).not.toBe(first.hash)
})

it.each(Array.from({ length: 20 }, (_, seed) => seed))('seed %i', async (seed) => {
  expect((await simulate({ seed })).failure).toBeNull()
})
