// Memory of the inline tier. Small blobs arrive as pieces of large receive buffers; kept as they are, each would keep its
// whole buffer alive. They are copied into slabs, many to one buffer, so that a million values are not a million buffers.
//
// A slab is written once, front to back, and never reused: readers may keep their bytes as long as they like. A sparse slab
// (less than half live) is emptied by copying its survivors on, which bounds the waste at the size of what is live.

import { Holding } from './holding.ts'

/** A slab is as large as what is live when it is begun, within these bounds. */
const SLAB_BYTES_MIN = 64 * 1024
const SLAB_BYTES_MAX = 512 * 1024
/** Larger blobs get a buffer of their own. */
const OWN_BUFFER_BYTES = 32 * 1024
const ALIGNMENT = 64

interface Slab {
  readonly bytes: Uint8Array
  readonly slots: Set<InlineSlot>
  used: number
  live: number
}

/** One inline blob. */
export class InlineSlot extends Holding {
  readonly tier = 'inline'
  bytes: Uint8Array
  slab: Slab | null
  readonly #slabs: Slabs
  #lingering = false

  constructor(slabs: Slabs, bytes: Uint8Array, slab: Slab | null) {
    super(bytes.byteLength)
    this.#slabs = slabs
    this.bytes = bytes
    this.slab = slab
  }

  protected settle(): void {
    if (!this.inUse) this.#slabs.release(this)
    else if (!this.#lingering) this.#slabs.lingering += this.nbytes
    if (this.#lingering && !this.inUse) this.#slabs.lingering -= this.nbytes
    this.#lingering = this.inUse
  }
}

export class Slabs {
  #current: Slab | null = null
  #bytes = 0
  /** Part of `bytes` that no record refers to any more: a reader still does. */
  lingering = 0

  /** Blob bytes held, without the waste between them. */
  get bytes(): number {
    return this.#bytes
  }

  /** Copies `blob`. */
  put(blob: Uint8Array): InlineSlot {
    this.#bytes += blob.byteLength
    if (blob.byteLength > OWN_BUFFER_BYTES) return new InlineSlot(this, copyOf(blob), null)
    const slot = new InlineSlot(this, blob, null)
    this.#move(slot)
    return slot
  }

  /** Called by a slot that was given up. */
  release(slot: InlineSlot): void {
    this.#bytes -= slot.nbytes
    const slab = slot.slab
    if (slab === null) return
    slot.slab = null
    slab.slots.delete(slot)
    slab.live -= spanOf(slot.nbytes)
    if (slab !== this.#current && slab.live * 2 < slab.used && slab.live > 0) this.#empty(slab)
  }

  #empty(sparse: Slab): void {
    for (const slot of sparse.slots) this.#move(slot)
    sparse.slots.clear()
    sparse.live = 0
  }

  #move(slot: InlineSlot): void {
    const span = spanOf(slot.nbytes)
    let slab = this.#current
    if (slab === null || slab.used + span > slab.bytes.byteLength) {
      const full = slab
      const size = Math.max(SLAB_BYTES_MIN, Math.min(SLAB_BYTES_MAX, this.#bytes))
      slab = { bytes: Buffer.allocUnsafeSlow(size), slots: new Set(), used: 0, live: 0 }
      this.#current = slab
      // A full slab is judged when something leaves it; one that was sparse while it was current is judged now.
      if (full !== null && full.live > 0 && full.live * 2 < full.used) this.#empty(full)
      if (this.#current !== slab || slab.used + span > slab.bytes.byteLength) return this.#move(slot)
    }
    const bytes = slab.bytes.subarray(slab.used, slab.used + slot.nbytes)
    bytes.set(slot.bytes)
    slot.bytes = bytes
    slot.slab = slab
    slab.slots.add(slot)
    slab.used += span
    slab.live += span
  }
}

const spanOf = (nbytes: number): number => Math.max(ALIGNMENT, Math.ceil(nbytes / ALIGNMENT) * ALIGNMENT)

function copyOf(blob: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(blob.byteLength)
  bytes.set(blob)
  return bytes
}
