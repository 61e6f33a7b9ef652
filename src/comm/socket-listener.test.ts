// What strangers can do to a listener: every case ends that one connection with one logged reason, and a good
// connection that was there before does not notice.

import { once } from 'node:events'
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net'
import { configure, type LogRecord, reset } from '@logtape/logtape'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Comm, ConnectOptions, Credentials, Listener } from './comm.ts'
import { connect, listen } from './connect.ts'
import { encodeMessage, FrameParser } from './framing.ts'
import { PENDING_MAX } from './limits.ts'
import { createToken } from './token.ts'

const token = createToken()
const credentials: Credentials = { token, tls: null, insecurePlaintext: false }
const HANDSHAKE_MS = 150

let listener: Listener
let records: LogRecord[]
let received: string[]
let accepted: Comm[]
const sockets: Socket[] = []

const options: ConnectOptions = { role: 'client', credentials, protocolVersion: 1, timeoutMs: 3000 }

function openListener(given: Credentials, handshakeMs = HANDSHAKE_MS): Promise<Listener> {
  return listen('tcp://127.0.0.1:0', {
    role: 'scheduler',
    credentials: given,
    protocolVersion: 1,
    clusterId: 'c',
    handshakeMs,
    onComm(comm) {
      accepted.push(comm)
      comm.onMessage(([frame]) => received.push(String(frame)))
    },
  })
}

beforeEach(async () => {
  records = []
  received = []
  accepted = []
  await configure({
    reset: true,
    sinks: { list: (record) => records.push(record) },
    loggers: [
      { category: 'plimsoll', sinks: ['list'], lowestLevel: 'debug' },
      { category: ['logtape', 'meta'], sinks: [], lowestLevel: 'fatal' },
    ],
  })
  listener = await openListener(credentials)
})

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const comm of accepted) comm.abort()
  await listener.close()
  await reset()
})

function rawSocket(to = listener.address): Socket {
  const socket = connectTcp(Number(to.split(':').at(-1)), '127.0.0.1')
  socket.on('error', () => {})
  sockets.push(socket)
  return socket
}

/** Resolves with everything the other side sent before it closed. */
async function untilClosed(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  if (!socket.closed) await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

const reasons = (): string[] => records.map((record) => `${record.level} ${record.message.join('')}`)
const u32 = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer)
const hello = (fields: object): Buffer => encodeMessage([Buffer.from(JSON.stringify({ plimsoll: 1, ...fields }))])
const goodHello = { kind: 'hello', version: 1, role: 'client', nonce: 'ab', auth: 'token' }

