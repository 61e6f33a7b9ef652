// The worker's state machine, its data. A key that this worker knows is one LocalTask: something to compute (it has an
// assignment), something to fetch for a task here, something held, or several of these in turn. The core holds keys,
// sizes and places, never values.
//
// Executions and transfers are keyed by their own ids, not by the state of a key. The reference keeps a key whose work
// cannot be interrupted in `cancelled` and `resumed` states that remember what was and what shall be; here every
// assignment has a run id of its own and an executor can really be ended, so a key that is freed leaves its state at once
// and its run stays behind in `runs`, marked `discard`, until its end is reported and the result dropped. The same goes for
// a transfer: the key leaves, the transfer goes on without it.
//
// W1. `assignment` is set exactly in `waiting`, `ready`, `constrained` and `executing`; `run` exactly in `executing`; `transfer` exactly
//     in `flight`; `value` exactly in `memory`.
// W2. A key is the subject of at most one execution or one transfer at a time: an assignment whose key still has a
//     discarded run or an abandoned transfer stays in `waiting` until that has ended ("blocked"). So two values of one
//     key never meet in the store.
// W3. Every run in `runs` gets exactly one end event from the shell, every transfer exactly one `TransferEnded`.
// W4. A task in `fetch` is in `needed` of each of its holders, unless its key is parked: an abandoned transfer still carries
//     it, or the store is still busy with the result of a discarded run.
// W5. No task rests in `released`; keys that nobody here wants are forgotten within the same step.

import type { HeapSet } from '../../base/heap-set.ts'
import type { FunctionId, RunId, TaskKey, WorkerId } from '../../base/ids.ts'
import { Prng } from '../../base/prng.ts'
import { RingLog } from '../../base/ring-log.ts'
import type { WorkerStatus } from '../../protocol/scheduler-client.ts'
import type { MemoryReserve, Priority } from '../../protocol/scheduler-worker.ts'
import type { TaskOptionsWire } from '../../protocol/tasks.ts'
import { Admission, type AdmissionSettings } from './admission.ts'
import { EMPTY_SET } from './lazy-set.ts'
import { createReadyQueue, type ReadyQueue } from './ready-queue.ts'
import { Resources } from './resources.ts'

export type LocalTaskState =
  | 'released' // in passing only
  | 'waiting' // assigned, an input is not here yet, or the key is blocked (W2)
  | 'ready' // assigned, all inputs here
  | 'constrained' // the same, and waits for a share of the worker's resources
  | 'executing' // handed to an executor
  | 'memory' // its value is in the store
  | 'error' // failed and reported; remembered so that a repeated assignment of that run is not run again
  | 'fetch' // wanted, holders known, not asked for
  | 'flight' // part of an open transfer
  | 'missing' // wanted, no holder known: the scheduler was asked

/** One order to compute a key. */
export interface Assignment {
  readonly runId: RunId
  readonly name: string
  readonly fn: FunctionId
  readonly fnBytes: Uint8Array
  readonly args: Uint8Array
  readonly options: TaskOptionsWire
  readonly attempt: number
  /** What the scheduler wants reserved for this attempt, after others ran out of memory. */
  readonly reserve: MemoryReserve | null
  readonly inputs: readonly LocalTask[]
  /** How many of `inputs` are not in `memory`: exact in every state. */
  missingInputs: number
  /** How often an executor gave it back before it started. */
  returns: number
  /** A client waits for the value: a small one goes along with the news of it. */
  attach: boolean
  /** No pause hands it back before this time. */
  heldUntil: number
}

export interface HeldValue {
  readonly nbytes: number
  readonly type: string
  durable: boolean
  /** A copy that the store may drop for room at any time. */
  loose: boolean
}

