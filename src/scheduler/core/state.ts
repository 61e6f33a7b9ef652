// SchedulerState: everything the scheduler knows, and the small operations on single records that keep its indexes
// together. Policies and transitions build on these; checkInvariants (validate.ts) checks every statement made here.

import type { ClientId, FunctionId, RunId, TaskKey, WorkerId } from '../../base/ids.ts'
import { HeapSet } from '../../base/heap-set.ts'
import { runId } from '../../base/ids.ts'
import type { Holder } from '../../protocol/tasks.ts'
import type { ClusterMemory } from './cluster-memory.ts'
import type { MemoryMeasure } from '../../base/memory-measure.ts'
import { Outbox } from './effects.ts'
import type { RequestNumber } from './events.ts'
import type { Policy } from './memory-manager.ts'
import type { Move } from './rebalance.ts'
import {
  comparePriority,
  TASK_STATES,
  type AllowedWorkers,
  type ClientRecord,
  type DatasetRecord,
  type FunctionRecord,
  type HostRecord,
  type PrefixRecord,
  type TaskFailure,
  type TaskRecord,
  type TaskState,
  type TaskTrouble,
  type WorkerRecord,
} from './records.ts'
import { Story } from './story.ts'
import { loadKey, startKey, WorkerHeap } from './worker-heap.ts'

export interface CoreOptions {
  /** Tasks per thread that a data producer may have on a worker; Infinity switches queueing off. */
  readonly saturation: number
  /** How many deaths of executors and workers one task may cause. */
  readonly allowedFailures: number
  readonly allowedOomFailures: number
  readonly workerGraceMs: number
  readonly connectionGraceMs: number
  readonly clientGraceMs: number
  /** Fraction of the limit above which a worker counts as crowded; Infinity = never. */
  readonly pauseFraction: number
  /** Fraction of the limit above which managed bytes are spilled; Infinity = never. */
  readonly targetFraction: number
  /** Assumed for functions that never finished, and by name. */
  readonly unknownDurationMs: number
  readonly defaultDurationsMs: Readonly<Record<string, number>>
  readonly unknownResultBytes: number
  /** Between hosts, bytes per second, until workers report what they measured. */
  readonly bandwidth: number
  /** null = never. */
  readonly noWorkersTimeoutMs: number | null
  readonly idleTimeoutMs: number | null
  readonly workerTtlMs: number | null
  /** Whether tasks that wait on busy workers move to idle ones, and how often all workers are looked at for that. */
  readonly workStealing: boolean
  readonly workStealingIntervalMs: number
  /** What `rebalance` goes by; fractions of a worker's limit. */
  readonly rebalance: RebalanceOptions
  readonly memoryManager: MemoryManagerOptions
  /** Transitions that `story` can tell, over all tasks. */
  readonly storyLength: number
  /** Check all invariants after every step: for tests, linear in the number of tasks. */
  readonly validate: boolean
}

export interface RebalanceOptions {
  readonly measure: MemoryMeasure
  /** A worker with less than this gives nothing. */
  readonly senderMin: number
  /** A worker with more than this gets nothing. */
  readonly recipientMax: number
  /** Senders and recipients are at least this far apart, half of it on either side of the mean. */
  readonly gap: number
}

export interface MemoryManagerOptions {
  /** Whether it runs from the start. */
  readonly start: boolean
  readonly intervalMs: number
  readonly measure: MemoryMeasure
  readonly policies: readonly Policy[]
}

export const DEFAULT_CORE_OPTIONS: CoreOptions = {
  saturation: 1.1,
  allowedFailures: 3,
  allowedOomFailures: 2,
  workerGraceMs: 10_000,
  connectionGraceMs: 5000,
  clientGraceMs: 30_000,
  pauseFraction: 0.8,
  targetFraction: 0.6,
  unknownDurationMs: 500,
  defaultDurationsMs: {},
  unknownResultBytes: 1024,
  bandwidth: 100_000_000,
  noWorkersTimeoutMs: null,
  idleTimeoutMs: null,
  workerTtlMs: 300_000,
  workStealing: true,
  workStealingIntervalMs: 1000,
  rebalance: { measure: 'optimistic', senderMin: 0.3, recipientMax: 0.6, gap: 0.1 },
  memoryManager: { start: false, intervalMs: 2000, measure: 'optimistic', policies: [] },
  storyLength: 65_536,
  validate: false,
}

/** A value that turned up: what a transition into `memory` reads. */
export interface Arrival {
  readonly worker: WorkerRecord
  readonly run: RunId
  readonly nbytes: number
  readonly type: string
  readonly durable: boolean
  /** The value, on its way to the clients that want it. */
  readonly blob?: Uint8Array | undefined
}

