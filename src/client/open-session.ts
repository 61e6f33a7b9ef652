import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { partLogger } from '../base/part-logger.ts'
import { clientId } from '../base/ids.ts'
import { connect, readToken, type Credentials } from '../comm/index.ts'
import { loadConfig } from '../config/index.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import type { TlsFiles } from '../protocol/nanny.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/connection.ts'
import { flagOption, shown, textOption } from './checked-options.ts'
import { type ClientOptions, type ClusterLike, refuseUnknownOptions } from './client-options.ts'
import { ClientSession, type SessionSettings } from './client-session.ts'
import { notDirect } from './gather.ts'
import { createPeers } from './peers.ts'
import type { Dial, SchedulerConnection } from './scheduler-link.ts'
import { durationMs } from './wait-limits.ts'

const log = partLogger('client')
const HEARTBEAT_MS_MIN = 10

/** Connects to a scheduler and registers there. Throws `CONNECT_FAILED`, `AUTH_FAILED`, `VERSION_MISMATCH`, `CONFIG_INVALID`. */
export async function openSession(target: string | ClusterLike, options: ClientOptions): Promise<ClientSession> {
  refuseUnknownOptions(options)
  const isAddress = typeof target === 'string'
  if (!isAddress && (typeof target !== 'object' || target === null))
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `A client connects to the address of a scheduler or to a cluster, not to ${shown(target)}.`,
    )
  if (flagOption('directToWorkers', options.directToWorkers) === false) throw notDirect()
  flagOption('setAsDefault', options.setAsDefault)
  const settings = settingsFrom(options)
  const given = {
    token: textOption('token', options.token),
    tls: tlsOption(options.tls),
    insecurePlaintext: flagOption('insecurePlaintext', options.insecurePlaintext) ?? false,
  }
  if (isAddress) return openAt(target, { ...given, token: given.token ?? (await readToken()) }, settings)
  const session = await openIn(target, given, settings)
  try {
    await target.ready
    return session
  } catch (error) {
    await session.close()
    throw error
  }
}

/** In a cluster that may still be starting. */
async function openIn(
  target: ClusterLike,
  given: Omit<Credentials, 'token'> & { readonly token: string | undefined },
  settings: SessionSettings,
): Promise<ClientSession> {
  const listening = target.listening ?? target.ready?.then(() => target.address)
  const address = (await listening) ?? target.address
  try {
    return await openAt(address, { ...given, token: given.token ?? target.token }, settings, target.ended)
  } catch (error) {
    // A start that has failed says why, and is why nobody answers.
    await target.ready
    throw error
  }
}

async function openAt(
  address: string,
  credentials: Credentials,
  settings: SessionSettings,
  ended?: Promise<string>,
): Promise<ClientSession> {
  const { timeoutMs } = settings
  const identity = { role: 'client', credentials, protocolVersion: PROTOCOL_VERSION }
  const comm = await connect(address, { ...identity, timeoutMs })
  comm.unref()
  const connection: SchedulerConnection = new Connection(comm)
  const dial: Dial = async (tryMs, signal) =>
    new Connection(await connect(address, { ...identity, timeoutMs: tryMs, signal, retry: 'nothing', unref: true }))
  const session = new ClientSession(connection, dial, createPeers(credentials, timeoutMs), settings)
  void ended?.then((reason) => session.clusterEnded(reason))
  try {
    const { nodeVersion } = await session.register(packageVersion())
    warnOfOtherNode(nodeVersion)
    return session
  } catch (error) {
    await session.close()
    throw error
  }
}

function settingsFrom(options: ClientOptions): SessionSettings {
  const config = loadConfig()
  const id = clientId(`client-${randomUUID()}`)
  return {
    clientId: id,
    name: textOption('name', options.name) ?? id,
    timeoutMs: options.timeout === undefined ? config.get('comm.timeouts.connect') : durationMs(options.timeout),
    heartbeatMs: options.heartbeat === undefined ? config.get('client.heartbeat') : heartbeatMs(options.heartbeat),
    reconnectMs: config.get('client.reconnect-timeout'),
    gatherLimit: config.get('client.gather-limit'),
    collectsGarbage: config.get('client.gc') === 'auto',
  }
}

/** As the configuration has it: more often would keep client and scheduler busy with nothing else. */
function heartbeatMs(value: number | string): number {
  const ms = durationMs(value)
  if (ms >= HEARTBEAT_MS_MIN) return ms
  throw new PlimsollError('INVALID_ARGUMENT', `The option "heartbeat" is at least 10 ms; it was ${shown(value)}.`)
}

function tlsOption(tls: TlsFiles | undefined): TlsFiles | null {
  if (tls === undefined) return null
  const names = ['caFile', 'certFile', 'keyFile'] as const
  refuseUnknown('The option "tls"', tls, names)
  for (const name of names) {
    if (textOption(`tls.${name}`, tls[name]) === undefined)
      throw new PlimsollError('INVALID_ARGUMENT', `The option "tls" lacks ${name}: it takes ${names.join(', ')}.`)
  }
  return tls
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}

/** Values written by one major version may not be readable by another. */
function warnOfOtherNode(theirs: string): void {
  const major = (version: string) => version.replace(/^v/, '').split('.')[0]
  if (major(theirs) === major(process.version)) return
  log.warn('the cluster runs Node {theirs}, this client Node {ours}: use the same major version', {
    theirs,
    ours: process.version,
  })
}
