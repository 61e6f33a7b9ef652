import { mkdtemp, open as openFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Comm, Credentials, Listener } from '../comm/comm.ts'
import { connect, listen } from '../comm/connect.ts'
import { CHUNK_BYTES } from '../comm/limits.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { loadLibc } from '../native/libc.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { encodeEnvelopes, type Envelope, STREAM_WINDOW_BYTES } from './envelope.ts'

interface Note {
  readonly op: 'note'
  readonly value: unknown
}

interface Table {
  echo: [{ readonly value: unknown }, { readonly value: unknown }]
  fail: [{ readonly how: 'plimsoll' | 'other' | 'later' }, object]
  wait: [object, object]
  download: [{ readonly chunks: number; readonly bytes: number }, { readonly chunks: number }]
  upload: [object, { readonly sizes: readonly number[] }]
}

type Peer = Connection<Note, Note, Table, Table>

const credentials: Credentials = { token: 'a'.repeat(64), tls: null, insecurePlaintext: false }
const MIB = 1024 * 1024
const cleanups: (() => Promise<unknown> | void)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

async function comms(address: string): Promise<{ near: Comm; far: Comm }> {
  let accept!: (comm: Comm) => void
  const accepted = new Promise<Comm>((resolve) => (accept = resolve))
  const listener: Listener = await listen(address, {
    role: 'worker',
    credentials,
    protocolVersion: 1,
    clusterId: 'c',
    onComm: accept,
  })
  const near = await connect(listener.address, { role: 'client', credentials, protocolVersion: 1, timeoutMs: 2000 })
  const far = await accepted
  cleanups.push(
    () => listener.close(),
    () => near.abort(),
    () => far.abort(),
  )
  return { near, far }
}

