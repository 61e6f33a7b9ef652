import { describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.ts'
import { type InlineSlot, Slabs } from './slabs.ts'

const bytesOf = (seed: number, length: number): Uint8Array => new Uint8Array(length).fill(seed * 31 + length)

describe('Slabs', () => {
  it('keeps every blob as it was, while others come and go and sparse slabs are emptied', () => {
    const prng = new Prng(3)
    const slabs = new Slabs()
    const held = new Map<number, { slot: InlineSlot; length: number }>()
    for (let step = 0; step < 6000; step++) {
      const id = prng.int(400)
      const other = held.get(id)
      if (other !== undefined) {
        expect(Buffer.compare(other.slot.bytes, bytesOf(id, other.length))).toBe(0)
        other.slot.retire()
        held.delete(id)
      } else {
        const length = prng.int(10) === 0 ? 40_000 : prng.int(6000)
        held.set(id, { slot: slabs.put(bytesOf(id, length)), length })
      }
      if (step % 1000 > 0) continue
      expect(slabs.bytes).toBe([...held.values()].reduce((sum, { length }) => sum + length, 0))
      const buffers = new Set([...held.values()].map(({ slot }) => slot.bytes.buffer))
      const backing = [...buffers].reduce((sum, buffer) => sum + buffer.byteLength, 0)
      // At most half of each slab is waste, and one or two are being filled.
      expect(backing).toBeLessThan(2.2 * slabs.bytes + 2 ** 21)
    }
    for (const { slot } of held.values()) slot.retire()
    expect(slabs.bytes).toBe(0)
  })

  it('leaves a reader its bytes when the value is freed or moved meanwhile', () => {
    const slabs = new Slabs()
    const first = slabs.put(bytesOf(1, 1000))
    first.pin()
    const seen = first.bytes
    const rest = Array.from({ length: 2000 }, (_, i) => slabs.put(bytesOf(i, 1000)))
    for (const slot of rest) slot.retire()
    expect(first.bytes).not.toBe(seen)
    first.retire()
    expect([slabs.bytes, slabs.lingering]).toEqual([1000, 1000])
    for (let i = 0; i < 2000; i++) slabs.put(bytesOf(i, 1000)).retire()
    expect(Buffer.compare(seen, bytesOf(1, 1000))).toBe(0)
    first.unpin(false)
    expect([slabs.bytes, slabs.lingering]).toEqual([0, 0])
  })
})
