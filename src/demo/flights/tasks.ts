// What runs on the workers. These functions are sent by reference (module and name), so they may use imports; each takes
// and returns plain data and typed arrays.

import { COLUMN, FEATURE_COUNT, FEATURE_NAMES, REGRESSORS, writeFeatures } from './features.ts'
import { readFlights, type FlightColumns } from './records.ts'

/** Features of a run of flights: `data` holds FEATURE_COUNT columns of `rows` values, one after the other. */
export interface FeatureBlock {
  readonly rows: number
  readonly data: Float64Array
  readonly origin: Uint16Array
  readonly destination: Uint16Array
  readonly airports: readonly string[]
}

export async function loadRecords(path: string, rowStart: number, rowEnd: number): Promise<FlightColumns> {
  return await readFlights(path, rowStart, rowEnd)
}

/** Part `part` of `parts` of the given records, as features. */
export function buildFeatures(records: FlightColumns, part: number, parts: number): FeatureBlock {
  const total = records.minute.length
  const from = Math.floor((total * part) / parts)
  const rows = Math.floor((total * (part + 1)) / parts) - from
  const data = new Float64Array(rows * FEATURE_COUNT)
  const row = new Float64Array(FEATURE_COUNT)
  for (let i = 0; i < rows; i++) {
    writeFeatures(
      records.minute[from + i] as number,
      records.delay[from + i] as number,
      records.distance[from + i] as number,
      row,
    )
    for (let column = 0; column < FEATURE_COUNT; column++) data[column * rows + i] = row[column] as number
  }
  const { airports } = records
  return {
    rows,
    data,
    airports,
    origin: records.origin.slice(from, from + rows),
    destination: records.destination.slice(from, from + rows),
  }
}

const columnOf = (block: FeatureBlock, column: number): Float64Array =>
  block.data.subarray(column * block.rows, (column + 1) * block.rows)

/** Sum and number of delays per `origin|hour`. */
export type DelaySums = Map<string, { sum: number; count: number }>

export function sumDelays(block: FeatureBlock): DelaySums {
  const delay = columnOf(block, COLUMN.delay)
  const hour = columnOf(block, COLUMN.hour)
  const sums = new Float64Array(block.airports.length * 24)
  const counts = new Float64Array(block.airports.length * 24)
  for (let i = 0; i < block.rows; i++) {
    const cell = (block.origin[i] as number) * 24 + (hour[i] as number)
    sums[cell] = (sums[cell] as number) + (delay[i] as number)
    counts[cell] = (counts[cell] as number) + 1
  }
  const result: DelaySums = new Map()
  for (let cell = 0; cell < counts.length; cell++) {
    if (counts[cell] === 0) continue
    result.set(`${block.airports[Math.floor(cell / 24)]}|${cell % 24}`, {
      sum: sums[cell] as number,
      count: counts[cell] as number,
    })
  }
  return result
}

export function mergeDelays(parts: readonly DelaySums[]): DelaySums {
  const merged: DelaySums = new Map()
  for (const part of parts) {
    for (const [cell, { sum, count }] of part) {
      const known = merged.get(cell)
      if (known === undefined) merged.set(cell, { sum, count })
      else {
        known.sum += sum
        known.count += count
      }
    }
  }
  return merged
}

/** All delays of each route `ORG-DST`, in no particular order. */
export type RouteDelays = Map<string, Int16Array>

export function groupRoutes(block: FeatureBlock): RouteDelays {
  const delay = columnOf(block, COLUMN.delay)
  const airports = block.airports.length
  const counts = new Int32Array(airports * airports)
  const route = (i: number): number => (block.origin[i] as number) * airports + (block.destination[i] as number)
  for (let i = 0; i < block.rows; i++) counts[route(i)] = (counts[route(i)] as number) + 1
  const groups = new Map<number, { delays: Int16Array; used: number }>()
  for (let i = 0; i < block.rows; i++) {
    const id = route(i)
    let group = groups.get(id)
    if (group === undefined) groups.set(id, (group = { delays: new Int16Array(counts[id] as number), used: 0 }))
    group.delays[group.used++] = delay[i] as number
  }
  const named: RouteDelays = new Map()
  for (const [id, { delays }] of groups) {
    named.set(`${block.airports[Math.floor(id / airports)]}-${block.airports[id % airports]}`, delays)
  }
  return named
}

