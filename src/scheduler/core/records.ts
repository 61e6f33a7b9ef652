// The records that the scheduler keeps: tasks and what they share, workers, clients. Plain data with documented
// invariants; everything that changes them lives beside, in transitions/, handlers/ and the policies.
//
// A hundred thousand tasks are normal, so a TaskRecord is one small object: collections are allocated when they are
// needed, empty ones are shared, and whatever is common to a `map` sits in its TaskGroup.

import type { ClientId, FunctionId, RunId, TaskKey, WorkerId } from '../../base/ids.ts'
import type { ErrorCode } from '../../errors/codes.ts'
import type { ErrorFields } from '../../errors/plimsoll-error.ts'
import type { ExecutorInfo, MemoryMeasures, WorkerStatus } from '../../protocol/scheduler-client.ts'
import type { MemoryReserve, RegisterWorker } from '../../protocol/scheduler-worker.ts'
import type { Holder, TaskOptionsWire } from '../../protocol/tasks.ts'

export const TASK_STATES = [
  'released',
  'waiting',
  'no-worker',
  'queued',
  'processing',
  'memory',
  'erred',
  'forgotten',
] as const
export type TaskState = (typeof TASK_STATES)[number]

/** States of a task that means to run: it counts as a waiter of each of its inputs. */
export function isActive(state: TaskState): boolean {
  return state === 'waiting' || state === 'processing' || state === 'queued' || state === 'no-worker'
}

/** The error of a task that failed for good, held once and shared by all dependents that failed because of it. */
export interface TaskFailure {
  /** The task that failed first. */
  readonly origin: TaskKey
  /** Address of the worker it failed on; null when it failed before it reached one. */
  readonly worker: string | null
  readonly error:
    | { readonly kind: 'encoded'; readonly bytes: Uint8Array }
    | { readonly kind: 'raised'; readonly code: ErrorCode; readonly message: string; readonly fields: ErrorFields }
  /** How often it was tried, and where; absent when it failed at its first attempt. */
  readonly history?: { readonly attempts: number; readonly workers: readonly string[] }
}

/** Budgets already spent by a task that had bad luck; most tasks never have one. */
export interface TaskTrouble {
  crashes: number
  outOfMemory: number
  /** For its next attempts, since it ran out of memory. */
  reserve: MemoryReserve | null
  storeFull: number
  /** How often the only copy of its value could not be read, and was computed again. */
  unreadable: number
  unreadableReason: string
  /** Addresses of the workers on which attempts failed; at most `WORKERS_NAMED_MAX`. */
  workers: string[]
  /** Where the last attempt went wrong: chosen again only when there is no other worker. */
  avoid: WorkerId | null
  /** Not placed before this time (`now` of events); 0 = at once. */
  heldUntilMs: number
  /** When a paused worker handed it back last. */
  handedBackMs: number
  /** Workers that were told to compute the value anew, under which run: they have dropped, or will drop, older ones. */
  reruns: Map<WorkerId, number> | null
}

/** A captured function. Kept while a task group uses it or a client believes that the scheduler has it. */
export interface FunctionRecord {
  readonly id: FunctionId
  readonly bytes: Uint8Array
  /** Task groups with living tasks. */
  groups: number
  /** Clients that sent it and are not forgotten. */
  clients: number
  readonly measured: Measurements
  /** By graph generation; only those with living tasks. */
  readonly families: Map<number, TaskFamily>
}

/** Running means of what finished runs looked like; -1 = nothing measured yet. */
export interface Measurements {
  meanMs: number
  meanBytes: number
}

/** All tasks of one name: the unit of statistics and progress. */
export interface PrefixRecord {
  readonly name: string
  readonly counts: Record<TaskState, number>
  runs: number
  /** Sum of the sizes of its tasks in memory. */
  nbytes: number
  readonly measured: Measurements
  /** Tasks that were assigned while nothing was measured; re-estimated with the first result. */
  guessed: Set<TaskRecord> | null
}

/** Tasks with one function and one graph generation: decides whether they are data producers (queueing.ts). */
export interface TaskFamily {
  readonly fn: FunctionRecord
  readonly generation: number
  /** Tasks ever created in it. */
  total: number
  /** Tasks not forgotten. */
  live: number
  /** Distinct inputs of all its tasks; null once there are too many to be data producers. */
  inputs: Set<TaskRecord> | null
  /** Where its next tasks go, and how many, when producers are not held back. */
  share: { readonly worker: WorkerRecord; left: number } | null
}

/** What the tasks of one wire group share. */
export interface TaskGroup {
  /** null: no recipe, the values were scattered by a client. */
  readonly fn: FunctionRecord | null
  readonly prefix: PrefixRecord
  readonly family: TaskFamily | null
  readonly options: TaskOptionsWire
  readonly userPriority: number
  /** Who submitted it; null for scattered values. */
  readonly client: ClientRecord | null
  /** What one of its tasks counts for in the turns of its client. */
  readonly stepMs: number
  /** Names, hosts, addresses or ids of the workers that may run it. */
  readonly labels: readonly string[] | null
  readonly resources: readonly (readonly [name: string, amount: number])[] | null
  /** Tasks not forgotten. */
  live: number
  /** null: no restrictions. */
  readonly allowed: AllowedWorkers | null
}

