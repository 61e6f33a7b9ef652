import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

let found: (() => void) | null = null

/** A full garbage collection without `--expose-gc`: contexts made while the flag is set have `gc`, this one does not get it. */
export function exposedGc(): () => void {
  found ??= (globalThis as { readonly gc?: () => void }).gc ?? takeGc()
  return found
}

function takeGc(): () => void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('globalThis.gc') as (() => void) | undefined
  setFlagsFromString('--no-expose-gc')
  // An engine that does not give it out is left to its own collections.
  return gc ?? (() => {})
}
