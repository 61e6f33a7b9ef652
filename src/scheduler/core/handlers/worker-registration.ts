// A worker registers: for the first time, after its stream broke, or as the next process of the same worker. One
// mechanism for all three: its inventory is compared with the books.
//
// I1. A value is accepted iff its run is the task's last accepted one, or that of the task's last assignment to this
//     very worker while no newer run has finished: then it counts as finished. A run elsewhere is cancelled for it.
// I2. Everything else that the worker holds is named in `drop`; every run that is not the present one in `cancel`.
// I3. What the books have and the inventory has not is lost: replicas are removed, runs are repeated. A run that never
//     reached the worker does not count as an attempt.
// I4. Another cluster's or generation's inventory is worth nothing.

import type { RunId, TaskKey } from '../../../base/ids.ts'
import type { Inventory, RegisterWorker, RegisterWorkerAnswer } from '../../../protocol/scheduler-worker.ts'
import type { EventOf } from '../events.ts'
import { loseReplica, setLink } from '../losing.ts'
import { isActive, WorkerRecord, type HostRecord, type TaskRecord } from '../records.ts'
import { addReplica, availabilityChanged, isAvailable, setLoose } from '../replicas.ts'
import { recommend, settleRunning, type SchedulerState } from '../state.ts'
import { endRun } from '../transitions/processing.ts'
import { settleAll, transition } from '../transitions/table.ts'
import { endSteal } from '../steals.ts'
import { finishRestarts, noteRestarted } from './restart-answers.ts'
import { setStatus } from './retire.ts'
import { askPlaced, resumeScatters } from './scatter.ts'
import { endProcess, forgetLabels, noteLabels, tellPeers } from './worker-loss.ts'

type Held = Inventory['keys'][number]

export function workerRegistered(state: SchedulerState, event: EventOf<'WorkerRegistered'>): void {
  const { registration, request, connection } = event
  const known = state.workers.get(registration.workerId)
  const objection = findObjection(state, registration, known)
  if (objection !== null)
    return state.outbox.refuse(request, 'INVALID_ARGUMENT', objection, {
      worker: registration.workerId,
      name: registration.name,
    })
  const ours = registration.clusterId === state.id && registration.generation === state.generation
  const inventory: Inventory = ours ? registration.inventory : emptyInventory(registration)
  const isNewProcess = known === undefined || registration.incarnation > known.info.incarnation
  const isRetiring = known?.status === 'retiring'
  const worker = known ?? newWorker(state, registration, connection)
  if (known !== undefined) replaceConnection(state, known, registration, connection)
  dropMissing(state, worker, inventory)
  if (known !== undefined) forgetLabels(state, known)
  describe(state, worker, registration)
  setLink(state, worker, 'live')
  settleRunning(state, worker)
  // Its last order may have been lost: ours counts.
  if (isRetiring !== (worker.status === 'retiring')) setStatus(state, worker, isRetiring ? 'retiring' : 'running')
  const drop = adopt(state, worker, inventory)
  const cancel = reconcileRuns(state, worker, inventory)
  worker.orphanedRuns.clear()
  const answer: RegisterWorkerAnswer = {
    schedulerId: state.id,
    generation: state.generation,
    heartbeatMs: heartbeatMs(state.workers.size),
    drop: ours ? drop : registration.inventory.keys.map((each) => each.key),
    cancel: ours ? cancel : registration.inventory.tasks.map((each) => each.runId),
  }
  state.outbox.answer(request, answer)
  state.outbox.clearTimer({ kind: 'worker-grace', worker: worker.id })
  // What the worker came back without may be lost for good: a scatter that waits must not be told that it is there.
  settleAll(state)
  resumeScatters(state)
  finishRestarts(state, worker.id)
  if (isNewProcess) noteRestarted(state, worker.id, 'ok')
}

/** I4. Who belongs to no cluster yet has got no run of ours either: the answer to its registration was lost before. */
function emptyInventory({ clusterId }: RegisterWorker): Inventory {
  return { keys: [], tasks: [], ...(clusterId === null && { received: 0 as RunId }) }
}

/** More workers, slower hearts. */
export function heartbeatMs(workers: number): number {
  if (workers <= 10) return 500
  if (workers < 50) return 1000
  return workers < 200 ? 2000 : 1000 + 5 * workers
}

function findObjection(
  state: SchedulerState,
  registration: RegisterWorker,
  known: WorkerRecord | undefined,
): string | null {
  if (known !== undefined && registration.incarnation < known.info.incarnation) {
    return `worker ${registration.workerId} is registered with a newer process (incarnation ${known.info.incarnation})`
  }
  if (state.retired.get(registration.workerId) === registration.incarnation) {
    return `worker ${registration.workerId} was retired: it is to close`
  }
  const isOther = (worker: WorkerRecord | undefined): worker is WorkerRecord =>
    worker !== undefined && worker.id !== registration.workerId && worker.link === 'live'
  const neighbour = state.byAddress.get(registration.address)
  if (isOther(neighbour)) return `worker ${neighbour.id} is registered at ${registration.address} already`
  const namesake = state.byName.get(registration.name)
  if (!isOther(namesake)) return null
  return `there is a worker named "${registration.name}" at ${namesake.info.address} already: give this one another --name`
}