export function mergeRoutes(parts: readonly RouteDelays[]): RouteDelays {
  const pieces = new Map<string, Int16Array[]>()
  for (const part of parts) {
    for (const [route, delays] of part) {
      const list = pieces.get(route)
      if (list === undefined) pieces.set(route, [delays])
      else list.push(delays)
    }
  }
  const merged: RouteDelays = new Map()
  for (const [route, list] of pieces) {
    const delays = new Int16Array(list.reduce((sum, piece) => sum + piece.length, 0))
    let used = 0
    for (const piece of list) {
      delays.set(piece, used)
      used += piece.length
    }
    merged.set(route, delays)
  }
  return merged
}

export interface RouteDelay {
  readonly route: string
  readonly flights: number
  /** Minutes: the smallest delay that 95 % of the flights do not exceed (nearest rank). */
  readonly p95: number
}

/** p95 of every route with at least `minimumFlights` flights. */
export function routePercentiles(routes: RouteDelays, minimumFlights: number): RouteDelay[] {
  const result: RouteDelay[] = []
  for (const [route, delays] of routes) {
    if (delays.length < minimumFlights) continue
    const sorted = delays.slice().sort()
    result.push({ route, flights: sorted.length, p95: sorted[Math.ceil(sorted.length * 0.95) - 1] as number })
  }
  return result
}

/** X'X (row by row) and X'y of a least squares problem; the first column of X is 1. */
export interface NormalEquations {
  readonly size: number
  readonly xx: Float64Array
  readonly xy: Float64Array
}

export function normalEquations(block: FeatureBlock): NormalEquations {
  const y = columnOf(block, COLUMN.delay)
  const columns = REGRESSORS.map((name) => columnOf(block, FEATURE_NAMES.indexOf(name)))
  const size = columns.length + 1
  const xx = new Float64Array(size * size)
  const xy = new Float64Array(size)
  const x = new Float64Array(size)
  x[0] = 1
  for (let i = 0; i < block.rows; i++) {
    for (let k = 1; k < size; k++) x[k] = (columns[k - 1] as Float64Array)[i] as number
    for (let a = 0; a < size; a++) {
      const xa = x[a] as number
      xy[a] = (xy[a] as number) + xa * (y[i] as number)
      for (let b = a; b < size; b++) xx[a * size + b] = (xx[a * size + b] as number) + xa * (x[b] as number)
    }
  }
  for (let a = 0; a < size; a++) for (let b = 0; b < a; b++) xx[a * size + b] = xx[b * size + a] as number
  return { size, xx, xy }
}

export function addEquations(parts: readonly NormalEquations[]): NormalEquations {
  const size = parts[0]?.size ?? 0
  const xx = new Float64Array(size * size)
  const xy = new Float64Array(size)
  for (const part of parts) {
    for (let i = 0; i < xx.length; i++) xx[i] = (xx[i] as number) + (part.xx[i] as number)
    for (let i = 0; i < xy.length; i++) xy[i] = (xy[i] as number) + (part.xy[i] as number)
  }
  return { size, xx, xy }
}

/** Per feature: number of values, sum, sum of squares, minimum, maximum. */
export interface FeatureSummary {
  readonly count: number
  readonly sum: Float64Array
  readonly squares: Float64Array
  readonly min: Float64Array
  readonly max: Float64Array
}

export function summarize(block: FeatureBlock): FeatureSummary {
  const summary = emptySummary(block.rows)
  for (let column = 0; column < FEATURE_COUNT; column++) {
    let sum = 0
    let squares = 0
    let min = Infinity
    let max = -Infinity
    for (const value of columnOf(block, column)) {
      sum += value
      squares += value * value
      if (value < min) min = value
      if (value > max) max = value
    }
    summary.sum[column] = sum
    summary.squares[column] = squares
    summary.min[column] = min
    summary.max[column] = max
  }
  return summary
}

function emptySummary(count: number): FeatureSummary {
  return {
    count,
    sum: new Float64Array(FEATURE_COUNT),
    squares: new Float64Array(FEATURE_COUNT),
    min: new Float64Array(FEATURE_COUNT).fill(Infinity),
    max: new Float64Array(FEATURE_COUNT).fill(-Infinity),
  }
}

export function mergeSummaries(parts: readonly FeatureSummary[]): FeatureSummary {
  const merged = emptySummary(parts.reduce((sum, part) => sum + part.count, 0))
  for (const part of parts) {
    for (let column = 0; column < FEATURE_COUNT; column++) {
      merged.sum[column] = (merged.sum[column] as number) + (part.sum[column] as number)
      merged.squares[column] = (merged.squares[column] as number) + (part.squares[column] as number)
      merged.min[column] = Math.min(merged.min[column] as number, part.min[column] as number)
      merged.max[column] = Math.max(merged.max[column] as number, part.max[column] as number)
    }
  }
  return merged
}
