// Into and out of `memory`: at least one worker holds the value.

import type { RunId } from '../../../base/ids.ts'
import { endOrdersFor } from '../copies.ts'
import { FIRE_AND_FORGET } from '../names.ts'
import { addReplica, isAvailable, removeReplica } from '../replicas.ts'
import { isActive, type TaskRecord } from '../records.ts'
import { become, recommend, removeWant, reportTo, type Arrival, type SchedulerState } from '../state.ts'

export function enterMemory(state: SchedulerState, task: TaskRecord, arrival: Arrival): void {
  if (task.trouble !== null && arrival.run !== task.acceptedRunId) task.trouble.reruns = null
  task.acceptedRunId = arrival.run
  task.nbytes = arrival.nbytes
  task.type = arrival.type
  state.awaited.delete(task)
  addReplica(state, task, arrival.worker, arrival.durable)
  task.group.prefix.nbytes += arrival.nbytes
  become(state, task, 'memory')
  if (task.dependents !== null) {
    for (const dependent of task.dependents) {
      if (dependent.state === 'waiting' && --dependent.waitingOn === 0) recommend(state, dependent, 'settled')
    }
  }
  for (const client of task.wantedBy) {
    reportTo(state, client, task, arrival.blob)
    if (client.id === FIRE_AND_FORGET) removeWant(client, task)
  }
  if (!task.isNeeded) recommend(state, task, 'settled')
}

/** Nobody needs the value, or it is lost: then whoever wants it is told, and dependents that counted on it wait again. */
export function memoryToReleased(state: SchedulerState, task: TaskRecord): void {
  const wasAvailable = isAvailable(task)
  endOrdersFor(state, task)
  // Who has it is told to drop it, and what it says of its copy may cross that: it does not count for the key any more. A
  // value that was lost counts wherever a copy of it turns up.
  const isGivenUp = task.holders.length > 0
  for (const worker of task.holders) {
    if (task.hasRecipe) state.outbox.freeKey(worker, task.key)
    else state.outbox.freeRun(worker, task.key, task.acceptedRunId as RunId)
    removeReplica(state, task, worker)
  }
  if (isGivenUp) task.acceptedRunId = 0
  task.group.prefix.nbytes -= task.nbytes
  become(state, task, 'released')
  for (const client of task.wantedBy) state.outbox.toClient(client, { op: 'lost-data', key: task.key })
  for (const dependent of task.dependents ?? []) {
    if (dependent.state === 'waiting') dependent.waitingOn += wasAvailable ? 1 : 0
    else if (isActive(dependent.state)) recommend(state, dependent, 'released')
  }
}
