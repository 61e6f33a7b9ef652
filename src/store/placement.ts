// Where a blob that is about to be written may go (S8): a function of totals, without side effects. The caller counts what
// is granted and asks again whenever a total changes.

/** The store's state as far as placement depends on it; all in bytes. */
export interface PlacementView {
  /** Managed bytes above which the store spills; Infinity = never. */
  readonly target: number
  /** Bytes in memory above which process memory would pass its `spill` rung; Infinity = not known, or no such rung. */
  readonly allowed: number
  /** Bytes that memory may hold when the disk cannot take any (S4). */
  readonly ceiling: number
  /** Held or reserved in memory. */
  readonly memoryUsed: number
  /** Part of `memoryUsed` that leaves without anybody's help: moves and unlinks under way, and what may be dropped or spilled. */
  readonly memoryComing: number
  /** What the memory tier's file system still takes. */
  readonly memoryFree: number
  /** How much `memoryFree` will grow without anybody's help. */
  readonly memoryFreeComing: number
  /** Held, reserved or on its way to disk. */
  readonly diskUsed: number
  readonly maxSpill: number
  readonly diskFree: number
  /** Part of `diskUsed` that is being unlinked or may be dropped. */
  readonly diskComing: number
  /** The disk failed a moment ago and rests. */
  readonly diskBlocked: boolean
}

export type Placement = 'memory' | 'disk' | 'wait' | 'full'

/** A tier that this request must not get: its writer met ENOSPC there, whatever the numbers say. */
export type AvoidTier = 'memory' | 'disk' | null

/**
 * Decides on one request. `ahead` is the sum of earlier requests that still wait: what they need is not given to later
 * ones, so that small requests never starve a big one, yet may pass it when there is room for both.
 */
export function decidePlacement(nbytes: number, ahead: number, avoid: AvoidTier, view: PlacementView): Placement {
  const heavy = nbytes > view.target
  const wanted = nbytes + ahead
  const memoryNow = (cap: number): boolean =>
    avoid !== 'memory' && view.memoryUsed + wanted <= cap && wanted <= view.memoryFree
  const memorySoon = (cap: number): boolean =>
    avoid !== 'memory' &&
    view.memoryUsed - view.memoryComing + nbytes <= cap &&
    nbytes <= view.memoryFree + view.memoryFreeComing
  const diskNow = avoid !== 'disk' && diskTakes(nbytes, view)

  // Memory that `spill` would empty at once is not worth writing to.
  if (diskNow && view.memoryUsed + nbytes > view.allowed) return 'disk'
  if (!heavy && memoryNow(view.target)) return 'memory'
  if (!heavy && memorySoon(view.target)) return 'wait'
  if (diskNow) return 'disk'
  if (memoryNow(view.ceiling)) return 'memory'
  if (memorySoon(view.ceiling)) return 'wait'
  if (avoid !== 'disk' && !view.diskBlocked && diskSoon(nbytes, view)) return 'wait'
  return 'full'
}

/** True when the disk tier has room for `nbytes` more. */
export function diskTakes(nbytes: number, view: PlacementView): boolean {
  return !view.diskBlocked && view.diskUsed + nbytes <= view.maxSpill && nbytes <= view.diskFree
}

function diskSoon(nbytes: number, view: PlacementView): boolean {
  return view.diskUsed - view.diskComing + nbytes <= view.maxSpill && nbytes <= view.diskFree + view.diskComing
}
