// From `processing`: assigned to one worker, under a run id that nobody else has.

import { removeLoad } from '../occupancy.ts'
import type { TaskRecord } from '../records.ts'
import { become, type Arrival, type SchedulerState } from '../state.ts'
import { giveUpActive, leaveActive } from './active.ts'
import { enterMemory } from './memory.ts'

/** The run of the task is over where it was: nothing has to be said to its worker any more. */
export function endRun(state: SchedulerState, task: TaskRecord): void {
  removeLoad(state, task)
}

/** The value is there, by this run or (an older one) from a worker that came back: then the present run is void. */
export function processingToMemory(state: SchedulerState, task: TaskRecord, arrival: Arrival): void {
  const worker = task.processingOn
  removeLoad(state, task)
  if (worker !== null && worker !== arrival.worker) state.outbox.freeKey(worker, task.key)
  enterMemory(state, task, arrival)
  leaveActive(state, task)
}

/** The run is given up, unless `endRun` came first: the worker is told to forget it. */
export function processingToReleased(state: SchedulerState, task: TaskRecord): void {
  const worker = task.processingOn
  removeLoad(state, task)
  if (worker !== null) state.outbox.freeKey(worker, task.key)
  become(state, task, 'released')
  giveUpActive(state, task)
}
