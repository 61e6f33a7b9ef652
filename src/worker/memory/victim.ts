// Whose memory is given up when a worker is nearly full and nothing else has helped: the rung `kill-task`.
//
// V1. Only an executor that took more than is reserved for its runs (what they asked for, what their functions are known to
//     take, or what any run may take) is to blame. When nobody is, nobody is killed: pausing, spilling and refusing results
//     are what is left.
// V2. Its end must help: process memory falls below `pause`, or at least by a tenth of the limit.
// V3. One at a time: while the memory of one that was killed is on its way back, there is no next one.

import { formatBytes } from '../../base/units.ts'
import { type ExecutorSample, growthOf } from '../executor/executor-pool.ts'

const HELPFUL_FRACTION = 0.1

export interface Shortage {
  /** Process memory of the worker, bytes. */
  readonly process: number
  readonly limit: number
  /** Where the rungs are, bytes. */
  readonly pause: number
  readonly killTask: number
}

/** The executor that exceeds its reservation by most; null when nobody qualifies. */
export function chooseVictim(executors: readonly ExecutorSample[], shortage: Shortage): ExecutorSample | null {
  if (executors.some((executor) => executor.dying)) return null
  let victim: ExecutorSample | null = null
  for (const executor of executors) {
    if (executor.reservedBytes === 0 || overshootOf(executor) <= 0 || !helps(executor, shortage)) continue
    if (victim === null || overshootOf(executor) > overshootOf(victim)) victim = executor
  }
  return victim
}

/** For the certificate of its task. */
export function adviceFor(victim: ExecutorSample, { process, limit, killTask }: Shortage): string {
  const grown = formatBytes(growthOf(victim))
  const needs = formatBytes(Math.ceil(growthOf(victim) / 2 ** 20) * 2 ** 20)
  return `Its worker had ${formatBytes(process)} of ${formatBytes(limit)} in use, above worker.memory.kill-task (${formatBytes(killTask)}), and this task had grown by ${grown}, the most beyond what was reserved for it (${formatBytes(victim.reservedBytes)}). Use smaller partitions, fewer threads per worker, or tell what it needs: task(fn, { memory: '${needs}' }).`
}

function overshootOf(executor: ExecutorSample): number {
  return growthOf(executor) - executor.reservedBytes
}

function helps(executor: ExecutorSample, { process, limit, pause }: Shortage): boolean {
  const growth = growthOf(executor)
  return growth >= HELPFUL_FRACTION * limit || process - growth < pause
}
