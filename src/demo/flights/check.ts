// The same answers by a plain single-process program: no cluster, no blocks, one flight after the other. What it computes is
// compared with the cluster's answers: equal for counts, 1e-9 relative for floats.

import { FEATURE_COUNT, FEATURE_NAMES, REGRESSORS, writeFeatures } from './features.ts'
import { readFlights } from './records.ts'
import { solve } from './solve.ts'
import type { DelaySums, FeatureSummary, RouteDelay } from './tasks.ts'

export const RELATIVE_TOLERANCE = 1e-9

/** Everything that the demo answers, by whichever way it was computed. */
export interface Answers {
  readonly delays: DelaySums
  readonly routes: readonly RouteDelay[]
  /** Intercept, then one coefficient per regressor. */
  readonly coefficients: Float64Array
  readonly summary: FeatureSummary
}

/** Computes the answers in this process. `onRows` hears how many rows are done. */
export async function answersInOneProcess(
  path: string,
  groups: readonly number[],
  minimumFlights: number,
  onRows: (rows: number) => void,
): Promise<Answers> {
  const delays: DelaySums = new Map()
  const routeDelays = new Map<string, number[]>()
  const size = REGRESSORS.length + 1
  const regressors = REGRESSORS.map((name) => FEATURE_NAMES.indexOf(name))
  const xx = new Float64Array(size * size)
  const xy = new Float64Array(size)
  const sum = new Float64Array(FEATURE_COUNT)
  const squares = new Float64Array(FEATURE_COUNT)
  const min = new Float64Array(FEATURE_COUNT).fill(Infinity)
  const max = new Float64Array(FEATURE_COUNT).fill(-Infinity)
  const row = new Float64Array(FEATURE_COUNT)
  const x = new Float64Array(size)
  x[0] = 1
  let done = 0
  for (const rows of groups) {
    const flights = await readFlights(path, done, done + rows)
    for (let i = 0; i < rows; i++) {
      const delay = flights.delay[i] as number
      writeFeatures(flights.minute[i] as number, delay, flights.distance[i] as number, row)
      const origin = flights.airports[flights.origin[i] as number] as string
      const cell = `${origin}|${Math.floor(((flights.minute[i] as number) % 1440) / 60)}`
      const known = delays.get(cell)
      if (known === undefined) delays.set(cell, { sum: delay, count: 1 })
      else {
        known.sum += delay
        known.count++
      }
      const route = `${origin}-${flights.airports[flights.destination[i] as number]}`
      const list = routeDelays.get(route)
      if (list === undefined) routeDelays.set(route, [delay])
      else list.push(delay)
      for (let k = 1; k < size; k++) x[k] = row[regressors[k - 1] as number] as number
      for (let a = 0; a < size; a++) {
        xy[a] = (xy[a] as number) + (x[a] as number) * delay
        for (let b = 0; b < size; b++)
          xx[a * size + b] = (xx[a * size + b] as number) + (x[a] as number) * (x[b] as number)
      }
      for (let column = 0; column < FEATURE_COUNT; column++) {
        const value = row[column] as number
        sum[column] = (sum[column] as number) + value
        squares[column] = (squares[column] as number) + value * value
        if (value < (min[column] as number)) min[column] = value
        if (value > (max[column] as number)) max[column] = value
      }
    }
    done += rows
    onRows(done)
  }
  const routes: RouteDelay[] = []
  for (const [route, list] of routeDelays) {
    if (list.length < minimumFlights) continue
    list.sort((a, b) => a - b)
    routes.push({ route, flights: list.length, p95: list[Math.ceil(list.length * 0.95) - 1] as number })
  }
  return { delays, routes, coefficients: solve(xx, xy), summary: { count: done, sum, squares, min, max } }
}

/** Every difference beyond the tolerance, as a sentence; empty when all answers agree. */
export function differences(cluster: Answers, single: Answers): string[] {
  const found: string[] = []
  const exact = (what: string, a: unknown, b: unknown): void => {
    if (a !== b) found.push(`${what}: ${String(a)} on the cluster, ${String(b)} in one process`)
  }
  const close = (what: string, a: number, b: number): void => {
    if (!(Math.abs(a - b) <= RELATIVE_TOLERANCE * Math.max(Math.abs(a), Math.abs(b), 1e-300))) exact(what, a, b)
  }
  exact('cells of origin and hour', cluster.delays.size, single.delays.size)
  for (const [cell, expected] of single.delays) {
    const actual = cluster.delays.get(cell)
    exact(`flights of ${cell}`, actual?.count, expected.count)
    close(`delay of ${cell}`, actual?.sum ?? Number.NaN, expected.sum)
  }
  exact('routes', cluster.routes.length, single.routes.length)
  const routes = new Map(cluster.routes.map((entry) => [entry.route, entry]))
  for (const expected of single.routes) {
    exact(`flights of ${expected.route}`, routes.get(expected.route)?.flights, expected.flights)
    exact(`p95 of ${expected.route}`, routes.get(expected.route)?.p95, expected.p95)
  }
  for (let k = 0; k < single.coefficients.length; k++) {
    close(
      `coefficient of ${REGRESSORS[k - 1] ?? 'intercept'}`,
      cluster.coefficients[k] ?? Number.NaN,
      single.coefficients[k] as number,
    )
  }
  exact('flights', cluster.summary.count, single.summary.count)
  compareSummaries(cluster.summary, single.summary, exact)
  return found
}

/**
 * Sums of signed values (sines over whole years) nearly cancel, so a relative comparison of the sum alone would ask for more
 * digits than a double holds: they are compared relative to the size of the values summed, sqrt(n * sum of squares).
 */
function compareSummaries(
  a: FeatureSummary,
  b: FeatureSummary,
  exact: (what: string, a: unknown, b: unknown) => void,
): void {
  for (let column = 0; column < FEATURE_COUNT; column++) {
    const name = FEATURE_NAMES[column] as string
    const scale = Math.sqrt(b.count * (b.squares[column] as number))
    if (!(Math.abs((a.sum[column] as number) - (b.sum[column] as number)) <= RELATIVE_TOLERANCE * scale))
      exact(`sum of ${name}`, a.sum[column], b.sum[column])
    const squares = b.squares[column] as number
    if (!(Math.abs((a.squares[column] as number) - squares) <= RELATIVE_TOLERANCE * squares))
      exact(`squares of ${name}`, a.squares[column], squares)
    exact(`minimum of ${name}`, a.min[column], b.min[column])
    exact(`maximum of ${name}`, a.max[column], b.max[column])
  }
}
