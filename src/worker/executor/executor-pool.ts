// What runs tasks for a worker: the interface that its state machine's shell talks to. Two implementations: processes
// (process-pool.ts), and this very process (inline-pool.ts) for tests and debugging.
//
// E1. Every run handed over ends with exactly one of onFinished, onErred, onReturned, onInputBad, onCancelled; unless the
//     pool is closed before, then with none.
// E2. `stillMapped` names inputs that stay mapped after the end; each is followed by one onUnmapped.
// E3. Events are never sent from inside of a call into the pool.

import type { FunctionId, RunId, TaskKey } from '../../base/ids.ts'
import type { PlimsollError } from '../../errors/plimsoll-error.ts'
import type { StatusPage } from '../../native/status-page.ts'
import type { ExecutorInfo } from '../../protocol/scheduler-client.ts'
import type { TaskFailureKind, TaskOptionsWire } from '../../protocol/tasks.ts'
import type { ExecutorInput, ResultPlace } from '../../protocol/worker-executor.ts'

export type { ExecutorInput, ResultPlace } from '../../protocol/worker-executor.ts'

/** Bytes; 0 in a worker without a limit. */
export interface RunMemory {
  /** Private memory that it may take before it is to blame for a shortage. */
  readonly reservedBytes: number
  /** Heap that its executor has to allow; 0: the usual share does. */
  readonly heapBytes: number
}

export interface RunRequest {
  readonly runId: RunId
  readonly key: TaskKey
  /** The function's name: the unit of statistics. */
  readonly name: string
  readonly fn: FunctionId
  readonly fnBytes: Uint8Array
  readonly args: Uint8Array
  readonly inputs: readonly ExecutorInput[]
  readonly options: TaskOptionsWire
  /** 1 for the first. */
  readonly attempt: number
  readonly memory: RunMemory
  readonly clusterId: string
  readonly generation: number
}

export type RunResult =
  | { readonly via: 'inline'; readonly blob: Uint8Array }
  | { readonly via: 'place'; readonly place: ResultPlace }

export interface FinishedRun {
  readonly runId: RunId
  readonly result: RunResult
  readonly type: string
  readonly durationMs: number
  readonly stillMapped: readonly TaskKey[]
  /** Private memory that it took at its highest, as far as was seen, bytes; absent where it cannot be told from others'. */
  readonly peakBytes?: number
}

export interface PlaceRequest {
  readonly runId: RunId
  readonly nbytes: number
  /** The place given before could not be written (`code` of the system, such as ENOSPC): it is not used; its tier is to be avoided. */
  readonly failed?: { readonly place: ResultPlace; readonly code: string }
}

export type PlaceAnswer = { readonly place: ResultPlace } | { readonly error: PlimsollError }

export interface ExecutorPoolEvents {
  onFinished(run: FinishedRun): void
  onErred(run: {
    readonly runId: RunId
    readonly kind: TaskFailureKind
    readonly error: Uint8Array
    readonly durationMs: number
    readonly stillMapped: readonly TaskKey[]
    /** Out of memory: what it had taken, at least, bytes. */
    readonly peakBytes?: number
  }): void
  /** It was never started, or ended with others for no fault of its own: run it again, nobody is blamed. */
  onReturned(run: { readonly runId: RunId; readonly reason: string }): void
  /** An input could not be read as what it should be: a lost replica. Nobody is blamed. */
  onInputBad(run: {
    readonly runId: RunId
    readonly key: TaskKey
    readonly reason: string
    readonly stillMapped: readonly TaskKey[]
  }): void
  onCancelled(run: { readonly runId: RunId; readonly stillMapped: readonly TaskKey[] }): void
  onUnmapped(run: { readonly runId: RunId; readonly key: TaskKey }): void
  /** A result above the inline limit waits for a place; its executor starts nothing before the answer. */
  onPlaceRequest(run: PlaceRequest, answer: (reply: PlaceAnswer) => void): void
  /** A place that was given will not be used: its run ended in another way, or it could not be written. Give it back. */
  onPlaceUnused?(place: ResultPlace): void
  /** Leaders of the process groups that exist now. */
  onExecutorsChanged(pids: readonly number[]): void
  onLog(line: { readonly key: TaskKey | null; readonly stream: 'stdout' | 'stderr'; readonly text: string }): void
  /** An executor did not start, or ended before it had a task; the pool goes on trying, ever more slowly. `failures`: in a row, in its place. */
  onStartFailing?(reason: string, failures: number): void
}

