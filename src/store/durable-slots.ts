// Small values that have to outlive the process, although they might stay in its memory: they go into a segment of the memory
// tier, or of the disk tier when that is full.

import { asStoreError } from './file-ops.ts'
import type { FileTier } from './file-tier.ts'
import type { Placer } from './placer.ts'
import type { BlobRecord } from './records.ts'
import type { SegmentSlot } from './segments.ts'
import type { Slabs } from './slabs.ts'
import type { Spiller } from './spiller.ts'
import type { Victims } from './victims.ts'

interface Parts {
  readonly memory: FileTier
  readonly disk: FileTier
  readonly placer: Placer
  readonly spiller: Spiller
  readonly slabs: Slabs
  readonly victims: Victims
}

export class DurableSlots {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** @throws STORE_FULL, or what the system says. */
  async append(blob: Uint8Array): Promise<SegmentSlot> {
    const { memory, disk, placer, spiller } = this.#parts
    if (placer.stale) await placer.refresh()
    const view = spiller.view()
    const order = blob.byteLength <= view.memoryFree ? [memory, disk] : [disk, memory]
    let failure: unknown
    for (const tier of order) {
      if (tier === disk && view.diskUsed + blob.byteLength > view.maxSpill) continue
      tier.reserve(blob.byteLength)
      try {
        const [slot] = await tier.segments.append([blob])
        return slot as SegmentSlot
      } catch (error) {
        tier.space.forget()
        failure = error
      } finally {
        tier.unreserve(blob.byteLength)
      }
    }
    throw asStoreError(failure, `A value of ${blob.byteLength} bytes could not be written`)
  }

  /** True when the value was only in the process before and is in a file now. One that is being spilled says so itself. */
  async persist(record: BlobRecord): Promise<boolean> {
    const { slabs, victims } = this.#parts
    const { inline } = record
    if (inline === null || record.stored !== null || record.moving || record.dropped) return false
    record.moving = true
    victims.place(record)
    const lent = slabs.lend(inline)
    try {
      const slot = await this.append(inline.bytes)
      if (record.dropped) {
        slot.retire()
        return false
      }
      slot.record = record
      record.stored = slot
      return true
    } catch {
      // No room anywhere: it stays as safe as it was.
      return false
    } finally {
      slabs.giveBack(lent)
      record.moving = false
      victims.place(record)
    }
  }
}
