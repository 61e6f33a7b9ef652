// All cases, in the order in which they are run and shown.

import type { BenchCase } from '../case.ts'
import { core } from './core.ts'
import { map } from './map.ts'
import { outOfCore, outOfCoreSizes } from './out-of-core.ts'
import { roundTrips } from './round-trips.ts'
import { scatterGather } from './scatter-gather.ts'
import { sleeps } from './sleeps.ts'
import { start } from './start.ts'
import { transferOnHost, transferTcp } from './transfer.ts'
import { treeFutures, treeGraph } from './tree.ts'

export const CASES: readonly BenchCase[] = [
  map,
  roundTrips,
  treeGraph,
  treeFutures,
  scatterGather,
  transferOnHost,
  transferTcp,
  outOfCore,
  ...outOfCoreSizes,
  sleeps,
  core,
  start,
]

/**
 * The cases with these ids; `c` names every case that begins with it, such as `c-graph` and `c-futures`.
 * @throws Error that names what does not exist.
 */
export function selectCases(ids: readonly string[]): BenchCase[] {
  for (const id of ids) {
    if (CASES.some((each) => names(id, each))) continue
    throw new Error(`there is no case "${id}"; there are ${CASES.map((each) => each.id).join(', ')}`)
  }
  return CASES.filter((each) => ids.length === 0 || ids.some((id) => names(id, each)))
}

function names(id: string, bench: BenchCase): boolean {
  return bench.id === id || bench.id.startsWith(`${id}-`)
}
