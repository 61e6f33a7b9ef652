import { unpack } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { draftHeader } from './blob-header.ts'

const TEXTS = [
  '',
  'k',
  'a'.repeat(31),
  'a'.repeat(32),
  'a'.repeat(63),
  'a'.repeat(64),
  'b'.repeat(70_000),
  'é',
  'naïve-😀'.repeat(40),
]
const COUNTS = [0, 127, 128, 2 ** 31, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]

describe('a blob header', () => {
  it('is msgpack of what it says, with room for the checksums', () => {
    for (const text of TEXTS) {
      for (const count of COUNTS) {
        const lengths = Array.from({ length: text.length % 70 }, (_, i) => i * 1000)
        const frames = lengths.map((length) => new Uint8Array(length))
        const meta = { clusterId: 'c', generation: count, key: text, runId: count }
        const draft = draftHeader(meta, { family: 'v', type: text, frames, nbytes: 0 })
        const row = unpack(draft.bytes.subarray(0, draft.length)) as unknown[]
        expect(row.slice(0, 7)).toEqual(['c', count, text, count, 'v', text, lengths])
        expect(Uint8Array.from(row[7] as Uint8Array)).toEqual(new Uint8Array(4 * lengths.length))
        expect(draft.sumsAt).toBe(draft.length - 4 * lengths.length)
      }
    }
  })
})
