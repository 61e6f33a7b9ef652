import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadLibc } from '../native/libc.ts'
import type { Comm, ConnectOptions, Credentials, Listener } from './comm.ts'
import { connect, listen } from './connect.ts'
import { createToken } from './token.ts'

const MIB = 2 ** 20
const FILE_BYTES = 24 * MIB + 5
const credentials: Credentials = { token: createToken(), tls: null, insecurePlaintext: false }
const content = Buffer.alloc(FILE_BYTES)
for (let at = 0; at + 4 <= FILE_BYTES; at += 4) content.writeUInt32LE((at * 2654435761) >>> 0, at)

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-file-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
let listener: Listener
let near: Comm
let far: Comm
let fd: number

async function open(how: Partial<ConnectOptions>): Promise<void> {
  let accept!: (comm: Comm) => void
  const accepted = new Promise<Comm>((resolve) => (accept = resolve))
  const common = { role: 'worker', credentials, protocolVersion: 1 }
  listener = await listen('tcp://127.0.0.1:0', { ...common, clusterId: 'c', onComm: accept })
  near = await connect(listener.address, { ...common, timeoutMs: 5000, ...how })
  far = await accepted
}

beforeEach(() => {
  const path = join(directory, 'file')
  writeFileSync(path, content)
  fd = openSync(path, 'r')
  rmSync(path)
})

afterEach(async () => {
  near.abort()
  far.abort()
  await listener.close()
  closeSync(fd)
})

/** What arrives at the side that connected, in short: texts as they are, the rest by length and hash. */
function collect(count: number): Promise<string[]> {
  return new Promise((resolve) => {
    const messages: string[] = []
    near.onMessage((frames) => {
      messages.push(frames.map(inShort).join(' '))
      if (messages.length === count) resolve(messages)
    })
  })
}

function inShort(frame: Uint8Array): string {
  if (frame.length < 100) return Buffer.from(frame).toString()
  return `${frame.length}:${createHash('sha1').update(frame).digest('hex')}`
}

const text = (words: string): Uint8Array => Buffer.from(words)
const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}
const closed = (comm: Comm): Promise<Error | null> => new Promise((resolve) => comm.onClose(resolve))

describe.runIf(process.platform === 'linux' && loadLibc() !== null).each([['tcp'], ['auto']] as const)(
  'part of a file over %s',
  (transport) => {
    beforeEach(() => open({ transport }))

    it('arrives whole and in order, between other messages, at the pace of the receiver', async () => {
      expect(far.takesFiles).toBe(true)
      const large = Buffer.alloc(MIB, 7)
      far.send([text('before')])
      const first = far.sendFile([text('head'), text('more')], { fd, offset: 0, length: FILE_BYTES })
      far.send([text('between')])
      const second = far.sendFile([text('head')], { fd, offset: 12_345, length: 3 * MIB })
      far.send([text('large'), large])
      const third = far.sendFile([text('nothing')], { fd, offset: 5, length: 0 })
      far.send([text('after')])
      expect(far.bufferedBytes).toBeGreaterThan(4 * MIB)
      let drained = false
      void far.drained().then(() => (drained = true))
      // Nobody reads yet: far more than the buffers of the system hold.
      near.pause()
      await turns(50)
      expect(drained).toBe(false)
      const received = collect(7)
      near.resume()
      expect(await received).toEqual([
        'before',
        `head more ${inShort(content)}`,
        'between',
        `head ${inShort(content.subarray(12_345, 12_345 + 3 * MIB))}`,
        `large ${inShort(large)}`,
        'nothing ',
        'after',
      ])
      await Promise.all([first, second, third, far.drained()])
      expect(far.bufferedBytes).toBe(0)
    })

    it('is sent before the comm closes in good order', async () => {
      near.pause()
      const received = collect(2)
      const sent = far.sendFile([text('head')], { fd, offset: 0, length: FILE_BYTES })
      far.send([text('last')])
      const closing = far.close()
      await turns(20)
      near.resume()
      expect(await received).toEqual([`head ${inShort(content)}`, 'last'])
      expect(await closed(near)).toBe(null)
      await Promise.all([sent, closing])
    })

    it('that is not there is sent as zeros, and its sender is told', async () => {
      const received = collect(2)
      const sent = far.sendFile([text('head')], { fd, offset: FILE_BYTES - 10, length: MIB })
      far.send([text('after')])
      await expect(sent).rejects.toThrow('ends after')
      const filled = Buffer.concat([content.subarray(FILE_BYTES - 10), Buffer.alloc(MIB - 10)])
      expect(await received).toEqual([`head ${inShort(filled)}`, 'after'])
    })

    it.each(['near', 'far'] as const)('is not waited for when the %s end is aborted', async (end) => {
      near.pause()
      const sent = [1, 2].map(() => far.sendFile([text('head')], { fd, offset: 0, length: FILE_BYTES }))
      await turns(5)
      const comm = end === 'near' ? near : far
      comm.abort()
      await Promise.all(sent)
      expect(far.closed).toBe(true)
      await far.sendFile([text('late')], { fd, offset: 0, length: 10 })
    })
  },
)

describe('an encrypted comm', () => {
  it('takes no files', async () => {
    await open({ security: 'psk' })
    expect([near.takesFiles, far.takesFiles]).toEqual([false, false])
  })
})
