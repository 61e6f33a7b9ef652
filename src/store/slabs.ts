// Memory of the inline tier. Small blobs arrive as pieces of large receive buffers; kept as they are, each would keep its
// whole buffer alive. They are copied into slabs, many to one buffer, so that a million values are not a million buffers.
//
// A slab is written front to back. Bytes that a reader was handed stay as they are: it may keep them as long as it likes. A
// slab that nobody read from is used again when nothing in it is live any more; otherwise a worker that moves small values to
// disk as fast as they come would wait for its garbage collector to have the memory of each back. A sparse slab (less than
// half live) is emptied by copying its survivors on, which bounds the waste at the size of what is live.

import { Holding } from './holding.ts'

/** A slab is as large as what is live when it is begun, within these bounds. */
const SLAB_BYTES_MIN = 64 * 1024
const SLAB_BYTES_MAX = 512 * 1024
/** Larger blobs get a buffer of their own. */
const OWN_BUFFER_BYTES = 32 * 1024
const ALIGNMENT = 64
/** Slabs kept for use again, all of the largest size: as much as leaves memory in two jobs of the spiller. */
const SPARE_MAX = 16

/** Many blobs, one behind the other. */
export interface Slab {
  readonly bytes: Uint8Array
  readonly slots: Set<InlineSlot>
  used: number
  live: number
  /** How often bytes of it are lent just now. */
  lent: number
  /** A reader was handed some of its bytes. */
  isRead: boolean
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

  override pin(): void {
    super.pin()
    if (this.slab !== null) this.slab.isRead = true
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
  readonly #spare: Slab[] = []
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
    if (slab.live === 0) this.#keepSpare(slab)
    else if (slab !== this.#current && slab.live * 2 < slab.used) this.#empty(slab)
  }

  /**
   * Whoever reads a slot's bytes without a pin, for a known while, keeps them from being written over until `giveBack`, also
   * when the value is freed or moved meanwhile.
   */
  lend(slot: InlineSlot): Slab | null {
    if (slot.slab !== null) slot.slab.lent++
    return slot.slab
  }

  giveBack(slab: Slab | null): void {
    if (slab === null) return
    slab.lent--
    this.#keepSpare(slab)
  }

  #keepSpare(slab: Slab): void {
    if (slab.live > 0 || slab.lent > 0 || slab.isRead || slab === this.#current) return
    if (slab.bytes.byteLength < SLAB_BYTES_MAX || this.#spare.length >= SPARE_MAX) return
    slab.used = 0
    this.#spare.push(slab)
  }

  #newSlab(): Slab {
    const size = Math.max(SLAB_BYTES_MIN, Math.min(SLAB_BYTES_MAX, this.#bytes))
    const spare = size === SLAB_BYTES_MAX ? this.#spare.pop() : undefined
    return spare ?? { bytes: Buffer.allocUnsafeSlow(size), slots: new Set(), used: 0, live: 0, lent: 0, isRead: false }
  }

  #empty(sparse: Slab): void {
    for (const slot of sparse.slots) this.#move(slot)
    sparse.slots.clear()
    sparse.live = 0
    this.#keepSpare(sparse)
  }

  #move(slot: InlineSlot): void {
    const span = spanOf(slot.nbytes)
    let slab = this.#current
    if (slab === null || slab.used + span > slab.bytes.byteLength) {
      const full = slab
      slab = this.#newSlab()
      this.#current = slab
      // A full slab is judged when something leaves it; one that was sparse while it was current is judged now.
      if (full?.live === 0) this.#keepSpare(full)
      else if (full !== null && full.live * 2 < full.used) this.#empty(full)
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
