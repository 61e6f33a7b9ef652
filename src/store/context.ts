// What the parts of one store share: the file system, the clock, the limits on file work, and two signals.

import type { Clock } from '../base/clock.ts'
import type { FilePermits } from './file-ops.ts'
import type { StoreFs } from './store-fs.ts'

export interface StoreContext {
  readonly fs: StoreFs
  readonly clock: Clock
  readonly permits: FilePermits
  readonly incarnation: number
  /** Calls back when this turn of the event loop is over. */
  readonly defer: (callback: () => void) => void
  /** Some total changed: who waits for room is asked again, once per turn. */
  changed(): void
  /** File work that must have ended before the store is at rest. Expected failures are handled inside `work`. */
  track(work: Promise<unknown>): void
}
