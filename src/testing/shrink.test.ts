import { describe, expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { planSimulation, type SimulationPlan } from './plan.ts'
import { kindOfFailure, shrinkPlan } from './shrink.ts'
import { simulate } from './simulate.ts'
import { NO_TROUBLE, type SimTask } from './task-book.ts'

const always = (): boolean => true

function task(key: string, inputs: readonly string[] = []): SimTask {
  const name = 'f'
  return {
    key: taskKey(key),
    name,
    inputs: inputs.map(taskKey),
    bytes: 0,
    durationMs: 1,
    random: false,
    trouble: NO_TROUBLE,
    options: {},
  }
}

function planOf(...acts: SimulationPlan['acts'][number]['act'][]): SimulationPlan {
  const { cluster, ...plan } = planSimulation({ seed: 1, faults: false })
  return { ...plan, cluster, clients: 1, acts: acts.map((act, n) => ({ atMs: n, client: 0, act })) }
}

const keysOf = ({ acts }: SimulationPlan): string[] =>
  acts.flatMap(({ act }) => (act.kind === 'submit' ? act.tasks.map(({ key }) => key) : []))

describe('a plan that fails', () => {
  it('keeps what makes it fail, and nothing else', async () => {
    const plan = planSimulation({ seed: 12 })
    const keys = keysOf(plan)
    const culprits = [keys[3], keys.at(-1)] as string[]
    const fault = plan.faults[2]
    const run = async (smaller: SimulationPlan): Promise<string | null> =>
      culprits.every((key) => keysOf(smaller).includes(key)) && smaller.faults.includes(fault as never) ? 'it' : null
    const smallest = await shrinkPlan(plan, { run, mayGoOn: always })
    expect([...new Set(keysOf(smallest))].toSorted()).toEqual(culprits.toSorted())
    expect(smallest.faults).toEqual([fault])
    expect(smallest.cluster.workers).toHaveLength(1)
    expect(smallest.acts.length).toBeLessThanOrEqual(2)
  })

  it('builds on nothing that no act has named before', async () => {
    const [a, b] = [task('a'), task('b', ['a'])]
    const plan = planOf(
      { kind: 'submit', tasks: [a], wanted: [a.key] },
      { kind: 'submit', tasks: [b], wanted: [b.key] },
      { kind: 'cancel', keys: [a.key], force: false },
      { kind: 'cancel', keys: [a.key, b.key], force: true },
    )
    const run = async (each: SimulationPlan): Promise<string | null> =>
      keysOf(each).includes('b') && each.acts.some(({ act }) => act.kind === 'cancel' && act.force) ? 'it' : null
    const { acts } = await shrinkPlan(plan, { run, mayGoOn: always })
    const last = { kind: 'cancel', keys: [b.key], force: true }
    expect(acts.map(({ act }) => act)).toEqual([{ kind: 'submit', tasks: [task('b')], wanted: [b.key] }, last])
  })

  it('is left alone when it holds, fails in another way, or there is no time', async () => {
    const plan = planSimulation({ seed: 12 })
    const differs = async (each: SimulationPlan): Promise<string> => (each === plan ? 'it' : 'something else')
    expect(await shrinkPlan(plan, { run: async () => null, mayGoOn: always })).toBe(plan)
    expect(await shrinkPlan(plan, { run: differs, mayGoOn: always })).toBe(plan)
    expect(await shrinkPlan(plan, { run: async () => 'it', mayGoOn: () => false })).toBe(plan)
  })

  it('can be run at every size', async () => {
    const plan = planSimulation({ seed: 12, stress: 'resubmissions' })
    let sizes = 0
    const run = async (smaller: SimulationPlan): Promise<string | null> => {
      const { failure } = await simulate({ plan: smaller })
      expect(failure).toBeNull()
      return smaller.acts.length > 6 ? 'it' : null
    }
    await shrinkPlan(plan, { run, mayGoOn: () => sizes++ < 12 })
  })
})

it('failures of one kind differ in names and numbers', () => {
  const first = 'the value of f1-32 was there and is lost'
  expect(kindOfFailure(first)).toBe(kindOfFailure('the value of scattered-7 was there and is lost\n  at step.ts:12'))
  expect(kindOfFailure(first)).not.toBe(kindOfFailure('stuck: not everything that is waited for came'))
})
