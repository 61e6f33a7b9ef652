import { refuseUnknown } from '../errors/unknown-option.ts'
import type { TlsFiles } from '../protocol/nanny.ts'

/** What a client needs to know of a cluster that this program started. */
export interface ClusterLike {
  /** Settles when the cluster has been started; the address counts from then on. */
  readonly ready?: Promise<unknown>
  /** Resolves, no later than `ready`, with the address of a scheduler that can be connected to while workers still start. */
  readonly listening?: Promise<string>
  readonly address: string
  /** Shared secret, hex; null with certificates alone. */
  readonly token: string | null
  /** Resolves with the reason when the cluster has ended: whoever waits for it need not try to reach it again. */
  readonly ended?: Promise<string>
}

export interface ClientOptions {
  /** Shown in logs and in the dashboard. */
  readonly name?: string
  /** For connecting, and for every question to the scheduler; milliseconds or text. Default: `comm.timeouts.connect`. */
  readonly timeout?: number | string
  /** Shared secret of the cluster, hex. Default: `PLIMSOLL_TOKEN`, else the token file of this user. */
  readonly token?: string
  /** PEM files, for `tls://` addresses. */
  readonly tls?: TlsFiles
  /** Allows `tcp://` beyond loopback without encryption; the scheduler must have been told the same. */
  readonly insecurePlaintext?: boolean
  /** Whether `getClient()` may find this client (default true). */
  readonly setAsDefault?: boolean
  /** Time between two heartbeats. Default: `client.heartbeat`. */
  readonly heartbeat?: number | string
  /** Values always travel straight between client and workers; `false` is refused. */
  readonly directToWorkers?: boolean
}

const NAMES = [
  'name',
  'timeout',
  'token',
  'tls',
  'insecurePlaintext',
  'setAsDefault',
  'heartbeat',
  'directToWorkers',
] as const satisfies readonly (keyof ClientOptions)[]

/** Throws `INVALID_ARGUMENT`. */
export function refuseUnknownOptions(options: ClientOptions): void {
  refuseUnknown('A client', options, NAMES)
}
