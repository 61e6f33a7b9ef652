import { HeapSet } from '../../base/heap-set.ts'
import type { Priority } from '../../protocol/scheduler-worker.ts'
import type { LocalTask } from './state.ts'

/** Tasks that could run now, most urgent first. */
export type ReadyQueue = HeapSet<LocalTask, Priority>

/** Element by element, smaller is more urgent. */
export function comparePriority(a: Priority, b: Priority): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2]
}

export function createReadyQueue(): ReadyQueue {
  return new HeapSet((task: LocalTask) => task.priority, comparePriority)
}