export interface LocalTask {
  readonly key: TaskKey
  state: LocalTaskState
  /** Of the assignment, or the most urgent one among the tasks that want it as an input. */
  priority: Priority
  assignment: Assignment | null
  run: Run | null
  transfer: Transfer | null
  value: HeldValue | null
  /** Run whose value is held, or is to be fetched; in `error`, the run that failed. */
  runId: RunId
  /** Bytes to be fetched, as the scheduler said; `value.nbytes` once held. */
  nbytes: number
  /** Tasks here that are assigned and have it as an input. */
  dependents: ReadonlySet<LocalTask>
  /** Peers that are said to hold it; empty in `memory` and while assigned. */
  holders: ReadonlySet<Peer>
  /** The scheduler wants a copy here although no task needs one. */
  acquire: boolean
  /** Copies that the scheduler wants are to be in files: nobody could compute the value again. */
  durable: boolean
  /** When the scheduler was last asked who has it; null = never. */
  askedAt: number | null
  /** The copy that was here could not be read: whoever gives the next one is to check its own. */
  suspect: boolean
}

/** An execution that an executor (or the store, with its result) still has to end. */
export interface Run {
  readonly runId: RunId
  readonly key: TaskKey
  readonly fn: FunctionId
  readonly name: string
  /** Share of one thread that it counts for. */
  readonly weight: number
  readonly startedAt: number
  phase: 'running' | 'storing'
  /** Asked back from the executor in case it has not started: for the scheduler, or because the worker paused. */
  recall: 'none' | 'pause' | 'steal'
  /** What becomes of its result. `cancel`: dropped and reported; `discard`: dropped, and nobody asks any more. */
  fate: 'keep' | 'cancel' | 'discard'
  durationMs: number
  /** What it counts for in memory now, and what of that is its result: admission.ts. */
  claimBytes: number
  resultBytes: number
  /** Its function is being tried out. */
  isTry: boolean
  /** What it had grown by at the last look. */
  seenBytes: number
}

export interface Peer {
  readonly id: WorkerId
  address: string
  sameHost: boolean
  /** Tasks in `fetch` that it could give, most urgent first. */
  readonly needed: HeapSet<LocalTask, Priority>
  /** Every task that lists it as a holder. */
  readonly hints: Set<LocalTask>
  transfer: Transfer | null
  /** Not asked before this time (busy, or unreachable a moment ago). */
  retryAt: number
  /** Failed connections in a row. */
  failures: number
}

/** An open request to one peer. */
export interface Transfer {
  readonly id: number
  readonly peer: Peer
  /** What has not arrived yet. */
  readonly keys: Map<TaskKey, { readonly runId: RunId; readonly nbytes: number }>
  /** Keys among them whose task is in `flight` with this transfer. */
  wanted: number
  aborted: boolean
}

export interface CoreSettings {
  readonly workerId: WorkerId
  /** Own contact address: peers with the same host part come first. */
  readonly address: string
  readonly nthreads: number
  /** Absent: nothing is asked of memory before a task starts. */
  readonly memory?: AdmissionSettings | null
  /** Supply of abstract counters (resources.ts). */
  readonly resources: Readonly<Record<string, number>>
  /** No fetch starts while this many bytes are on their way. */
  readonly incomingBytesLimit: number
  /** Bytes asked for in one request, unless its first key alone is larger. */
  readonly messageBytesLimit: number
  /** No further fetch above this many open ones, once they carry 10 MB. */
  readonly incomingCountLimit: number
  readonly seed: number
  /** Transitions that `story` can tell. */
  readonly logLength: number
  /** Check every invariant after every step: for tests. */
  readonly validate: boolean
}

/** One line of a key's story, kept as data; text is made when somebody asks. */
export interface LogEntry {
  readonly at: number
  readonly key: TaskKey
  readonly from: LocalTaskState
  readonly to: LocalTaskState | 'forgotten'
  readonly runId: RunId
  readonly cause: string
}

