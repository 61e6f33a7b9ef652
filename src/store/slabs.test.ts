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
  /** Puts small values and gives them up again, `rounds` times; how many buffers that took. */
  function buffersOf(rounds: number, each: (slabs: Slabs, slots: readonly InlineSlot[]) => void): number {
    const slabs = new Slabs()
    const kept = Array.from({ length: 200 }, (_, i) => slabs.put(bytesOf(i, 4000)))
    const buffers = new Set<ArrayBufferLike>()
    for (let round = 0; round < rounds; round++) {
      const slots = Array.from({ length: 1000 }, (_, i) => slabs.put(bytesOf(i, 4000)))
      for (const slot of slots) buffers.add(slot.bytes.buffer)
      each(slabs, slots)
      for (const slot of slots) slot.retire()
    }
    for (const slot of kept) slot.retire()
    expect(slabs.bytes).toBe(0)
    return buffers.size
  }

  it('uses the memory of values that are gone again, unless a reader was handed some of it', () => {
    const once = buffersOf(1, () => {})
    expect(buffersOf(50, () => {})).toBeLessThan(2 * once)
    const read = buffersOf(50, (_, slots) => {
      for (const slot of slots) {
        slot.pin()
        slot.unpin(false)
      }
    })
    expect(read).toBeGreaterThan(40 * (once - 2))
  })

  it('leaves bytes that are lent as they are, however their value ends, until they are given back', () => {
    const slabs = new Slabs()
    const fill = (length: number): void => {
      for (const slot of Array.from({ length: 1000 }, (_, i) => slabs.put(bytesOf(i, length)))) slot.retire()
    }
    const others = Array.from({ length: 1000 }, (_, i) => slabs.put(bytesOf(i, 4000)))
    const lent = slabs.put(bytesOf(1, 1000))
    const seen = lent.bytes
    const slab = slabs.lend(lent)
    for (const slot of others) slot.retire()
    fill(4000)
    lent.retire()
    fill(4001)
    expect(Buffer.compare(seen, bytesOf(1, 1000))).toBe(0)
    slabs.giveBack(slab)
    fill(4002)
    fill(4003)
    expect(Buffer.compare(seen, bytesOf(1, 1000))).not.toBe(0)
  })
})
