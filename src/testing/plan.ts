// The whole of what one run is told beforehand: what a seed decides, as data. A plan that was recorded tells its history
// without being planned anew, so it stays the same whatever seeds come to mean.

import { inspect } from 'node:util'
import type { TaskKey } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { faultPlan, type PlannedFault } from './fault-plan.ts'
import { type ClusterPlan, type PlannedAct, planScenario, type Scenario } from './scenario.ts'
import { type Stress, STRESSES, withStress } from './stress.ts'
import { prngOf } from './world.ts'

/** One run of the simulator as data. Two runs of one plan on the same sources tell the same history, event by event. */
export interface SimulationPlan {
  /** Of what is random within the run: delays of network and disk, choices of processes. */
  readonly seed: number
  readonly cluster: ClusterPlan
  readonly clients: number
  /** What clients do, and when. */
  readonly acts: readonly PlannedAct[]
  readonly faults: readonly PlannedFault[]
  /** When faults stop and everything heals. */
  readonly endMs: number
}

export interface SeedOptions {
  /** Decides everything: an integer. */
  readonly seed: number
  /** Without faults only the clients' acts happen (default true). */
  readonly faults?: boolean
  /** Trouble of one kind on top of what the seed brings (default none). */
  readonly stress?: Stress
}

/** How long workers go on without a scheduler that has died. */
const DEATH_TIMEOUT_MS = 8000

/**
 * What the seed stands for, as scenarios are planned today.
 *
 * @throws PlimsollError INVALID_ARGUMENT
 */
export function planSimulation(options: SeedOptions): SimulationPlan {
  refuseUnknown('a simulation of a seed', options, ['seed', 'faults', 'stress'])
  const { seed, faults: breaks = true, stress } = options
  // Everything that is no number would be the seed 0.
  if (!Number.isSafeInteger(seed)) throw wrong('seed', 'a whole number', seed)
  if (typeof breaks !== 'boolean') throw wrong('faults', 'true or false', breaks)
  if (stress !== undefined && !STRESSES.includes(stress)) throw wrong('stress', `one of ${STRESSES.join(', ')}`, stress)
  const planned = planScenario(prngOf(seed, 'scenario'))
  const scenario = stress === undefined ? planned : withStress(stress, planned, prngOf(seed, 'stress'))
  const faults = breaks ? faultPlan(seed, scenario.endMs) : []
  return { seed, ...scenario, cluster: clusterOf(scenario, faults), faults }
}

export function wrong(option: string, rule: string, value: unknown): PlimsollError {
  const message = `The option "${option}" of a simulation is ${rule}; it was ${inspect(value, { depth: 0 })}.`
  return new PlimsollError('INVALID_ARGUMENT', message, { option })
}

function clusterOf({ cluster }: Scenario, faults: readonly PlannedFault[]): ClusterPlan {
  return killsScheduler(faults) ? { ...cluster, deathTimeoutMs: DEATH_TIMEOUT_MS } : cluster
}

/** The same plan (0: itself) with other delays of network and disk, and other choices within the run. */
export function variationOf(plan: SimulationPlan, n: number): SimulationPlan {
  return { ...plan, seed: plan.seed + n }
}

/** Such a run ends without a scheduler. */
export function killsScheduler(faults: readonly PlannedFault[]): boolean {
  return faults.some(({ kind }) => kind === 'kill-scheduler')
}

/** Keys by which two clients mean different calls. */
export function disputedKeys({ acts }: SimulationPlan): TaskKey[] {
  return acts.flatMap(({ act }) =>
    act.kind === 'submit'
      ? act.tasks.filter(({ key, id }) => id !== undefined && id !== key).map(({ key }) => key)
      : [],
  )
}