export interface WorkerState {
  readonly settings: CoreSettings
  readonly prng: Prng
  generation: number
  /** What the scheduler ordered. */
  requested: 'running' | 'paused' | 'retiring'
  /** What the memory monitor found. */
  memoryPaused: boolean
  /** The pause for memory is lifted for the next task to start, and nothing else. */
  probing: boolean
  readonly tasks: Map<TaskKey, LocalTask>
  readonly waiting: Set<LocalTask>
  readonly ready: ReadyQueue
  readonly admission: Admission
  /** Exactly the tasks in `constrained`, and what running ones hold. */
  readonly resources: Resources
  readonly missing: Set<LocalTask>
  /** Oldest first, at most `ERRED_MAX`. */
  readonly erred: Set<LocalTask>
  readonly runs: Map<RunId, Run>
  /** Sum of the weights of runs in phase `running`. */
  load: number
  /** How many runs are in phase `running`. */
  running: number
  /** Discarded runs per key. */
  readonly discarded: Map<TaskKey, number>
  /** Keys whose discarded run was in phase `storing` already. */
  readonly discardedStoring: Set<TaskKey>
  readonly transfers: Map<number, Transfer>
  /** The open transfer that carries a key, wanted or not. */
  readonly flying: Map<TaskKey, Transfer>
  incomingBytes: number
  nextTransferId: number
  readonly peers: Map<WorkerId, Peer>
  /** Bytes of all values held, on disk too. */
  heldBytes: number
  readonly functions: Map<FunctionId, Uint8Array>
  /** The last run that was assigned to this process. */
  lastRun: RunId
  /** How many runs of a function one executor takes at once, where that is not 1. */
  readonly depths: Map<string, number>
  /** Delay of the next question about missing keys; null = no timer is set. */
  missingTimerMs: number | null
  handBackTimer: boolean
  readonly log: RingLog<LogEntry>
}

/** Behind all inputs of tasks. */
export const LOWEST_PRIORITY: Priority = [Number.MAX_SAFE_INTEGER, 0, 0]

/** Failed tasks that are remembered to recognise a repeated assignment. */
export const ERRED_MAX = 1000

/** Stands for no run at all. */
export const NO_RUN = 0 as RunId

export function createState(settings: CoreSettings): WorkerState {
  return {
    settings,
    prng: new Prng(settings.seed),
    generation: 0,
    requested: 'running',
    memoryPaused: false,
    probing: false,
    tasks: new Map(),
    waiting: new Set(),
    ready: createReadyQueue(),
    admission: new Admission(settings.memory ?? null, settings.nthreads),
    resources: new Resources(settings.resources),
    missing: new Set(),
    erred: new Set(),
    runs: new Map(),
    load: 0,
    running: 0,
    discarded: new Map(),
    discardedStoring: new Set(),
    transfers: new Map(),
    flying: new Map(),
    incomingBytes: 0,
    nextTransferId: 1,
    peers: new Map(),
    heldBytes: 0,
    lastRun: 0 as RunId,
    functions: new Map(),
    depths: new Map(),
    missingTimerMs: null,
    handBackTimer: false,
    log: new RingLog(settings.logLength),
  }
}

export function createTask(key: TaskKey): LocalTask {
  return {
    key,
    state: 'released',
    priority: LOWEST_PRIORITY,
    assignment: null,
    run: null,
    transfer: null,
    value: null,
    runId: NO_RUN,
    nbytes: 0,
    dependents: EMPTY_SET,
    holders: EMPTY_SET,
    acquire: false,
    durable: false,
    askedAt: null,
    suspect: false,
  }
}

/** The task of a key, made when it is new. */
export function obtainTask(state: WorkerState, key: TaskKey): LocalTask {
  let task = state.tasks.get(key)
  if (task === undefined) {
    task = createTask(key)
    state.tasks.set(key, task)
  }
  return task
}

export function statusOf(state: WorkerState): Exclude<WorkerStatus, 'closing'> {
  if (state.requested === 'retiring') return 'retiring'
  return state.requested === 'paused' || state.memoryPaused ? 'paused' : 'running'
}

/** W2: something of this key is still on its way out. */
export function isBlocked(state: WorkerState, key: TaskKey): boolean {
  return state.discarded.has(key) || state.flying.has(key)
}

/** W4: a copy of this key could meet another value of it in the store. */
export function isParked(state: WorkerState, key: TaskKey): boolean {
  return state.flying.has(key) || state.discardedStoring.has(key)
}

/** True while a value that comes with this transfer would be kept. */
export function wantsReplica(state: WorkerState, transferId: number, key: TaskKey, runId: RunId): boolean {
  const task = state.tasks.get(key)
  return task?.state === 'flight' && task.transfer?.id === transferId && task.runId === runId
}
