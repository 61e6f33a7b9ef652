// Packed files for small blobs that must be in a file: spilled inline values (disk tier) and small values without a recipe
// (memory tier). A million 1 KiB results must not become a million files.
//
// A segment is written front to back: a preamble, then every blob at a multiple of 64 bytes. The preamble keeps offset 0
// free, so that a blob at offset 0 always is a whole file, which may be linked. Blobs describe themselves (header, lengths,
// checksums), so a segment needs no index: after a crash it is scanned (recovery.ts).
//
// G1. One write per set is under way at a time; blobs that arrive meanwhile go together into the next one.
// G2. A segment takes no more writes once it is large enough, half dead, or a write to it failed; what a failed write left
//     behind is dead space.
// G3. Dead space counts like live space. A closed segment more than half dead is compacted: its live blobs are copied to the
//     current one, and it is unlinked when its last slot is given up. One without live blobs is unlinked at once, also the
//     current one when nothing is being written.

import { invariant } from '../base/invariant.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import { pageRounded, writeFully } from './file-ops.ts'
import type { FileTier } from './file-tier.ts'
import { Holding } from './holding.ts'
import type { LruList } from './lru.ts'
import type { CachedFile } from './page-cache.ts'
import type { BlobRecord } from './records.ts'
import type { WritableFile } from './store-fs.ts'

const SEGMENT_BYTES = 8 * 2 ** 20
const ALIGNMENT = 64
/** A current segment smaller than this is not closed for being half dead: it will be written on. */
const COMPACT_BYTES = 2 ** 20
const PADDING = new Uint8Array(ALIGNMENT)

/** First bytes of every segment, padded to the alignment. */
const PREAMBLE_TEXT = 'plimsoll segment 1\n'
export const SEGMENT_PREAMBLE: Uint8Array = new TextEncoder().encode(PREAMBLE_TEXT.padEnd(ALIGNMENT, '\0'))

export const segmentAligned = (offset: number): number => Math.ceil(offset / ALIGNMENT) * ALIGNMENT

export class Segment implements CachedFile {
  readonly home: FileTier
  readonly path: string
  /** Bytes of the file as far as they are counted. */
  size = 0
  /** Bytes of slots that were not given up, with their padding. */
  live = 0
  /** Open while the segment takes writes. */
  file: WritableFile | null
  writing = false
  compacting = false
  removed = false
  lru: LruList<CachedFile> | null = null
  older: CachedFile | null = null
  newer: CachedFile | null = null
  readonly slots = new Set<SegmentSlot>()

  constructor(home: FileTier, path: string, file: WritableFile | null) {
    this.home = home
    this.path = path
    this.file = file
  }

  /** Does not change once the segment takes no more writes. */
  get nbytes(): number {
    return this.size
  }

  get gone(): boolean {
    return this.removed
  }

  /** One that is being written is in the cache whatever is done about it. */
  used(): void {
    if (this.file === null) this.home.pageCache.keep(this)
  }
}

/** One blob inside a segment. */
export class SegmentSlot extends Holding {
  readonly segment: Segment
  readonly offset: number
  /** The record that refers to it, for compaction. */
  record: BlobRecord | null = null
  #dead = false

  constructor(segment: Segment, offset: number, nbytes: number) {
    super(nbytes)
    this.segment = segment
    this.offset = offset
  }

  get tier(): 'memory' | 'disk' {
    return this.segment.home.kind
  }

  get path(): string {
    return this.segment.path
  }

  override pin(): void {
    super.pin()
    this.segment.used()
  }

  protected settle(): void {
    if (this.inUse || this.#dead) return
    this.#dead = true
    this.segment.home.segments.slotDied(this)
  }
}

interface Append {
  readonly blobs: readonly Uint8Array[]
  readonly done: Deferred<SegmentSlot[]>
}

export class SegmentSet {
  readonly #home: FileTier
  #current: Segment | null = null
  #queue: Append[] = []
  #draining = false
  #deadBytes = 0
  readonly #segments = new Set<Segment>()