/** A question that cannot be answered yet. */
export type PendingRequest =
  | {
      readonly kind: 'scatter'
      readonly client: ClientRecord
      readonly entries: readonly { readonly key: TaskRecord['key']; readonly nbytes: number; readonly type: string }[]
      readonly labels: readonly string[] | null
      readonly broadcast: boolean | number
      readonly timeoutMs: number
    }
  /** Waits until these workers have registered again. */
  | { readonly kind: 'restart'; readonly missing: Set<WorkerId>; readonly timeoutMs: number }
  | {
      readonly kind: 'retire'
      readonly workers: Set<WorkerRecord>
      readonly retired: string[]
      readonly closeWorkers: boolean
      /** How many values each still has to give away, and since when it is that many. */
      readonly progress: Map<WorkerRecord, { left: number; sinceMs: number }>
    }
  | {
      readonly kind: 'replicate'
      /** null: on every worker. */
      readonly n: number | null
      readonly labels: readonly string[] | null
      readonly branchingFactor: number
      /** Values that do not have their copies yet. */
      readonly open: Set<TaskRecord>
      readonly incomplete: { readonly key: TaskKey; readonly copies: number; readonly wanted: number }[]
      /** Made so far, and when the last one was. */
      copies: number
      movedAtMs: number
      /** Replicas too many that were told to go. */
      removing: number
    }
  | {
      readonly kind: 'rebalance'
      /** Moves that have not ended, and those that are still to be ordered, the first one last. */
      open: number
      readonly waiting: Move[]
      moved: number
      movedBytes: number
      readonly notMoved: TaskKey[]
    }
  /** Waits until newer processes of these workers have registered. */
  | {
      readonly kind: 'restart-workers'
      readonly outcomes: Map<WorkerId, { readonly name: string; outcome: 'ok' | 'removed' | 'timed-out' }>
      readonly missing: Set<WorkerId>
    }

/** A task that a busy worker was asked to give back for another one. */
export interface Steal {
  readonly run: number
  readonly victim: WorkerRecord
  readonly thief: WorkerRecord
  /** What it takes off and adds meanwhile. */
  victimUs: number
  thiefUs: number
}

export interface Stealing {
  /** What was asked back and not answered. */
  readonly steals: Map<TaskRecord, Steal>
  /** Tasks that were given back, and for whom: only while that message is handled. */
  readonly destinations: Map<TaskRecord, WorkerRecord>
  /** When the next look is due, and the next one at all workers. */
  wakeAtMs: number
  sweepAtMs: number
  /** Where the next partial look begins. */
  cursor: number
  /** Runs asked back, and runs that went to another worker, since the start. */
  asked: number
  moved: number
}

/** A copy that a worker was told to fetch, or to keep when it has one. */
export interface CopyOrder {
  /** What is on its way: 0 when the worker has the value already. */
  readonly nbytes: number
  readonly deadlineMs: number
  /** Who waits for it. */
  readonly requests: RequestNumber[]
  /** Replicas that are told to go when it has arrived. */
  readonly thenRemove: { readonly worker: WorkerRecord; readonly request: RequestNumber | null }[]
}

/** What is on the move between workers (copies.ts). */
export interface Copies {
  readonly orders: Map<TaskRecord, Map<WorkerRecord, CopyOrder>>
  /** Replicas that were told to go, and who waits for that. */
  readonly removals: Map<TaskRecord, Map<WorkerRecord, RequestNumber | null>>
  /** Workers that may fetch a copy for which there is no order (any more). */
  readonly late: Map<TaskRecord, Map<WorkerRecord, null>>
  /** Sums over `orders`. */
  readonly incoming: Map<WorkerRecord, number>
  /** Orders that ended and whose requests have not been told. */
  ended: CopyEnd[]
  timer: boolean
  /** Where the list of holders that are named begins. */
  cursor: number
}

export interface CopyEnd {
  readonly what: 'copy' | 'removal'
  readonly request: RequestNumber
  readonly task: TaskRecord
  readonly worker: WorkerRecord
  readonly done: boolean
}

/** A task to look at, and where it should go: `settled` means wherever its needs say by then. */
export type Goal = TaskState | 'settled'

export interface SchedulerState {
  /** Names this scheduler's life: run ids and stored values of another one mean nothing here. */
  readonly id: string
  readonly options: CoreOptions
  /** Raised by restart; older futures and stored values are void. */
  generation: number
  /** Time of the event in hand, its name, and what has been decided so far. */
  now: number
  at: number
  cause: string
  readonly outbox: Outbox
  readonly todo: { tasks: TaskRecord[]; goals: Goal[] }
  readonly story: Story

  runCounter: number
  graphGeneration: number
  /** How much expected work the least served client had been given when that was last looked at (fairness.ts). */
  servedMs: number
  assignments: number
  scatterCursor: number
  placementStamp: number

