import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseAddress } from './address.ts'
import type { Comm, ConnectOptions, Credentials, Listener } from './comm.ts'
import { describeComm } from './comm.conformance.ts'
import { connect, listen } from './connect.ts'
import { localSocketOf } from './local-socket.ts'
import { createToken } from './token.ts'

const token = createToken()
const credentials: Credentials = { token, tls: null, insecurePlaintext: false }
const options: ConnectOptions = { role: 'client', credentials, protocolVersion: 1, timeoutMs: 2000 }

const pathOf = (address: string, of = token): string | null => localSocketOf(parseAddress(address), of)
/** A local socket has no port of its own. */
const isLocal = (comm: Comm): boolean => comm.localAddress.endsWith(':0')

describe('the name of a local socket', () => {
  it.runIf(process.platform === 'linux')('is the same for every way to name a loopback address', () => {
    const path = pathOf('tcp://127.0.0.1:4321')
    expect(path).toMatch(/^\0plimsoll-[0-9a-f]{32}$/)
    for (const host of ['localhost', '0.0.0.0', '[::]', '[::ffff:127.0.0.1]']) {
      expect(pathOf(`tcp://${host}:4321`)).toBe(path)
    }
    const others = [pathOf('tcp://127.0.0.1:4322'), pathOf('tcp://127.0.0.2:4321'), pathOf('tcp://[::1]:4321')]
    expect(new Set([path, ...others, pathOf('tcp://127.0.0.1:4321', createToken())]).size).toBe(5)
  })

  it('is there for no other address, and not without a token', () => {
    expect(pathOf('tcp://192.168.1.5:4321')).toBe(null)
    expect(pathOf('tls://127.0.0.1:4321')).toBe(null)
    expect(localSocketOf(parseAddress('tcp://127.0.0.1:4321'), null)).toBe(null)
  })
})

if (process.platform === 'linux') {
  describeComm('local socket', () => ({ address: 'tcp://127.0.0.1:0', credentials }))

  describe('a listener on loopback', () => {
    let listener: Listener
    const comms: Comm[] = []
    const servers: Server[] = []
    const sockets: Socket[] = []

    const open = (address = 'tcp://127.0.0.1:0'): Promise<Listener> =>
      listen(address, {
        role: 'scheduler',
        credentials,
        protocolVersion: 1,
        clusterId: 'c',
        onComm: (comm) => comms.push(comm),
      })

    async function dial(overrides: Partial<ConnectOptions> = {}): Promise<Comm> {
      const comm = await connect(listener.address, { ...options, ...overrides })
      comms.push(comm)
      return comm
    }

    /** Somebody else has the name of the listener's local socket. */
    async function squat(onConnection: (socket: Socket) => void): Promise<void> {
      const probe = await open()
      const { address } = probe
      await probe.close()
      const server = createServer((socket) => {
        sockets.push(socket)
        socket.on('error', () => {})
        onConnection(socket)
      })
      servers.push(server)
      server.listen({ path: pathOf(address) as string })
      await once(server, 'listening')
      await listener.close()
      listener = await open(address)
    }

    beforeEach(async () => {
      listener = await open()
    })

    afterEach(async () => {
      for (const comm of comms.splice(0)) comm.abort()
      for (const socket of sockets.splice(0)) socket.destroy()
      for (const server of servers.splice(0)) server.close()
      await listener.close()
    })

    it('is reached through its local socket, unless TCP is asked for', async () => {
      expect(isLocal(await dial())).toBe(true)
      expect(isLocal(await dial({ transport: 'tcp' }))).toBe(false)
      expect(isLocal(await dial({ security: 'psk' }))).toBe(false)
    })

    it('is reached the same way when it listens on every interface', async () => {
      await listener.close()
      listener = await open('tcp://0.0.0.0:0')
      const { port } = parseAddress(listener.address)
      const comm = await connect(`tcp://localhost:${port}`, options)
      comms.push(comm)
      expect(isLocal(comm)).toBe(true)
      expect(parseAddress(comm.localAddress).host).toBe('localhost')
    })

    it.each<[string, (socket: Socket) => void]>([
      ['closes every connection', (socket) => socket.destroy()],
      ['speaks another protocol', (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
      ['says nothing', () => {}],
    ])('is reached through TCP when somebody who %s has the name', async (_, onConnection) => {
      await squat(onConnection)
      expect(isLocal(await dial())).toBe(false)
      expect(sockets).toHaveLength(1)
    })

    it('finds out who relays to it from a name', async () => {
      const other = await open()
      await squat((socket) => {
        const onward = new (socket.constructor as typeof Socket)()
        sockets.push(onward)
        onward.on('error', () => {})
        onward.connect({ path: pathOf(other.address) as string })
        socket.pipe(onward).pipe(socket)
      })
      const comm = await dial()
      expect(isLocal(comm)).toBe(false)
      await other.close()
    })

    it('leaves no name behind', async () => {
      await listener.close()
      const server = createServer()
      servers.push(server)
      server.listen({ path: pathOf(listener.address) as string })
      await once(server, 'listening')
    })
  })
}
