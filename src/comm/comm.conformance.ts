// The behaviour that every transport has in common (comm.ts, C1-C5). Each transport's test runs it with its own setup.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Comm, ConnectOptions, Credentials, Listener, ListenOptions, PeerIdentity } from './comm.ts'
import { connect, listen } from './connect.ts'
import { CHUNK_BYTES } from './limits.ts'

export interface ConformanceSetup {
  /** Where to listen; takes a free port or name. */
  readonly address: string
  readonly credentials: Credentials
  readonly security?: 'psk'
  readonly transport?: 'tcp'
}

const MIB = 1024 * 1024

interface Pair {
  readonly near: Comm
  readonly far: Comm
  readonly farPeer: PeerIdentity
}

export function describeComm(name: string, setup: () => ConformanceSetup): void {
  let listener: Listener
  let accepted: { comm: Comm; peer: PeerIdentity }[]
  let onAccepted: () => void
  const comms: Comm[] = []

  const listenOptions = (overrides: Partial<ListenOptions> = {}): ListenOptions => ({
    role: 'scheduler',
    credentials: setup().credentials,
    protocolVersion: 7,
    clusterId: 'cluster-1',
    onComm(comm, peer) {
      comms.push(comm)
      accepted.push({ comm, peer })
      onAccepted()
    },
    ...overrides,
  })

  const connectOptions = (overrides: Partial<ConnectOptions> = {}): ConnectOptions => {
    const { credentials, security, transport } = setup()
    return {
      role: 'client',
      credentials,
      protocolVersion: 7,
      timeoutMs: 5000,
      ...(security && { security }),
      ...(transport && { transport }),
      ...overrides,
    }
  }

  async function open(): Promise<Pair> {
    const arrival = new Promise<void>((resolve) => (onAccepted = resolve))
    const near = await connect(listener.address, connectOptions())
    comms.push(near)
    await arrival
    const { comm: far, peer: farPeer } = accepted.at(-1) as { comm: Comm; peer: PeerIdentity }
    return { near, far, farPeer }
  }

  beforeEach(async () => {
    accepted = []
    onAccepted = () => {}
    listener = await listen(setup().address, listenOptions())
  })

  afterEach(async () => {
    for (const comm of comms.splice(0)) comm.abort()
    await listener.close()
  })

  describe(`${name} comm`, () => {
    it('tells both ends who the other is', async () => {
      const { near, far, farPeer } = await open()
      expect(near.peer).toEqual({ role: 'scheduler', clusterId: 'cluster-1' })
      expect(farPeer).toEqual({ role: 'client', clusterId: null })
      expect(far.peer).toEqual(farPeer)
      expect(near.peerAddress).toBe(listener.address)
    })

    it('delivers many small messages in order, both ways', async () => {
      const { near, far } = await open()
      far.onMessage((frames) => far.send(frames.toReversed()))
      const answers = collect(near, 20_000)
      for (let i = 0; i < 20_000; i++) near.send([Buffer.from(`${i}`), Buffer.from('x')])
      const texts = (await answers).map((frames) => frames.map((frame) => Buffer.from(frame).toString()))
      expect(texts.every(([x, i], at) => x === 'x' && i === `${at}`)).toBe(true)
    })

    it('delivers large messages whole, between small ones and with empty frames', async () => {
      const { near, far } = await open()
      const received = collect(far, 3)
      const large = Buffer.alloc(20 * MIB, 1)
      large[20 * MIB - 1] = 9
      near.send([Buffer.from('a')])
      near.send([Buffer.from('head'), large, Buffer.alloc(0), Buffer.from('tail')])
      near.send([Buffer.from('b')])
      const [first, second, third] = await received
      expect(first?.map(String)).toEqual(['a'])
      expect(second?.map((frame) => frame.length)).toEqual([4, 20 * MIB, 0, 4])
      expect(second?.[1]?.[20 * MIB - 1]).toBe(9)
      expect(third?.map(String)).toEqual(['b'])
    })

    it('does not share memory between the two ends', async () => {
      const { near, far } = await open()
      const received = collect(far, 1)
      const sent = Buffer.from('before')
      near.send([sent])
      const [[frame] = []] = await received
      frame?.fill(0)
      expect(sent.toString()).toBe('before')
    })

    it('delivers what came before there was a handler', async () => {
      const { near, far } = await open()
      near.send([Buffer.from('early')])
      await turns(20)
      const received = collect(far, 2)
      near.send([Buffer.from('late')])
      expect((await received).map(String)).toEqual(['early', 'late'])
    })

    it('sends everything before it closes, and closes both ends once, in good order', async () => {
      const { near, far } = await open()
      const received = collect(far, 100)
      const reasons: (Error | null)[] = []
      near.onClose((reason) => reasons.push(reason))
      const farClosed = new Promise<void>((resolve) => {
        far.onClose((reason) => {
          reasons.push(reason)
          resolve()
        })
      })
      for (let i = 0; i < 100; i++) near.send([Buffer.alloc(100_000, i)])
      await near.close()
      expect((await received).map(([frame]) => frame?.[0])).toEqual(Array.from({ length: 100 }, (_, i) => i))
      await farClosed
      await Promise.all([near.close(), far.close()])
      expect(reasons).toEqual([null, null])
      expect([near.closed, far.closed]).toEqual([true, true])
    })

    it('drops what is sent after the end', async () => {
      const { near, far } = await open()
      const received: string[] = []
      far.onMessage(([frame]) => received.push(String(frame)))
      near.send([Buffer.from('sent')])
      const closing = near.close()
      near.send([Buffer.from('dropped')])
      await closing
      near.send([Buffer.from('dropped')])
      expect(near.bufferedBytes).toBe(0)
      await near.drained()
      await closed(far)
      expect(received).toEqual(['sent'])
    })

    it('closes at once on abort: the reason here, an error there, once each', async () => {
      const { near, far } = await open()
      far.onMessage(() => {})
      const reasons: (Error | null)[] = []
      const over = new Promise<void>((resolve) => {
        far.onClose((reason) => {
          reasons.push(reason)
          resolve()
        })
      })
      const mine = new Error('mine')
      near.abort(mine)
      near.abort()
      expect(near.closed).toBe(true)
      expect(await closed(near)).toBe(mine)
      await over
      far.abort()
      await turns(5)
      expect(reasons).toEqual([expect.objectContaining({ code: 'COMM_CLOSED' })])
      expect(await closed(far)).toBe(reasons[0])
    })

    it('ends alone when its handler throws', async () => {
      const { near, far } = await open()
      const other = await open()
      far.onMessage(() => {
        throw new Error('handler')
      })
      near.onMessage(() => {})
      near.send([Buffer.from('x')])
      expect((await closed(far))?.message).toBe('handler')
      await closed(near)
      const received = collect(other.far, 1)
      other.near.send([Buffer.from('still here')])
      expect((await received).map(String)).toEqual(['still here'])
    })

    it('holds the sender back while the receiver is paused', async () => {
      const { near, far } = await open()
      let count = 0
      far.onMessage(() => {
        count++
        if (count === 1) far.pause()
      })
      // Enough to fill the buffers of the system between them.
      for (let i = 0; i < 64; i++) near.send([Buffer.alloc(MIB, i)])
      let drained = false
      const waiting = near.drained().then(() => (drained = true))
      await turns(50)
      expect(count).toBe(1)
      expect(drained).toBe(false)
      expect(near.bufferedBytes).toBeGreaterThan(16 * MIB)
      far.resume()
      await waiting
      expect(near.bufferedBytes).toBeLessThan(MIB)
      await near.close()
      await closed(far)
      expect(count).toBe(64)
    })

    it('leaves large frames to the sender again when it is drained', async () => {
      const { near, far } = await open()
      const firsts: number[] = []
      const all = new Promise<void>((resolve) => {
        far.onMessage(([frame]) => {
          firsts.push(Number((frame as Uint8Array).every((byte) => byte === frame?.[0]) && frame?.[0]))
          if (frame !== undefined) far.giveBack(frame)
          if (firsts.length === 20) resolve()
        })
      })
      const frame = Buffer.alloc(CHUNK_BYTES)
      for (let i = 0; i < 20; i++) {
        near.send([frame.fill(i)])
        await near.drained()
      }
      await all
      expect(firsts).toEqual(Array.from({ length: 20 }, (_, i) => i))
    })

    it('delivers what was sent before the end to a receiver that was paused meanwhile', async () => {
      const { near, far } = await open()
      const received: string[] = []
      far.onMessage(([frame]) => {
        received.push(String(frame))
        if (received.length === 1) far.pause()
      })
      const over = closed(far)
      for (const text of ['one', 'two', 'three']) near.send([Buffer.from(text)])
      const closing = near.close()
      await turns(50)
      expect(received).toEqual(['one'])
      expect(far.closed).toBe(false)
      far.resume()
      expect(await over).toBe(null)
      expect(received).toEqual(['one', 'two', 'three'])
      await closing
    })

    it('can be closed in order while it is paused and the peer is gone', async () => {
      const { near, far } = await open()
      far.onMessage(() => far.pause())
      for (const text of ['one', 'two']) near.send([Buffer.from(text)])
      const closing = near.close()
      await turns(50)
      await far.close()
      expect(far.closed).toBe(true)
      await closing
    })

    it('resolves drained() when it is closed instead', async () => {
      const { near, far } = await open()
      far.pause()
      for (let i = 0; i < 64; i++) near.send([Buffer.alloc(MIB)])
      const waiting = near.drained()
      near.abort()
      await waiting
    })

    it('keeps established connections when the listener closes, and takes no new ones', async () => {
      const { near, far } = await open()
      const received = collect(far, 1)
      await listener.close()
      near.send([Buffer.from('still')])
      expect((await received).map(String)).toEqual(['still'])
      await expect(connect(listener.address, connectOptions({ timeoutMs: 50 }))).rejects.toMatchObject({
        code: 'CONNECT_FAILED',
      })
    })

    it('refuses another protocol version at once and names both', async () => {
      const attempt = connect(listener.address, connectOptions({ protocolVersion: 8 }))
      await expect(attempt).rejects.toMatchObject({
        code: 'VERSION_MISMATCH',
        message: expect.stringMatching(/version (7|8).*version (7|8)/),
      })
      expect(accepted).toEqual([])
    })

    it('finds a listener that opens while it is trying', async () => {
      const { address } = listener
      await listener.close()
      const attempt = connect(address, connectOptions())
      await turns(20)
      listener = await listen(address, listenOptions())
      const near = await attempt
      comms.push(near)
      expect(near.closed).toBe(false)
    })

    it('fails in one line that names the address and a remedy', async () => {
      const { address } = listener
      await listener.close()
      const error = await connect(address, connectOptions({ timeoutMs: 100 })).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'CONNECT_FAILED' })
      const { message } = error as Error
      expect(message).toContain(address)
      expect(message).toContain('plimsoll scheduler')
      expect(message).not.toContain('\n')
    })

    it('stops trying when it is told to', async () => {
      const { address } = listener
      await listener.close()
      const controller = new AbortController()
      const attempt = connect(address, connectOptions({ timeoutMs: 60_000, signal: controller.signal }))
      const reason = new Error('enough')
      setImmediate(() => controller.abort(reason))
      await expect(attempt).rejects.toBe(reason)
    })
  })
}

/** The next `count` messages; their frames as they came. */
function collect(comm: Comm, count: number): Promise<Uint8Array[][]> {
  return new Promise((resolve) => {
    const messages: Uint8Array[][] = []
    comm.onMessage((frames) => {
      messages.push(frames)
      if (messages.length === count) resolve(messages)
    })
  })
}

function closed(comm: Comm): Promise<Error | null> {
  return new Promise((resolve) => comm.onClose(resolve))
}

/** Lets the event loop turn: for what must not happen there is no event to wait for. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}
