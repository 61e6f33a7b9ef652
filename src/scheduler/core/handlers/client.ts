// Clients: coming, wishing, giving up, going.
//
// L1. A client's stream is carried out exactly once and in order, over all its connections: both ends count its messages,
//     and after a reconnect the client goes on behind `applied`.
// L2. What it is told is not repeated but told anew: how a wanted key stands is known here. Only a key that it lost (it
//     wants it no more) is remembered, with its last words, until it has heard them.

import type { ClientId, RunId, TaskKey } from '../../../base/ids.ts'
import type { ClientToScheduler, SchedulerRequests } from '../../../protocol/scheduler-client.ts'
import { reportMemory } from '../cluster-memory.ts'
import type { ClientMessage } from '../effects.ts'
import type { EventOf } from '../events.ts'
import { FIRE_AND_FORGET } from '../names.ts'
import { isActive, type ClientRecord, type Farewell, type TaskRecord } from '../records.ts'
import { addWant, recommend, removeWant, reportTo, type SchedulerState } from '../state.ts'
import { tellCancelled } from '../transitions/abandon.ts'
import { releaseFunction } from '../transitions/released.ts'
import { settleAll, transition } from '../transitions/table.ts'
import { updateGraph, want } from './graph.ts'
import { reportMissing } from './replica-messages.ts'
import { updateData } from './scatter.ts'
import { heartbeatMs } from './worker-registration.ts'

type Handlers = {
  readonly [Op in ClientToScheduler['op']]: (
    state: SchedulerState,
    client: ClientRecord,
    message: Extract<ClientToScheduler, { readonly op: Op }>,
  ) => void
}

const HANDLERS: Handlers = {
  'update-graph': updateGraph,
  'client-desires-keys': (state, client, { keys }) => desireKeys(state, client, keys),
  'client-releases-keys': (state, client, { keys }) => releaseKeys(state, client, keys),
  'client-awaits-values': (state, _client, { keys }) => awaitValues(state, keys),
  'cancel-keys': cancelKeys,
  'update-data': (state, _client, { entries }) => updateData(state, entries),
  'report-missing': (state, _client, message) => reportMissing(state, message),
  'fire-and-forget': (state, _client, { keys }) => fireAndForget(state, keys),
  'report-keys': reportKeys,
  'close-client': (state, client) => forgetClient(state, client),
}

export function clientMessages(state: SchedulerState, event: EventOf<'ClientMessages'>): void {
  const client = state.clients.get(event.client)
  if (client === undefined || client.connection !== event.connection) return
  for (const message of event.messages) {
    state.cause = message.op
    // Before: a message that is refused is not to be said again.
    client.applied++
    const handle = HANDLERS[message.op] as (
      state: SchedulerState,
      client: ClientRecord,
      message: ClientToScheduler,
    ) => void
    handle(state, client, message)
    settleAll(state)
  }
}

export function clientRegistered(state: SchedulerState, event: EventOf<'ClientRegistered'>): void {
  const known = state.clients.get(event.client)
  if (known === undefined) {
    const client = newClient(event.client, event.name, event.connection)
    state.clients.set(event.client, client)
    return reportMemory(state, client)
  }
  replaceConnection(state, known, event.connection)
}

/**
 * Back within its grace. It says again what was not carried out, and then `report-keys`: how its keys stand is only then
 * what it asked for.
 */
export function clientReattached(state: SchedulerState, event: EventOf<'ClientReattached'>): void {
  const client = state.clients.get(event.client)
  if (client === undefined) {
    const message = `client ${event.client} is not known (any more): it was without a connection for longer than scheduler.client-grace (${state.options.clientGraceMs} ms)`
    return state.outbox.refuse(event.request, 'CLIENT_CLOSED', message, { client: event.client })
  }
  replaceConnection(state, client, event.connection)
  forgetHeard(client, event.heard)
  for (const farewell of client.farewells.values()) farewell.number = Infinity
  const { applied, told } = client
  const answer: SchedulerRequests['reattach-client'][1] = {
    generation: state.generation,
    heartbeatMs: heartbeatMs(state.workers.size),
    applied,
    told,
  }
  state.outbox.answer(event.request, answer)
}

export function clientBeat(state: SchedulerState, event: EventOf<'ClientBeat'>): void {
  const client = state.clients.get(event.client)
  if (client !== undefined && client.connection === event.connection) forgetHeard(client, event.heard)
}

