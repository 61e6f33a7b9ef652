import type { Inventory } from '../../protocol/scheduler-worker.ts'
import type { WorkerState } from './state.ts'

/** What this worker holds and what it was assigned, to be told at every registration. */
export function inventory(state: WorkerState): Inventory {
  const keys: Inventory['keys'][number][] = []
  const tasks: Inventory['tasks'][number][] = []
  for (const { key, runId, value, assignment, state: at } of state.tasks.values()) {
    if (value !== null) {
      const { nbytes, type, durable, loose } = value
      keys.push(loose ? { key, runId, nbytes, type, durable, loose } : { key, runId, nbytes, type, durable })
    } else if (
      assignment !== null &&
      (at === 'waiting' || at === 'ready' || at === 'constrained' || at === 'executing')
    ) {
      tasks.push({ key, runId: assignment.runId, state: at })
    }
  }
  return { keys, tasks, received: state.lastRun }
}
