import { describe, expect, it } from 'vitest'
import { differences, type Answers } from './check.ts'
import { COLUMN, FEATURE_COUNT, FEATURE_NAMES, REGRESSORS, writeFeatures } from './features.ts'
import type { FlightColumns } from './records.ts'
import { solve } from './solve.ts'
import {
  addEquations,
  buildFeatures,
  groupRoutes,
  mergeDelays,
  mergeRoutes,
  mergeSummaries,
  normalEquations,
  routePercentiles,
  summarize,
  sumDelays,
} from './tasks.ts'

const records: FlightColumns = {
  minute: Int32Array.from([0, 61, 1440 * 2 + 90, 125, 70, 1440 * 9 + 3]),
  delay: Int16Array.from([10, -5, 7, 100, 3, 0]),
  distance: Int16Array.from([100, 2500, 300, 100, 900, 640]),
  origin: Uint16Array.from([0, 1, 0, 0, 1, 1]),
  destination: Uint16Array.from([1, 0, 1, 1, 0, 2]),
  airports: ['AAA', 'BBB', 'CCC'],
}

function answers(): Answers {
  const blocks = [buildFeatures(records, 0, 2), buildFeatures(records, 1, 2)]
  return {
    delays: mergeDelays(blocks.map(sumDelays)),
    routes: routePercentiles(mergeRoutes(blocks.map(groupRoutes)), 1),
    coefficients: Float64Array.from([1, 2]),
    summary: mergeSummaries(blocks.map(summarize)),
  }
}

describe('features', () => {
  it('writes every named column once, finite', () => {
    const row = new Float64Array(FEATURE_COUNT).fill(Number.NaN)
    writeFeatures(1440 * 100 + 13 * 60 + 5, 12, 800, row)
    expect(FEATURE_NAMES).toHaveLength(FEATURE_COUNT)
    expect(new Set(FEATURE_NAMES).size).toBe(FEATURE_COUNT)
    expect(row.every(Number.isFinite)).toBe(true)
    expect([row[COLUMN.delay], row[COLUMN.distance], row[COLUMN.hour], row[COLUMN.weekday]]).toEqual([
      12,
      0.8,
      13,
      (100 + 1) % 7,
    ])
    expect(row[FEATURE_NAMES.indexOf('is hour 13')]).toBe(1)
    expect(row[FEATURE_NAMES.indexOf('distance^2')]).toBeCloseTo(0.64, 12)
    expect(REGRESSORS.every((name) => FEATURE_NAMES.includes(name))).toBe(true)
  })

  it('splits records into parts that cover every row once', () => {
    const parts = [0, 1, 2, 3].map((part) => buildFeatures(records, part, 4))
    expect(parts.map((part) => part.rows)).toEqual([1, 2, 1, 2])
    expect(parts.flatMap((part) => [...part.data.subarray(0, part.rows)])).toEqual([...records.delay])
  })
})

describe('reductions', () => {
  it('sum delays per origin and hour', () => {
    expect(Object.fromEntries(answers().delays)).toEqual({
      'AAA|0': { sum: 10, count: 1 },
      'BBB|1': { sum: -2, count: 2 },
      'AAA|1': { sum: 7, count: 1 },
      'AAA|2': { sum: 100, count: 1 },
      'BBB|0': { sum: 0, count: 1 },
    })
  })

  it('take the nearest-rank percentile of each route', () => {
    const route = answers().routes.find((entry) => entry.route === 'AAA-BBB')
    expect(route).toEqual({ route: 'AAA-BBB', flights: 3, p95: 100 })
  })

  it('add up normal equations to those of all rows', () => {
    const whole = normalEquations(buildFeatures(records, 0, 1))
    const added = addEquations([0, 1].map((part) => normalEquations(buildFeatures(records, part, 2))))
    expect(added.size).toBe(whole.size)
    whole.xx.forEach((value, i) => expect(added.xx[i]).toBeCloseTo(value, 9))
    expect(added.xx[0]).toBe(6)
  })
})

it('solves a linear system, also when rows must be swapped', () => {
  expect([...solve(Float64Array.from([0, 2, 1, 1]), Float64Array.from([4, 5]))]).toEqual([3, 2])
  expect(() => solve(Float64Array.from([1, 1, 1, 1]), Float64Array.from([1, 2]))).toThrow(/linearly dependent/)
})

describe('the check', () => {
  it('finds no difference between equal answers', () => {
    expect(differences(answers(), answers())).toEqual([])
  })

  it('sees a wrong count, a wrong float, a missing cell and a wrong percentile', () => {
    const wrong = answers()
    ;(wrong.delays.get('AAA|0') as { count: number }).count = 2
    ;(wrong.delays.get('AAA|2') as { sum: number }).sum += 1e-6
    wrong.delays.delete('BBB|0')
    wrong.coefficients[1] = 2.0000001
    ;(wrong.routes[0] as { p95: number }).p95 += 1
    const found = differences(wrong, answers()).join('\n')
    for (const part of ['flights of AAA|0', 'delay of AAA|2', 'flights of BBB|0', 'coefficient of distance', 'p95 of'])
      expect(found).toContain(part)
  })
})
