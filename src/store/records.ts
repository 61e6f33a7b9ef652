// What the store knows of one key: identity, and where its bytes are.
//
// R1. At least one of `inline` and `stored` is there while the record is in the index; both are for a small value without a
//     recipe that is in a segment and still cheap to serve from memory.
// R2. A record is in exactly one LRU list when it may be chosen to make room (`listOf` in victims.ts says which), else in none.
// R3. `moving` is set while one job copies its bytes elsewhere; nothing else replaces its holdings meanwhile.

import type { RunId, TaskKey } from '../base/ids.ts'
import type { BlobFile } from './file-tier.ts'
import type { LruList, LruNode } from './lru.ts'
import type { SegmentSlot } from './segments.ts'
import type { InlineSlot } from './slabs.ts'
import type { BlobEntry, StoredValue, Tier } from './store.ts'

export type StoredHolding = BlobFile | SegmentSlot

export class BlobRecord implements LruNode<BlobRecord> {
  readonly key: TaskKey
  readonly runId: RunId
  readonly type: string
  readonly nbytes: number
  fetched: boolean
  borrowed = false
  /** Somebody counts on this copy: it is no replica to be dropped. */
  kept = false
  inline: InlineSlot | null = null
  stored: StoredHolding | null = null
  /** Readers must check the frames until the store did once. */
  verify = false
  /** A file job copies it right now (R3). */
  moving = false
  /** Placed on disk for want of memory (spiller.ts P5). */
  diverted = false
  /** Out of the index: whatever job still refers to it drops its result. */
  dropped = false
  /** Was handed to a reader at least once. */
  used = false
  arrivedMs: number
  lru: LruList<BlobRecord> | null = null
  older: BlobRecord | null = null
  newer: BlobRecord | null = null

  constructor(entry: BlobEntry, nbytes: number, nowMs: number) {
    this.key = entry.key
    this.runId = entry.runId
    this.type = entry.type
    this.nbytes = nbytes
    this.fetched = entry.fetched ?? false
    this.arrivedMs = nowMs
  }

  get tier(): Tier {
    return this.inline !== null ? 'inline' : (this.stored?.tier ?? 'inline')
  }

  get durable(): boolean {
    return this.stored !== null
  }

  /** A copy of what another worker has as well: dropped rather than spilled (S7, S10). */
  get replica(): boolean {
    return !this.kept && (this.fetched || this.borrowed)
  }

  /** Some reader was handed where its bytes are now. */
  get inUse(): boolean {
    return (this.inline?.inUse ?? false) || (this.stored?.inUse ?? false)
  }

  snapshot(): StoredValue {
    return {
      key: this.key,
      runId: this.runId,
      nbytes: this.nbytes,
      type: this.type,
      tier: this.tier,
      durable: this.durable,
      fetched: this.replica,
      borrowed: this.borrowed,
    }
  }
}