describe('a listener', () => {
  it.each<[string, Buffer | null]>([
    ['a frame length of 2 GiB', u32(1, 0x80000000)],
    ['random bytes', Buffer.from('9f8e7d6c5b4a39281706f5e4d3c2b1a0', 'hex')],
    ['bytes that look like the start of TLS', Buffer.from('1603010200010001fc0303ffffffffffffffff', 'hex')],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a half-sent frame', u32(1, 100)],
    ['nothing at all', null],
    ['a hello of 5 KiB', encodeMessage([Buffer.alloc(5000, 32)])],
    ['a hello that is no JSON', encodeMessage([Buffer.from('{')])],
    ['a hello of the wrong shape', hello({ kind: 'hello', version: '1' })],
    ['a proof before the hello', hello({ kind: 'proof', mac: '' })],
    ['a refusal before the hello', hello({ kind: 'refused', code: 'AUTH_FAILED', message: 'x' })],
    ['a good end before the hello', u32(0)],
    ['data before the proof', Buffer.concat([hello(goodHello), encodeMessage([Buffer.from('run this')])])],
    ['a wrong proof', Buffer.concat([hello(goodHello), hello({ kind: 'proof', mac: 'f'.repeat(64) })])],
    ['an empty proof', Buffer.concat([hello(goodHello), hello({ kind: 'proof', mac: '' })])],
    ['a wish to go without a token', hello({ ...goodHello, auth: 'none' })],
  ])('closes a connection that sends %s, and nothing else notices', async (_, bytes) => {
    const good = await connect(listener.address, options)
    const socket = rawSocket()
    if (bytes !== null) socket.write(bytes)
    await untilClosed(socket)
    await new Promise<void>((resolve) => setImmediate(resolve))
    expect(reasons()).toHaveLength(1)
    expect(reasons()[0]).toMatch(/^warning tcp:.* closed a connection from 127\.0\.0\.1:\d+: \S/)
    expect(accepted).toHaveLength(1)
    good.send([Buffer.from('still here')])
    await good.close()
    expect(received).toEqual(['still here'])
  })

  it('drops the oldest of too many silent connections, not the newest', async () => {
    await listener.close()
    listener = await openListener(credentials, 60_000)
    const oldest = rawSocket()
    await once(oldest, 'connect')
    const others = Array.from({ length: PENDING_MAX - 1 }, () => rawSocket())
    await Promise.all(others.map((socket) => once(socket, 'connect')))
    const good = await connect(listener.address, { ...options, transport: 'tcp' })
    await untilClosed(oldest)
    expect(good.closed).toBe(false)
    expect(others.filter((socket) => socket.closed)).toHaveLength(0)
    expect(reasons()).toEqual([expect.stringContaining(`more than ${PENDING_MAX} connections`)])
    await good.close()
  })

  it('does not count authenticated connections, nor log when one is lost', async () => {
    const good = await connect(listener.address, options)
    const [far] = accepted
    await new Promise((resolve) => setTimeout(resolve, HANDSHAKE_MS * 2))
    expect(good.closed).toBe(false)
    good.abort()
    await new Promise((resolve) => far?.onClose(resolve))
    expect(reasons()).toEqual([])
  })

  it('closes an authenticated connection that announces 2 GiB, and reports why to its owner', async () => {
    await listener.close()
    listener = await openListener({ token: null, tls: null, insecurePlaintext: true })
    const socket = rawSocket()
    socket.write(Buffer.concat([hello({ ...goodHello, auth: 'none' }), hello({ kind: 'proof', mac: '' })]))
    socket.write(Buffer.concat([encodeMessage([Buffer.from('fine')]), u32(1, 0x80000000)]))
    await untilClosed(socket)
    const reason = await new Promise((resolve) => accepted[0]?.onClose(resolve))
    expect(received).toEqual(['fine'])
    expect(reason).toMatchObject({ code: 'PROTOCOL_ERROR' })
    expect(reasons()).toEqual([expect.stringMatching(/^warning closed the connection to .*2147483648 bytes/)])
  })

  it.each(['tcp://localhost:0', 'tcp://0.0.0.0:0', 'tcp://[::1]:0', 'tcp://[::]:0'])(
    'on %s serves loopback',
    async (address) => {
      const here = await listen(address, {
        role: 'scheduler',
        credentials,
        protocolVersion: 1,
        clusterId: 'c',
        onComm: (comm) => comm.onMessage(() => {}),
      })
      const port = here.address.split(':').at(-1)
      const hosts = address.includes('[::1]') ? ['[::1]'] : ['127.0.0.1', 'localhost']
      for (const host of hosts) {
        const comm = await connect(`tcp://${host}:${port}`, options)
        await comm.close()
      }
      await here.close()
    },
  )

  it('reports a port that is taken', async () => {
    const taken = listen(listener.address, {
      role: 'x',
      credentials,
      protocolVersion: 1,
      clusterId: '',
      onComm: () => {},
    })
    await expect(taken).rejects.toMatchObject({
      code: 'CONNECT_FAILED',
      message: expect.stringContaining(listener.address),
    })
  })
})

