import { describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { MessageParser, frameMessage } from './pipe-framing.ts'

const messages = [
  { op: 'ready', pid: 1 },
  { op: 'finished', runId: 2 ** 45, blob: Uint8Array.from({ length: 300 }, (_, i) => i), type: 'naïve' },
  { op: 'big', bytes: new Uint8Array(300_000).fill(3) },
  { op: 'none', value: undefined, missing: null, list: [] },
]
const expected = messages.map((message) => JSON.stringify(message, replace))

/** Buffers arrive here as what their toJSON says. */
function replace(_: string, value: unknown): unknown {
  const bytes =
    (value as { type?: unknown } | null | undefined)?.type === 'Buffer'
      ? Uint8Array.from((value as { data: number[] }).data)
      : value
  if (bytes instanceof Uint8Array) return [bytes.byteLength, bytes[0], bytes.at(-1)]
  return value === undefined ? null : value
}

function parse(chunks: readonly Buffer[]): string[] {
  const parser = new MessageParser<object>()
  const seen: string[] = []
  for (const chunk of chunks) parser.push(chunk, (message) => seen.push(JSON.stringify(message, replace)))
  return seen
}

describe('pipe framing', () => {
  const stream = Buffer.concat(messages.map((message) => Buffer.from(frameMessage(message))))

  it('reads many messages from one chunk', () => {
    expect(parse([stream])).toEqual(expected)
  })

  it('reads messages cut anywhere', () => {
    for (const size of [1, 2, 3, 5, 64, 997, 65_536]) {
      const chunks: Buffer[] = []
      for (let start = 0; start < stream.byteLength; start += size) chunks.push(stream.subarray(start, start + size))
      expect(parse(chunks)).toEqual(expected)
    }
  })

  it('does not keep the chunk for a small binary', () => {
    const parser = new MessageParser<{ blob?: Uint8Array }>()
    parser.push(stream, (message) => {
      if (message.blob !== undefined) expect(message.blob.buffer.byteLength).toBeLessThan(10_000)
    })
  })

  it('refuses an impossible length', () => {
    const parser = new MessageParser<object>()
    const bad = (): void => parser.push(Buffer.from([255, 255, 255, 255, 0]), () => {})
    expect(bad).toThrow(expect.objectContaining({ code: 'PROTOCOL_ERROR' }))
    expect(isErrorCode(new Error('x'), 'PROTOCOL_ERROR')).toBe(false)
  })
})