/** Who may run tasks with one set of restrictions; shared by all groups that have it. */
export interface AllowedWorkers {
  /** Running ones, for `poolVersion` of the state. */
  pool: readonly WorkerRecord[]
  poolVersion: number
  /** Largest memory limit among all of them, running or not, for `limitVersion` of the same. */
  largestLimit: number
  limitVersion: number
}

export const NO_TASKS: readonly TaskRecord[] = Object.freeze([])
const NO_WORKERS: readonly WorkerRecord[] = Object.freeze([])
const NO_CLIENTS: readonly ClientRecord[] = Object.freeze([])

export class TaskRecord {
  readonly key: TaskKey
  readonly group: TaskGroup
  readonly args: Uint8Array | null
  /** Priority is [-group.userPriority, turn, order]: fairness.ts. */
  readonly turn: number
  readonly order: number
  /** Changed only by transitions/. */
  state: TaskState = 'released'
  /** Mirror image of `dependents`. A forgotten input stays listed: a task that needs it again is lost. */
  dependencies: readonly TaskRecord[] = NO_TASKS
  dependents: Set<TaskRecord> | null = null
  /** In state waiting: how many inputs are not available (replicas.ts); 0 in every other state. */
  waitingOn = 0
  /** How many dependents are active: the value is needed as long as it is above 0. */
  waiters = 0
  /** Mirror image of ClientRecord.wants. */
  wantedBy: readonly ClientRecord[] = NO_CLIENTS
  /** Mirror image of WorkerRecord.replicas; non-empty exactly in state memory. All hold run `acceptedRunId`. */
  holders: readonly WorkerRecord[] = NO_WORKERS
  /** Set exactly in state processing; then the task is in that worker's `processing`. */
  processingOn: WorkerRecord | null = null
  /** Run of the last assignment (or scatter placement); 0 before the first. */
  runId = 0
  /** Run whose result was accepted last; 0 before the first. Kept when the value is lost: it may come back. */
  acceptedRunId = 0
  /** Size of the accepted result, -1 before the first. */
  nbytes = -1
  /** Type name of the accepted result. */
  type = ''
  /** What the present run added to its worker's occupancy and expected bytes; 0 outside processing. */
  expectedUs = 0
  expectedBytes = 0
  /** Runs that were started or may have been. */
  attempts = 0
  retriesLeft: number
  trouble: TaskTrouble | null = null
  /** Set exactly in state erred. */
  failure: TaskFailure | null = null

  constructor(key: TaskKey, group: TaskGroup, args: Uint8Array | null, turn: number, order: number) {
    this.key = key
    this.group = group
    this.args = args
    this.turn = turn
    this.order = order
    this.retriesLeft = group.options.retries ?? 0
  }

  get isNeeded(): boolean {
    return this.waiters > 0 || this.wantedBy.length > 0
  }

  get hasRecipe(): boolean {
    return this.group.fn !== null
  }

  get hasDependents(): boolean {
    return this.dependents !== null && this.dependents.size > 0
  }
}

/** Smaller runs first. */
export function comparePriority(a: TaskRecord, b: TaskRecord): number {
  return b.group.userPriority - a.group.userPriority || a.turn - b.turn || a.order - b.order
}

/** An input on its way to a worker. */
export interface Fetch {
  /** Tasks there that wait for it. */
  count: number
  readonly us: number
}

const NO_RUNS: ReadonlySet<number> = new Set()

/** Workers of one machine: data moves between them at almost no cost. */
export interface HostRecord {
  readonly name: string
  readonly workers: Set<WorkerRecord>
  /** Scratch of placement.ts. */
  stamp: number
  countedInput: number
  localBytes: number
}

/**
 * `live`: its stream is there. `lost`: the stream is gone, the process may live. `away`: its nanny said that the process
 * is dead and comes back; only durable replicas are left in the books. Replicas of a worker that is not live are not fetchable.
 */
export type WorkerLink = 'live' | 'lost' | 'away'

