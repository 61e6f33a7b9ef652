// From samples to what is reported: medians with their range, ratios to the peers of the same run, and targets.

import type { BenchCase, Figure, Peer, System, Target } from './case.ts'
import type { Sample } from './sample.ts'

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export interface Measured {
  /** Every sample that was taken, in order. */
  readonly samples: readonly Sample[]
  readonly figures: Readonly<Record<string, Spread>>
  /** Why there is no sample, or why some are missing. */
  readonly failures: readonly string[]
}

export interface Ratio {
  readonly figure: string
  readonly peer: Peer
  /** How many times better Plimsoll's median is; below 1 it is worse. */
  readonly times: number
}

export interface Reached {
  readonly target: Target
  /** What was reached: a ratio or a figure; null when it could not be measured. */
  readonly value: number | null
  readonly met: boolean | null
}

export interface CaseReport {
  readonly id: string
  readonly title: string
  readonly sizes: Readonly<Record<string, number>>
  readonly systems: Partial<Record<System, Measured>>
  readonly ratios: readonly Ratio[]
  readonly reached: readonly Reached[]
}

export function reportCase(
  bench: BenchCase,
  sizes: Readonly<Record<string, number>>,
  samples: ReadonlyMap<System, readonly Sample[]>,
): CaseReport {
  const systems: Partial<Record<System, Measured>> = {}
  for (const [system, taken] of samples) systems[system] = summarize(bench.figures, taken)
  return {
    id: bench.id,
    title: bench.title,
    sizes,
    systems,
    ratios: bench.figures.flatMap((figure) => ratiosOf(bench, figure, systems)),
    reached: bench.targets.map((target) => reach(bench, target, systems)),
  }
}

function summarize(figures: readonly Figure[], samples: readonly Sample[]): Measured {
  const good = samples.flatMap((sample) => ('figures' in sample ? [sample.figures] : []))
  const spreads: Record<string, Spread> = {}
  for (const { name } of figures) {
    const values = good.flatMap((each) => (each[name] === undefined ? [] : [each[name]]))
    if (values.length > 0) spreads[name] = spreadOf(values)
  }
  const failures = samples.flatMap((sample) => ('failure' in sample ? [sample.failure] : []))
  return { samples, figures: spreads, failures }
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const low = sorted[Math.ceil(middle) - 1] as number
  const high = sorted[Math.floor(middle)] as number
  return { median: (low + high) / 2, min: sorted[0] as number, max: sorted.at(-1) as number }
}

/** The one number that stands for all samples of a figure. */
export function valueOf(figure: Figure, spread: Spread): number {
  if (figure.summary !== 'worst') return spread.median
  return figure.better === 'less' ? spread.max : spread.min
}

function ratiosOf(bench: BenchCase, figure: Figure, systems: CaseReport['systems']): Ratio[] {
  return bench.peers.flatMap((peer) => {
    const times = timesBetter(figure, systems, peer)
    return times === null ? [] : [{ figure: figure.name, peer, times }]
  })
}

function timesBetter(figure: Figure, systems: CaseReport['systems'], peer: Peer): number | null {
  const [ours, theirs] = [systems.plimsoll?.figures[figure.name], systems[peer]?.figures[figure.name]]
  if (ours === undefined || theirs === undefined) return null
  const [own, other] = [valueOf(figure, ours), valueOf(figure, theirs)]
  const times = figure.better === 'less' ? other / own : own / other
  // Nothing over nothing, as when nobody lost a worker, is no ratio.
  return Number.isFinite(times) ? times : null
}

function reach(bench: BenchCase, target: Target, systems: CaseReport['systems']): Reached {
  const figure = bench.figures.find(({ name }) => name === target.figure)
  if (figure === undefined)
    throw new Error(`case ${bench.id} has a target for ${target.figure}, which is no figure of it`)
  if ('atLeast' in target) {
    const value = timesBetter(figure, systems, target.timesBetterThan)
    return { target, value, met: value === null ? null : value >= target.atLeast }
  }
  const spread = systems.plimsoll?.figures[figure.name]
  const value = spread === undefined ? null : valueOf(figure, spread)
  return { target, value, met: value === null ? null : value <= target.atMost }
}