describe('the proof of the token', () => {
  it.each(['auto', 'psk'] as const)('fails on both sides when the tokens differ (%s)', async (security) => {
    const other = { ...credentials, token: createToken() }
    const attempt = connect(listener.address, { ...options, credentials: other, security })
    await expect(attempt).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringMatching(/token.*PLIMSOLL_TOKEN/),
    })
    expect(accepted).toEqual([])
    expect(reasons()).toEqual([expect.stringMatching(/^warning .*token.*PLIMSOLL_TOKEN/)])
  })

  it('is required before anything is tried', async () => {
    const none = { token: null, tls: null, insecurePlaintext: false }
    await expect(connect('tcp://127.0.0.1:1', { ...options, credentials: none })).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining('--token-file'),
    })
    await expect(openListener(none)).rejects.toMatchObject({ code: 'AUTH_FAILED' })
  })

  it('is not taken from a listener that asks for none', async () => {
    await listener.close()
    listener = await openListener({ token: null, tls: null, insecurePlaintext: true })
    await expect(connect(listener.address, options)).rejects.toMatchObject({ code: 'AUTH_FAILED' })
    expect(accepted).toEqual([])
  })

  it('finds out a relay between the two, by the address', async () => {
    const target = Number(listener.address.split(':').at(-1))
    const relay = createServer((socket) => {
      const onward = connectTcp(target, '127.0.0.1')
      sockets.push(socket, onward)
      for (const end of [socket, onward]) end.on('error', () => {})
      socket.pipe(onward).pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(relay, 'listening')
    const address = `tcp://127.0.0.1:${(relay.address() as AddressInfo).port}`
    await expect(connect(address, options)).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining('relays'),
    })
    expect(accepted).toEqual([])
    relay.close()
  })

  it('is bound to the TLS session instead under a pre-shared key, where nothing can be read on the way', async () => {
    const target = Number(listener.address.split(':').at(-1))
    const seen: Buffer[] = []
    const relay = createServer((socket) => {
      const onward = connectTcp(target, '127.0.0.1')
      sockets.push(socket, onward)
      for (const end of [socket, onward]) {
        end.on('error', () => {})
        end.on('data', (chunk: Buffer) => seen.push(chunk))
      }
      socket.pipe(onward).pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(relay, 'listening')
    const address = `tcp://127.0.0.1:${(relay.address() as AddressInfo).port}`
    const comm = await connect(address, { ...options, security: 'psk' })
    comm.send([Buffer.from('PLAINLY-VISIBLE')])
    await comm.close()
    expect(received).toEqual(['PLAINLY-VISIBLE'])
    const wire = Buffer.concat(seen).toString('latin1')
    for (const text of ['PLAINLY-VISIBLE', 'proof', 'client', token]) expect(wire).not.toContain(text)
    relay.close()
  })

  it.each([
    ['sends the proof back that it was given', (mac: string) => mac],
    ['sends an empty proof', () => ''],
    ['sends any proof', () => 'f'.repeat(64)],
  ])('is refused from a listener that %s', async (_, respond) => {
    const impostor = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => {})
      const parser = new FrameParser({ messageBytes: 4096, frames: 1 })
      const address = `127.0.0.1:${socket.localPort}`
      socket.on('data', (chunk: Buffer) => {
        parser.push(chunk)
        for (let next = parser.next(); next !== null; next = parser.next()) {
          const message = JSON.parse(String(next[0])) as { kind: string; nonce: string; mac: string }
          // The nonce comes back as well: a reflection works best when both are the same.
          const welcome = { kind: 'welcome', version: 1, role: 'client', nonce: message.nonce, clusterId: 'c', address }
          socket.write(hello(message.kind === 'hello' ? welcome : { kind: 'proof', mac: respond(message.mac) }))
        }
      })
    }).listen(0, '127.0.0.1')
    await once(impostor, 'listening')
    const { port } = impostor.address() as AddressInfo
    await expect(connect(`tcp://127.0.0.1:${port}`, options)).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining('could not prove'),
    })
    impostor.close()
  })

  it('is not tried with something that speaks another protocol', async () => {
    const http = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => {})
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    }).listen(0, '127.0.0.1')
    await once(http, 'listening')
    const { port } = http.address() as AddressInfo
    for (const security of ['auto', 'psk'] as const) {
      const start = performance.now()
      await expect(
        connect(`tcp://127.0.0.1:${port}`, { ...options, security, timeoutMs: 20_000 }),
      ).rejects.toMatchObject({ code: 'CONNECT_FAILED' })
      expect(performance.now() - start).toBeLessThan(5000)
    }
    http.close()
  })
})
