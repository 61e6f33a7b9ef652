// What a case is: who takes part, how much is done, which figures come out and what they have to reach. Plimsoll's own
// program of a case is `run`; the peers' programs are in peers/. All of them do the same work on the same sizes.

export const PEERS = ['dask', 'dask-unsaturated', 'piscina', 'poolifier'] as const
export type Peer = (typeof PEERS)[number]
export type System = 'plimsoll' | Peer

export const SYSTEM_TITLES: Readonly<Record<System, string>> = {
  plimsoll: 'Plimsoll',
  dask: 'Dask',
  'dask-unsaturated': 'Dask, saturation off',
  piscina: 'Piscina',
  poolifier: 'poolifier',
}

export type Unit = 's' | 'ms' | 'µs' | 'bytes' | 'bytes/s' | 'tasks/s' | 'count' | 'times'

/** One number that a program of a case reports. */
export interface Figure {
  readonly name: string
  readonly title: string
  readonly unit: Unit
  readonly better: 'less' | 'more'
  /** What stands for all samples: the median, or for what must never happen the worst. Default `median`. */
  readonly summary?: 'median' | 'worst'
  /** One of many of its kind: shown in the case's own table only. */
  readonly detail?: boolean
}

/** A table that a case shows besides its figures. */
export interface Grid {
  readonly headers: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** What a figure has to reach: so many times better than a peer's in the same run, or a bound by itself. */
export type Target =
  | { readonly figure: string; readonly timesBetterThan: Peer; readonly atLeast: number }
  | { readonly figure: string; readonly atMost: number }

export type Sizes = Readonly<Record<string, number>>
export type Figures = Readonly<Record<string, number>>

/** What a program is told, as JSON on its command line. */
export interface SampleRequest {
  readonly case: string
  readonly system: System
  readonly sizes: Sizes
  /** How long the same work is done before it is measured, milliseconds; the same for every system. */
  readonly warmUpMs: number
  /** An empty directory for whatever the system writes to disk. */
  readonly scratch: string
}

export interface BenchCase {
  readonly id: string
  readonly title: string
  /** For the page: what is done and what is timed. */
  readonly does: string
  readonly peers: readonly Peer[]
  readonly full: Sizes
  readonly quick: Sizes
  readonly figures: readonly Figure[]
  readonly targets: readonly Target[]
  /** A program that takes longer is ended, and counts as not measured. */
  readonly timeoutMs: number
  /** Without peers there is nothing to pair: fewer samples are enough. */
  readonly pairsMax?: number
  readonly run: (request: SampleRequest) => Promise<Figures>
  /** From the medians of its figures. */
  readonly grid?: (medians: Figures) => Grid
}
