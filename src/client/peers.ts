import { connect, type Credentials } from '../comm/index.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import type { WorkerRequests } from '../protocol/worker-worker.ts'
import { ConnectionPool } from '../rpc/connection-pool.ts'
import { Connection } from '../rpc/connection.ts'

/** A client says nothing to a worker but requests, and is asked nothing. */
export type WorkerConnection = Connection<never, never, Record<never, never>, WorkerRequests>

/** Pooled connections to workers, for reading and for scattering; each in exclusive use while it is used. */
export interface Peers {
  use<T>(address: string, fn: (connection: WorkerConnection) => Promise<T>): Promise<T>
  close(): Promise<void>
}

const CONNECTIONS_MAX = 128
const IDLE_MS = 30_000

export function createPeers(credentials: Credentials, timeoutMs: number): Peers {
  return new ConnectionPool<WorkerConnection>({
    limit: CONNECTIONS_MAX,
    idleMs: IDLE_MS,
    async connect(address) {
      const comm = await connect(address, {
        role: 'client',
        credentials,
        protocolVersion: PROTOCOL_VERSION,
        timeoutMs,
        // A worker that was named as a holder has listened: it is gone, and others are asked.
        retry: 'unless-refused',
      })
      comm.unref()
      return new Connection(comm)
    },
  })
}
