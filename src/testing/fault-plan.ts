// Which faults a seed brings, and when. Who is hit is said by a number, taken modulo those who live when it strikes.

import { Prng } from '../base/prng.ts'

export const FAULT_KINDS = [
  'kill-worker',
  'kill-nanny',
  'cut-worker',
  'cut-nanny',
  'cut-any',
  'partition',
  'slow-link',
  'slow-disk',
  'failing-disk',
  'full-disk',
  'full-memory',
  'corrupt-blob',
  'pause',
  'resume',
  'retire',
  'close-worker',
  'new-worker',
  'vanish-client',
  'cut-client',
  'restart',
  'partition-client',
  'pause-storm',
  'pause-all',
  'hoard',
  'replicate',
  'rebalance',
] as const
/** `kill-scheduler` ends the run. */
export type FaultKind = (typeof FAULT_KINDS)[number] | 'kill-scheduler'

export interface PlannedFault {
  readonly atMs: number
  readonly kind: FaultKind
  /** Whom it hits. */
  readonly target: number
  /** How long it lasts, where it lasts. */
  readonly forMs: number
}

/** What happens most, and shows most. */
const OFTEN = [
  'kill-worker',
  'kill-worker',
  'kill-worker',
  'kill-nanny',
  'cut-worker',
  'partition',
  'pause-all',
  'pause-all',
] as const satisfies readonly FaultKind[]
const KINDS: readonly FaultKind[] = [...FAULT_KINDS, ...OFTEN]
/** Data is moved all the time, by whoever may do so. */
const MOVES = ['replicate', 'replicate', 'rebalance', 'retire', 'new-worker'] as const satisfies readonly FaultKind[]
const FAULTS_MAX = 10
const MOVES_MIN = 10
const MOVES_ONE_IN = 8
const SCHEDULER_DIES_ONE_IN = 25

/** The faults of one seed within this time, in order. A seed uses few kinds: what it does stays understandable. */
export function faultPlan(seed: number, lengthMs: number): PlannedFault[] {
  const prng = new Prng(seed ^ 0x5eed)
  const moves = prng.int(MOVES_ONE_IN) === 0
  const kinds = moves ? MOVES : Array.from({ length: 1 + prng.int(5) }, () => prng.pick(KINDS) as FaultKind)
  const count = moves ? MOVES_MIN + prng.int(FAULTS_MAX) : prng.int(FAULTS_MAX + 1)
  const plan = Array.from({ length: count }, () => ({
    atMs: prng.next() * lengthMs,
    kind: prng.pick(kinds) as FaultKind,
    target: prng.int(1000),
    forMs: (prng.pick([50, 400, 1500]) as number) * (0.5 + prng.next()),
  }))
  if (prng.int(SCHEDULER_DIES_ONE_IN) === 0)
    plan.push({ atMs: prng.next() * lengthMs, kind: 'kill-scheduler', target: 0, forMs: 0 })
  return plan.sort((a, b) => a.atMs - b.atMs)
}
