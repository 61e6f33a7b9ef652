// How code inside a task finds out which task it is. The slot is a well-known symbol on globalThis, so that any copy of
// this package (the executor's own, one bundled with user code) finds the same one.

/** What a running task knows about itself. */
export interface TaskContext {
  readonly key: string
  /** 1 for the first. */
  readonly attempt: number
  readonly workerAddress: string
  /** Aborted when the task is cancelled, or (io tasks) when its time is up. */
  readonly signal: AbortSignal
  /** Bytes that the task may use: its `memory:` option, else its executor's share of the limit; 0 = no limit. */
  readonly memory: number
  /** As `signal.aborted`, but also true inside of a synchronous loop, which no event can reach. */
  readonly cancelled: boolean
}

const SLOT = Symbol.for('plimsoll.taskContext')
type Slot = { [SLOT]?: () => TaskContext | undefined }

/** The context of the task that this code runs in; undefined outside of tasks. */
export function currentTaskContext(): TaskContext | undefined {
  return (globalThis as Slot)[SLOT]?.()
}

/** Says where the current context is to be found from now on; for whoever runs tasks in this process. */
export function provideTaskContext(current: () => TaskContext | undefined): void {
  ;(globalThis as Slot)[SLOT] = current
}
