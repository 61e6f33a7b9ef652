import { afterEach, describe, expect, it } from 'vitest'
import type { Comm, Credentials, Listener } from '../comm/comm.ts'
import { connect, listen } from '../comm/connect.ts'
import { Connection } from './connection.ts'

interface Table {
  echo: [{ readonly value: unknown }, { readonly value: unknown }]
}

const credentials: Credentials = { token: 'a'.repeat(64), tls: null, insecurePlaintext: false }
let listener: Listener

async function pair(address: string) {
  let accepted!: (comm: Comm) => void
  const far = new Promise<Comm>((resolve) => (accepted = resolve))
  const servers: Connection<string, string, Table, Table>[] = []
  listener = await listen(address, {
    role: 'worker',
    credentials,
    protocolVersion: 1,
    clusterId: 'c',
    onComm: (comm) => {
      servers.push(new Connection(comm))
      accepted(comm)
    },
  })
  const comm = await connect(listener.address, { role: 'client', credentials, protocolVersion: 1, timeoutMs: 2000 })
  await far
  return {
    near: new Connection<string, string, Table, Table>(comm),
    far: servers[0] as Connection<string, string, Table, Table>,
  }
}

afterEach(async () => listener.close())

describe('Connection', () => {
  it('answers requests', async () => {
    const { near, far } = await pair('tcp://127.0.0.1:0')
    far.handle('echo', ({ value }) => ({ value }))
    expect(await near.request('echo', { value: [1, 2 ** 40, undefined, Number.NaN] })).toEqual({
      value: [1, 2 ** 40, undefined, Number.NaN],
    })
    await near.close()
  })
})
