// Msgpackr, loaded with the first message instead of with this package: 17 ms of CPU that `import 'plimsoll'` need not take.
// As CommonJS: that is one file, a third faster to load than its modules, and one copy for whoever asks.

import { createRequire } from 'node:module'
import type * as Msgpackr from 'msgpackr'

let loaded: typeof Msgpackr | null = null

/** At once, since messages are packed in the middle of synchronous code. To be called ahead where there is time to wait. */
export function msgpackr(): typeof Msgpackr {
  loaded ??= createRequire(import.meta.url)('msgpackr') as typeof Msgpackr
  return loaded
}
