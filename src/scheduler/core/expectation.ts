// What a task is expected to cost: means over finished runs, learned per function and per name, and what is assumed before.

import type { Measurements, PrefixRecord, TaskGroup, TaskRecord } from './records.ts'
import type { SchedulerState } from './state.ts'

/** Weight of the newest sample in every mean. */
const NEWEST = 0.5

/** Expected run time in milliseconds of a task of this group: as measured for the function, else for its name, else the configured guess. */
export function expectedMs(state: SchedulerState, { fn, prefix }: Pick<TaskGroup, 'fn' | 'prefix'>): number {
  const own = fn?.measured.meanMs ?? -1
  if (own >= 0) return own
  const byName = prefix.measured.meanMs
  return byName >= 0 ? byName : guessedMs(state, prefix)
}

/** What a run is expected to take of its worker's memory: its result, and what is asked to be reserved for it. */
export function expectedNeedBytes(state: SchedulerState, task: TaskRecord): number {
  const asked = task.group.options.memory ?? 0
  const reserved = task.trouble?.reserve?.bytes ?? 0
  return expectedResultBytes(state, task) + Math.max(asked, reserved)
}

export function expectedResultBytes(state: SchedulerState, task: TaskRecord): number {
  const own = task.group.fn?.measured.meanBytes ?? -1
  if (own >= 0) return own
  const byName = task.group.prefix.measured.meanBytes
  return byName >= 0 ? byName : state.options.unknownResultBytes
}

export function isMeasured(task: TaskRecord): boolean {
  const { prefix, fn } = task.group
  return prefix.measured.meanMs >= 0 || (fn !== null && fn.measured.meanMs >= 0)
}

/** A running task has taken much longer than its mean: the mean is wrong, and this is the least that it must be. */
export function outlasted(task: TaskRecord, runningMs: number): void {
  const { fn, prefix } = task.group
  for (const measured of [fn?.measured, prefix.measured]) {
    if (measured !== undefined && measured.meanMs >= 0 && runningMs > 2 * measured.meanMs) measured.meanMs = runningMs
  }
}

export function learn(measured: Measurements, durationMs: number, nbytes: number): void {
  measured.meanMs = measured.meanMs < 0 ? durationMs : measured.meanMs + NEWEST * (durationMs - measured.meanMs)
  measured.meanBytes = measured.meanBytes < 0 ? nbytes : measured.meanBytes + NEWEST * (nbytes - measured.meanBytes)
}

export function guessedMs(state: SchedulerState, prefix: PrefixRecord): number {
  return state.options.defaultDurationsMs[prefix.name] ?? state.options.unknownDurationMs
}

/** A small integer: at most half an hour, above that the order of workers does not change any more. */
export function wholeUs(us: number): number {
  return Math.min(0x6fffffff, Math.round(us))
}