function givenUp(
  keys: readonly TaskKey[],
  words: Extract<Farewell['words'], { readonly reason: string }>,
): ClientMessage {
  const { reason, code, cancel } = words
  return { op: 'cancelled-keys', keys, reason, code, ...(cancel !== undefined && { cancel }) }
}

function forgetHeard(client: ClientRecord, heard: number): void {
  for (const [key, { number }] of client.farewells) if (number <= heard) client.farewells.delete(key)
}

function replaceConnection(state: SchedulerState, client: ClientRecord, connection: number): void {
  if (client.connection !== null && client.connection !== connection)
    state.outbox.push({ kind: 'CloseConnection', connection: client.connection, reason: 'the client registered again' })
  client.connection = connection
  state.outbox.clearTimer({ kind: 'client-grace', client: client.id })
}

/** Everything that a broken connection may have swallowed. */
function reportKeys(state: SchedulerState, client: ClientRecord): void {
  reportMemory(state, client)
  // That each of its cancels was carried out is news as well, and comes first: what it hears before that does not count for
  // keys that it asked for again.
  if (client.cancels > 0)
    state.outbox.toClient(client, givenUp([], { reason: '', code: 'TASK_CANCELLED', cancel: client.cancels }))
  for (const [key, { number, words }] of client.farewells) {
    if (number !== Infinity) continue
    client.farewells.delete(key)
    const task = state.tasks.get(key)
    if (task !== undefined && client.wants.has(task)) continue
    if ('failure' in words) state.outbox.refuseKey(client, key, words.failure)
    else state.outbox.toClient(client, givenUp([key], words))
  }
  const pending: TaskKey[] = []
  for (const task of client.wants) {
    if (task.state === 'memory' || task.state === 'erred') reportTo(state, client, task)
    else pending.push(task.key)
  }
  if (pending.length > 0) state.outbox.toClient(client, { op: 'task-retried', keys: pending })
}

export function clientLost(state: SchedulerState, event: EventOf<'ClientLost'>): void {
  const client = state.clients.get(event.client)
  if (client === undefined || client.connection !== event.connection) return
  client.connection = null
  state.outbox.setTimer({ kind: 'client-grace', client: client.id }, state.options.clientGraceMs)
}

export function clientGraceOver(state: SchedulerState, id: ClientId): void {
  const client = state.clients.get(id)
  if (client !== undefined && client.connection === null) forgetClient(state, client)
}

export function forgetClient(state: SchedulerState, client: ClientRecord): void {
  state.clients.delete(client.id)
  state.outbox.clearTimer({ kind: 'client-grace', client: client.id })
  state.outbox.push({ kind: 'ForgetClient', client: client.id })
  releaseKeys(
    state,
    client,
    Array.from(client.wants, (task) => task.key),
  )
  forgetFunctions(state, client)
  for (const [request, pending] of state.requests)
    if (pending.kind === 'scatter' && pending.client === client) state.requests.delete(request)
}

function forgetFunctions(state: SchedulerState, client: ClientRecord): void {
  for (const id of client.functions) {
    const fn = state.functions.get(id)
    if (fn === undefined) continue
    fn.clients--
    releaseFunction(state, fn)
  }
  client.functions.clear()
}

function desireKeys(state: SchedulerState, client: ClientRecord, keys: readonly TaskKey[]): void {
  const unknown: TaskKey[] = []
  for (const key of keys) {
    const task = state.tasks.get(key)
    client.refused.delete(key)
    if (task === undefined) unknown.push(key)
    else want(state, client, task)
  }
  if (unknown.length > 0)
    state.outbox.toClient(client, {
      op: 'cancelled-keys',
      keys: unknown,
      reason: 'already forgotten',
      code: 'TASK_CANCELLED',
    })
}

export function releaseKeys(state: SchedulerState, client: ClientRecord, keys: readonly TaskKey[]): void {
  for (const key of keys) {
    client.refused.delete(key)
    const task = state.tasks.get(key)
    if (task === undefined) continue
    removeWant(client, task)
    if (!task.isNeeded) recommend(state, task, 'settled')
  }
}

/** What is there already is fetched: the client has been told, or will be when this has crossed. */
function awaitValues(state: SchedulerState, keys: readonly TaskKey[]): void {
  for (const key of keys) {
    const task = state.tasks.get(key)
    if (task === undefined || state.awaited.has(task) || task.state === 'memory') continue
    state.awaited.add(task)
    if (task.processingOn !== null) state.outbox.attachValue(task.processingOn, key, task.runId as RunId)
  }
}

