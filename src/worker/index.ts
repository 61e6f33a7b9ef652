// `plimsoll/worker`: a worker in this process. `plimsoll worker` and nannies run it in a process of its own.

export { Worker, type WorkerEnd, type WorkerHooks } from './worker.ts'
export type { WorkerStartOptions } from '../protocol/nanny.ts'
