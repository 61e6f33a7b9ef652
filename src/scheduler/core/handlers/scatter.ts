// Scattered values: a client asks where to send them, sends them there itself, and then says that they have arrived.
//
// Between the two the task is known, without a recipe, in state released, listed in `placements` with its run id. Its
// client wants it from the start, so a client that goes away takes its unfinished scatter with it: workers say of every
// scattered value that they have it, and are told to drop what nobody knows any more.

import type { ClientToScheduler, SchedulerRequests } from '../../../protocol/scheduler-client.ts'
import type { RunId } from '../../../base/ids.ts'
import { askToKeep, noteLate } from '../copies.ts'
import type { EventOf, RequestNumber } from '../events.ts'
import { addTask, scatterGroup } from '../groups.ts'
import type { TaskGroup, TaskRecord, WorkerRecord } from '../records.ts'
import { addReplica, availabilityChanged, isAvailable } from '../replicas.ts'
import { addWant, nextRun, type PendingRequest, type SchedulerState } from '../state.ts'
import { abandon } from '../transitions/abandon.ts'
import { transition } from '../transitions/table.ts'
import { want } from './graph.ts'
import { dropUnwanted } from './replica-messages.ts'

/** Of one worker in a round. */
const TURNS_MAX = 64

type PendingScatter = Extract<PendingRequest, { readonly kind: 'scatter' }>
type Placed = SchedulerRequests['scatter-place'][1]['placed'][number]

export function scatterRequested(state: SchedulerState, event: EventOf<'ScatterRequested'>): void {
  const client = state.clients.get(event.client)
  if (client === undefined)
    return state.outbox.refuse(event.request, 'CLIENT_CLOSED', `client ${event.client} is not registered`)
  const { entries, workers, broadcast, timeoutMs } = event.question
  const labels = workers !== undefined && workers.length > 0 ? workers : null
  const pending: PendingScatter = { kind: 'scatter', client, entries, labels, broadcast, timeoutMs }
  if (placeScatter(state, event.request, pending)) return
  state.requests.set(event.request, pending)
  state.outbox.setTimer({ kind: 'request-timeout', request: event.request }, timeoutMs)
}

/** A worker has come: scatters that waited for one go on. */
export function resumeScatters(state: SchedulerState): void {
  for (const [request, pending] of state.requests) {
    if (pending.kind !== 'scatter' || !placeScatter(state, request, pending)) continue
    state.requests.delete(request)
    state.outbox.clearTimer({ kind: 'request-timeout', request })
  }
}

export function scatterTimedOut(state: SchedulerState, request: RequestNumber, pending: PendingScatter): void {
  const among =
    pending.labels === null ? 'no worker is running' : `none of the workers ${pending.labels.join(', ')} is running`
  const message = `scatter found no worker within ${pending.timeoutMs} ms: ${among}. Start a worker, or raise the timeout.`
  state.outbox.refuse(request, 'TIMEOUT', message, { keys: pending.entries.length, workers: state.workers.size })
}

export function updateData(
  state: SchedulerState,
  entries: Extract<ClientToScheduler, { readonly op: 'update-data' }>['entries'],
): void {
  for (const { key, runId, nbytes, type, workers: ids } of entries) {
    const task = state.tasks.get(key)
    // One whose stream is lost has it in a file: it counts until the worker's inventory, or its end, says otherwise.
    const workers = ids.map((id) => state.workers.get(id)).filter((worker) => worker !== undefined)
    const awaited = task !== undefined && state.placements.has(task) && task.runId === runId
    if (task === undefined || !(awaited || (task.state === 'memory' && task.acceptedRunId === runId))) {
      for (const worker of workers) dropUnwanted(state, worker, key, runId)
      continue
    }
    const [first, ...others] = workers
    if (first === undefined) {
      if (awaited)
        abandon(state, [task], { reason: 'the workers that got the scattered data are gone', code: 'DATA_LOST' })
      continue
    }
    const before = isAvailable(task)
    const placed = state.placements.get(task) ?? []
    if (awaited) transition(state, task, 'memory', { worker: first, run: runId, nbytes, type, durable: true })
    else addReplica(state, task, first, true)
    for (const worker of others) addReplica(state, task, worker, true)
    askPlaced(state, task, placed)
    const after = isAvailable(task)
    // Entering memory lets dependents go: unless nobody can be asked for it yet.
    if (after !== (before || awaited)) availabilityChanged(state, task, after)
  }
}

