import { describe, expect, it } from 'vitest'
import { formatPlan, parsePlan } from './plan-file.ts'
import { planSimulation } from './plan.ts'
import { simulate } from './simulate.ts'
import { STRESSES } from './stress.ts'

describe('a recorded plan', () => {
  it('is read as it was, whatever the seed brings', () => {
    for (let seed = 0; seed < 300; seed++)
      for (const stress of [undefined, ...STRESSES]) {
        const plan = planSimulation({ seed, ...(stress !== undefined && { stress }) })
        expect(parsePlan(formatPlan(plan))).toEqual(plan)
      }
  })

  it('tells the history of its seed', async () => {
    for (const options of [{ seed: 3 }, { seed: 4, faults: false }, { seed: 5, stress: 'torn-scatters' as const }]) {
      const plan = parsePlan(formatPlan(planSimulation(options)))
      const [planned, recorded] = [await simulate(options), await simulate({ plan })]
      expect(recorded).toEqual(planned)
    }
  })
})

describe('what is no plan', () => {
  const whole = formatPlan(planSimulation({ seed: 5, stress: 'torn-scatters' }))

  it.each([
    ['', 'end of JSON input'],
    ['[]', 'it has to be an object, and is []'],
    ['{}', 'seed has to be a whole number, and is missing'],
    [whole.replace('"seed": 5', '"sede": 5'), 'sede is nothing that a plan has'],
    [whole.replace('"times":0', '"times":"often"'), 'trouble.times has to be a number from 0, and is "often"'],
    [whole.replace('"kind":"submit"', '"kind":"toString"'), /acts\[0\]\.act\.kind has to be "submit" or .* "toString"/],
    [whole.replace('"ReduceReplicas"', '"Keep"'), 'policies[0] has to be one of ReduceReplicas, and is "Keep"'],
    [whole.replace(/"client":\d+/, '"client":99'), /acts\[0\]\.client has to be the number of one of .* and is 99/],
    [
      whole.replace(/"workers": \[[^\]]*\]/, '"workers": []'),
      'cluster.workers has to be a list of at least one worker',
    ],
    [whole.replace(/"network": .*,/, ''), 'cluster.network has to be an object, and is missing'],
  ])('is refused with its place (%#)', (json, why) => {
    const read = (): unknown => parsePlan(json, 'x.json')
    expect(read).toThrow(why)
    expect(read).toThrow(/^x\.json is no plan of a simulation: /)
    expect(read).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
