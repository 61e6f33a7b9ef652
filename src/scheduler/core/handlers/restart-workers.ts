// `restart-workers`: new processes for some workers, by their nannies. Everything else stays: what they hold in files is
// adopted by the next process, what they ran runs again, here or elsewhere, and nobody is blamed.

import type { EventOf } from '../events.ts'
import type { PendingRequest, SchedulerState } from '../state.ts'
import { finishRestartOf } from './restart-answers.ts'
import { awaitWorker, endProcess } from './worker-loss.ts'

type PendingRestartOf = Extract<PendingRequest, { readonly kind: 'restart-workers' }>

const NONE: ReadonlySet<never> = new Set()

export function restartWorkersRequested(state: SchedulerState, event: EventOf<'RestartWorkersRequested'>): void {
  const { request, timeoutMs } = event
  const workers = [...state.workers.values()].filter((worker) =>
    worker.labels.some((label) => event.workers.includes(label)),
  )
  const unknown = event.workers.find((label) => !workers.some((worker) => worker.labels.includes(label)))
  if (unknown !== undefined)
    return state.outbox.refuse(request, 'INVALID_ARGUMENT', `there is no worker "${unknown}"`, { worker: unknown })
  const alone = workers.filter((worker) => !state.nannies.has(worker.id))
  if (alone.length > 0) {
    const names = alone.map((worker) => worker.info.address).join(', ')
    const message = `only workers with a nanny can be restarted; ${names} ${alone.length === 1 ? 'has' : 'have'} none`
    return state.outbox.refuse(request, 'INVALID_ARGUMENT', message, { workers: alone.map((worker) => worker.id) })
  }
  const pending: PendingRestartOf = { kind: 'restart-workers', outcomes: new Map(), missing: new Set() }
  for (const worker of workers) {
    pending.outcomes.set(worker.id, { name: worker.info.name, outcome: 'timed-out' })
    pending.missing.add(worker.id)
    const reason = 'a client asked for a new process'
    // Whatever it says from now on comes from a process that is being killed.
    endProcess(state, worker, NONE)
    state.outbox.push({ kind: 'SendToNanny', worker: worker.id, message: { op: 'kill-worker', reason, asked: true } })
    awaitWorker(state, worker)
  }
  state.requests.set(request, pending)
  state.outbox.setTimer({ kind: 'request-timeout', request }, timeoutMs)
  finishRestartOf(state, request, pending)
}
