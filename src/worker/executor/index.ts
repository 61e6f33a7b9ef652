export { createInlinePool, type InlinePoolOptions } from './inline-pool.ts'
export { createProcessPool } from './process-pool.ts'
export type {
  ExecutorInput,
  ExecutorPool,
  ExecutorPoolEvents,
  ExecutorPoolOptions,
  ExecutorSample,
  FinishedRun,
  PlaceAnswer,
  PlaceRequest,
  ResultPlace,
  RunRequest,
  RunResult,
} from './executor-pool.ts'
