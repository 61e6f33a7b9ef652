// What a look at the processes says to admission (core/admission.ts).

import type { StoreTotals } from '../../store/store.ts'
import type { WorkerState } from '../core/state.ts'
import type { EventBody } from '../core-driver.ts'
import { type ExecutorPool, growthOf } from '../executor/executor-pool.ts'
import type { ProcessSample } from './memory-manager.ts'

type MemoryMeasured = Extract<EventBody, { readonly kind: 'MemoryMeasured' }>

/** What stored values take from RAM in the memory tier; a place that was only granted counts with its run. */
export function tierBytesOf({ memoryTierFileBytes, reserved }: StoreTotals): number {
  return Math.max(0, memoryTierFileBytes - reserved)
}

/**
 * What executors with a run have grown by is told apart, by run. So is what the smallest of the others has: the next run
 * takes it over.
 */
export function memoryMeasured({ privateBytes, executors }: ProcessSample, tierBytes: number): MemoryMeasured {
  const grown: MemoryMeasured['grown'][number][] = []
  let idleBytes = privateBytes
  let spare = Infinity
  for (const executor of executors) {
    const { runId, placeBytes, reservedBytes, dying } = executor
    const growth = growthOf(executor)
    if (dying) continue
    if (runId !== null) {
      grown.push({ runId, bytes: growth + placeBytes })
      idleBytes -= growth
    } else if (reservedBytes === 0) spare = Math.min(spare, growth)
  }
  if (spare < Infinity) idleBytes -= spare
  return { kind: 'MemoryMeasured', idleBytes: Math.max(0, idleBytes), tierBytes, grown }
}

/** A run that was given to an executor which is not up yet is under way for the core, but may never begin. */
export function isAnyStarted(state: WorkerState | null, pool: Pick<ExecutorPool, 'hasStarted'> | null): boolean {
  for (const { runId, phase } of state?.runs.values() ?? [])
    if (phase === 'running' && pool?.hasStarted(runId) === true) return true
  return false
}
