import { describe, expect, it } from 'vitest'
import type { BenchCase, System } from '../../bench/case.ts'
import { reportCase, spreadOf } from '../../bench/figures.ts'
import type { Sample } from '../../bench/sample.ts'

const bench: BenchCase = {
  id: 'x',
  title: 'x',
  does: 'x',
  peers: ['dask', 'piscina'],
  full: {},
  quick: {},
  figures: [
    { name: 'seconds', title: 'time', unit: 's', better: 'less' },
    { name: 'rate', title: 'rate', unit: 'tasks/s', better: 'more' },
    { name: 'killed', title: 'killed', unit: 'count', better: 'less', summary: 'worst' },
  ],
  targets: [
    { figure: 'seconds', timesBetterThan: 'dask', atLeast: 4 },
    { figure: 'rate', timesBetterThan: 'piscina', atLeast: 1 },
    { figure: 'killed', atMost: 0 },
  ],
  timeoutMs: 1,
  run: () => Promise.resolve({}),
}

function report(samples: Partial<Record<System, readonly Sample[]>>) {
  return reportCase(bench, {}, new Map(Object.entries(samples) as [System, readonly Sample[]][]))
}

const sample = (seconds: number, rate: number, killed = 0): Sample => ({ figures: { seconds, rate, killed } })

it('takes the middle of an odd number of values, the mean of the two middle ones of an even number', () => {
  expect(spreadOf([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 })
  expect(spreadOf([4, 1, 3, 100])).toEqual({ median: 3.5, min: 1, max: 100 })
  expect(spreadOf([7])).toEqual({ median: 7, min: 7, max: 7 })
})

describe('ratios and targets', () => {
  it('say how many times better ours is, whichever way is better', () => {
    const { ratios, reached } = report({ plimsoll: [sample(2, 300)], dask: [sample(8, 100)] })
    expect(ratios.filter(({ peer }) => peer === 'dask').map(({ figure, times }) => [figure, times])).toEqual([
      ['seconds', 4],
      ['rate', 3],
    ])
    expect(reached[0]).toMatchObject({ value: 4, met: true })
  })

  it('compare medians, and judge by the worst sample what must never happen', () => {
    const { reached } = report({
      plimsoll: [sample(1, 1), sample(3, 1, 1), sample(2, 1)],
      dask: [sample(7, 1), sample(6, 1), sample(100, 1)],
    })
    expect(reached[0]).toMatchObject({ value: 3.5, met: false })
    expect(reached[2]).toMatchObject({ value: 1, met: false })
  })

  it('judge nothing that was not measured', () => {
    const { systems, ratios, reached } = report({ plimsoll: [sample(1, 1)], piscina: [{ failure: 'not installed' }] })
    expect(ratios).toEqual([])
    expect(reached[1]).toMatchObject({ value: null, met: null })
    expect(systems.piscina).toMatchObject({ figures: {}, failures: ['not installed'] })
  })

  it('use the samples that came out well, and keep the reasons of the others', () => {
    const { systems } = report({ plimsoll: [sample(1, 1), { failure: 'exit code 1' }, sample(3, 1)] })
    expect(systems.plimsoll?.figures['seconds']).toEqual({ median: 2, min: 1, max: 3 })
    expect(systems.plimsoll?.failures).toEqual(['exit code 1'])
  })
})
