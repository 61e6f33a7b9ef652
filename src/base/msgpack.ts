// Msgpackr, loaded with the first message instead of with this package: 17 ms of CPU that `import 'plimsoll'` need not take.
// As CommonJS: that is one file, a third faster to load than its modules.
//
// Half of that is its native part, which reads lists of texts three times as fast: worth it for whoever is told of many keys,
// not for an executor, which is told of a task or two, and not while processes start. So there are two copies: `msgpackr` has
// no native part, `nativeMsgpackr` has.

import { createRequire } from 'node:module'
import type * as Msgpackr from 'msgpackr'

let plain: typeof Msgpackr | null = null
let native: typeof Msgpackr | null = null

const SWITCH = 'MSGPACKR_NATIVE_ACCELERATION_DISABLED'

/** At once, since messages are packed in the middle of synchronous code. To be called ahead where there is time to wait. */
export function msgpackr(): typeof Msgpackr {
  plain ??= load('true')
  return plain
}

/** The same, faster at reading, and slower to load. */
export function nativeMsgpackr(): typeof Msgpackr {
  native ??= load('false')
  return native
}

function load(disabled: 'true' | 'false'): typeof Msgpackr {
  const require = createRequire(import.meta.url)
  const path = require.resolve('msgpackr')
  const before = process.env[SWITCH]
  // The variable is for this one library, and is none of what tasks see or hand on to processes of theirs. Somebody who set
  // it does not want the native part at all.
  process.env[SWITCH] = before ?? disabled
  delete require.cache[path]
  try {
    return require(path) as typeof Msgpackr
  } finally {
    delete require.cache[path]
    if (before === undefined) delete process.env[SWITCH]
  }
}