function fireAndForget(state: SchedulerState, keys: readonly TaskKey[]): void {
  let pseudo = state.clients.get(FIRE_AND_FORGET)
  if (pseudo === undefined) {
    pseudo = newClient(FIRE_AND_FORGET, FIRE_AND_FORGET, null)
    state.clients.set(FIRE_AND_FORGET, pseudo)
  }
  for (const key of keys) {
    const task = state.tasks.get(key)
    if (task === undefined || task.state === 'memory' || task.state === 'erred') continue
    addWant(pseudo, task)
    recommend(state, task, 'settled')
  }
}

/**
 * Ends this client's interest. Where it was the last one, or with `force`, the task itself ends, with all unfinished
 * dependents that nobody else wants; every client that loses one is told. This client is not told of the keys that it named:
 * it may have asked for them anew by the time it hears that.
 */
function cancelKeys(
  state: SchedulerState,
  client: ClientRecord,
  message: Extract<ClientToScheduler, { readonly op: 'cancel-keys' }>,
): void {
  const { force, cancel } = message
  client.cancels = Math.max(client.cancels, cancel)
  const doomed = new Set<TaskRecord>()
  for (const key of message.keys) {
    const task = state.tasks.get(key)
    if (task !== undefined) collectDoomed(task, client, force, doomed)
  }
  spareNeeded(doomed)
  for (const key of message.keys) {
    const task = state.tasks.get(key)
    if (task !== undefined) removeWant(client, task)
  }
  tellCancelled(state, doomed, { reason: message.reason, code: 'TASK_CANCELLED' }, { client, cancel })
  for (const task of doomed) {
    if (task.processingOn !== null) {
      state.outbox.toWorker(task.processingOn, { op: 'cancel-task', key: task.key, runId: task.runId as never, force })
    }
    recommend(state, task, 'settled')
  }
  releaseKeys(state, client, message.keys)
}

function collectDoomed(root: TaskRecord, client: ClientRecord, force: boolean, doomed: Set<TaskRecord>): void {
  const open = [root]
  for (let task = open.pop(); task !== undefined; task = open.pop()) {
    if (doomed.has(task) || (!force && task.wantedBy.some((each) => each !== client))) continue
    doomed.add(task)
    for (const dependent of task.dependents ?? []) if (isActive(dependent.state)) open.push(dependent)
  }
}

/** A task that a surviving dependent waits for goes on. */
function spareNeeded(doomed: Set<TaskRecord>): void {
  for (let spared = true; spared;) {
    spared = false
    for (const task of [...doomed].reverse()) {
      for (const dependent of task.dependents ?? []) {
        if (!isActive(dependent.state) || doomed.has(dependent)) continue
        spared = doomed.delete(task) || spared
        break
      }
    }
  }
}

/** Back to the deepest failures below these keys; everything that failed because of them runs again when it is needed. */
export function retryRequested(state: SchedulerState, event: EventOf<'RetryRequested'>): void {
  const asked = event.keys
    .map((key) => state.tasks.get(key))
    .filter((task): task is TaskRecord => task?.state === 'erred')
  const erred = new Set<TaskRecord>()
  const open = [...asked]
  for (let task = open.pop(); task !== undefined; task = open.pop()) {
    if (erred.has(task)) continue
    erred.add(task)
    for (const input of task.dependencies) if (input.state === 'erred') open.push(input)
    for (const dependent of task.dependents ?? []) if (dependent.state === 'erred') open.push(dependent)
  }
  const keysOf = new Map<ClientRecord, TaskKey[]>()
  for (const task of erred) {
    task.retriesLeft = task.group.options.retries ?? 0
    task.trouble = null
    task.attempts = 0
    for (const client of task.wantedBy) keysOf.set(client, [...(keysOf.get(client) ?? []), task.key])
    transition(state, task, 'released')
    recommend(state, task, 'settled')
  }
  for (const [client, keys] of keysOf) state.outbox.toClient(client, { op: 'task-retried', keys })
  state.outbox.answer(event.request, { retried: asked.map((task) => task.key) })
}

/** Without a connection: a pseudo client. */
export function newClient(id: ClientId, name: string, connection: number | null): ClientRecord {
  return {
    id,
    name,
    isPseudo: connection === null,
    connection,
    applied: 0,
    told: 0,
    farewells: new Map(),
    refused: new Map(),
    cancels: 0,
    wants: new Set(),
    functions: new Set(),
    graphGeneration: 0,
    graphAtMs: 0,
    nextOrder: 0,
    issuedMs: 0,
    activeMs: 0,
    active: 0,
    lastGroup: null,
  }
}
