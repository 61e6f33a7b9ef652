// Takes the samples of a case in rounds: in each round every system once, Plimsoll and its peers one after the other, so that
// whatever the machine does besides meets all of them. Every second round goes backwards.

import { type BenchCase, type Peer, SYSTEM_TITLES, type System } from './case.ts'
import { type CaseReport, reportCase } from './figures.ts'
import type { Missing } from './prepare.ts'
import { type Sample, takeSample } from './sample.ts'

export interface RunPlan {
  readonly pairs: number
  readonly quick: boolean
  readonly peers: readonly Peer[]
  readonly missing: Missing
  readonly say: (text: string) => void
}

const WARM_UP_MS = { full: 2000, quick: 100 }

export async function runCase(bench: BenchCase, plan: RunPlan): Promise<CaseReport> {
  const sizes = plan.quick ? bench.quick : bench.full
  const warmUpMs = plan.quick ? WARM_UP_MS.quick : WARM_UP_MS.full
  const systems: System[] = ['plimsoll', ...bench.peers.filter((peer) => plan.peers.includes(peer))]
  const samples = new Map<System, Sample[]>(systems.map((system) => [system, []]))
  const rounds = Math.min(plan.pairs, bench.pairsMax ?? plan.pairs)
  for (let round = 0; round < rounds; round++) {
    for (const system of round % 2 === 0 ? systems : systems.toReversed()) {
      const sample = await takeOne(bench, system)
      samples.get(system)?.push(sample)
      const outcome = 'failure' in sample ? `failed: ${sample.failure}` : JSON.stringify(sample.figures)
      plan.say(`bench: ${bench.id} round ${round + 1} of ${rounds}, ${SYSTEM_TITLES[system]}: ${outcome}`)
    }
  }
  return reportCase(bench, sizes, samples)

  async function takeOne(each: BenchCase, system: System): Promise<Sample> {
    const reason = system === 'plimsoll' ? undefined : plan.missing[system]
    return reason === undefined ? await takeSample(each, system, sizes, warmUpMs) : { failure: reason }
  }
}