async function open(address: string, options: ConnectionOptions = {}): Promise<{ near: Peer; far: Peer }> {
  const { near, far } = await comms(address)
  return { near: new Connection(near, options), far: new Connection(far, options) }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
const note = (value: unknown): Note => ({ op: 'note', value })

/** Resolves when `count` notes came; with the batches they came in. */
function notes(connection: Peer, count: number): Promise<unknown[][]> {
  return new Promise((resolve) => {
    const batches: unknown[][] = []
    let seen = 0
    connection.onMessages((batch) => {
      batches.push(batch.map((message) => message.value))
      seen += batch.length
      if (seen >= count) resolve(batches)
    })
  })
}

describe.each(['tcp://127.0.0.1:0', 'inproc://'])('Connection over %s', (address) => {
  it('keeps values as they are', async () => {
    const { near, far } = await open(address)
    far.handle('echo', ({ value }) => ({ value }))
    const value = {
      integers: [0, -1, 2 ** 31, 2 ** 32 + 1, 2 ** 40, -(2 ** 45), Number.MAX_SAFE_INTEGER],
      floats: [1.5, Number.NaN, Infinity, -Infinity],
      nothing: [undefined, null],
      text: 'é😀',
      nested: { missing: undefined, list: [[{}]] },
    }
    expect(await near.request('echo', { value })).toStrictEqual({ value })
  })

  it('hands bytes over as copies', async () => {
    const { near, far } = await open(address)
    far.handle('echo', ({ value }) => ({ value }))
    const bytes = new Uint8Array(5000).fill(3)
    const { value } = await near.request('echo', { value: bytes })
    expect(value).toBeInstanceOf(Uint8Array)
    expect(Uint8Array.from(value as Uint8Array)).toEqual(bytes)
    expect((value as Uint8Array).buffer.byteLength).toBeLessThan(10_000)
  })

  it('delivers the messages of one turn as one batch, in order', async () => {
    const { near, far } = await open(address)
    const received = notes(far, 100)
    for (let i = 0; i < 100; i++) near.send(note(i))
    expect(await received).toEqual([Array.from({ length: 100 }, (_, i) => i)])
  })

  it('keeps the order of everything that is sent', async () => {
    const { near, far } = await open(address)
    const order: unknown[] = []
    far.onMessages((batch) => batch.forEach(({ value }) => order.push(value)))
    far.handle('echo', ({ value }) => {
      order.push(value)
      return { value }
    })
    const answers: Promise<object>[] = []
    for (let i = 0; i < 5000; i++) {
      if (i % 7 === 0) answers.push(near.request('echo', { value: i }))
      else near.send(note(i))
      if (i % 900 === 0) near.flush()
    }
    await Promise.all(answers)
    await near.request('echo', { value: 5000 })
    expect(order).toEqual(Array.from({ length: 5001 }, (_, i) => i))
  })

  it('keeps messages that come before somebody listens', async () => {
    const { near, far } = await open(address)
    far.handle('echo', ({ value }) => ({ value }))
    near.send(note('early'))
    await near.request('echo', { value: 1 })
    expect(await notes(far, 1)).toEqual([['early']])
  })

  it('splits what is too much for one message, with its requests and chunks', async () => {
    const { near, far } = await open(address, { maxMessageBytes: 1000 })
    const received = notes(far, 10)
    far.handle('echo', ({ value }) => ({ value }))
    far.handle('upload', async (_, context) => {
      const sizes: number[] = []
      for await (const chunk of context.body) sizes.push(chunk.length)
      return { sizes }
    })
    const requests: Promise<object>[] = []
    async function* body(bytes: number): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(Buffer.alloc(bytes))
      yield Buffer.alloc(bytes + 1)
    }
    for (let i = 0; i < 10; i++) {
      near.send(note(Buffer.alloc(300, i)))
      if (i % 3 === 0)
        requests.push(
          near.request('echo', { value: Buffer.alloc(400) }),
          near.request('upload', {}, { body: body(i * 10 + 1) }),
        )
    }
    const bytes = (await received).flat() as Uint8Array[]
    expect(bytes.map((one) => [one.length, one[0]])).toEqual(Array.from({ length: 10 }, (_, i) => [300, i]))
    const uploads = (await Promise.all(requests)).filter((answer) => 'sizes' in answer)
    expect(uploads).toEqual([0, 3, 6, 9].map((i) => ({ sizes: [i * 10 + 1, i * 10 + 2] })))
  })

  it('fails a request whose question or answer is too large, and goes on', async () => {
    const { near, far } = await open(address, { maxMessageBytes: 1000 })
    far.handle('echo', ({ value }) => ({ value: Buffer.alloc(value as number) }))
    const tooLarge = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('too large') }
    await expect(near.request('echo', { value: Buffer.alloc(2000) })).rejects.toMatchObject(tooLarge)
    await expect(near.request('echo', { value: 2000 })).rejects.toMatchObject(tooLarge)
    await near.request('echo', { value: 20 })
  })

  it('is ended by a message that cannot be split', async () => {
    const { near } = await open(address, { maxMessageBytes: 1000 })
    near.send(note(Buffer.alloc(2000)))
    const reason = await new Promise((resolve) => near.onClose(resolve))
    expect(reason).toMatchObject({ code: 'INTERNAL', message: expect.stringContaining('too large') })
  })

  it('brings back errors of handlers with code and fields', async () => {
    const { near, far } = await open(address)
    far.handle('fail', async ({ how }) => {
      if (how === 'other') throw new TypeError('a bug')
      throw new PlimsollError('STORE_FULL', 'no room', { neededBytes: 7 })
    })
    await expect(near.request('fail', { how: 'plimsoll' })).rejects.toMatchObject({
      code: 'STORE_FULL',
      message: 'no room',
      fields: { neededBytes: 7 },
    })
    await expect(near.request('fail', { how: 'other' })).rejects.toMatchObject({
      code: 'INTERNAL',
      message: 'TypeError: a bug',
    })
    await expect(near.request('wait', {})).rejects.toMatchObject({
      code: 'PROTOCOL_ERROR',
      message: expect.stringContaining('"wait"'),
    })
    expect(near.closed).toBe(false)
  })

  it('fails a request that is not answered in time, tells the server, and ignores the late answer', async () => {
    const { near, far } = await open(address, { requestTimeoutMs: 30 })
    let cancelled!: Promise<void>
    far.handle('wait', async (_, { signal }) => {
      cancelled = aborted(signal)
      await cancelled
      return { late: true }
    })
    far.handle('echo', ({ value }) => ({ value }))
    await expect(near.request('wait', {})).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('"wait"'),
    })
    await cancelled
    expect(await near.request('echo', { value: 1 })).toEqual({ value: 1 })
  })

  it('takes an answer that came while this process was busy for longer than the timeout', async () => {
    const { near, far } = await open(address)
    const busy = (): void => {
      const end = performance.now() + 150
      while (performance.now() < end);
    }
    far.handle('echo', ({ value }) => {
      setImmediate(() => {
        far.flush()
        process.nextTick(busy)
      })
      return { value }
    })
    expect(await near.request('echo', { value: 1 }, { timeoutMs: 100 })).toEqual({ value: 1 })
  })

  it('waits without end when it is asked to', async () => {
    const { near, far } = await open(address, { requestTimeoutMs: 20 })
    far.handle('wait', () => new Promise((resolve) => setTimeout(() => resolve({}), 60)))
    await Promise.all([near.request('wait', {}, { timeoutMs: 0 }), near.request('wait', {}, { timeoutMs: Infinity })])
  })

  it('gives up when the signal says so', async () => {
    const { near, far } = await open(address)
    const asked = new Promise<AbortSignal>((resolve) => {
      far.handle('wait', (_, { signal }) => {
        resolve(signal)
        return new Promise(() => {})
      })
    })
    const controller = new AbortController()
    const reason = new Error('changed my mind')
    const request = near.request('wait', {}, { signal: controller.signal })
    const signal = await asked
    const over = aborted(signal)
    controller.abort(reason)
    await expect(request).rejects.toBe(reason)
    await over
    await expect(near.request('wait', {}, { signal: controller.signal })).rejects.toBe(reason)
  })

  it('ends all requests when it closes, on both sides', async () => {
    const { near, far } = await open(address)
    const asked = new Promise<AbortSignal>((resolve) => {
      far.handle('wait', (_, { signal }) => {
        resolve(signal)
        return new Promise(() => {})
      })
    })
    const request = near.request('wait', {})
    const served = aborted(await asked)
    const both = Promise.all([expect(request).rejects.toMatchObject({ code: 'COMM_CLOSED' }), served])
    await near.close()
    await both
    await expect(near.request('wait', {})).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    near.send(note('dropped'))
  })

  it('sends what was queued before it closes', async () => {
    const { near, far } = await open(address)
    const received = notes(far, 2000)
    for (let i = 0; i < 2000; i++) near.send(note(i))
    await near.close()
    expect((await received).flat()).toHaveLength(2000)
  })

  it('is ended by a stream handler that throws', async () => {
    const { near, far } = await open(address)
    far.onMessages(() => {
      throw new Error('bug')
    })
    near.send(note(1))
    const reason = await new Promise<Error | null>((resolve) => far.onClose(resolve))
    expect(reason?.message).toBe('bug')
  })

  it('ends when the peer takes nothing and too much is waiting', async () => {
    const { near, far } = await open(address, { maxBufferedBytes: 8 * MIB })
    far.comm.pause()
    const over = new Promise<Error | null>((resolve) => near.onClose(resolve))
    // What the system buffers between the two comes on top.
    for (let i = 0; i < 64 && !near.closed; i++) {
      near.send(note(Buffer.alloc(MIB)))
      near.flush()
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
    expect(await over).toMatchObject({
      code: 'COMM_CLOSED',
      message: expect.stringContaining('does not take its messages'),
    })
  })
})

