import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Gc = (options?: { readonly type: 'minor' }) => void
/** `compact`: all, and what is left is moved together, which takes two to three times as long. */
type CollectGarbage = (what: 'young' | 'all' | 'compact') => void

let found: CollectGarbage | null = null

/** Garbage collections without `--expose-gc`: contexts made while the flag is set have `gc`, this one does not get it. */
export function exposedGc(): CollectGarbage {
  if (found === null) {
    const gc = (globalThis as { readonly gc?: Gc }).gc ?? takeGc()
    found = (what) => {
      if (what === 'young') gc({ type: 'minor' })
      else if (what === 'all') gc()
      else compact(gc)
    }
  }
  return found
}

/** Left to itself V8 leaves small objects that live long where they are, and with them most of the pages around them. */
function compact(gc: Gc): void {
  setFlagsFromString('--compact-on-every-full-gc')
  gc()
  setFlagsFromString('--no-compact-on-every-full-gc')
}

function takeGc(): Gc {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('globalThis.gc') as Gc | undefined
  setFlagsFromString('--no-expose-gc')
  // An engine that does not give it out is left to its own collections.
  return gc ?? (() => {})
}
