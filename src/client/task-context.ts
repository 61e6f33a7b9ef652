import { currentTaskContext, type TaskContext } from '../base/task-context.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export type { TaskContext } from '../base/task-context.ts'

/** What the task that calls this is, and how it learns that it was cancelled. Throws `INVALID_ARGUMENT` outside of tasks. */
export function taskContext(): TaskContext {
  const context = currentTaskContext()
  if (context !== undefined) return context
  throw new PlimsollError('INVALID_ARGUMENT', 'taskContext() is for code that runs inside a task; this code does not.')
}
