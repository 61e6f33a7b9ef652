// Makes room in memory: drops replicas, then copies the least recently used blobs to disk (S10, S3). It runs in passes: each
// starts as many jobs as the limits allow and ends; the end of a job asks for the next pass. It decides what leaves, never
// what comes in (placer.ts).
//
// P1. A record on the move is out of the LRU orders; its readers keep the holding they were handed (S1).
// P2. A job's result is used only if its record is still in the index; else the new copy is given up.
// P3. When the disk fails, the blob stays where it is and the disk rests for a second (S4).
// P4. A replica that arrived and was not used yet is spared for a moment: dropping the input that a task is about to read
//     would fetch it again, for ever.
// P5. A new value goes to disk at once where process memory is high (placement.ts), and what is in memory stays. That is right
//     as long as new values are kept. One that is given up there soon was written to disk in vain: room is made in memory for
//     another of its size, so that values that come and go do so in memory, and what nobody has used for long is on disk.

import { formatBytes } from '../base/units.ts'
import { isShortage } from '../errors/shortage.ts'
import type { StoreContext } from './context.ts'
import { findBlobFault, systemCode } from './file-ops.ts'
import type { BlobFile, FileTier } from './file-tier.ts'
import { type PlacementView, diskTakes } from './placement.ts'
import type { BlobRecord } from './records.ts'
import { RoomGoals } from './room-goals.ts'
import { SegmentSlot } from './segments.ts'
import type { Slab, Slabs } from './slabs.ts'
import type { StoreEvents, StoredValue } from './store.ts'
import type { Victims } from './victims.ts'

/** Small blobs that go to a segment in one job. */
const BATCH_BYTES = 4 * 2 ** 20
const BATCH_RECORDS = 4096
/** How far to look past victims that the disk cannot take, or that belong to another kind of job. */
const LOOK_PAST = 64
const DISK_REST_MS = 1000
const REPLICA_GRACE_MS = 2000
/** How much of `target` is emptied for results to come, and for what was written to disk in vain, at most. */
const AHEAD_FRACTION = 0.5
/** Rounds of results after the one being made, and how much of `target` may be emptied for them. */
const NEXT_RESULTS = 3
const NEXT_FRACTION = 1 / 8
/** So many times longer must the oldest value in memory have been there (P5). */
const SHORT_LIVED = 4
const DEAD_MAPPINGS_BYTES = 64 * 2 ** 20
const DEAD_MAPPINGS_FRACTION = 0.05
const DEAD_MAPPINGS_EVERY_MS = 1000

export interface SpillLimits {
  readonly memoryLimit: number
  readonly target: number
  readonly ceiling: number
  readonly maxSpill: number
}

export interface SpillerParts {
  readonly context: StoreContext
  readonly events: StoreEvents
  readonly limits: SpillLimits
  readonly memory: FileTier
  readonly disk: FileTier
  readonly slabs: Slabs
  readonly victims: Victims
  /** Takes the record out of the index and gives up its holdings. */
  drop(record: BlobRecord): void
}

/** What requests that wait for a place ask of memory: see `Spiller.pass`. */
export interface WantedRoom {
  /** Requests that belong below `target`. */
  readonly light: number
  /** All of them. */
  readonly all: number
  /** The first in line; 0 = nobody waits. */
  readonly first: number
}

export class Spiller {
  readonly #parts: SpillerParts
  readonly #goals = new RoomGoals()
  /** Memory and disk tier share a file system: moving is another name for the same file. */
  sameDevice = false
  #jobs = 0
  #spilling = 0
  #leaving = 0
  #spilledTotal = 0
  #expected = 0
  #allowed = Infinity
  #atMost = Infinity
  #inVain = 0
  #diskRestsUntilMs = -Infinity
  #failing: string | null = null
  /** This pass found nothing that can leave, or needs to: no room will come from here. */
  #stuck = false
  #resting = false
  #deadMappingsToldMs = -Infinity
  #evicted: StoredValue[] = []
  #timerDueMs = Infinity
  #cancelTimer: () => void = () => {}

  constructor(parts: SpillerParts) {
    this.#parts = parts
  }

