// Giving up tasks that can never have a value: their scattered data is gone, or an input is unknown. Every unfinished
// dependent goes with them, and every client that wanted one of them is told once.

import { isActive, type ClientRecord, type TaskRecord } from '../records.ts'
import { recommend, removeWant, type SchedulerState } from '../state.ts'

export interface AbandonReason {
  readonly reason: string
  readonly code: 'TASK_CANCELLED' | 'DATA_LOST'
}

export function abandon(state: SchedulerState, roots: Iterable<TaskRecord>, why: AbandonReason): void {
  const doomed = dependentsFirst(roots)
  tellCancelled(state, doomed, why)
  for (const task of doomed) recommend(state, task, 'forgotten')
}

/** Tells every client which of these keys it loses, and ends its wish for them. The one who asked for it is answered in any case. */
export function tellCancelled(
  state: SchedulerState,
  tasks: Iterable<TaskRecord>,
  why: AbandonReason,
  asker: { readonly client: ClientRecord; readonly cancel: number } | null = null,
): void {
  const keysOf = new Map<ClientRecord, TaskRecord['key'][]>()
  if (asker !== null) keysOf.set(asker.client, [])
  for (const task of tasks) {
    for (const client of task.wantedBy) {
      const keys = keysOf.get(client)
      if (keys === undefined) keysOf.set(client, [task.key])
      else keys.push(task.key)
      removeWant(client, task)
    }
  }
  for (const [client, keys] of keysOf) {
    const answers = client === asker?.client ? { cancel: asker.cancel } : {}
    state.outbox.toClient(client, { op: 'cancelled-keys', keys, ...why, ...answers })
  }
}

/** The roots and all their unfinished dependents, each after those that depend on it: then nobody waits for what is forgotten. */
function dependentsFirst(roots: Iterable<TaskRecord>): Set<TaskRecord> {
  const seen = new Set<TaskRecord>()
  const done = new Set<TaskRecord>()
  for (const root of roots) {
    const open = [root]
    for (let task = open.at(-1); task !== undefined; task = open.at(-1)) {
      if (seen.has(task)) {
        done.add(task)
        open.pop()
        continue
      }
      seen.add(task)
      for (const dependent of task.dependents ?? [])
        if (!seen.has(dependent) && isUnfinished(dependent)) open.push(dependent)
    }
  }
  return done
}

/** On its way to a value, or about to be. */
function isUnfinished(task: TaskRecord): boolean {
  return isActive(task.state) || (task.state === 'released' && task.isNeeded)
}
