// Everything that can happen to the scheduler. `now` is monotonic milliseconds, `at` milliseconds since the epoch; the
// shell supplies both, the core never asks for the time. `connection` numbers come from the shell and are never reused.

import type { ClientId, TaskKey, WorkerId } from '../../base/ids.ts'
import type { MemoryMeasure } from '../../base/memory-measure.ts'
import type { NannyToScheduler } from '../../protocol/nanny.ts'
import type { ClientToScheduler, SchedulerRequests } from '../../protocol/scheduler-client.ts'
import type { RegisterWorker, WorkerHeartbeat, WorkerToScheduler } from '../../protocol/scheduler-worker.ts'

interface Timed {
  readonly now: number
  readonly at: number
}

/** Names a question that the core will answer with an `Answer` or `Refuse` effect. */
export type RequestNumber = number

/** Timers that the core sets; each has an id, and setting it again moves it. */
export type Timer =
  | { readonly kind: 'worker-grace'; readonly worker: WorkerId }
  | { readonly kind: 'client-grace'; readonly client: ClientId }
  | { readonly kind: 'task-held'; readonly key: TaskKey }
  | { readonly kind: 'request-timeout'; readonly request: RequestNumber }
  | { readonly kind: 'retirement'; readonly request: RequestNumber }
  | { readonly kind: 'housekeeping' }
  | { readonly kind: 'stealing' }
  | { readonly kind: 'copies' }
  | { readonly kind: 'memory-manager' }

export type SchedulerEvent = Timed &
  (
    | { readonly kind: 'Started' }
    | {
        readonly kind: 'ClientRegistered'
        readonly client: ClientId
        readonly connection: number
        readonly name: string
      }
    /** A client whose connection broke is back within its grace. `heard`: messages of the scheduler that reached it. */
    | {
        readonly kind: 'ClientReattached'
        readonly request: RequestNumber
        readonly client: ClientId
        readonly connection: number
        readonly heard: number
      }
    | { readonly kind: 'ClientBeat'; readonly client: ClientId; readonly connection: number; readonly heard: number }
    | {
        readonly kind: 'ClientMessages'
        readonly client: ClientId
        readonly connection: number
        readonly messages: readonly ClientToScheduler[]
      }
    | { readonly kind: 'ClientLost'; readonly client: ClientId; readonly connection: number }
    | {
        readonly kind: 'WorkerRegistered'
        readonly request: RequestNumber
        readonly connection: number
        readonly registration: RegisterWorker
      }
    | {
        readonly kind: 'WorkerMessages'
        readonly worker: WorkerId
        readonly connection: number
        readonly messages: readonly WorkerToScheduler[]
      }
    | {
        readonly kind: 'WorkerBeat'
        readonly worker: WorkerId
        readonly connection: number
        readonly heartbeat: WorkerHeartbeat
      }
    | { readonly kind: 'WorkerLost'; readonly worker: WorkerId; readonly connection: number }
    | { readonly kind: 'NannyRegistered'; readonly worker: WorkerId; readonly connection: number }
    | {
        readonly kind: 'NannyMessages'
        readonly worker: WorkerId
        readonly connection: number
        readonly messages: readonly NannyToScheduler[]
      }
    | { readonly kind: 'NannyLost'; readonly worker: WorkerId; readonly connection: number }
    | {
        readonly kind: 'ScatterRequested'
        readonly request: RequestNumber
        readonly client: ClientId
        readonly question: SchedulerRequests['scatter-place'][0]
      }
    | { readonly kind: 'RetryRequested'; readonly request: RequestNumber; readonly keys: readonly TaskKey[] }
    | {
        readonly kind: 'RestartRequested'
        readonly request: RequestNumber
        readonly timeoutMs: number
        readonly waitForWorkers: boolean
      }
    | {
        readonly kind: 'RetireRequested'
        readonly request: RequestNumber
        /** null: the scheduler chooses, `n` of them or as many as are of little use (adaptive.ts). */
        readonly workers: readonly string[] | null
        readonly n?: number | undefined
        readonly closeWorkers: boolean
      }
    | {
        readonly kind: 'PublishRequested'
        readonly request: RequestNumber
        readonly question: SchedulerRequests['publish-dataset'][0]
      }
    | {
        readonly kind: 'DatasetRequested'
        readonly request: RequestNumber
        readonly client: ClientId
        readonly name: string
      }
    | { readonly kind: 'UnpublishRequested'; readonly request: RequestNumber; readonly name: string }
    | {
        readonly kind: 'ReplicateRequested'
        readonly request: RequestNumber
        readonly keys: readonly TaskKey[]
        /** null: on every worker. */
        readonly n: number | null
        readonly workers: readonly string[] | null
        readonly branchingFactor: number
      }
    | {
        readonly kind: 'RebalanceRequested'
        readonly request: RequestNumber
        /** null: all values. */
        readonly keys: readonly TaskKey[] | null
        readonly workers: readonly string[] | null
        /** null: as configured. */
        readonly measure: MemoryMeasure | null
      }
    | {
        readonly kind: 'RestartWorkersRequested'
        readonly request: RequestNumber
        readonly workers: readonly string[]
        readonly timeoutMs: number
      }
    | {
        readonly kind: 'MemoryManagerRequested'
        readonly request: RequestNumber
        readonly action: SchedulerRequests['memory-manager'][0]['action']
      }
    | { readonly kind: 'RequestAbandoned'; readonly request: RequestNumber }
    | { readonly kind: 'TimerFired'; readonly timer: Timer }
  )

export type EventKind = SchedulerEvent['kind']
export type EventOf<K extends EventKind> = Extract<SchedulerEvent, { readonly kind: K }>

export function timerId(timer: Timer): string {
  switch (timer.kind) {
    case 'worker-grace':
      return `worker-grace ${timer.worker}`
    case 'client-grace':
      return `client-grace ${timer.client}`
    case 'task-held':
      return `task-held ${timer.key}`
    case 'request-timeout':
      return `request-timeout ${timer.request}`
    case 'retirement':
      return `retirement ${timer.request}`
    case 'housekeeping':
    case 'stealing':
    case 'copies':
    case 'memory-manager':
      return timer.kind
  }
}
