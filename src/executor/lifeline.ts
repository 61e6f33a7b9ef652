// An executor must not outlive its worker, not even in an endless loop, which never sees that its pipes were closed. Linux
// has a signal for it. Elsewhere, and without koffi, a thread looks at the parent's pid; a thread that blocks on a pipe
// would notice sooner but cannot be ended, so `process.exit` in a task would hang.

import { constants } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Libc } from '../native/libc.ts'
import { descendants } from '../native/process-tree.ts'

const WATCH_INTERVAL_MS = 50

/** From now on this process dies with `parentPid`; it ends at once if that one is gone already. */
export function dieWithParent(libc: Libc | null, parentPid: number): void {
  const armed = libc !== null && arm(libc)
  // Set after the parent's death the signal never comes.
  if (process.ppid !== parentPid) endGroup()
  if (!armed) startWatchdog(parentPid)
}

function arm(libc: Libc): boolean {
  try {
    return libc.setParentDeathSignal(constants.signals.SIGKILL)
  } catch {
    return false
  }
}

/** Ends this process and all it started. Does not return. */
export function endGroup(): never {
  for (const pid of [...descendants(process.pid), -process.pid, process.pid]) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It is gone, or no group is led from here: started by hand.
    }
  }
  throw new Error('unreachable: killed')
}

function startWatchdog(parentPid: number): void {
  const source = `
    setInterval(() => {
      if (process.ppid === ${parentPid}) return
      try { process.kill(-${process.pid}, 'SIGKILL') } catch {}
      process.kill(${process.pid}, 'SIGKILL')
    }, ${WATCH_INTERVAL_MS})`
  new Worker(source, {
    eval: true,
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 },
  }).unref()
}
