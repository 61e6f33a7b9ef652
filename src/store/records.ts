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

/** A worker may have hundreds of thousands of records: what is yes or no shares one field. */
const FETCHED = 1
const BORROWED = 2
const KEPT = 4
const VERIFY = 8
const MOVING = 16
const DIVERTED = 32
const DROPPED = 64
const USED = 128

export class BlobRecord implements LruNode<BlobRecord> {
  readonly key: TaskKey
  readonly runId: RunId
  readonly type: string
  readonly nbytes: number
  /** In whole milliseconds: a fraction would be an object of its own. */
  readonly arrivedMs: number
  inline: InlineSlot | null = null
  stored: StoredHolding | null = null
  lru: LruList<BlobRecord> | null = null
  older: BlobRecord | null = null
  newer: BlobRecord | null = null
  #flags: number

  constructor(entry: BlobEntry, nbytes: number, nowMs: number) {
    this.key = entry.key
    this.runId = entry.runId
    this.type = entry.type
    this.nbytes = nbytes
    this.arrivedMs = Math.floor(nowMs)
    this.#flags = entry.fetched === true ? FETCHED : 0
  }

  get fetched(): boolean {
    return (this.#flags & FETCHED) > 0
  }
  set fetched(yes: boolean) {
    this.#set(FETCHED, yes)
  }

  get borrowed(): boolean {
    return (this.#flags & BORROWED) > 0
  }
  set borrowed(yes: boolean) {
    this.#set(BORROWED, yes)
  }

  /** Somebody counts on this copy: it is no replica to be dropped. */
  get kept(): boolean {
    return (this.#flags & KEPT) > 0
  }
  set kept(yes: boolean) {
    this.#set(KEPT, yes)
  }

  /** Readers must check the frames until the store did once. */
  get verify(): boolean {
    return (this.#flags & VERIFY) > 0
  }
  set verify(yes: boolean) {
    this.#set(VERIFY, yes)
  }

  /** A file job copies it right now (R3). */
  get moving(): boolean {
    return (this.#flags & MOVING) > 0
  }
  set moving(yes: boolean) {
    this.#set(MOVING, yes)
  }

  /** Placed on disk for want of memory (spiller.ts P5). */
  get diverted(): boolean {
    return (this.#flags & DIVERTED) > 0
  }
  set diverted(yes: boolean) {
    this.#set(DIVERTED, yes)
  }

  /** Out of the index: whatever job still refers to it drops its result. */
  get dropped(): boolean {
    return (this.#flags & DROPPED) > 0
  }
  set dropped(yes: boolean) {
    this.#set(DROPPED, yes)
  }

  /** Was handed to a reader at least once. */
  get used(): boolean {
    return (this.#flags & USED) > 0
  }
  set used(yes: boolean) {
    this.#set(USED, yes)
  }

  #set(flag: number, yes: boolean): void {
    this.#flags = yes ? this.#flags | flag : this.#flags & ~flag
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
