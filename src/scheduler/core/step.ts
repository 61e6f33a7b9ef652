// The scheduler core: `step` takes what happened and returns what to do. Synchronous and pure: time comes in events,
// nothing is read from outside, and the same events give the same effects.
//
// C1. Handlers change records through transitions and recommend others; the loop (transitions/table.ts) follows, then
//     free slots are filled from the queue. Only then effects leave, in one batch.
// C2. A bug (InvariantError) while one peer's message is handled leaves the other recommendations and effects in place:
//     the shell closes that peer's connection and calls `recover`.

import { tellMemory } from './cluster-memory.ts'
import type { Effect } from './effects.ts'
import type { EventKind, EventOf, SchedulerEvent, Timer } from './events.ts'
import {
  clientBeat,
  clientGraceOver,
  clientLost,
  clientMessages,
  clientReattached,
  clientRegistered,
  retryRequested,
} from './handlers/client.ts'
import { datasetRequested, publishRequested, unpublishRequested } from './handlers/datasets.ts'
import { housekeeping, startHousekeeping } from './handlers/housekeeping.ts'
import { memoryManagerRequested, memoryManagerTick, startMemoryManager } from './handlers/memory-manager.ts'
import { copiesTick, settleMoves } from './handlers/moves.ts'
import { rebalanceRequested } from './handlers/rebalance.ts'
import { replicateRequested } from './handlers/replicate.ts'
import { answerRestartOf } from './handlers/restart-answers.ts'
import { restartWorkersRequested } from './handlers/restart-workers.ts'
import { restartRequested, restartTimedOut } from './handlers/restart.ts'
import { abandonRetirement, retirementTick, retireRequested } from './handlers/retire.ts'
import { scatterRequested, scatterTimedOut } from './handlers/scatter.ts'
import { nannyLost, nannyMessages, nannyRegistered, workerGraceOver, workerLost } from './handlers/worker-loss.ts'
import { workerBeat, workerMessages } from './handlers/worker-messages.ts'
import { workerRegistered } from './handlers/worker-registration.ts'
import { recommend, type SchedulerState } from './state.ts'
import { balance, noticeIdle, startStealing } from './stealing.ts'
import { settleAll, transition } from './transitions/table.ts'
import { checkInvariants } from './validate.ts'

type Handlers = { readonly [K in EventKind]: (state: SchedulerState, event: EventOf<K>) => void }

const HANDLERS: Handlers = {
  Started: started,
  ClientRegistered: clientRegistered,
  ClientReattached: clientReattached,
  ClientBeat: clientBeat,
  ClientMessages: clientMessages,
  ClientLost: clientLost,
  WorkerRegistered: workerRegistered,
  WorkerMessages: workerMessages,
  WorkerBeat: workerBeat,
  WorkerLost: workerLost,
  NannyRegistered: nannyRegistered,
  NannyMessages: nannyMessages,
  NannyLost: nannyLost,
  ScatterRequested: scatterRequested,
  RetryRequested: retryRequested,
  RestartRequested: restartRequested,
  RetireRequested: retireRequested,
  PublishRequested: publishRequested,
  DatasetRequested: datasetRequested,
  UnpublishRequested: unpublishRequested,
  ReplicateRequested: replicateRequested,
  RebalanceRequested: rebalanceRequested,
  RestartWorkersRequested: restartWorkersRequested,
  MemoryManagerRequested: memoryManagerRequested,
  RequestAbandoned: (state, event) => abandonRequest(state, event.request),
  TimerFired: (state, event) => timerFired(state, event.timer),
}

export function step(state: SchedulerState, event: SchedulerEvent): Effect[] {
  state.now = event.now
  state.at = event.at
  state.cause = event.kind
  const handle = HANDLERS[event.kind] as (state: SchedulerState, event: SchedulerEvent) => void
  handle(state, event)
  return recover(state)
}

function started(state: SchedulerState): void {
  startHousekeeping(state)
  startStealing(state)
  startMemoryManager(state)
}

/** Goes on after a step that threw: what it had decided is carried out. */
export function recover(state: SchedulerState): Effect[] {
  settleAll(state)
  if (state.copies.ended.length > 0) settleMoves(state)
  fillSlots(state)
  if (state.cause !== 'stealing') noticeIdle(state)
  tellMemory(state)
  if (state.options.validate) checkInvariants(state)
  return state.outbox.take()
}

/** Queued producers go out, best first, as long as a worker has a free slot. */
function fillSlots(state: SchedulerState): void {
  for (let task = state.queue.peek(); task !== undefined; task = state.queue.peek()) {
    transition(state, task, 'processing')
    if (task.state === 'queued') return
    if (state.todo.tasks.length > 0) settleAll(state)
  }
}

function timerFired(state: SchedulerState, timer: Timer): void {
  state.cause = timer.kind
  switch (timer.kind) {
    case 'worker-grace':
      return workerGraceOver(state, timer.worker)
    case 'client-grace':
      return clientGraceOver(state, timer.client)
    case 'housekeeping':
      return housekeeping(state)
    case 'stealing':
      return balance(state)
    case 'copies':
      return copiesTick(state)
    case 'memory-manager':
      return memoryManagerTick(state)
    case 'retirement':
      return retirementTick(state, timer.request)
    case 'request-timeout':
      return requestTimedOut(state, timer.request)
    case 'task-held': {
      const task = state.tasks.get(timer.key)
      if (task === undefined) return
      // The timer decides: timers of the system fire up to a millisecond before the clock says so.
      if (task.trouble !== null) task.trouble.heldUntilMs = 0
      if (task.state === 'no-worker') recommend(state, task, 'processing')
    }
  }
}

function requestTimedOut(state: SchedulerState, request: number): void {
  const pending = state.requests.get(request)
  if (pending === undefined) return
  state.requests.delete(request)
  if (pending.kind === 'scatter') scatterTimedOut(state, request, pending)
  if (pending.kind === 'restart') restartTimedOut(state, request, pending)
  if (pending.kind === 'restart-workers') answerRestartOf(state, request, pending)
}

function abandonRequest(state: SchedulerState, request: number): void {
  const pending = state.requests.get(request)
  if (pending === undefined) return
  state.requests.delete(request)
  state.outbox.clearTimer({ kind: 'request-timeout', request })
  if (pending.kind === 'retire') abandonRetirement(state, request, pending)
}
