import { expect, it } from 'vitest'
import { planSimulation } from './plan.ts'
import { simulate } from './simulate.ts'

it('tells the same history for the same seed', async () => {
  const [first, second] = [await simulate({ seed: 7 }), await simulate({ seed: 7, trace: true })]
  expect(second.hash).toBe(first.hash)
  expect(second.events).toBe(first.events)
  expect(second.outcome).toEqual(first.outcome)
  expect(second.trace.length).toBeGreaterThan(first.events / 10)
  expect((await simulate({ seed: 8 })).hash).not.toBe(first.hash)
})

it.each<[string, unknown]>([
  ['a seed that is missing', {}],
  ['a seed that is a text', { seed: '7' }],
  ['a seed that is not whole', { seed: 1.5 }],
  ['a seed that is no number', { seed: Number.NaN }],
  ['a seed without end', { seed: Infinity }],
  ['an unknown option', { seed: 7, fault: false }],
  ['a seed beside a plan', { seed: 7, plan: planSimulation({ seed: 7 }) }],
  ['a plan that is none', { plan: null }],
  ['an unknown stress', { seed: 7, stress: 'much' }],
  ['a stress from the prototype', { seed: 7, stress: 'constructor' }],
  ['faults that are no flag', { seed: 7, faults: 'none' }],
  ['a trace that is no flag', { seed: 7, trace: 1 }],
  ['no options', undefined],
])('refuses %s', async (_, options) => {
  await expect(simulate(options as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it('takes negative seeds, as histories of their own', async () => {
  const [minus, plus] = [await simulate({ seed: -7 }), await simulate({ seed: 7 })]
  expect([minus.failure, minus.seed]).toEqual([null, -7])
  expect(minus.hash).not.toBe(plus.hash)
})

it('finishes without faults', async () => {
  for (let seed = 0; seed < 10; seed++) expect((await simulate({ seed, faults: false })).failure).toBeNull()
})