  get spilling(): number {
    return this.#spilling
  }
  get spilledTotal(): number {
    return this.#spilledTotal
  }
  get failing(): string | null {
    return this.#failing
  }
  /** Replicas that may not be dropped yet could make room in a moment (P4). */
  get resting(): boolean {
    return this.#resting
  }
  /** There may be something to do for a pass. */
  get isNeeded(): boolean {
    if (this.#goals.size > 0 || this.#failing !== null) return true
    const { memory, slabs } = this.#parts
    return slabs.bytes + memory.bytes + memory.reserved + Math.max(this.#expected, this.#inVain) > this.#soft
  }

  /**
   * Room is made ahead for half of what may be in memory, at most, and for the results after these as well: with room for one
   * round only, the disk has nothing to do while results take long, and is too late when they come at once.
   */
  expect(bytes: number): void {
    const { target } = this.#parts.limits
    const next = Math.min(NEXT_RESULTS * bytes, NEXT_FRACTION * target)
    this.#expected = Math.min(bytes + next, AHEAD_FRACTION * target)
  }

  /** How much of memory values may take as long as process memory is to stay below `spill`, and below the limit. */
  allow(bytes: number, atMost = Infinity): void {
    this.#allowed = bytes
    this.#atMost = Math.max(0, atMost)
  }

  placedOnDisk(nbytes: number): void {
    this.#spilledTotal += nbytes
  }

  placedInMemory(nbytes: number): void {
    this.#inVain = Math.max(0, this.#inVain - nbytes)
  }

  /** A value that was placed on disk for want of memory is given up there (P5). */
  divertedEnds({ nbytes, arrivedMs }: BlobRecord): void {
    const { victims, context } = this.#parts
    const { oldest } = victims.own
    const now = context.clock.now()
    if (oldest === null || SHORT_LIVED * (now - arrivedMs) > now - oldest.arrivedMs) return
    this.#inVain = Math.min(this.#inVain + nbytes, AHEAD_FRACTION * this.#soft)
  }

  /** Resolves when managed memory is at most `below`, or nothing more can leave. */
  makeRoom(below: number): Promise<void> {
    const { context } = this.#parts
    const room = this.#goals.add(below, context.clock.now() + REPLICA_GRACE_MS)
    context.changed()
    return room
  }

  /** The store closes: nobody is kept waiting. */
  end(): void {
    this.#cancelTimer()
    this.#goals.endAll()
  }

  /** The numbers that placement decides on. */
  view(): PlacementView {
    const { memory, disk, slabs, victims, limits, context } = this.#parts
    const diskBlocked = context.clock.now() < this.#diskRestsUntilMs
    const diskUsed = disk.bytes + disk.reserved
    const diskRoom = diskBlocked ? 0 : Math.max(0, Math.min(limits.maxSpill - diskUsed, disk.space.free))
    const spills = limits.target !== Infinity
    const own = spills && !this.#stuck ? Math.min(victims.own.bytes, diskRoom) : 0
    const replicas = spills && !this.#stuck && !this.#resting ? victims.replicas.bytes : 0
    const spare = memory.spares.readyBytes
    return {
      target: limits.target,
      allowed: spills ? this.#allowed : Infinity,
      ceiling: Math.min(limits.ceiling, this.#atMost),
      memoryUsed: slabs.bytes + memory.bytes + memory.reserved,
      memoryComing: memory.leaving + spare + this.#leaving + own + replicas,
      memoryFree: memory.space.free,
      memoryFreeComing: memory.leaving + spare + this.#leaving,
      diskUsed,
      maxSpill: limits.maxSpill,
      diskFree: disk.space.free,
      diskComing: disk.leaving + victims.diskReplicas.bytes,
      diskBlocked,
    }
  }

  /** Bytes that have to leave memory, those on their way not counted. */
  excess(wanted: WantedRoom): number {
    const { memory, slabs, limits } = this.#parts
    const held = slabs.bytes + memory.bytes - memory.leaving - this.#leaving
    // Dead space of segments comes back by compaction: spilling more for its sake is only worth it when somebody waits.
    const live = held - memory.segments.deadBytes
    const used = (wanted.first > 0 ? held : live) + memory.reserved
    // Who waits for a place was expected before.
    const expected = Math.min(this.#expected, Math.max(0, this.#allowed - used))
    let excess = used + Math.max(wanted.light, expected) - limits.target
    if (wanted.all > wanted.light) excess = Math.max(excess, used + wanted.all - Math.min(limits.ceiling, this.#atMost))
    if (this.#inVain > 0) excess = Math.max(excess, used + this.#inVain - this.#soft)
    return Math.max(excess, this.#goals.excess(live))
  }

  /** Before and after a pass: what is stuck now may leave the next time. */
  hope(): void {
    this.#stuck = false
    this.#resting = false
  }

  /** One pass: starts what can be started. True when nothing is under way that makes room, so that waiting is in vain. */
  pass(wanted: WantedRoom): boolean {
    let excess = this.excess(wanted)
    if (excess > 0 || wanted.first > 0) {
      this.#parts.memory.spares.dropAll()
      excess = this.excess(wanted)
    }
    while (excess > 0) {
      if (!this.#dropReplica()) {
        if (this.#jobs >= this.#parts.context.permits.writes.limit) break
        if (!this.#spillNext(excess)) {
          this.#stuck = true
          break
        }
      }
      excess = this.excess(wanted)
    }
    if (excess <= 0) this.#report(null)
    this.#dropDiskReplicas(wanted.first)
    if (excess > 0 || wanted.first > 0) this.#tellDeadMappings()
    this.#endReachedGoals()
    this.#tellEvicted()
    const { memory, disk } = this.#parts
    if (this.#jobs === 0 && memory.leaving === 0 && disk.leaving === 0) this.#stuck = true
    return this.#stuck
  }

  #dropReplica(): boolean {
    const record = this.#parts.victims.replicas.oldest
    if (record === null) return false
    const age = this.#parts.context.clock.now() - record.arrivedMs
    if (!record.used && age < REPLICA_GRACE_MS) {
      if (!this.#resting) this.#later(REPLICA_GRACE_MS - age)
      this.#resting = true
      return false
    }
    if (record.borrowed) this.#start(record, this.#dropBorrowed(record))
    else this.#evict(record)
    return true
  }

  #evict(record: BlobRecord): void {
    this.#evicted.push(record.snapshot())
    this.#parts.drop(record)
  }

  /** S7: the last name of the file is kept, and owned from now on. */
  async #dropBorrowed(record: BlobRecord): Promise<void> {
    const { context } = this.#parts
    let nlink: number
    try {
      nlink = (await context.fs.stat((record.stored as BlobFile).path)).nlink
    } catch (error) {
      this.#lose(record, `its file is gone (${systemCode(error) ?? String(error)})`)
      return
    }
    if (record.dropped || record.kept) return
    if (nlink > 1) {
      this.#evict(record)
    } else {
      record.borrowed = false
      record.fetched = false
    }
  }

  #dropDiskReplicas(first: number): void {
    if (first === 0) return
    const { disk, victims, limits } = this.#parts
    while (victims.diskReplicas.oldest !== null && disk.leaving < first) {
      const view = this.view()
      if (diskTakes(first, view) || (first <= limits.target && view.memoryComing >= first)) return
      this.#evict(victims.diskReplicas.oldest)
    }
  }

  /** Starts one job, or gives up the inline half of a value that is in a file as well. False when nothing can leave. */
  #spillNext(excess: number): boolean {
    const { victims, limits, disk } = this.#parts
    if (victims.own.oldest === null) return false
    const view = this.view()
    if (view.diskBlocked) {
      this.#later(this.#diskRestsUntilMs - this.#parts.context.clock.now())
      return false
    }
    let looked = 0
    for (const record of victims.own) {
      if (record.inline !== null && record.stored !== null) {
        this.#dropInlineHalf(record)
        return true
      }
      if (this.#fitsDisk(record.nbytes, view)) {
        if (record.inline === null && !(record.stored instanceof SegmentSlot))
          this.#start(record, this.#spillFile(record))
        else this.#startBatch(excess)
        return true
      }
      if (++looked >= LOOK_PAST) break
    }
    const { diskUsed, diskFree } = view
    this.#report(
      diskUsed + victims.own.oldest.nbytes > limits.maxSpill
        ? `the disk tier holds ${formatBytes(diskUsed)} and may hold ${formatBytes(limits.maxSpill)} (worker.memory.max-spill)`
        : `the disk of ${disk.directory} has only ${formatBytes(diskFree)} left`,
    )
    this.#later(DISK_REST_MS)
    return false
  }

  #fitsDisk(nbytes: number, view: PlacementView): boolean {
    return diskTakes(nbytes, this.sameDevice ? { ...view, diskFree: Infinity } : view)
  }

  #dropInlineHalf(record: BlobRecord): void {
    const { inline } = record
    record.inline = null
    inline?.retire()
    this.#parts.victims.placeFirst(record)
  }

  /** Above this room is made for what is to come. */
  get #soft(): number {
    return Math.max(0, Math.min(this.#parts.limits.target, this.#allowed))
  }

  /** Runs a job on one record that is a file. */
  #start(record: BlobRecord, work: Promise<void>): void {
    const { victims, context } = this.#parts
    record.moving = true
    victims.place(record)
    this.#jobs++
    this.#leaving += record.nbytes
    context.track(
      work.finally(() => {
        record.moving = false
        this.#jobs--
        this.#leaving -= record.nbytes
        victims.placeFirst(record)
        this.#tellEvicted()
        context.changed()
      }),
    )
  }

  async #spillFile(record: BlobRecord): Promise<void> {
    const { disk, context } = this.#parts
    const old = record.stored as BlobFile
    disk.reserve(record.nbytes)
    this.#spilling += record.nbytes
    try {
      const path = disk.nextBlobPath(record.key, '')
      const mtimeNs = await this.#copyToDisk(old, path)
      if (record.dropped) {
        context.track(disk.unlinkQuietly(path))
        return
      }
      record.stored = disk.add(path, record.nbytes, mtimeNs)
      old.retire()
      this.#spilled(record.nbytes)
    } catch (error) {
      if (!record.dropped) await this.#spillFailed(record, old, error)
    } finally {
      disk.unreserve(record.nbytes)
      this.#spilling -= record.nbytes
    }
  }

  async #copyToDisk(old: BlobFile, path: string): Promise<string> {
    const { disk, context } = this.#parts
    if (this.sameDevice) {
      await context.fs.link(old.path, path)
      return old.mtimeNs
    }
    const part = disk.nextPartPath()
    try {
      await context.permits.writes.use(() => context.fs.copy(old.path, part))
      const stat = await context.fs.stat(part)
      if (stat.size !== old.nbytes) throw new Error(`the copy has ${stat.size} bytes instead of ${old.nbytes}`)
      if (stat.mode !== 0o400) await context.fs.chmod(part, 0o400)
      // Of a file that was written to since it was whole, the copy is as bad: with a time that is not its own, readers check it.
      const source = await context.fs.stat(old.path)
      await context.fs.rename(part, path)
      return source.mtimeNs === old.mtimeNs ? stat.mtimeNs : old.mtimeNs
    } catch (error) {
      await disk.unlinkQuietly(part)
      throw error
    }
  }

  /** Whose fault it was: the blob's own file (lost), or the disk (rests). */
  async #spillFailed(record: BlobRecord, old: BlobFile, error: unknown): Promise<void> {
    const { fs } = this.#parts.context
    const fault = await fs.stat(old.path).then(
      (stat) => (stat.size === old.nbytes ? null : `its file has ${stat.size} bytes instead of ${old.nbytes}`),
      (cause: unknown) => `its file is gone (${systemCode(cause) ?? String(cause)})`,
    )
    if (fault !== null) this.#lose(record, fault)
    else this.#restDisk(error)
  }