/** Memory of one executor with all its children, as it was last read. */
export interface ExecutorSample {
  readonly pid: number
  /** Private memory and swap of the process and all its descendants, bytes. */
  readonly privateBytes: number
  readonly vmDataBytes: number
  /** `privateBytes` when it had started and run nothing. */
  readonly baselineBytes: number
  /** What its runs may take by what they asked for and by what is known of their functions, bytes; 0 when it runs nothing. */
  readonly reservedBytes: number
  /** The run that has started in it; null when there is none, or several (io). */
  readonly runId: RunId | null
  /** RAM of the place that it was given for the result of that run, bytes; one on disk takes none. */
  readonly placeBytes: number
  /** It was killed and is not gone yet: its memory is still on its way back. */
  readonly dying: boolean
}

/** What it took since it started, bytes. */
export function growthOf({ privateBytes, baselineBytes }: ExecutorSample): number {
  return Math.max(0, privateBytes - baselineBytes)
}

export interface ExecutorPool {
  /** Resolves when every executor is ready. Rejects with WORKER_START_FAILED. */
  start(): Promise<void>
  run(request: RunRequest): void
  /** Ends a run: at once when it was not started; else by its signal, and after the grace by ending its executor (`force`: without grace). */
  cancel(runId: RunId, force: boolean): void
  /** Takes back those of these runs that have not started (`onReturned`, later); returns the others. */
  withdraw(runIds: readonly RunId[]): readonly RunId[]
  /** False while it waits in the pool, or behind another run in an executor. */
  hasStarted(runId: RunId): boolean
  /** Asks executors that hold many bytes of dead mappings for a collection, within 5 % of their time. */
  collect(): void
  /** Has executors collect and give memory back, busy ones after their task. Resolves when those that run nothing have. */
  trim(): Promise<void>
  /** Ends the executor with this pid because of its memory: its task fails as out of memory. False when there is none. */
  killForMemory(pid: number, advice: string): boolean
  /** Replaces executors that run nothing, to get their memory back. Returns how many. */
  recycleIdle(): number
  /** Collects those that run nothing and hold much, and replaces them when they hold it even so. Returns how many it replaced. */
  recycleHoarders(): number
  /** How many runs of this function one executor may be handed at a time. */
  depthFor(name: string): number
  forgetFunctions(ids: readonly FunctionId[]): void
  /** Reads the memory of all executors now. */
  sample(): readonly ExecutorSample[]
  readonly infos: readonly ExecutorInfo[]
  /** Leaders of the executors' process groups. */
  readonly pids: readonly number[]
  /** Shared with executors and nanny; null inline. */
  readonly statusPage: StatusPage | null
  /** Ends all executors and their children, and waits for them. */
  close(): Promise<void>
}

export interface ExecutorPoolOptions {
  readonly nthreads: number
  /** Bytes; 0 = no limit. */
  readonly memoryLimit: number
  readonly inlineLimit: number
  readonly mapThreshold: number
  /** Where to make the status page, in a directory that is removed when the worker is gone. */
  readonly statusPagePath: string
  readonly cancelGraceMs: number
  readonly startTimeoutMs: number
  /** Added to the cleaned environment of this process. */
  readonly env: Readonly<Record<string, string>>
  readonly workerAddress?: string
  /** RLIMIT_DATA per executor, where the platform has it (default true). */
  readonly executorCap?: boolean
  /** Part of its share that an idle executor may hold before `recycleHoarders` replaces it; default: any. */
  readonly executorRecycle?: number
  /** io tasks per io executor. */
  readonly ioConcurrency: number
}