/**
 * The value counts from now on, and nobody may say of the others that it was sent to whether they have it: what they said
 * before could not be told apart from a scatter that is not completed. After this they have it, fetched if need be.
 */
export function askPlaced(state: SchedulerState, task: TaskRecord, placed: readonly WorkerRecord[]): void {
  for (const worker of placed) {
    if (worker.link !== 'live' || state.workers.get(worker.id) !== worker || worker.replicas.has(task)) continue
    askToKeep(state, task, worker)
    noteLate(state, task, worker)
  }
}

/** false: there is no worker to place anything on. */
function placeScatter(state: SchedulerState, request: RequestNumber, pending: PendingScatter): boolean {
  const pool = eligibleWorkers(state, pending.labels)
  if (pool.length === 0) return false
  const turns = turnsOf(pool)
  const groups = new Map<string, TaskGroup>()
  const placed = pending.entries.map((entry): Placed => {
    const known = state.tasks.get(entry.key)
    if (known !== undefined) return placedBefore(state, pending, { turns, size: pool.length }, known)
    const group = groups.get(entry.type) ?? scatterGroup(state, entry.type)
    groups.set(entry.type, group)
    const task = addTask(state, group, { key: entry.key, args: null, turn: 0, order: 0 })
    const run = nextRun(state)
    task.runId = run
    const workers = choose(state, turns, pool.length, pending.broadcast)
    state.placements.set(task, workers)
    addWant(pending.client, task)
    return { key: entry.key, runId: run, workers: workers.map((worker) => worker.holder) }
  })
  state.outbox.answer(request, { placed, clusterId: state.id, generation: state.generation })
  return true
}

/**
 * The same data twice (equal hashes): nothing to send when it is known. When it is on its way, or its first worker did not
 * take it, it may be sent to others as well, under the same run.
 */
function placedBefore(
  state: SchedulerState,
  pending: PendingScatter,
  { turns, size }: { readonly turns: readonly WorkerRecord[]; readonly size: number },
  task: TaskRecord,
): Placed {
  want(state, pending.client, task)
  const before = state.placements.get(task)
  if (before === undefined) return { key: task.key, runId: null, workers: [] }
  const workers = choose(state, turns, size, pending.broadcast)
  state.placements.set(task, [...new Set([...before, ...workers])])
  return { key: task.key, runId: task.runId as RunId, workers: workers.map((worker) => worker.holder) }
}

function eligibleWorkers(state: SchedulerState, labels: readonly string[] | null): WorkerRecord[] {
  const running = [...state.byLoad].filter(
    (worker) => labels === null || labels.some((label) => worker.labels.includes(label)),
  )
  const roomy = running.filter((worker) => !worker.crowded)
  return (roomy.length > 0 ? roomy : running).sort((a, b) => (a.id < b.id ? -1 : 1))
}

/**
 * Whose turn it is, one after the other: each worker as often as it has threads, compared with the one that has fewest, and
 * spread over the round.
 */
function turnsOf(pool: readonly WorkerRecord[]): readonly WorkerRecord[] {
  const fewest = Math.min(...pool.map((worker) => worker.nthreads))
  const turns = pool.flatMap((worker) => {
    const count = Math.min(TURNS_MAX, Math.round(worker.nthreads / fewest))
    return Array.from({ length: count }, (_, n) => ({ worker, at: n / count }))
  })
  return turns.sort((a, b) => a.at - b.at).map(({ worker }) => worker)
}

/** Going on where the last scatter stopped. */
function choose(
  state: SchedulerState,
  turns: readonly WorkerRecord[],
  size: number,
  broadcast: boolean | number,
): WorkerRecord[] {
  const copies = broadcast === true ? size : broadcast === false ? 1 : Math.min(size, Math.max(1, broadcast))
  const chosen = new Set<WorkerRecord>()
  for (let at = state.scatterCursor++; chosen.size < copies; at++) chosen.add(turns[at % turns.length] as WorkerRecord)
  return [...chosen]
}
