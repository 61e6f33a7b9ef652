import { exposedGc } from '../../native/exposed-gc.ts'
import { loadLibc } from '../../native/libc.ts'

/** A full collection in this process; what is free when it returns has gone back to the system. */
export function collectOwn(how: 'collect' | 'compact'): void {
  const collect = exposedGc()
  collect(how === 'compact' ? 'compact' : 'all')
  // The memory of dead array buffers is freed by another thread, which has ended when the next collection begins.
  collect('young')
  loadLibc()?.mallocTrim()
}
