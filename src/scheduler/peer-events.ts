// What comes on the connections of a scheduler, checked and turned into events for its core.

import type { Role } from '../protocol/version.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { SchedulerEvent } from './core/events.ts'
import { CLIENT_SHAPES, NANNY_QUESTIONS, NANNY_SHAPES, WORKER_QUESTIONS, WORKER_SHAPES } from './message-shapes.ts'
import type { ClientConnection, NannyConnection, Peer, WorkerConnection } from './peers.ts'
import { log } from './perform.ts'
import { type RequestHost, serveRequests } from './requests.ts'
import { checkFields, checkMessages } from './shapes.ts'

type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never

export interface EventHost extends RequestHost {
  /** `from`: the connection that caused it. */
  dispatch(event: Untimed<SchedulerEvent>, from?: number | null): void
}

/** From now on the connection is served. */
export function acceptPeer(host: EventHost, role: Exclude<Role, 'scheduler'>, connection: unknown): void {
  if (role === 'worker') addWorker(host, connection as WorkerConnection)
  else if (role === 'nanny') addNanny(host, connection as NannyConnection)
  else addClient(host, connection as ClientConnection)
}

function addClient(host: EventHost, connection: ClientConnection): void {
  const peer: Extract<Peer, { role: 'client' }> = { role: 'client', connection, id: null }
  const number = add(host, peer)
  serveRequests(host, peer, number)
  connection.onMessages((messages) => {
    try {
      checkMessages(connection.peerAddress, CLIENT_SHAPES, messages)
    } catch (error) {
      return refuseClient(host, peer, number, toError(error).message)
    }
    if (peer.id === null)
      throw new PlimsollError('PROTOCOL_ERROR', `${connection.peerAddress} sent messages before it registered`)
    host.dispatch({ kind: 'ClientMessages', client: peer.id, connection: number, messages }, number)
  })
}

/** It would say the same again on its next connection, until its grace is over: it is told, and forgotten at once. */
export function refuseClient(
  host: EventHost,
  { connection, id }: Extract<Peer, { role: 'client' }>,
  number: number,
  reason: string,
): void {
  log.warn('closing the connection of client {id}: {reason}', { id: id ?? connection.peerAddress, reason })
  connection.send({ op: 'client-refused', reason })
  if (id !== null)
    host.dispatch(
      { kind: 'ClientMessages', client: id, connection: number, messages: [{ op: 'close-client' }] },
      number,
    )
  void connection.close()
}

function addWorker(host: EventHost, connection: WorkerConnection): void {
  const peer: Extract<Peer, { role: 'worker' }> = { role: 'worker', connection, id: null }
  const number = add(host, peer)
  connection.handle('register-worker', (registration, context) => {
    checkFields(connection.peerAddress, 'register-worker', WORKER_QUESTIONS['register-worker'], registration)
    peer.id = registration.workerId
    const before = host.peers.worker(registration.workerId)
    host.peers.register(peer)
    return host.answers.ask(context, (request) => {
      host.dispatch({ kind: 'WorkerRegistered', request, connection: number, registration }, number)
      // Refused: the one that was there before stays.
      if (host.state.workers.get(registration.workerId)?.connection !== number && before !== undefined)
        host.peers.restore(registration.workerId, before)
    })
  })
  connection.handle('heartbeat-worker', (heartbeat): { readonly status: 'ok' | 'missing' } => {
    checkFields(connection.peerAddress, 'heartbeat-worker', WORKER_QUESTIONS['heartbeat-worker'], heartbeat)
    const known = peer.id !== null && host.state.workers.get(peer.id)?.connection === number
    if (!known || peer.id === null) return { status: 'missing' }
    host.dispatch({ kind: 'WorkerBeat', worker: peer.id, connection: number, heartbeat }, number)
    return { status: 'ok' }
  })
  connection.onMessages((messages) => {
    checkMessages(connection.peerAddress, WORKER_SHAPES, messages)
    if (peer.id === null)
      throw new PlimsollError('PROTOCOL_ERROR', `${connection.peerAddress} sent messages before it registered`)
    host.dispatch({ kind: 'WorkerMessages', worker: peer.id, connection: number, messages }, number)
  })
}

function addNanny(host: EventHost, connection: NannyConnection): void {
  const peer: Extract<Peer, { role: 'nanny' }> = { role: 'nanny', connection, id: null }
  const number = add(host, peer)
  connection.handle('register-nanny', (question) => {
    checkFields(connection.peerAddress, 'register-nanny', NANNY_QUESTIONS['register-nanny'], question)
    peer.id = question.workerId
    host.peers.register(peer)
    host.dispatch({ kind: 'NannyRegistered', worker: question.workerId, connection: number }, number)
    return { schedulerId: host.state.id }
  })
  connection.handle('heartbeat-nanny', (question) => {
    checkFields(connection.peerAddress, 'heartbeat-nanny', NANNY_QUESTIONS['heartbeat-nanny'], question)
    return {}
  })
  connection.handle('retire-worker', async (_, context) => {
    const worker = peer.id
    if (worker === null)
      throw new PlimsollError('PROTOCOL_ERROR', `${connection.peerAddress} retired a worker before it registered`)
    return await host.answers.ask(context, (request) =>
      host.dispatch({ kind: 'RetireRequested', request, workers: [worker], closeWorkers: false }, number),
    )
  })
  connection.onMessages((messages) => {
    checkMessages(connection.peerAddress, NANNY_SHAPES, messages)
    if (peer.id === null)
      throw new PlimsollError('PROTOCOL_ERROR', `${connection.peerAddress} sent messages before it registered`)
    host.dispatch({ kind: 'NannyMessages', worker: peer.id, connection: number, messages }, number)
  })
}

function add(host: EventHost, peer: Peer): number {
  const number = host.peers.add(peer)
  peer.connection.onClose((reason) => onClosed(host, number, reason))
  return number
}

function onClosed(host: EventHost, number: number, reason: Error | null): void {
  const peer = host.peers.delete(number)
  if (peer === undefined || peer.id === null) return
  log.debug('{role} {id} disconnected: {reason}', {
    role: peer.role,
    id: peer.id,
    reason: reason?.message ?? 'closed',
  })
  if (peer.role === 'client') host.dispatch({ kind: 'ClientLost', client: peer.id, connection: number })
  else if (peer.role === 'worker') host.dispatch({ kind: 'WorkerLost', worker: peer.id, connection: number })
  else host.dispatch({ kind: 'NannyLost', worker: peer.id, connection: number })
}
