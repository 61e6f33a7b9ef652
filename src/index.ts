// Plimsoll's public names.

export { Client } from './cluster/local-client.ts'
export { type AdaptOptions, LocalCluster, type LocalClusterOptions } from './cluster/local-cluster.ts'
export type { DataContainer } from './store/container.ts'
export type { DataFactory, DataFactoryContext, DataOption } from './cluster/data-option.ts'
export type { ClientOptions, ClusterLike } from './client/client-options.ts'
export { getClient } from './client/client.ts'

export { Future } from './client/future.ts'
export type { FutureStatus } from './client/future-state.ts'
export { asCompleted, type AsCompleted, type AsCompletedOptions } from './client/as-completed.ts'
export { fireAndForget } from './client/fire-and-forget.ts'
export { progress, type ProgressOptions } from './client/progress.ts'
export { wait, type Waited, type WaitForOptions } from './client/wait.ts'
export type { Futures } from './client/futures-in.ts'
export type { WaitOptions } from './client/wait-limits.ts'
export type { GatherOptions } from './client/gather.ts'
export type { ScatterOptions } from './client/scatter.ts'
export type {
  Rebalanced,
  RebalanceOptions,
  Replicated,
  ReplicateOptions,
  RestartOutcome,
  RetireOptions,
} from './client/data-placement.ts'
export type { MemoryMeasure } from './base/memory-measure.ts'
export type {
  MemorySample,
  MemorySampler,
  MemorySampling,
  MemorySamplingOptions,
  SampledMeasure,
} from './client/memory-sampler.ts'
export type { Gathered, Submittable } from './client/submittable.ts'

export { task, type TaskOptions } from './client/task-options.ts'
export { taskContext, type TaskContext } from './client/task-context.ts'
export { fromModule } from './functions/modules.ts'
export { range } from './client/range.ts'

export { registerSizeof, sizeof } from './values/sizeof.ts'
export { dumps, isSerializable, loads, registerSerializer, type ClassCodec } from './values/families.ts'
export type { Serializability } from './values/families.ts'
export { formatBytes, parseBytes } from './base/units.ts'

export { isErrorCode, PlimsollError } from './errors/plimsoll-error.ts'
export type { ErrorCode } from './errors/codes.ts'
export type {
  MemoryMeasures,
  PrefixCounts,
  SchedulerInfo,
  StoryEntry,
  WorkerInfo,
} from './protocol/scheduler-client.ts'