  constructor(home: FileTier) {
    this.#home = home
  }

  /** Bytes in segment files that belong to no value; they come back by compaction. */
  get deadBytes(): number {
    return this.#deadBytes
  }

  get segments(): Iterable<Segment> {
    return this.#segments
  }

  /** Resolves when all of `blobs` are in a file, with one slot each in their order; rejects when none is. */
  append(blobs: readonly Uint8Array[]): Promise<SegmentSlot[]> {
    const done = deferred<SegmentSlot[]>()
    this.#queue.push({ blobs, done })
    if (!this.#draining) {
      this.#draining = true
      this.#home.context.track(this.#drain())
    }
    return done.promise
  }

  /** Enters a segment found by recovery; it takes no writes. */
  adopt(path: string, size: number): Segment {
    const segment = new Segment(this.#home, path, null)
    segment.size = size
    this.#segments.add(segment)
    this.#deadBytes += size
    this.#home.count(size, pageRounded(size))
    return segment
  }

  /** Enters a blob found in an adopted segment. */
  adoptSlot(segment: Segment, offset: number, nbytes: number): SegmentSlot {
    return this.#newSlot(segment, offset, nbytes)
  }

  /** Judges adopted segments, once all their slots are known. */
  reviewAll(): void {
    for (const segment of this.#segments) this.#review(segment)
  }

  /** Called by a slot that was given up. */
  slotDied(slot: SegmentSlot): void {
    const { segment } = slot
    if (!segment.slots.delete(slot)) return
    const span = segmentAligned(slot.nbytes)
    segment.live -= span
    this.#deadBytes += span
    this.#review(segment)
  }

  /** Ends writing; what is queued is written first by whoever waits for the store to be at rest. */
  async close(): Promise<void> {
    const current = this.#current
    this.#current = null
    if (current !== null) await closeQuietly(current)
  }

  async #drain(): Promise<void> {
    // One turn later, so that what arrives together is written together.
    await Promise.resolve()
    while (this.#queue.length > 0) {
      const batch = this.#nextBatch()
      try {
        const slots = await this.#home.context.permits.writes.use(() =>
          this.#write(batch.flatMap((it) => [...it.blobs])),
        )
        let at = 0
        for (const append of batch) append.done.resolve(slots.slice(at, (at += append.blobs.length)))
      } catch (error) {
        for (const append of batch) append.done.reject(error)
      }
    }
    this.#draining = false
    if (this.#current !== null) this.#review(this.#current)
  }

  #nextBatch(): Append[] {
    let bytes = 0
    let count = 0
    for (const append of this.#queue) {
      count++
      for (const blob of append.blobs) bytes += blob.byteLength
      if (bytes >= SEGMENT_BYTES) break
    }
    return this.#queue.splice(0, count)
  }

  async #write(blobs: readonly Uint8Array[]): Promise<SegmentSlot[]> {
    const segment = await this.#writable()
    const start = segment.size
    const parts: Uint8Array[] = start === 0 ? [SEGMENT_PREAMBLE] : []
    const offsets: number[] = []
    let at = start === 0 ? SEGMENT_PREAMBLE.byteLength : start
    for (const blob of blobs) {
      offsets.push(at)
      const padding = segmentAligned(blob.byteLength) - blob.byteLength
      parts.push(blob)
      if (padding > 0) parts.push(PADDING.subarray(0, padding))
      at += blob.byteLength + padding
    }
    segment.writing = true
    try {
      await writeFully(segment.file as WritableFile, parts, start)
      this.#grow(segment, at)
      const slots = blobs.map((blob, index) => this.#newSlot(segment, offsets[index] as number, blob.byteLength))
      segment.writing = false
      if (segment.size >= SEGMENT_BYTES) await this.#closeSegment(segment)
      return slots
    } catch (error) {
      segment.writing = false
      await this.#abandon(segment)
      throw error
    }
  }

