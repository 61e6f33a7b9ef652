// `plimsoll/scheduler`: the scheduler, to be hosted by a program.

export { Scheduler } from './scheduler.ts'
export type { SchedulerOptions } from './options.ts'