describe.each(['tcp://127.0.0.1:0', 'inproc://'])('chunks over %s', (address) => {
  function serveDownload(far: Peer): void {
    far.handle('download', async ({ chunks, bytes }, context) => {
      await context.answerFirst({ chunks })
      for (let i = 0; i < chunks; i++) await context.sendChunk(Buffer.alloc(bytes, i))
      return { chunks: -1 }
    })
  }

  async function* body(chunks: number, bytes: number): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < chunks; i++) yield await Promise.resolve(Buffer.alloc(bytes, i))
  }

  it('come with the answer, after it, in order, before the request resolves', async () => {
    const { near, far } = await open(address)
    serveDownload(far)
    const seen: unknown[] = []
    const answer = await near.request(
      'download',
      { chunks: 20, bytes: MIB },
      {
        onAnswer: ({ chunks }) => seen.push(`answer ${chunks}`),
        onChunk: async (chunk) => {
          await new Promise<void>((resolve) => setImmediate(resolve))
          seen.push(chunk[0], chunk.length)
        },
      },
    )
    expect(answer).toEqual({ chunks: 20 })
    expect(seen).toEqual(['answer 20', ...Array.from({ length: 20 }, (_, i) => [i, MIB]).flat()])
  })

  it('larger than a piece are cut, small ones are kept', async () => {
    const { near, far } = await open(address)
    serveDownload(far)
    const sizes: number[] = []
    await near.request(
      'download',
      { chunks: 1, bytes: 2 * CHUNK_BYTES + 5 },
      { onChunk: (chunk) => void sizes.push(chunk.length) },
    )
    await near.request('download', { chunks: 3, bytes: 9 }, { onChunk: (chunk) => void sizes.push(chunk.length) })
    expect(sizes).toEqual([CHUNK_BYTES, CHUNK_BYTES, 5, 9, 9, 9])
  })

  it('come out of a file where the connection takes them', async () => {
    const { near, far } = await open(address)
    const directory = await mkdtemp(join(tmpdir(), 'plimsoll-chunks-'))
    const content = Buffer.alloc(5 * CHUNK_BYTES + 9, 'chunks of a file')
    await writeFile(join(directory, 'file'), content)
    const file = await openFile(join(directory, 'file'))
    cleanups.push(async () => {
      await file.close()
      await rm(directory, { recursive: true })
    })
    far.handle('download', async ({ chunks }, context) => {
      if (!context.takesFiles) return { chunks: -1 }
      await context.answerFirst({ chunks })
      for (let offset = 0; offset < content.length; offset += CHUNK_BYTES) {
        const length = Math.min(CHUNK_BYTES, content.length - offset)
        await context.sendFile({ fd: file.fd, offset, length })
      }
      await context.sendChunk(Buffer.from('the end'))
      return { chunks }
    })
    const seen: Uint8Array[] = []
    const onChunk = (chunk: Uint8Array): void => void seen.push(Uint8Array.from(chunk))
    const { chunks } = await near.request('download', { chunks: 1, bytes: 0 }, { onChunk })
    const takesFiles = process.platform === 'linux' && address.startsWith('tcp') && loadLibc() !== null
    expect(chunks).toBe(takesFiles ? 1 : -1)
    if (takesFiles) expect(Buffer.concat(seen).equals(Buffer.concat([content, Buffer.from('the end')]))).toBe(true)
  })

  it('nobody asked for do no harm', async () => {
    const { near, far } = await open(address)
    serveDownload(far)
    expect(await near.request('download', { chunks: 40, bytes: MIB })).toEqual({ chunks: 40 })
  })

  it('stop while their consumer is busy, and only they', async () => {
    let sent = 0
    let release!: () => void
    const gate = new Promise<void>((resolve) => (release = resolve))
    const { near: slow, far: fast } = await open(address)
    fast.handle('echo', ({ value }) => ({ value }))
    fast.handle('download', async ({ chunks }, context) => {
      for (sent = 0; sent < chunks; sent++) await context.sendChunk(Buffer.alloc(MIB))
      return { chunks: sent }
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const download = slow.request('download', { chunks: 64, bytes: 0 }, { timeoutMs: 100, onChunk: () => gate })
    const mostBytes = STREAM_WINDOW_BYTES + 2 * CHUNK_BYTES
    while ((sent + 1) * MIB < STREAM_WINDOW_BYTES) await slow.request('echo', { value: sent })
    // Longer than the timeout: the silence is the consumer's own.
    for (let i = 0; i < 25; i++) {
      await slow.request('echo', { value: i })
      vi.advanceTimersByTime(i < 24 ? 100 : 99)
    }
    expect(sent * MIB).toBeLessThanOrEqual(mostBytes)
    release()
    for (let turns = 0; turns < 1000; turns++) await Promise.resolve()
    // Its sender may go on from now: that is where the time starts.
    vi.advanceTimersByTime(1)
    expect(await download).toEqual({ chunks: 64 })
  })

  it('fail the request when their consumer fails, and the server hears of it', async () => {
    const { near, far } = await open(address)
    let failed: unknown
    const over = new Promise<void>((resolve) => {
      far.handle('download', async ({ chunks }, context) => {
        try {
          for (let i = 0; i < chunks; i++) await context.sendChunk(Buffer.alloc(MIB))
        } catch (error) {
          failed = error
          resolve()
        }
        return { chunks }
      })
    })
    const request = near.request(
      'download',
      { chunks: 1000, bytes: 0 },
      { onChunk: () => Promise.reject(new Error('disk full')) },
    )
    await expect(request).rejects.toThrow('disk full')
    await over
    expect(failed).toMatchObject({ code: 'COMM_CLOSED' })
    expect(near.closed).toBe(false)
  })

  it('follow a question, and are read at the pace of the handler', async () => {
    const { near, far } = await open(address)
    far.handle('upload', async (_, context) => {
      const sizes: number[] = []
      for await (const chunk of context.body) sizes.push(chunk.length)
      return { sizes }
    })
    const { sizes } = await near.request('upload', {}, { body: body(20, MIB) })
    expect(sizes).toEqual(Array.from({ length: 20 }, () => MIB))
    expect(await near.request('upload', {})).toEqual({ sizes: [] })
  })

  it('may be left unread, or in the middle', async () => {
    const { near, far } = await open(address)
    far.handle('upload', async (_, context) => {
      for await (const chunk of context.body) return { sizes: [chunk.length] }
      return { sizes: [] }
    })
    far.handle('echo', ({ value }) => ({ value }))
    let ended = false
    async function* long(): AsyncGenerator<Uint8Array> {
      try {
        yield* body(1000, MIB)
      } finally {
        ended = true
      }
    }
    expect(await near.request('upload', {}, { body: long() })).toEqual({ sizes: [MIB] })
    expect(await near.request('echo', { value: 1 }, { body: body(1000, MIB) })).toEqual({ value: 1 })
    await near.request('echo', { value: 2 })
    expect(ended).toBe(true)
  })

  it('of a body that fails cancel the request with its error', async () => {
    const { near, far } = await open(address)
    let failed: unknown
    const over = new Promise<void>((resolve) => {
      far.handle('upload', async (_, context) => {
        try {
          for await (const _chunk of context.body);
        } catch (error) {
          failed = error
          resolve()
        }
        return { sizes: [] }
      })
    })
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(10)
      await Promise.reject(new Error('read error'))
    }
    await expect(near.request('upload', {}, { body: broken() })).rejects.toThrow('read error')
    await over
    expect(failed).toMatchObject({ code: 'COMM_CLOSED' })
  })

  it('end with COMM_CLOSED when the connection does', async () => {
    const { near, far } = await open(address)
    far.handle('upload', async (_, context) => {
      for await (const _chunk of context.body) near.abort()
      return { sizes: [] }
    })
    await expect(near.request('upload', {}, { body: body(1000, MIB) })).rejects.toMatchObject({ code: 'COMM_CLOSED' })
  })
})

