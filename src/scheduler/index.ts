// `plimsoll/scheduler`: the scheduler, to be hosted by a program.

export { Scheduler } from './scheduler.ts'
export type { SchedulerOptions } from './options.ts'
export type { MemoryPolicy, MemorySuggestion, PolicyValue, PolicyView, PolicyWorker } from './core/memory-policy.ts'