  readonly tasks: Map<string, TaskRecord>
  readonly functions: Map<FunctionId, FunctionRecord>
  readonly prefixes: Map<string, PrefixRecord>
  /** Keys placed by scatter whose data has not arrived: state released, no recipe; with the workers chosen. */
  readonly placements: Map<TaskRecord, readonly WorkerRecord[]>
  /** Tasks whose values clients wait for, until these have come: their runs are told to attach them. Few: no field of all tasks. */
  readonly awaited: Set<TaskRecord>

  readonly workers: Map<WorkerId, WorkerRecord>
  readonly hosts: Map<string, HostRecord>
  /** Nannies whose streams live, by the worker they look after; the number is their connection. */
  readonly nannies: Map<WorkerId, number>
  /** Exactly the running workers are in both heaps. */
  readonly byLoad: WorkerHeap
  readonly byStart: WorkerHeap
  /** Tasks in state processing. */
  processing: number
  /** Over running workers. */
  runningThreads: number
  /** Grows whenever the set of running workers, or what they offer, changes. */
  poolVersion: number
  /** Largest memory limit of a worker, running or not; Infinity when one has none or there is no worker. null: to be found. */
  largestLimit: number | null
  /** Bytes per second between hosts, as measured. */
  bandwidth: number
  /** Live workers by address. */
  readonly byAddress: Map<string, WorkerRecord>
  /** Who registered last with a name; every live worker that has one is here. */
  readonly byName: Map<string, WorkerRecord>
  readonly stealing: Stealing
  readonly memory: ClusterMemory
  /** Exactly the tasks with more than one holder. */
  readonly replicated: Set<TaskRecord>
  readonly copies: Copies
  /** Whether the active memory manager runs by itself. */
  memoryManagerRuns: boolean

  /** By restrictions (restrictions.ts). */
  readonly allowed: Map<string, AllowedWorkers>

  /** Exactly the tasks in state queued. */
  readonly queue: HeapSet<TaskRecord, TaskRecord>
  /** Exactly the tasks in state no-worker; the value says since when (ms). */
  readonly noWorker: Map<TaskRecord, number>
  /** Since when there has been no running worker; null while there is one. */
  workerlessSinceMs: number | null
  /** Since when nothing has been going on (idle timeout), and the number of transitions then. */
  idleSinceMs: number
  idleTransitions: number

  readonly clients: Map<ClientId, ClientRecord>
  /** Published, by name. */
  readonly datasets: Map<string, DatasetRecord>
  readonly requests: Map<RequestNumber, PendingRequest>
  /** Workers told to restart that have not registered since. */
  readonly restarting: Set<WorkerId>
  /** Worker processes told to close, by incarnation: the order may have been lost. The newest RETIRED_MAX. */
  readonly retired: Map<WorkerId, number>
}

export function createState(id: string, options: CoreOptions = DEFAULT_CORE_OPTIONS): SchedulerState {
  return {
    id,
    options,
    generation: 1,
    now: 0,
    at: 0,
    cause: 'start',
    outbox: new Outbox(),
    todo: { tasks: [], goals: [] },
    story: new Story(options.storyLength),
    runCounter: 0,
    graphGeneration: 0,
    servedMs: 0,
    assignments: 0,
    scatterCursor: 0,
    placementStamp: 0,
    tasks: new Map(),
    functions: new Map(),
    prefixes: new Map(),
    placements: new Map(),
    awaited: new Set(),
    workers: new Map(),
    hosts: new Map(),
    nannies: new Map(),
    byLoad: new WorkerHeap(0, loadKey),
    byStart: new WorkerHeap(1, startKey),
    processing: 0,
    runningThreads: 0,
    poolVersion: 0,
    largestLimit: null,
    allowed: new Map(),
    bandwidth: options.bandwidth,
    byAddress: new Map(),
    byName: new Map(),
    stealing: {
      steals: new Map(),
      destinations: new Map(),
      wakeAtMs: Infinity,
      sweepAtMs: 0,
      cursor: 0,
      asked: 0,
      moved: 0,
    },
    memory: { short: new Set(), limitBytes: 0, told: { limitBytes: 0, isShort: false } },
    replicated: new Set(),
    copies: {
      orders: new Map(),
      removals: new Map(),
      late: new Map(),
      incoming: new Map(),
      ended: [],
      timer: false,
      cursor: 0,
    },
    memoryManagerRuns: false,
    queue: new HeapSet((task) => task, comparePriority),
    noWorker: new Map(),
    workerlessSinceMs: 0,
    idleSinceMs: 0,
    idleTransitions: 0,
    clients: new Map(),
    datasets: new Map(),
    requests: new Map(),
    restarting: new Set(),
    retired: new Map(),
  }
}

export function recommend(state: SchedulerState, task: TaskRecord, goal: Goal): void {
  state.todo.tasks.push(task)
  state.todo.goals.push(goal)
}