  async #writable(): Promise<Segment> {
    if (this.#current !== null) return this.#current
    const path = this.#home.nextSegmentPath()
    const segment = new Segment(this.#home, path, await this.#home.context.fs.create(path))
    this.#segments.add(segment)
    this.#current = segment
    return segment
  }

  #grow(segment: Segment, size: number): void {
    this.#home.pageCache.release(segment)
    const grown = size - segment.size
    this.#home.count(grown, pageRounded(size) - pageRounded(segment.size))
    this.#deadBytes += grown
    segment.size = size
  }

  #newSlot(segment: Segment, offset: number, nbytes: number): SegmentSlot {
    const slot = new SegmentSlot(segment, offset, nbytes)
    const span = segmentAligned(nbytes)
    segment.slots.add(slot)
    segment.live += span
    this.#deadBytes -= span
    return slot
  }

  /** A write failed part way: count what is there as dead and write no more to it. */
  async #abandon(segment: Segment): Promise<void> {
    try {
      this.#grow(segment, (await this.#home.context.fs.stat(segment.path)).size)
    } catch {
      // Its size cannot be told; what was counted before stays.
    }
    await this.#closeSegment(segment)
  }

  async #closeSegment(segment: Segment): Promise<void> {
    if (this.#current === segment) this.#current = null
    await closeQuietly(segment)
    segment.used()
    this.#review(segment)
  }

  #review(segment: Segment): void {
    if (segment.writing || segment.removed || segment.compacting) return
    if (segment.slots.size === 0 && (segment !== this.#current || !this.#draining)) {
      this.#home.context.track(this.#remove(segment))
      return
    }
    if (segment.live * 2 >= segment.size || segment.size === 0) return
    if (segment === this.#current) {
      if (segment.size < COMPACT_BYTES) return
      this.#current = null
      this.#home.context.track(this.#closeSegment(segment))
      return
    }
    segment.compacting = true
    this.#home.context.track(this.#compact(segment))
  }

  async #remove(segment: Segment): Promise<void> {
    segment.removed = true
    this.#home.pageCache.release(segment)
    if (this.#current === segment) this.#current = null
    await closeQuietly(segment)
    if (!(await this.#home.unlinkQuietly(segment.path))) {
      segment.removed = false
      return
    }
    this.#segments.delete(segment)
    this.#deadBytes -= segment.size - segment.live
    this.#home.count(-segment.size, -pageRounded(segment.size))
    this.#home.space.forget()
    this.#home.context.changed()
  }

  /** Copies the live blobs on and lets their records switch; slots that are still read keep the old file. */
  async #compact(segment: Segment): Promise<void> {
    const { fs, permits, defer } = this.#home.context
    // What is freed together is freed in one turn: copying nothing of it is worth waiting for its end.
    await new Promise<void>((resolve) => defer(resolve))
    const slots = [...segment.slots].filter((slot) => !slot.retired && slot.record !== null && !slot.record.moving)
    try {
      if (slots.length > 0) {
        const bytes = await permits.reads.use(() => fs.read(segment.path, 0, segment.size))
        invariant(bytes.byteLength === segment.size, 'a segment is shorter than its blobs')
        const copies = await this.append(slots.map((slot) => bytes.subarray(slot.offset, slot.offset + slot.nbytes)))
        for (const [index, slot] of slots.entries()) this.#switch(slot, copies[index] as SegmentSlot)
      }
    } catch {
      // No room for the copies, or unreadable: it stays as it is. A reader will find out which (S9).
    }
    segment.compacting = false
    if (segment.slots.size === 0) this.#review(segment)
  }

  #switch(from: SegmentSlot, to: SegmentSlot): void {
    const record = from.record
    if (from.retired || record === null || record.stored !== from || record.moving) {
      to.retire()
      return
    }
    to.record = record
    record.stored = to
    from.retire()
  }
}

/** Whatever close reports concerns bytes that carry their own checksums. */
async function closeQuietly(segment: Segment): Promise<void> {
  const { file } = segment
  segment.file = null
  try {
    await file?.close()
  } catch {
    // See above.
  }
}
