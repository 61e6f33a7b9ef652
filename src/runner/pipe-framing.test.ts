import { describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { functionId, runId, taskKey } from '../base/ids.ts'
import type { ExecutorRun } from '../protocol/worker-executor.ts'
import { MessageParser, MessageWriter } from './pipe-framing.ts'
import type { PipeMessage } from './pipe-rows.ts'

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i)
const key = taskKey('k')

const run: ExecutorRun = {
  op: 'run',
  runId: runId(2 ** 45),
  sequence: 1,
  key,
  name: 'naïve',
  fn: functionId('f'),
  args: bytes(30),
  inputs: [],
  memory: 0,
  attempt: 1,
  clusterId: 'c',
  generation: 1,
}
const file = { via: 'file', path: '/p', offset: 1, nbytes: 2, tier: 'disk', mtimeNs: null, verify: true } as const

/** Frames: what each side said in one turn. Successive runs share more or less with the one before. */
const frames: readonly (readonly PipeMessage[])[] = [
  [{ op: 'ready', pid: 1 }],
  [{ ...run, fnBytes: bytes(3000) }, { ...run, sequence: 2 }, { op: 'ping' }],
  [
    {
      ...run,
      sequence: 3,
      inputs: [
        { key, source: { via: 'inline', bytes: bytes(9) } },
        { key, source: file },
      ],
    },
  ],
  [{ ...run, sequence: 4, name: 'g', generation: 2 }],
  [
    { op: 'finished', runId: run.runId, blob: bytes(300), type: 'T', durationMs: 0.25, stillMapped: [], grownBytes: 0 },
    { op: 'finished', runId: run.runId, blob: bytes(1), type: '', durationMs: 1, stillMapped: [key], grownBytes: 9 },
    { op: 'erred', runId: run.runId, kind: 'user', error: bytes(5), durationMs: 1, stillMapped: [], grownBytes: 0 },
  ],
  [],
]
const expected = frames.flat()

function parse(chunks: readonly Buffer[]): unknown[] {
  const parser = new MessageParser()
  const seen: unknown[] = []
  for (const chunk of chunks) parser.push(chunk, (message) => seen.push(plain(message)))
  return seen
}

/** Views of the chunk as arrays of their own, so that equality looks at the bytes. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Uint8Array.from(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]))
}

describe('pipe framing', () => {
  const writer = new MessageWriter()
  const stream = Buffer.concat(frames.map((messages) => Buffer.from(writer.frame(messages))))

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

  it('refuses an impossible length', () => {
    const parser = new MessageParser()
    const bad = (): void => parser.push(Buffer.from([255, 255, 255, 255, 0]), () => {})
    expect(bad).toThrow(expect.objectContaining({ code: 'PROTOCOL_ERROR' }))
    expect(isErrorCode(new Error('x'), 'PROTOCOL_ERROR')).toBe(false)
  })
})