function newWorker(state: SchedulerState, registration: RegisterWorker, connection: number): WorkerRecord {
  const worker = new WorkerRecord(registration, hostOf(state, registration.host), connection, state.now)
  // Not live before its inventory has been read: `setLink` then lets it in.
  worker.link = 'lost'
  state.workers.set(worker.id, worker)
  return worker
}

function replaceConnection(
  state: SchedulerState,
  worker: WorkerRecord,
  registration: RegisterWorker,
  connection: number,
): void {
  if (worker.link === 'live' && worker.connection !== connection) {
    state.outbox.push({ kind: 'CloseConnection', connection: worker.connection, reason: 'the worker registered again' })
  }
  if (registration.incarnation > worker.info.incarnation) endProcess(state, worker, new Set())
  else setLink(state, worker, 'lost')
  if (registration.incarnation > worker.info.incarnation || registration.address !== worker.info.address)
    tellPeers(state, worker)
  worker.connection = connection
}

function describe(state: SchedulerState, worker: WorkerRecord, registration: RegisterWorker): void {
  const { inventory: _inventory, ...info } = registration
  worker.info = info
  worker.holder = { id: info.workerId, address: info.address }
  worker.labels = [info.name, info.address, info.host, info.workerId]
  worker.nthreads = info.nthreads
  worker.status = info.status
  worker.restarts = info.restarts
  worker.lastSeenMs = state.now
  worker.memory = { ...worker.memory, limit: info.memoryLimit }
  worker.crowded = false
  worker.usedBytes = 0
  worker.nbytesTold = worker.nbytes
  worker.started = new Set()
  worker.registeredRun = state.runCounter
  worker.functions.clear()
  noteLabels(state, worker)
  worker.host.workers.delete(worker)
  if (worker.host.workers.size === 0) state.hosts.delete(worker.host.name)
  worker.host = hostOf(state, info.host)
  worker.host.workers.add(worker)
}

function hostOf(state: SchedulerState, name: string): HostRecord {
  let host = state.hosts.get(name)
  if (host === undefined) {
    host = { name, workers: new Set(), stamp: 0, countedInput: -1, localBytes: 0 }
    state.hosts.set(name, host)
  }
  return host
}

function dropMissing(state: SchedulerState, worker: WorkerRecord, inventory: Inventory): void {
  if (worker.replicas.size === 0) return
  const held = new Map(inventory.keys.map(({ key, runId }) => [key, runId]))
  for (const task of worker.replicas.keys()) {
    if (held.get(task.key) !== task.acceptedRunId) loseReplica(state, task, worker)
  }
}

/** Takes what counts (I1); returns the keys that do not. */
function adopt(state: SchedulerState, worker: WorkerRecord, inventory: Inventory): TaskKey[] {
  const drop: TaskKey[] = []
  for (const held of inventory.keys) {
    const task = state.tasks.get(held.key)
    if (task === undefined || !adoptOne(state, worker, task, held)) drop.push(held.key)
    else setLoose(state, task, worker, held.loose === true)
  }
  return drop
}

function adoptOne(state: SchedulerState, worker: WorkerRecord, task: TaskRecord, held: Held): boolean {
  const isAccepted = held.runId === task.acceptedRunId
  if (task.state === 'memory') {
    if (!isAccepted) return false
    const before = isAvailable(task)
    addReplica(state, task, worker, held.durable)
    if (!before) availabilityChanged(state, task, true)
    return true
  }
  const awaited = isActive(task.state) || (task.state === 'released' && task.isNeeded)
  if (!awaited || !(isAccepted || isUnreportedRun(state, worker, task, held))) return false
  if (!isAccepted) task.group.prefix.runs++
  const placed = state.placements.get(task) ?? []
  transition(state, task, 'memory', {
    worker,
    run: held.runId,
    nbytes: held.nbytes,
    type: held.type,
    durable: held.durable,
  })
  askPlaced(state, task, placed)
  return true
}

/** The result of this worker's last run of the task, of which the scheduler was not told before the stream broke. */
function isUnreportedRun(state: SchedulerState, worker: WorkerRecord, task: TaskRecord, held: Held): boolean {
  const assigned = task.processingOn === worker || state.placements.get(task)?.includes(worker) === true
  const run = assigned ? task.runId : worker.orphanedRuns.get(task.key)
  return run === held.runId && held.runId > task.acceptedRunId
}

/** Runs that go on stay; runs that the worker does not know of are repeated; returns those that it has to stop. */
function reconcileRuns(state: SchedulerState, worker: WorkerRecord, inventory: Inventory): RunId[] {
  const cancel: RunId[] = []
  const goingOn = new Set<TaskRecord>()
  for (const { key, runId } of inventory.tasks) {
    const task = state.tasks.get(key)
    if (task !== undefined && task.processingOn === worker && task.runId === runId) goingOn.add(task)
    else cancel.push(runId)
  }
  const received = inventory.received ?? Infinity
  for (const task of worker.processing) {
    // Whether it was asked to give the run back, or has answered, is lost: it may be asked again.
    endSteal(state, task)
    if (goingOn.has(task)) continue
    if (task.runId > received) task.attempts--
    endRun(state, task)
    transition(state, task, 'released')
    recommend(state, task, 'settled')
  }
  return cancel
}
