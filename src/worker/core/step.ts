// The worker core: one event in, the effects it has out. Synchronous, without clock, randomness or I/O of its own; a seed
// and the log of events replay a run.

import type { SchedulerToWorker } from '../../protocol/scheduler-worker.ts'
import type { WorkerEffect } from './effects.ts'
import type { EventOf, WorkerEvent } from './events.ts'
import { startExecutions } from './execute.ts'
import { peerRetryDue, startFetches } from './gather.ts'
import {
  attachValues,
  cancelTask,
  computeTask,
  freeFunctions,
  freeKeys,
  freeRuns,
  holdRuns,
  stealRequest,
} from './handlers/assignments.ts'
import {
  acquireReplicas,
  replicasKept,
  missingDue,
  refreshWhoHas,
  removeReplicas,
  removeWorker,
  replicaReceived,
  replicaRefused,
  transferEnded,
  valuesAdopted,
  valueScattered,
} from './handlers/replicas.ts'
import {
  inputBad,
  replicasLost,
  runCancelled,
  runErred,
  runFinished,
  runReturned,
  runsKept,
  valueRefused,
  valuesDurable,
  valueStored,
} from './handlers/runs.ts'
import {
  close,
  clusterChanged,
  handBackDue,
  memoryMeasured,
  memoryPaused,
  memoryProbed,
  memoryResumed,
  registered,
  roomMade,
  setStatus,
  wipe,
} from './handlers/status.ts'
import type { WorkerState } from './state.ts'
import { settle } from './transitions/transition.ts'
import { Turn } from './turn.ts'
import { checkInvariants } from './validate.ts'

type EventHandlers = { readonly [Kind in WorkerEvent['kind']]: (turn: Turn, event: EventOf<Kind>) => void }

type MessageHandlers = {
  readonly [Op in SchedulerToWorker['op']]: (
    turn: Turn,
    message: Extract<SchedulerToWorker, { readonly op: Op }>,
  ) => void
}

const MESSAGE_HANDLERS: MessageHandlers = {
  'compute-task': computeTask,
  'free-keys': freeKeys,
  'free-runs': freeRuns,
  'attach-values': attachValues,
  'hold-runs': holdRuns,
  'steal-request': stealRequest,
  'cancel-task': cancelTask,
  'free-functions': freeFunctions,
  'refresh-who-has': refreshWhoHas,
  'remove-worker': removeWorker,
  'acquire-replicas': acquireReplicas,
  'remove-replicas': removeReplicas,
  'set-status': setStatus,
  wipe,
  close,
}

const EVENT_HANDLERS: EventHandlers = {
  MessagesReceived: messagesReceived,
  ValuesAdopted: valuesAdopted,
  Registered: registered,
  ClusterChanged: clusterChanged,
  RunFinished: runFinished,
  ValueStored: valueStored,
  ValueRefused: valueRefused,
  RunErred: runErred,
  RunReturned: runReturned,
  RunsKept: runsKept,
  RunCancelled: runCancelled,
  InputBad: inputBad,
  ReplicaReceived: replicaReceived,
  ReplicaRefused: replicaRefused,
  TransferEnded: transferEnded,
  ValueScattered: valueScattered,
  ReplicasLost: replicasLost,
  ReplicasKept: replicasKept,
  ValuesDurable: valuesDurable,
  MemoryPaused: memoryPaused,
  MemoryResumed: memoryResumed,
  MemoryProbed: memoryProbed,
  MemoryMeasured: memoryMeasured,
  RoomMade: roomMade,
  MissingDue: missingDue,
  HandBackDue: handBackDue,
  PeerRetryDue: peerRetryDue,
}

/** Takes one event and returns what is to be done, in order. */
export function step(state: WorkerState, event: WorkerEvent): WorkerEffect[] {
  const turn = new Turn(state, event.now, event.kind)
  const handle = EVENT_HANDLERS[event.kind] as (turn: Turn, event: WorkerEvent) => void
  handle(turn, event)
  settle(turn)
  if (turn.fetchesMayStart) startFetches(turn)
  startExecutions(turn)
  if (state.settings.validate) checkInvariants(state)
  return turn.finish()
}

/** One batch is one step: what it frees is gone before what it assigns is chosen from. */
function messagesReceived(turn: Turn, event: EventOf<'MessagesReceived'>): void {
  for (const message of event.messages) {
    turn.cause = message.op
    const handle = MESSAGE_HANDLERS[message.op] as (turn: Turn, message: SchedulerToWorker) => void
    handle(turn, message)
    settle(turn)
  }
}
