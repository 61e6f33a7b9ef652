// The requests that clients and probes may ask. Questions about the state are answered from snapshots at once; those that
// change something go through the core.

import type { SchedulerRequests, StoryEntry } from '../protocol/scheduler-client.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { ServeContext } from '../rpc/index.ts'
import type { SchedulerEvent } from './core/events.ts'
import { heartbeatMs } from './core/handlers/worker-registration.ts'
import { adaptiveTarget } from './core/adaptive.ts'
import type { SchedulerState } from './core/state.ts'
import * as view from './core/view.ts'
import { CLIENT_QUESTIONS } from './message-shapes.ts'
import type { Peer, Peers } from './peers.ts'
import type { PendingAnswers } from './pending-answers.ts'
import { log } from './perform.ts'
import { checkFields } from './shapes.ts'

type ClientPeer = Extract<Peer, { readonly role: 'client' }>
type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never

/** What the requests need of the scheduler around them. */
export interface RequestHost {
  readonly state: SchedulerState
  readonly peers: Peers
  readonly answers: PendingAnswers
  readonly info: SchedulerRequests['identity'][1]
  dispatch(event: Untimed<SchedulerEvent>): void
  closeSoon(reason: string): void
}

interface Asker {
  readonly peer: ClientPeer
  readonly number: number
  readonly context: ServeContext
}

type Handlers = {
  readonly [Op in keyof SchedulerRequests]: (
    host: RequestHost,
    question: SchedulerRequests[Op][0],
    asker: Asker,
  ) => SchedulerRequests[Op][1] | Promise<SchedulerRequests[Op][1]>
}

/** Workers are asked for their part of a story this long. */
const STORY_MS = 2000

const HANDLERS: Handlers = {
  'register-client': (host, { clientId, name }, { peer, number }) => {
    peer.id = clientId
    host.peers.register(peer)
    host.dispatch({ kind: 'ClientRegistered', client: clientId, connection: number, name })
    const { id, generation, workers, options } = host.state
    return {
      schedulerId: id,
      generation,
      nodeVersion: process.version,
      heartbeatMs: heartbeatMs(workers.size),
      graceMs: options.clientGraceMs,
    }
  },
  'reattach-client': (host, { clientId, heard }, { peer, number, context }) => {
    peer.id = clientId
    host.peers.register(peer)
    return host.answers.ask(context, (request) =>
      host.dispatch({ kind: 'ClientReattached', request, client: clientId, connection: number, heard }),
    )
  },
  heartbeat: (host, { heard }, { peer, number }) => {
    if (peer.id !== null) host.dispatch({ kind: 'ClientBeat', client: peer.id, connection: number, heard })
    return { generation: host.state.generation }
  },
  identity: ({ info }) => info,
  'who-has': ({ state }, { keys }) => ({ keys: view.whoHas(state, keys) }),
  locate: ({ state }, { keys }) => ({ found: view.locate(state, keys) }),
  'has-what': ({ state }, { workers }) => ({ workers: view.hasWhat(state, workers) }),
  nbytes: ({ state }, { keys, by }) => ({ nbytes: view.nbytes(state, keys, by) }),
  processing: ({ state }, { workers }) => ({ workers: view.processing(state, workers) }),
  'task-counts': ({ state }) => ({ prefixes: view.taskCounts(state) }),
  memory: ({ state }) => view.memory(state),
  story: async (host, { key }) => ({ entries: await wholeStory(host, key) }),
  retry: (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) =>
      host.dispatch({ kind: 'RetryRequested', request, keys: question.keys }),
    ),
  restart: (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) => {
      const { timeoutMs, waitForWorkers } = question
      host.dispatch({ kind: 'RestartRequested', request, timeoutMs, waitForWorkers })
    }),
  'scatter-place': (host, question, { context, peer }) => {
    const client = peer.id
    if (client === null) throw new PlimsollError('PROTOCOL_ERROR', 'only a registered client can scatter')
    return host.answers.askOnce(client, question, context, (request) =>
      host.dispatch({ kind: 'ScatterRequested', request, client, question }),
    )
  },
  'retire-workers': (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) => {
      const { workers = null, n, closeWorkers } = question
      host.dispatch({ kind: 'RetireRequested', request, workers, n, closeWorkers })
    }),
  'publish-dataset': (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) =>
      host.dispatch({ kind: 'PublishRequested', request, question }),
    ),
  'get-dataset': (host, { name }, { peer, context }) => {
    const client = peer.id
    if (client === null) throw new PlimsollError('PROTOCOL_ERROR', 'only a registered client can hold a dataset')
    return host.answers.ask(context, (request) => host.dispatch({ kind: 'DatasetRequested', request, client, name }))
  },
  'unpublish-dataset': (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) =>
      host.dispatch({ kind: 'UnpublishRequested', request, name: question.name }),
    ),
  'list-datasets': ({ state }) => ({ names: [...state.datasets.keys()] }),
  'restart-workers': (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) => {
      const { workers, timeoutMs } = question
      host.dispatch({ kind: 'RestartWorkersRequested', request, workers, timeoutMs })
    }),
  replicate: (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) => {
      const { keys, n = null, workers = null, branchingFactor } = question
      host.dispatch({ kind: 'ReplicateRequested', request, keys, n, workers, branchingFactor })
    }),
  rebalance: (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) => {
      const { keys = null, workers = null, measure = null } = question
      host.dispatch({ kind: 'RebalanceRequested', request, keys, workers, measure })
    }),
  'memory-manager': (host, question, { peer, context }) =>
    host.answers.askOnce(peer.id, question, context, (request) =>
      host.dispatch({ kind: 'MemoryManagerRequested', request, action: question.action }),
    ),
  'adaptive-target': ({ state }, question) => {
    const { target, close } = adaptiveTarget(state, question)
    return { target, close: close.map((worker) => worker.id) }
  },
  terminate: (host) => {
    host.closeSoon('a client asked for it')
    return {}
  },
}

export function serveRequests(host: RequestHost, peer: ClientPeer, number: number): void {
  for (const op of Object.keys(HANDLERS) as (keyof SchedulerRequests)[]) {
    const handle = HANDLERS[op] as (host: RequestHost, question: unknown, asker: Asker) => never
    peer.connection.handle(op, (question, context) => {
      checkFields(peer.connection.peerAddress, op, CLIENT_QUESTIONS[op], question)
      return handle(host, question, { peer, number, context })
    })
  }
}

/** The scheduler's part and every worker's, in order of time. A worker that does not answer is left out. */
async function wholeStory(
  host: RequestHost,
  key: SchedulerRequests['story'][0]['key'],
): Promise<readonly StoryEntry[]> {
  const parts = await Promise.all(
    Array.from(host.peers.workers, async (connection) => {
      try {
        return (await connection.request('story', { key }, { timeoutMs: STORY_MS })).entries
      } catch (error) {
        log.debug('{worker} did not tell its part of the story of {key}: {reason}', {
          worker: connection.peerAddress,
          key,
          reason: toError(error).message,
        })
        return []
      }
    }),
  )
  return [...host.state.story.of(key), ...parts.flat()].toSorted((a, b) => a.at - b.at)
}