export class WorkerRecord {
  readonly id: WorkerId
  /** What is told to peers and clients. */
  holder: Holder
  /** The last registration, without its inventory. */
  info: Omit<RegisterWorker, 'inventory'>
  host: HostRecord
  nthreads: number
  /** Names under which restrictions find it. */
  labels: readonly string[]
  status: WorkerStatus
  link: WorkerLink = 'live'
  /** Number of the connection it registered on; whatever comes from another one is stale. */
  connection: number
  restarts: number
  /** The last run there was when it registered: what it was told of earlier ones is settled. */
  registeredRun = 0
  readonly processing = new Set<TaskRecord>()
  /** Value: durable, survives the process. */
  readonly replicas = new Map<TaskRecord, boolean>()
  /** Those among `replicas` that the worker may drop for room at any time: it fetched them for a task. */
  readonly loose = new Set<TaskRecord>()
  readonly functions = new Set<FunctionId>()
  /** Runs that were assigned when the process was lost: their results count if it brings them back. */
  readonly orphanedRuns = new Map<TaskKey, RunId>()
  /** Sum of the sizes of `replicas`. */
  nbytes = 0
  /** Sum over `processing`, of integers: exact. */
  expectedBytes = 0
  /** Sums over `processing` and `fetching`, and `shiftUs`: of integers, exact. */
  occupancyUs = 0
  /** Inputs that have to be brought here for tasks in `processing`: each counts once, whatever number needs it. */
  readonly fetching = new Map<TaskRecord, Fetch>()
  /** Tasks, and their time, on their way to this worker less those on their way from it (steals.ts). */
  shift = 0
  shiftUs = 0
  /** Runs that have started, as far as was said: they cannot be stolen. */
  started: ReadonlySet<number> = NO_RUNS
  /** Bytes per second that it measured while it fetched, by the address of the peer. */
  readonly rates = new Map<string, number>()
  /** When it was given its last task: round robin among equals. */
  lastAssigned = 0
  /** Process memory above the pause threshold by the last heartbeat. */
  crowded = false
  memory: MemoryMeasures
  /** Process memory as it counts for placement, and `nbytes` when it was told. */
  usedBytes = 0
  nbytesTold = 0
  processPeak = 0
  spilledTotal = 0
  executors: readonly ExecutorInfo[] = []
  lastSeenMs: number
  /** Positions in the two heaps of worker-heap.ts, -1 outside. */
  readonly positions: [number, number] = [-1, -1]
  /** Scratch of placement.ts. */
  stamp = 0
  localBytes = 0

  constructor(registration: RegisterWorker, host: HostRecord, connection: number, now: number) {
    this.id = registration.workerId
    this.holder = { id: registration.workerId, address: registration.address }
    this.info = registration
    this.host = host
    this.nthreads = registration.nthreads
    this.labels = []
    this.status = registration.status
    this.restarts = registration.restarts
    this.connection = connection
    this.memory = {
      limit: registration.memoryLimit,
      process: 0,
      managed: 0,
      unmanaged: 0,
      unmanagedRecent: 0,
      spilled: 0,
    }
    this.lastSeenMs = now
  }

  /** Tasks that are here, counting those that are about to come or to go. */
  get load(): number {
    return this.processing.size + this.shift
  }

  /** May be given tasks. */
  get isRunning(): boolean {
    return this.link === 'live' && this.status === 'running'
  }
}

/** A structure with futures in it, published under a name (handlers/datasets.ts). */
export interface DatasetRecord {
  readonly name: string
  /** The structure, encoded by the client that published it. */
  readonly value: Uint8Array
  readonly keys: readonly TaskKey[]
  /** Wants those of the keys that are known. */
  readonly pseudo: ClientRecord
}

/** The last word on a key, as told to a client: given up, or refused from the start. */
export interface Farewell {
  /** Of the message (`told`) that says it; Infinity when none has reached the client's connection. */
  number: number
  readonly words:
    | { readonly reason: string; readonly code: 'TASK_CANCELLED' | 'DATA_LOST'; readonly cancel: number | undefined }
    | { readonly failure: TaskFailure }
}

export interface ClientRecord {
  readonly id: ClientId
  readonly name: string
  /** Nobody's connection: it wants tasks for a purpose of the scheduler's own, and hears nothing. */
  readonly isPseudo: boolean
  /** null: its stream is lost, or it is a pseudo client. */
  connection: number | null
  /** Stream messages of this client that were carried out, and those that were sent to it, in its life. */
  applied: number
  told: number
  /** Keys that it lost by no word of its own, until it has heard of that: nothing else remembers them. */
  readonly farewells: Map<TaskKey, Farewell>
  /** Wanted keys that it was refused, until it gives them up or gets them: what it means by them is not what others do. */
  readonly refused: Map<TaskKey, TaskFailure>
  /** Number of the last cancel that it asked for. */
  cancels: number
  readonly wants: Set<TaskRecord>
  /** Functions that it sent. */
  readonly functions: Set<FunctionId>
  /** Generation of its last graph, and when that came. */
  graphGeneration: number
  graphAtMs: number
  /** Position of its next task. */
  nextOrder: number
  /** Expected work that it was given turns for, and what of that is still to be done, in how many tasks (fairness.ts). */
  issuedMs: number
  activeMs: number
  active: number
  /** Group of its last single task: a loop of `submit` makes one group, not thousands. */
  lastGroup: TaskGroup | null
}