  #startBatch(excess: number): void {
    const { victims, context, disk } = this.#parts
    const view = this.view()
    const room = Math.min(BATCH_BYTES, view.maxSpill - view.diskUsed, view.diskFree)
    const batch: BlobRecord[] = []
    let bytes = 0
    let past = 0
    for (const record of victims.own) {
      const small = record.inline !== null ? record.stored === null : record.stored instanceof SegmentSlot
      if (!small) {
        if (++past > LOOK_PAST) break
        continue
      }
      if (batch.length > 0 && bytes + record.nbytes > room) break
      batch.push(record)
      bytes += record.nbytes
      if (bytes >= excess || batch.length >= BATCH_RECORDS) break
    }
    for (const record of batch) {
      record.moving = true
      victims.place(record)
    }
    this.#jobs++
    this.#leaving += bytes
    this.#spilling += bytes
    disk.reserve(bytes)
    context.track(
      this.#spillBatch(batch).finally(() => {
        this.#jobs--
        this.#leaving -= bytes
        this.#spilling -= bytes
        disk.unreserve(bytes)
        for (const record of batch.reverse()) {
          record.moving = false
          victims.placeFirst(record)
        }
        context.changed()
      }),
    )
  }

  async #spillBatch(batch: readonly BlobRecord[]): Promise<void> {
    const lent: (Slab | null)[] = []
    try {
      await this.#appendBatch(batch, lent)
    } finally {
      for (const slab of lent) this.#parts.slabs.giveBack(slab)
    }
  }

  async #appendBatch(batch: readonly BlobRecord[], lent: (Slab | null)[]): Promise<void> {
    const { disk, events, slabs } = this.#parts
    const readable: BlobRecord[] = []
    const blobs: Uint8Array[] = []
    for (const record of batch) {
      if (record.dropped) continue
      const { inline } = record
      const bytes = inline?.bytes ?? (await this.#slotBytes(record))
      if (bytes === null) continue
      if (inline !== null) lent.push(slabs.lend(inline))
      readable.push(record)
      blobs.push(bytes)
    }
    if (blobs.length === 0) return
    let slots: SegmentSlot[]
    try {
      slots = await disk.segments.append(blobs)
    } catch (error) {
      this.#restDisk(error)
      return
    }
    const durable: StoredValue[] = []
    for (const [index, record] of readable.entries()) {
      const slot = slots[index] as SegmentSlot
      if (record.dropped) slot.retire()
      else if (this.#switchToSlot(record, slot)) durable.push(record.snapshot())
    }
    if (durable.length > 0) events.onDurable(durable)
  }

  /** True when the value was only in the process before. */
  #switchToSlot(record: BlobRecord, slot: SegmentSlot): boolean {
    const { inline, stored } = record
    slot.record = record
    record.inline = null
    record.stored = slot
    inline?.retire()
    stored?.retire()
    this.#spilled(record.nbytes)
    return stored === null
  }

  async #slotBytes(record: BlobRecord): Promise<Uint8Array | null> {
    const slot = record.stored as SegmentSlot
    const { fs, permits } = this.#parts.context
    const at = { path: slot.path, offset: slot.offset, nbytes: slot.nbytes, wholeFile: false }
    try {
      // The check below says what is wrong.
      const bytes = await permits.reads.use(() => fs.read(slot.path, slot.offset, slot.nbytes)).catch(unlessShort)
      if (bytes?.byteLength === slot.nbytes) return bytes
      const fault = await findBlobFault(fs, at, record)
      if (!record.dropped) this.#lose(record, fault ?? 'it could not be read')
    } catch (error) {
      this.#restDisk(error)
    }
    return null
  }

  #lose(record: BlobRecord, reason: string): void {
    if (record.dropped) return
    const value = record.snapshot()
    this.#parts.drop(record)
    this.#parts.events.onLost(value, reason)
  }

  #spilled(nbytes: number): void {
    this.#spilledTotal += nbytes
    this.#report(null)
  }

  #restDisk(error: unknown): void {
    const { disk, context } = this.#parts
    this.#diskRestsUntilMs = context.clock.now() + DISK_REST_MS
    disk.space.forget()
    this.#report(`writing to ${disk.directory} failed (${systemCode(error) ?? String(error)})`)
    this.#later(DISK_REST_MS)
  }

  #report(reason: string | null): void {
    if (reason === this.#failing || (reason !== null && this.#failing !== null)) return
    this.#failing = reason
    this.#parts.events.onSpillFailing(reason)
  }

  #tellDeadMappings(): void {
    const { memory, limits, context, events } = this.#parts
    const threshold = Math.max(DEAD_MAPPINGS_BYTES, DEAD_MAPPINGS_FRACTION * limits.memoryLimit)
    if (memory.deadMapped <= threshold) return
    const now = context.clock.now()
    const dueMs = this.#deadMappingsToldMs + DEAD_MAPPINGS_EVERY_MS
    this.#later(now < dueMs ? dueMs - now : DEAD_MAPPINGS_EVERY_MS)
    if (now < dueMs) return
    this.#deadMappingsToldMs = now
    events.onDeadMappings(memory.deadMapped)
  }

  #endReachedGoals(): void {
    const { memory, slabs, context } = this.#parts
    if (this.#jobs > 0 || memory.leaving > 0) return
    const held = slabs.bytes + memory.bytes - memory.segments.deadBytes
    const now = context.clock.now()
    this.#goals.end(held, (patientUntilMs) => (this.#resting ? now < patientUntilMs : !this.#stuck))
  }

  #tellEvicted(): void {
    if (this.#evicted.length === 0) return
    const values = this.#evicted
    this.#evicted = []
    this.#parts.events.onEvicted(values)
  }

  /** Another pass after a while; one timer, the earliest. Every pass that ends waiting for time must ask for it again. */
  #later(delayMs: number): void {
    const { context } = this.#parts
    const dueMs = context.clock.now() + delayMs
    if (dueMs >= this.#timerDueMs) return
    this.#cancelTimer()
    this.#timerDueMs = dueMs
    this.#cancelTimer = context.clock.after(delayMs, () => {
      this.#timerDueMs = Infinity
      context.changed()
    })
  }
}

/** A shortage (errors/shortage.ts) passes by itself. */
function unlessShort(error: unknown): null {
  if (isShortage(error)) throw error
  return null
}
