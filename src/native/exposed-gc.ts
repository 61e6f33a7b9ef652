import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Gc = (options?: { readonly type: 'minor' }) => void
type CollectGarbage = (generation: 'young' | 'all') => void

let found: CollectGarbage | null = null

/** Garbage collections without `--expose-gc`: contexts made while the flag is set have `gc`, this one does not get it. */
export function exposedGc(): CollectGarbage {
  if (found === null) {
    const gc = (globalThis as { readonly gc?: Gc }).gc ?? takeGc()
    found = (generation) => (generation === 'young' ? gc({ type: 'minor' }) : gc())
  }
  return found
}

function takeGc(): Gc {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('globalThis.gc') as Gc | undefined
  setFlagsFromString('--no-expose-gc')
  // An engine that does not give it out is left to its own collections.
  return gc ?? (() => {})
}
