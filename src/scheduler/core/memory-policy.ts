// Policies that users write for the active memory manager: they see plain views of workers and values, never the
// scheduler's records, and speak in keys and addresses.

import type { Ledger } from './ledger.ts'
import type { Policy, Suggestion } from './memory-manager.ts'
import type { TaskRecord, WorkerRecord } from './records.ts'
import type { SchedulerState } from './state.ts'
import type { WorkerStatus } from '../../protocol/scheduler-client.ts'

/** One worker as a policy sees it. */
export interface PolicyWorker {
  readonly address: string
  readonly name: string
  readonly host: string
  readonly status: WorkerStatus
  readonly nthreads: number
  /** Bytes; 0 for none. */
  readonly memoryLimit: number
  /** By the configured measure, counting what is on its way, bytes. */
  readonly memory: number
  /** Values it holds, in memory and on disk, bytes. */
  readonly stored: number
}

/** One value that is in memory (or spilled), as a policy sees it. */
export interface PolicyValue {
  readonly key: string
  /** Of the function that made it. */
  readonly name: string
  readonly nbytes: number
  /** Addresses of the workers that hold a copy. */
  readonly workers: readonly string[]
  /** Unfinished tasks that need it. */
  readonly waiters: number
}

export interface PolicyView {
  readonly workers: readonly PolicyWorker[]
  /** Every value; made one by one while it is walked through. */
  values(): Iterable<PolicyValue>
  /** Those with more than one copy: few, as a rule. */
  replicated(): Iterable<PolicyValue>
  value(key: string): PolicyValue | null
}

/** One more copy of a value, or one less. */
export interface MemorySuggestion {
  readonly op: 'replicate' | 'drop'
  readonly key: string
  /** Addresses of the workers that come into question; left out: all. */
  readonly workers?: readonly string[]
}

/**
 * Suggests where values should be. It runs inside the scheduler, every `scheduler.active-memory-manager.interval`, and must be
 * quick: nothing else happens meanwhile. Whatever it suggests, the last copy of a value and copies that running tasks need
 * stay, and no worker is overfilled. A generator hears of each suggestion the address of the worker chosen, or null.
 */
export interface MemoryPolicy {
  readonly name?: string
  run(cluster: PolicyView): Iterable<MemorySuggestion> | Generator<MemorySuggestion, unknown, string | null> | undefined
}

export function userPolicy(policy: MemoryPolicy): Policy {
  return {
    name: policy.name ?? 'user policy',
    *run(state, ledger) {
      const suggestions = policy.run(viewOf(state, ledger))?.[Symbol.iterator]() as
        | Iterator<MemorySuggestion, unknown, string | null>
        | undefined
      if (suggestions === undefined) return
      try {
        for (let next = suggestions.next(null); next.done !== true;) {
          const suggestion = toSuggestion(state, next.value)
          const worker = suggestion === null ? null : yield suggestion
          next = suggestions.next(worker?.info.address ?? null)
        }
      } finally {
        suggestions.return?.()
      }
    },
  }
}

/** null: of a value or workers that are not known (any more). */
function toSuggestion(state: SchedulerState, { op, key, workers }: MemorySuggestion): Suggestion | null {
  if (op !== 'replicate' && op !== 'drop')
    throw new TypeError(`a suggestion is "replicate" or "drop", not ${String(op)}`)
  const task = state.tasks.get(key)
  if (task === undefined) return null
  if (workers === undefined) return { op, task }
  const among = workers.map((address) => state.byAddress.get(address)).filter((worker) => worker !== undefined)
  return { op, task, among }
}

function viewOf(state: SchedulerState, ledger: Ledger): PolicyView {
  const live = [...state.workers.values()].filter((worker) => worker.link === 'live')
  return {
    workers: live.map((worker) => workerView(worker, ledger)),
    *values() {
      for (const task of state.tasks.values()) if (task.state === 'memory') yield valueView(task)
    },
    *replicated() {
      for (const task of state.replicated) yield valueView(task)
    },
    value(key) {
      const task = state.tasks.get(key)
      return task?.state === 'memory' ? valueView(task) : null
    },
  }
}

function workerView(worker: WorkerRecord, ledger: Ledger): PolicyWorker {
  const { info, status, nthreads, nbytes } = worker
  const { address, name, host, memoryLimit } = info
  return { address, name, host, status, nthreads, memoryLimit, memory: ledger.of(worker), stored: nbytes }
}

function valueView(task: TaskRecord): PolicyValue {
  return {
    key: task.key,
    name: task.group.prefix.name,
    nbytes: task.nbytes,
    workers: task.holders.map((worker) => worker.info.address),
    waiters: task.waiters,
  }
}
