// Msgpackr, loaded with the first message instead of with this package: 17 ms of CPU that `import 'plimsoll'` need not take.
// As CommonJS: that is one file, a third faster to load than its modules, and one copy for whoever asks.
//
// Half of that is its native part, which reads long lists of texts 2.5 times as fast: worth it for whoever is told of
// thousands of keys at a time, not for an executor, which is told of a task or two.

import { createRequire } from 'node:module'
import type * as Msgpackr from 'msgpackr'

let loaded: typeof Msgpackr | null = null

const SWITCH = 'MSGPACKR_NATIVE_ACCELERATION_DISABLED'

/** Loads it without its native part; for processes whose messages are short. Must come before the first message. */
export function loadPlainMsgpackr(): void {
  const before = process.env[SWITCH]
  process.env[SWITCH] = 'true'
  msgpackr()
  // The variable was for this one library, and is none of what tasks see or hand on to processes of theirs.
  if (before === undefined) delete process.env[SWITCH]
  else process.env[SWITCH] = before
}

/** At once, since messages are packed in the middle of synchronous code. To be called ahead where there is time to wait. */
export function msgpackr(): typeof Msgpackr {
  loaded ??= createRequire(import.meta.url)('msgpackr') as typeof Msgpackr
  return loaded
}