describe('encodeEnvelopes', () => {
  it('does not keep a large buffer for small messages', () => {
    const large = encodeEnvelopes([['batch', [Buffer.alloc(20 * MIB)]]])
    expect(large.length).toBeGreaterThan(20 * MIB)
    expect(encodeEnvelopes([['batch', [1]]]).buffer.byteLength).toBeLessThan(MIB)
  })
})

describe('a malformed message', () => {
  const wrong = (envelope: unknown): Uint8Array => encodeEnvelopes([envelope as Envelope])

  it.each<[string, Uint8Array[]]>([
    ['is no msgpack', [Buffer.from([0xc1])]],
    ['is empty', [Buffer.alloc(0)]],
    ['is no list', [Buffer.from([0x01])]],
    ['has an envelope that is none', [wrong(5)]],
    ['has an unknown kind', [wrong(['execute', 1])]],
    ['has no id', [wrong(['request', 'x', 'op', {}, false])]],
    ['has an incomplete request', [wrong(['request', 1])]],
    ['has negative credit', [wrong(['credit', 1, -5])]],
    ['announces a chunk that is not there', [wrong(['chunk', 1])]],
    ['ends early', [encodeEnvelopes([['batch', ['a long enough text']]]).subarray(0, 12)]],
  ])('that %s closes that connection only', async (_, frames) => {
    const { near, far } = await comms('tcp://127.0.0.1:0')
    const other = await open('tcp://127.0.0.1:0')
    const connection = new Connection(far)
    near.onMessage(() => {})
    near.send(frames)
    const reason = await new Promise((resolve) => connection.onClose(resolve))
    expect(reason).toMatchObject({ code: 'PROTOCOL_ERROR' })
    other.far.handle('echo', ({ value }) => ({ value }))
    expect(await other.near.request('echo', { value: 1 })).toEqual({ value: 1 })
  })

  it('about a request that is over, or never was, is ignored', async () => {
    const { near, far } = await comms('tcp://127.0.0.1:0')
    const connection = new Connection<Note, Note, Table, Table>(far)
    connection.handle('echo', ({ value }) => ({ value }))
    near.send([
      encodeEnvelopes([
        ['answer', 99, {}, false],
        ['end', 98],
        ['cancel', 97],
        ['credit', 96, 5],
        ['error', 95, { code: 'X', message: '', fields: {} }],
        ['chunk', 94],
        ['body', 93],
      ]),
      Buffer.from('a'),
      Buffer.from('b'),
    ])
    const asking = new Connection<Note, Note, Table, Table>(near)
    expect(await asking.request('echo', { value: 1 })).toEqual({ value: 1 })
  })

  it('with more chunks than were allowed is refused', async () => {
    const { near, far } = await comms('tcp://127.0.0.1:0')
    const connection = new Connection<Note, Note, Table, Table>(far)
    connection.handle('upload', () => new Promise(() => {}))
    near.onMessage(() => {})
    near.send([encodeEnvelopes([['request', 1, 'upload', {}, true]])])
    for (let i = 0; i < 12; i++) near.send([encodeEnvelopes([['body', 1]]), Buffer.alloc(MIB)])
    expect(await new Promise((resolve) => connection.onClose(resolve))).toMatchObject({ code: 'PROTOCOL_ERROR' })
  })
})
