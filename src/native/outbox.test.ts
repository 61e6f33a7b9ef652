import { describe, expect, it, vi } from 'vitest'
import { Outbox, OUTBOX_BYTES } from './outbox.ts'

function pair(): { writer: Outbox; reader: Outbox } {
  const memory = new ArrayBuffer(3 * OUTBOX_BYTES)
  return { writer: new Outbox(memory, OUTBOX_BYTES), reader: new Outbox(memory, OUTBOX_BYTES) }
}

const message = (fill: number, length: number): Uint8Array<ArrayBuffer> => new Uint8Array(length).fill(fill)

describe('outbox', () => {
  it('shows what was appended to whoever maps it too, until it is emptied', () => {
    const { writer, reader } = pair()
    expect(reader.peek()).toBeNull()
    expect(writer.append(message(1, 3))).toBe(true)
    expect(writer.append(message(2, 2))).toBe(true)
    expect([...(reader.peek() ?? [])]).toEqual([1, 1, 1, 2, 2])
    expect([...writer.contents]).toEqual([1, 1, 1, 2, 2])
    writer.empty()
    expect(writer.isEmpty).toBe(true)
    expect(reader.peek()).toBeNull()
    writer.append(message(3, 1))
    expect([...(reader.peek() ?? [])]).toEqual([3])
  })

  it('refuses what it has no room for, and stays as it was', () => {
    const { writer, reader } = pair()
    writer.append(message(1, 8))
    expect(writer.append(message(2, OUTBOX_BYTES))).toBe(false)
    expect([...(reader.peek() ?? [])]).toEqual([...message(1, 8)])
  })

  it('stays within its part of the memory', () => {
    const memory = new ArrayBuffer(3 * OUTBOX_BYTES)
    const middle = new Outbox(memory, OUTBOX_BYTES)
    while (middle.append(message(255, 64)));
    middle.empty()
    expect(new Uint8Array(memory, 0, OUTBOX_BYTES).every((byte) => byte === 0)).toBe(true)
    expect(new Uint8Array(memory, 2 * OUTBOX_BYTES).every((byte) => byte === 0)).toBe(true)
  })

  it('gives nothing when it was emptied while it was read', () => {
    const { writer, reader } = pair()
    writer.append(message(1, 4))
    // The reader's copy is made between its two looks at the header.
    const copy = vi.spyOn(Uint8Array.prototype, 'slice').mockImplementationOnce(() => {
      writer.empty()
      writer.append(message(9, 4))
      return message(9, 4)
    })
    expect(reader.peek()).toBeNull()
    copy.mockRestore()
    expect([...(reader.peek() ?? [])]).toEqual([9, 9, 9, 9])
  })
})
