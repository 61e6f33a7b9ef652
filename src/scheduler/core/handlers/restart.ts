// `restart`: a new generation. Every task, value and wish is forgotten, clients are told, and every worker starts anew:
// as a new process where a nanny can start one, by wiping itself where there is none.

import type { EventOf, RequestNumber } from '../events.ts'
import type { WorkerRecord } from '../records.ts'
import { settleRunning, type PendingRequest, type SchedulerState } from '../state.ts'
import { forgetDatasets } from './datasets.ts'
import { answerRestart } from './restart-answers.ts'
import { removeWorker, tellToRestart } from './worker-loss.ts'

type PendingRestart = Extract<PendingRequest, { readonly kind: 'restart' }>

/** A process that is killed and started anew may take longer than one that comes back by itself. */
const RESTART_GRACE_FACTOR = 3

export function restartRequested(state: SchedulerState, event: EventOf<'RestartRequested'>): void {
  state.generation++
  forgetTasks(state)
  for (const client of state.clients.values())
    state.outbox.toClient(client, { op: 'restart', generation: state.generation })
  for (const worker of state.workers.values()) restartWorker(state, worker)
  const { request, timeoutMs } = event
  const missing = new Set(state.restarting)
  if (!event.waitForWorkers || missing.size === 0) return answerRestart(state, request)
  state.requests.set(request, { kind: 'restart', missing, timeoutMs })
  state.outbox.setTimer({ kind: 'request-timeout', request }, timeoutMs)
}

export function restartTimedOut(state: SchedulerState, request: RequestNumber, pending: PendingRestart): void {
  const missing = [...pending.missing]
  const message = `${missing.length} workers did not come back within ${pending.timeoutMs} ms of the restart: ${missing.join(', ')}. The rest is new; see the logs of their nannies.`
  state.outbox.refuse(request, 'TIMEOUT', message, { missing })
}

/** All at once, without a word to workers about single keys: they start anew. */
function forgetTasks(state: SchedulerState): void {
  for (const [request, { kind }] of state.requests) {
    if (kind !== 'scatter' && kind !== 'replicate' && kind !== 'rebalance') continue
    state.requests.delete(request)
    state.outbox.clearTimer({ kind: 'request-timeout', request })
    state.outbox.refuse(request, 'TASK_CANCELLED', `the cluster was restarted during a ${kind}`)
  }
  forgetDatasets(state)
  const { orders, removals, late, incoming, ended } = state.copies
  for (const each of [orders, removals, late, incoming]) each.clear()
  ended.length = 0
  state.replicated.clear()
  for (const client of state.clients.values()) {
    client.wants.clear()
    client.farewells.clear()
    client.refused.clear()
    client.lastGroup = null
    client.graphGeneration = 0
    client.issuedMs = 0
    client.activeMs = 0
    client.active = 0
  }
  for (const worker of state.workers.values()) {
    worker.processing.clear()
    worker.fetching.clear()
    worker.started = new Set()
    worker.shift = 0
    worker.shiftUs = 0
    worker.replicas.clear()
    worker.loose.clear()
    worker.orphanedRuns.clear()
    worker.nbytes = 0
    worker.expectedBytes = 0
    worker.occupancyUs = 0
    state.byLoad.moved(worker)
    state.byStart.moved(worker)
  }
  state.stealing.steals.clear()
  state.processing = 0
  state.servedMs = 0
  state.tasks.clear()
  state.placements.clear()
  state.awaited.clear()
  state.queue.clear()
  state.noWorker.clear()
  state.prefixes.clear()
  for (const fn of state.functions.values()) {
    fn.groups = 0
    fn.families.clear()
    if (fn.clients === 0) state.functions.delete(fn.id)
  }
}

function restartWorker(state: SchedulerState, worker: WorkerRecord): void {
  worker.functions.clear()
  if (state.nannies.has(worker.id)) {
    tellToRestart(state, worker.id)
    state.restarting.add(worker.id)
    worker.link = 'away'
    settleRunning(state, worker)
    state.outbox.setTimer(
      { kind: 'worker-grace', worker: worker.id },
      RESTART_GRACE_FACTOR * state.options.workerGraceMs,
    )
  } else if (worker.link === 'live') state.outbox.toWorker(worker, { op: 'wipe', generation: state.generation })
  else removeWorker(state, worker, 'it was not connected when the cluster was restarted')
}
