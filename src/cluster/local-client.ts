import { createHmac } from 'node:crypto'
import { msgpackr } from '../base/msgpack.ts'
import { Client as ConnectedClient } from '../client/client.ts'
import type { ClientOptions } from '../client/client-options.ts'
import { openSession } from '../client/open-session.ts'
import { syntaxTools } from '../functions/syntax-tools.ts'
import { LocalCluster, type LocalClusterOptions } from './local-cluster.ts'

/** A client, with `Client.local` as the shortest way to one: see `Client.connect` for clusters that run elsewhere. */
export class Client extends ConnectedClient {
  /**
   * Starts a cluster on this machine, in processes of its own, and connects to it; closing the client closes the cluster.
   * Throws what `LocalCluster` and `Client.connect` throw.
   */
  static async local(options: LocalClusterOptions = {}, clientOptions: ClientOptions = {}): Promise<Client> {
    const cluster = new LocalCluster(options)
    try {
      const opening = openSession(cluster, clientOptions)
      // While the processes start: what the first function, the first message and the handshake need.
      syntaxTools()
      msgpackr()
      createHmac('sha256', '').digest()
      const session = await opening
      const { setAsDefault } = clientOptions
      return new Client(session, {
        afterClose: () => cluster.close(),
        ...(setAsDefault !== undefined && { setAsDefault }),
      })
    } catch (error) {
      await cluster.close()
      throw error
    }
  }
}
