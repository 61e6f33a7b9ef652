import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { AUTHENTICATED_LIMITS, encodeHeader, encodeMessage, FrameParser } from './framing.ts'
import { CHUNK_BYTES } from './limits.ts'

const LIMITS = { messageBytes: 100_000, frames: 8 }

function feed(parser: FrameParser, chunks: Iterable<Uint8Array>): Uint8Array[][] {
  const messages: Uint8Array[][] = []
  for (const chunk of chunks) {
    parser.push(chunk)
    for (let next = parser.next(); next !== null; next = parser.next()) messages.push(next)
  }
  return messages
}

function split(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...at].map((start, i) => bytes.subarray(start, at[i] ?? bytes.length))
}

const plain = (messages: readonly (readonly Uint8Array[])[]): number[][][] =>
  messages.map((frames) => frames.map((frame) => Array.from(frame)))

describe('FrameParser', () => {
  it('reads messages fed one byte at a time', () => {
    const messages = [[Buffer.from('hello')], [Buffer.from(''), Buffer.from('a'), Buffer.alloc(300, 7)]]
    const bytes = Buffer.concat(messages.map(encodeMessage))
    const parser = new FrameParser(LIMITS)
    const single = Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))
    expect(plain(feed(parser, single))).toEqual(plain(messages))
    expect(parser.idle).toBe(true)
  })

  it('reads the same messages however the bytes are cut', () => {
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 16_000, max: 17_000 }).map((n) => new Uint8Array(n).fill(n)),
    )
    const message = fc.array(frame, { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 20 }), (messages, cuts) => {
        const bytes = Buffer.concat(messages.map(encodeMessage))
        expect(plain(feed(new FrameParser(LIMITS), split(bytes, cuts)))).toEqual(plain(messages))
      }),
      { numRuns: 100 },
    )
  })

  it('reads the same messages into the memory that it offers, and uses only memory again that was given back', () => {
    const size = fc.oneof(fc.integer({ max: 200, min: 0 }), fc.constantFrom(20_000, CHUNK_BYTES / 2, CHUNK_BYTES))
    const message = fc.array(size, { minLength: 1, maxLength: 3 })
    const reads = fc.array(fc.integer({ min: 1, max: CHUNK_BYTES }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), reads, fc.boolean(), (sizes, counts, givesBack) => {
        let fill = 0
        const messages = sizes.map((frames) => frames.map((bytes) => Buffer.alloc(bytes, ++fill)))
        const bytes = Buffer.concat(messages.map(encodeMessage))
        const parser = new FrameParser(AUTHENTICATED_LIMITS)
        const kept: Uint8Array[] = []
        let read = 0
        for (let at = 0; at < bytes.length; read++) {
          const space = parser.space()
          const count = Math.min(space.length, bytes.length - at, counts[read % counts.length] as number)
          space.set(bytes.subarray(at, at + count))
          parser.filled(space, count)
          at += count
          for (let frames = parser.next(); frames !== null; frames = parser.next()) {
            const expected = messages.shift() as Buffer[]
            expect(frames.map((frame, index) => expected[index]?.equals(frame))).toEqual(frames.map(() => true))
            if (givesBack) for (const frame of frames) parser.giveBack(frame)
            else kept.push(...frames)
          }
        }
        expect(messages).toEqual([])
        expect(parser.idle).toBe(true)
        fill = 0
        for (const frame of kept) expect(frame.every((byte) => byte === fill + 1) && ++fill).not.toBe(false)
      }),
      { numRuns: 30 },
    )
  })

  it('fills a large frame where it will stay, in memory of an earlier one', () => {
    const parser = new FrameParser(AUTHENTICATED_LIMITS)
    const bytes = encodeMessage([Buffer.alloc(CHUNK_BYTES, 1)])
    const buffers = [1, 2, 3].map((round) => {
      parser.push(bytes.subarray(0, 1000))
      parser.next()
      const space = parser.space()
      expect(space.length).toBe(bytes.length - 1000)
      space.set(bytes.subarray(1000))
      parser.filled(space, space.length)
      const frame = parser.next()?.[0] as Uint8Array
      expect(frame.every((byte) => byte === 1)).toBe(true)
      if (round === 1) parser.giveBack(frame)
      return frame.buffer
    })
    expect(buffers[1]).toBe(buffers[0])
    expect(buffers[2]).not.toBe(buffers[1])
  })

  it('reports the mark of a good end as a message without frames', () => {
    expect(feed(new FrameParser(LIMITS), [encodeHeader([])])).toEqual([[]])
  })

  it('knows when the bytes end in the middle of a message', () => {
    const parser = new FrameParser(LIMITS)
    const bytes = encodeMessage([Buffer.alloc(100)])
    for (const end of [1, 4, 6, 8, 50]) {
      const half = new FrameParser(LIMITS)
      feed(half, [bytes.subarray(0, end)])
      expect(half.idle).toBe(false)
    }
    feed(parser, [bytes])
    expect(parser.idle).toBe(true)
  })

  it('gives a large frame an allocation of its own', () => {
    const [message] = feed(new FrameParser(LIMITS), [encodeMessage([Buffer.alloc(50_000, 1)])])
    const frame = message?.[0] as Uint8Array
    expect(frame.byteOffset).toBe(0)
    expect(frame.buffer.byteLength).toBe(50_000)
  })

  it.each([
    ['a frame of 2 GiB', [1, 0x80000000]],
    ['frames that are too large together', [2, 60_000, 60_000]],
    ['too many frames', [9, 1]],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ])('refuses %s before it allocates anything', (_, content) => {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(Uint32Array.from(content as number[]).buffer)
    const parser = new FrameParser(LIMITS)
    parser.push(bytes)
    const before = process.memoryUsage().arrayBuffers
    let thrown: unknown
    try {
      parser.next()
    } catch (error) {
      thrown = error
    }
    expect(isErrorCode(thrown, 'PROTOCOL_ERROR')).toBe(true)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000)
  })

  it('never returns anything but whole messages or an error for random bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (chunks) => {
        try {
          feed(new FrameParser(LIMITS), chunks)
        } catch (error) {
          expect(isErrorCode(error, 'PROTOCOL_ERROR')).toBe(true)
        }
      }),
    )
  })

  it('takes 64 MiB in socket-sized chunks in linear time', () => {
    const parser = new FrameParser(AUTHENTICATED_LIMITS)
    const bytes = encodeMessage([Buffer.alloc(64 * 1024 * 1024)])
    const start = performance.now()
    const chunks = Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, i) =>
      bytes.subarray(i * 65_536, (i + 1) * 65_536),
    )
    expect(feed(parser, chunks)).toHaveLength(1)
    expect(performance.now() - start).toBeLessThan(5000)
  })
})