/** The only place that changes a task's state: counts and story go with it. */
export function become(state: SchedulerState, task: TaskRecord, next: TaskState): void {
  const from = task.state
  const counts = task.group.prefix.counts
  counts[from]--
  counts[next]++
  task.state = next
  state.story.record(task, from, state.at, state.cause)
}

export function nextRun(state: SchedulerState): RunId {
  return runId(++state.runCounter)
}

/** Names are few, but a program may make them up: beyond this many, those without tasks are forgotten. */
const PREFIXES_MAX = 5000

export function prefixOf(state: SchedulerState, name: string): PrefixRecord {
  let prefix = state.prefixes.get(name)
  if (prefix === undefined) {
    if (state.prefixes.size >= PREFIXES_MAX) dropUnusedPrefixes(state)
    const counts = Object.fromEntries(TASK_STATES.map((each) => [each, 0])) as Record<TaskState, number>
    prefix = { name, counts, runs: 0, nbytes: 0, measured: { meanMs: -1, meanBytes: -1 }, guessed: null }
    state.prefixes.set(name, prefix)
  }
  return prefix
}

function dropUnusedPrefixes(state: SchedulerState): void {
  for (const prefix of state.prefixes.values()) {
    if (TASK_STATES.every((each) => prefix.counts[each] === 0)) state.prefixes.delete(prefix.name)
  }
}

export function troubleOf(task: TaskRecord): TaskTrouble {
  task.trouble ??= {
    crashes: 0,
    outOfMemory: 0,
    reserve: null,
    storeFull: 0,
    unreadable: 0,
    unreadableReason: '',
    workers: [],
    avoid: null,
    heldUntilMs: 0,
    handedBackMs: Number.NEGATIVE_INFINITY,
    reruns: null,
  }
  return task.trouble
}

/** Its load changed. To be called before the load of another worker changes: a heap can mend one misplaced member. */
export function touch(state: SchedulerState, worker: WorkerRecord): void {
  state.byLoad.moved(worker)
  state.byStart.moved(worker)
}

/** Enters or leaves the heaps after its link, status or registration changed. */
export function settleRunning(state: SchedulerState, worker: WorkerRecord): void {
  const was = state.byLoad.has(worker)
  if (worker.isRunning && !was) {
    state.byLoad.add(worker)
    state.byStart.add(worker)
    state.runningThreads += worker.nthreads
  } else if (!worker.isRunning && was) {
    state.byLoad.delete(worker)
    state.byStart.delete(worker)
    state.runningThreads -= worker.nthreads
  } else touch(state, worker)
  if (worker.link !== 'live') state.memory.short.delete(worker)
  state.poolVersion++
  if (state.byLoad.size > 0) state.workerlessSinceMs = null
  else state.workerlessSinceMs ??= state.now
  if (worker.isRunning) for (const task of inPriorityOrder(state.noWorker.keys())) recommend(state, task, 'processing')
}

export function inPriorityOrder(tasks: Iterable<TaskRecord>): TaskRecord[] {
  return [...tasks].sort(comparePriority)
}

export function addWant(client: ClientRecord, task: TaskRecord): void {
  if (client.wants.has(task)) return
  client.wants.add(task)
  task.wantedBy = task.wantedBy.length === 0 ? [client] : [...task.wantedBy, client]
}

export function removeWant(client: ClientRecord, task: TaskRecord): void {
  if (!client.wants.delete(task)) return
  task.wantedBy = task.wantedBy.length === 1 ? NOBODY : task.wantedBy.filter((each) => each !== client)
}

const NOBODY: readonly ClientRecord[] = Object.freeze([])

/** Tells every client that wants the task how it stands: in memory, erred; nothing to say otherwise. */
export function reportTo(state: SchedulerState, client: ClientRecord, task: TaskRecord, blob?: Uint8Array): void {
  const { key, nbytes, type } = task
  if (task.state === 'memory')
    state.outbox.toClient(
      client,
      blob === undefined
        ? { op: 'key-in-memory', key, nbytes, type }
        : { op: 'key-in-memory', key, nbytes, type, blob },
    )
  if (task.state === 'erred')
    state.outbox.toClient(client, { op: 'task-erred', key: task.key, failure: task.failure as TaskFailure })
}

/** How many holders of one value are named to whoever has to fetch it: more are no help. */
const HOLDERS_NAMED = 8

/** Where a value can be fetched now; of many holders, some from `start` on. */
export function fetchableHolders({ holders }: TaskRecord, start = 0): Holder[] {
  const found: Holder[] = []
  for (let n = 0; n < holders.length && found.length < HOLDERS_NAMED; n++) {
    const worker = holders[(start + n) % holders.length] as WorkerRecord
    if (worker.link === 'live') found.push(worker.holder)
  }
  return found
}
