// Who goes first when room is needed: three orders of use. A record is in one of them exactly while it may be chosen: not
// pinned, not mapped (S2), not on the move. Being handed to a reader takes it out, the end of the last use puts it back as
// the most recent, so choosing never has to skip over records in use.

import { LruList } from './lru.ts'
import type { BlobRecord } from './records.ts'

export class Victims {
  /** In RAM, and nowhere else: these are spilled. */
  readonly own = new LruList<BlobRecord>()
  /** In RAM, copies of what another worker holds: dropped before anything is spilled (S10). */
  readonly replicas = new LruList<BlobRecord>()
  /** On disk, copies of what another worker holds: dropped when the disk is wanted. */
  readonly diskReplicas = new LruList<BlobRecord>()

  /** The order that the record belongs to now, or null. */
  listOf(record: BlobRecord): LruList<BlobRecord> | null {
    if (record.dropped || record.moving || record.inUse) return null
    if (record.tier !== 'disk') return record.replica ? this.replicas : this.own
    return record.replica ? this.diskReplicas : null
  }

  /** After a use, an arrival or a move: most recent in its order, or out of all. */
  place(record: BlobRecord): void {
    const list = this.listOf(record)
    if (list === null) record.lru?.remove(record)
    else list.pushNewest(record)
  }

  /** After a move that failed or was a half step: the next to go. */
  placeFirst(record: BlobRecord): void {
    const list = this.listOf(record)
    if (list === null) record.lru?.remove(record)
    else list.pushOldest(record)
  }
}
