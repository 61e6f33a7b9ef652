// The store of one worker: the index of its keys, and how values come in, are read, and leave. store.ts states what holds
// (S1-S10); placer.ts grants room, spiller.ts makes it, file-tier.ts and slabs.ts hold the bytes and count them.
//
// T1. The index has one record per key, of the newest run that arrived (an older run that arrives late is dropped).
// T2. Every change of a total calls `changed`; one pass per event-loop turn then serves who waits and makes room.
// T3. Nothing here reads or writes a blob's content except `check`.

import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { RunId, TaskKey } from '../base/ids.ts'
import { invariant } from '../base/invariant.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { type Arrival, Arrivals } from './arrivals.ts'
import type { StoreContext } from './context.ts'
import { checkRecord } from './check-record.ts'
import { DurableSlots } from './durable-slots.ts'
import { HEADER_GUESS_BYTES, filePermits, readBlobHeader, systemCode } from './file-ops.ts'
import { BlobFile, FileTier } from './file-tier.ts'
import { currentBootId, readIdentity, removeIdentity, sameIdentity, writeIdentity } from './identity.ts'
import { PlaceWriter } from './place-writer.ts'
import { Placer } from './placer.ts'
import { StorePin } from './pins.ts'
import { BlobRecord } from './records.ts'
import { recount } from './recount.ts'
import { adoptAll } from './recovery.ts'
import { Slabs } from './slabs.ts'
import { Spiller } from './spiller.ts'
import { nodeStoreFs } from './store-fs.ts'
import type {
  BlobEntry,
  Pin,
  Place,
  Store,
  StoredValue,
  StoreEvents,
  StoreIdentity,
  StoreOptions,
  StoreTotals,
  Tier,
} from './store.ts'
import { Victims } from './victims.ts'
import { WorkTracker } from './work-tracker.ts'

/** Share of the memory limit that blobs may take while the disk cannot take them: `kill-task` starts above it. */
const CEILING_FRACTION = 0.9

export class TieredStore implements Store {
  readonly canSpill = true
  readonly #context: StoreContext
  readonly #events: StoreEvents
  readonly #bootId: string | null
  readonly #target: number
  readonly #pageCache: number
  readonly #memory: FileTier
  readonly #disk: FileTier
  readonly #slabs = new Slabs()
  readonly #index = new Map<TaskKey, BlobRecord>()
  readonly #victims = new Victims()
  readonly #arrivals = new Arrivals()
  readonly #work = new WorkTracker()
  readonly #spiller: Spiller
  readonly #placer: Placer
  readonly #durable: DurableSlots
  #identity: StoreIdentity | null = null
  #pinCounter = 0
  #passDue = false
  #state: 'new' | 'open' | 'closed' = 'new'

  constructor(options: StoreOptions, events: StoreEvents) {
    const unlimited = options.memoryLimit === 0
    const ceiling = options.ceiling ?? CEILING_FRACTION * options.memoryLimit
    this.#target = unlimited ? Infinity : options.target
    this.#pageCache = options.pageCache ?? Infinity
    this.#events = events
    this.#bootId = options.bootId === undefined ? currentBootId() : options.bootId
    this.#context = {
      fs: options.fs ?? nodeStoreFs,
      clock: options.clock ?? systemClock,
      permits: filePermits(options.threadPool),
      incarnation: options.incarnation,
      defer: options.defer ?? setImmediate,
      changed: () => this.#changed(),
      track: (work) => this.#work.track(work),
    }
    const memoryDirectory = options.memoryDirectory ?? join(options.localDirectory, 'memory')
    const onAwaited = (nbytes: number): void => events.onDeadMappings(nbytes)
    this.#memory = new FileTier('memory', memoryDirectory, this.#context, onAwaited)
    this.#disk = new FileTier('disk', join(options.localDirectory, 'disk'), this.#context)
    this.#spiller = new Spiller({
      context: this.#context,
      events,
      limits: {
        memoryLimit: options.memoryLimit,
        target: this.#target,
        ceiling: unlimited ? Infinity : Math.max(ceiling, Number.isFinite(this.#target) ? this.#target : 0),
        maxSpill: options.maxSpill,
      },
      memory: this.#memory,
      disk: this.#disk,
      slabs: this.#slabs,
      victims: this.#victims,
      drop: (record) => this.#remove(record),
    })
    this.#placer = new Placer(this.#context, this.#memory, this.#disk, this.#spiller)
    const parts = { memory: this.#memory, disk: this.#disk, placer: this.#placer, spiller: this.#spiller }
    this.#durable = new DurableSlots({ ...parts, slabs: this.#slabs, victims: this.#victims })
  }

  /** Adopts what the directories hold and returns it; to be called once, first. */
  async open(): Promise<readonly StoredValue[]> {
    invariant(this.#state === 'new', 'a store is opened once')
    const { fs } = this.#context
    const [inMemory, onDisk] = await Promise.all([
      readIdentity(fs, this.#memory, this.#bootId),
      readIdentity(fs, this.#disk, this.#bootId),
    ])
    const identity = sameIdentity(inMemory, onDisk) ? onDisk : null
    const records = await adoptAll([this.#memory, this.#disk], identity)
    await this.#memory.open()
    await this.#disk.open()
    const [memoryStat, diskStat] = await Promise.all([fs.stat(this.#memory.directory), fs.stat(this.#disk.directory)])
    this.#spiller.sameDevice = memoryStat.dev === diskStat.dev
    if (!this.#spiller.sameDevice) {
      // A file on disk has no pages worth keeping.
      this.#memory.spares.keepPartOf(this.#target)
      this.#disk.pageCache.bound(this.#pageCache)
    }
    await this.#placer.refresh()
    this.#identity = identity
    this.#state = 'open'
    for (const record of records) this.#insert(record)
    return records.map((record) => record.snapshot())
  }

  /** What the held values belong to; null before `setIdentity` in empty directories. */
  get identity(): StoreIdentity | null {
    return this.#identity
  }

  /** Binds the store to a cluster and generation; values of another one are wiped first. */
  async setIdentity(clusterId: string, generation: number): Promise<void> {
    const identity = { clusterId, generation }
    if (sameIdentity(this.#identity, identity)) return
    if (this.#identity !== null) await this.wipe()
    await writeIdentity(this.#context.fs, this.#memory, this.#bootId, identity)
    await writeIdentity(this.#context.fs, this.#disk, this.#bootId, identity)
    this.#identity = identity
  }

  /**
   * Reserves room for one blob (S8): at once, or when there is some (the brake). `avoid`: the writer met ENOSPC there.
   * @throws STORE_FULL when nothing under way makes room; STORE_CLOSED when the store is closed or wiped meanwhile.
   */
  requestPlace(nbytes: number, options: { readonly avoid?: 'memory' | 'disk' } = {}): Promise<Place> {
    if (this.#state !== 'open') return Promise.reject(closedError())
    return this.#placer.request(nbytes, options.avoid ?? null)
  }

  /** Gives a place back and unlinks what was written to it. Does nothing once it was accepted. */
  cancelPlace(place: Place): void {
    this.#placer.cancel(place)
  }

  /** Writes a granted place in pieces, as they arrive from a peer. */
  openPlace(place: Place): Promise<PlaceWriter> {
    const spare = place.tier === 'memory' ? this.#memory.spares.take(place.nbytes) : null
    return PlaceWriter.open(this.#context, place, spare)
  }

  /**
   * Takes over a place that was written in full; of a fetched blob, by somebody who compared every frame with its checksum.
   * The same run accepted before is kept and this copy dropped.
   * @throws STORE_FULL when fewer bytes were written than announced, BLOB_CORRUPT when the file is not what was announced,
   *   TASK_CANCELLED when the key was freed meanwhile. The file is gone then.
   */
  async accept(place: Place, entry: BlobEntry): Promise<StoredValue> {
    const granted = this.#placer.take(place)
    if (granted === undefined) {
      await this.#placer.discard(place)
      throw closedError()
    }
    const tier = granted.tier === 'memory' ? this.#memory : this.#disk
    return this.#arriving(entry.key, async (arrival) => {
      let path: string
      let mtimeNs: string
      try {
        mtimeNs = await this.#checkPart(granted, entry)
        arrival.check()
        path = tier.nextBlobPath(entry.key, entry.fetched === true ? 'f' : '')
        await this.#context.fs.rename(granted.path, path)
      } catch (error) {
        await this.#placer.giveUp(granted)
        throw error
      }
      this.#placer.unreserve(granted)
      const record = new BlobRecord(entry, granted.nbytes, this.#context.clock.now())
      if (tier.kind === 'memory') this.#spiller.placedInMemory(granted.nbytes)
      else {
        this.#spiller.placedOnDisk(granted.nbytes)
        record.diverted = entry.fetched !== true && granted.nbytes <= this.#target
      }
      record.stored = tier.add(path, granted.nbytes, mtimeNs, entry.fetched === true)
      return this.#enter(record, arrival)
    })
  }

  /** Stores a small blob: in memory, or also in a segment file before this resolves (`durable`). */
  async putInline(
    entry: BlobEntry,
    blob: Uint8Array,
    options: { readonly durable?: boolean } = {},
  ): Promise<StoredValue> {
    if (options.durable !== true) return this.putInlineNow(entry, blob)
    if (this.#state !== 'open') throw closedError()
    const held = this.#supersededBy(entry, true)
    if (held !== undefined) return held.snapshot()
    return this.#arriving(entry.key, async (arrival) => {
      const slot = await this.#durable.append(blob)
      const record = new BlobRecord(entry, blob.byteLength, this.#context.clock.now())
      slot.record = record
      record.stored = slot
      const { memoryUsed } = this.#spiller.view()
      if (memoryUsed + blob.byteLength <= this.#target) record.inline = this.#slabs.put(blob)
      return this.#enter(record, arrival)
    })
  }

  /** Stores a small blob in memory, synchronously; `blob` is copied. */
  putInlineNow(entry: BlobEntry, blob: Uint8Array): StoredValue {
    if (this.#state !== 'open') throw closedError()
    const held = this.#supersededBy(entry, false)
    if (held !== undefined) return held.snapshot()
    const record = new BlobRecord(entry, blob.byteLength, this.#context.clock.now())
    record.inline = this.#slabs.put(blob)
    this.#insert(record)
    return record.snapshot()
  }

  /**
   * Takes over another worker's blob on this host by a second name for its file (S7); one in memory waits for room (S8).
   * @throws the system's error when it cannot be linked (EXDEV, EPERM, EMLINK, ENOENT, ...: fetch it as bytes instead);
   *   BLOB_CORRUPT when the file is not the blob that was announced; STORE_CLOSED, TASK_CANCELLED.
   */
  async link(path: string, nbytes: number, entry: BlobEntry, kept: 'memory' | 'disk' = 'memory'): Promise<StoredValue> {
    if (this.#state !== 'open') throw closedError()
    return this.#arriving(entry.key, async (arrival) => {
      const place = kept === 'memory' ? await this.#placer.requestLink(nbytes) : null
      try {
        arrival.check()
        return await this.#linked(path, nbytes, entry, arrival)
      } finally {
        if (place !== null && this.#placer.take(place) !== undefined) this.#placer.unreserve(place)
      }
    })
  }

  async #linked(path: string, nbytes: number, entry: BlobEntry, arrival: Arrival): Promise<StoredValue> {
    const { tier, own } = await this.#linkIntoTier(path, entry.key)
    let mtimeNs: string
    try {
      const { fs } = this.#context
      const isRam = tier === this.#memory && !this.#spiller.sameDevice
      const { stat, bytes } = isRam ? await fs.peek(own, HEADER_GUESS_BYTES) : { stat: await fs.stat(own) }
      if (stat.size !== nbytes) throw corruptError(entry, `its file has ${stat.size} bytes instead of ${nbytes}`)
      await this.#checkHeader(own, nbytes, entry, bytes)
      mtimeNs = stat.mtimeNs
    } catch (error) {
      await tier.unlinkQuietly(own)
      throw error
    }
    const record = new BlobRecord({ ...entry, fetched: true }, nbytes, this.#context.clock.now())
    record.borrowed = true
    // Changed since its owner had it whole, which its change time would hide from now on.
    record.verify = entry.mtimeNs !== mtimeNs
    record.stored = tier.add(own, nbytes, mtimeNs)
    return this.#enter(record, arrival)
  }

  get(key: TaskKey): StoredValue | undefined {
    return this.#index.get(key)?.snapshot()
  }

  has(key: TaskKey): boolean {
    return this.#index.has(key)
  }

  /** All values, in no particular order of use, which this does not disturb. */
  *values(): IterableIterator<StoredValue> {
    for (const record of this.#index.values()) yield record.snapshot()
  }

  /** A reader's hold (S2); `peer`: somebody outside of this worker (spare-files.ts W1). Undefined when the key is not here. Counts as a use. */
  pin(key: TaskKey, reader: 'own' | 'peer' = 'own'): Pin | undefined {
    const record = this.#index.get(key)
    if (record === undefined) return undefined
    const holding = record.inline ?? record.stored
    invariant(holding !== null, 'a record in the index has its bytes somewhere')
    if (reader === 'peer' && holding instanceof BlobFile) holding.ownPages = false
    const pin = new StorePin(++this.#pinCounter, record, holding, this)
    record.used = true
    this.#victims.place(record)
    return pin
  }

  /** Called by pins. */
  released(record: BlobRecord): void {
    this.#victims.place(record)
    this.#changed()
  }

  /** A use without reading: the key becomes the most recent. */
  touch(key: TaskKey): void {
    const record = this.#index.get(key)
    if (record !== undefined) this.#victims.place(record)
  }

  /** From now on these replicas are kept like values of this worker's own: spilled, not dropped (S10). Returns those that are there. */
  keepReplicas(keys: readonly TaskKey[]): { readonly key: TaskKey; readonly runId: RunId }[] {
    const kept: { readonly key: TaskKey; readonly runId: RunId }[] = []
    for (const key of keys) {
      const record = this.#index.get(key)
      if (record === undefined) continue
      record.kept = true
      record.fetched = false
      this.#victims.place(record)
      kept.push({ key, runId: record.runId })
    }
    return kept
  }

  /** Writes those of these that are only in the process to files, as far as there is room. Never rejects. */
  async persist(keys: readonly TaskKey[]): Promise<void> {
    const records = keys.map((key) => this.#index.get(key)).filter((record) => record !== undefined)
    const persisting = Promise.all(records.map((record) => this.#durable.persist(record)))
    this.#work.track(persisting)
    const durable = (await persisting).flatMap((done, at) => (done ? [(records[at] as BlobRecord).snapshot()] : []))
    if (durable.length > 0) this.#events.onDurable(durable)
  }

  /** Forgets these keys at once; bytes come back when the last pin and mapping are gone. */
  free(keys: readonly TaskKey[]): void {
    for (const key of keys) {
      this.#arrivals.free(key)
      const record = this.#index.get(key)
      if (record !== undefined) this.#remove(record)
    }
    this.#changed()
  }

  /** Checks a value as a whole; a bad one is dropped and told by `onLost`. False when it is not (or no longer) here. */
  async check(key: TaskKey): Promise<boolean> {
    const record = this.#index.get(key)
    if (record === undefined) return false
    const checking = checkRecord(this.#context, record)
    this.#context.track(checking)
    const fault = await checking
    if (fault !== null && !record.dropped) {
      const value = record.snapshot()
      this.#remove(record)
      this.#events.onLost(value, fault)
    }
    this.released(record)
    return this.#index.has(key) && fault === null
  }

  /** Drops replicas, then spills, until managed memory is at most `belowBytes` or nothing more can leave. */
  async makeRoom(belowBytes: number): Promise<void> {
    if (this.#state === 'open') await this.#spiller.makeRoom(belowBytes)
  }

  /** Process memory leaves room for this many bytes of values below `spill`: what comes on top is placed on disk. */
  allow(bytes: number, atMost?: number): void {
    this.#spiller.allow(bytes, atMost)
  }

  /** This many bytes of results are going to come: room for them is made ahead, below `target`. */
  expect(bytes: number): void {
    this.#spiller.expect(bytes)
    this.#changed()
  }

  get totals(): StoreTotals {
    const inline = this.#slabs.bytes
    const { spilling } = this.#spiller
    return {
      managed: inline + this.#memory.bytes,
      inline,
      memory: this.#memory.bytes,
      disk: this.#disk.bytes,
      reserved: this.#memory.reserved,
      reservedDisk: Math.max(0, this.#disk.reserved - spilling),
      deadMapped: this.#memory.deadMapped,
      spare: this.#memory.spares.readyBytes,
      deadMappedDisk: this.#disk.deadMapped,
      memoryTierFileBytes: this.#memory.pageBytes,
      spilledTotal: this.#spiller.spilledTotal,
      spilling,
    }
  }

  /** Keys by the tier that they are read from; walks them all. */
  keyCounts(): Record<Tier, number> {
    const counts = { inline: 0, memory: 0, disk: 0 }
    for (const record of this.#index.values()) counts[record.tier]++
    return counts
  }

  /** Compares the totals with the directories (S6); for tests, at a quiet moment. */
  recount(): Promise<{ differences: string[] }> {
    return recount({
      fs: this.#context.fs,
      tiers: [this.#memory, this.#disk],
      slabs: this.#slabs,
      victims: this.#victims,
      records: [...this.#index.values()],
      places: [...this.#placer.granted],
    })
  }

  /** Resolves when no file work is under way and no pass is due. Timers are not waited for. */
  async settled(): Promise<void> {
    do {
      await this.#work.none()
      await new Promise<void>((resolve) => this.#context.defer(resolve))
    } while (this.#work.running > 0 || this.#passDue)
  }

  /** Drops everything, voids all places and refuses all who wait. Pinned files go when their readers are done. */
  async wipe(): Promise<void> {
    this.#arrivals.freeAll()
    this.#placer.reset(closedError)
    for (const record of this.#index.values()) this.#remove(record)
    await this.#work.none()
    this.#memory.spares.dropAll()
    await this.#work.none()
  }

  /** `keep`: the files stay, for the next process to adopt; else they are deleted, pinned or not. */
  async close(options: { readonly keep: boolean }): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#arrivals.freeAll()
    this.#placer.reset(closedError)
    this.#spiller.end()
    this.#memory.spares.keepPartOf(0)
    this.#disk.pageCache.bound(Infinity)
    await this.#work.none()
    for (const tier of [this.#memory, this.#disk]) {
      await tier.segments.close()
      await this.#context.fs.removeTree(tier.tmpDirectory)
      if (options.keep) continue
      await this.#context.fs.removeTree(join(tier.directory, 'tmp'))
      await this.#context.fs.removeTree(tier.blobDirectory)
      await removeIdentity(tier)
    }
    await this.#work.none()
  }

  #changed(): void {
    if (this.#passDue || this.#state !== 'open') return
    if (this.#placer.waiting === 0 && !this.#spiller.isNeeded) return
    this.#passDue = true
    this.#context.defer(() => this.#pass())
  }

  #pass(): void {
    this.#passDue = false
    if (this.#state !== 'open') return
    // Old numbers are asked for again once per pass, however fast they age.
    if (this.#placer.stale) this.#context.track(this.#placer.refresh().then(() => this.#serveAndSpill()))
    else this.#serveAndSpill()
  }

  #serveAndSpill(): void {
    if (this.#state !== 'open') return
    this.#spiller.hope()
    this.#placer.serve()
    const atRest = this.#spiller.pass(this.#placer.wanted())
    // Nobody is left waiting for room that nothing is going to make.
    if (atRest) this.#placer.serve()
    this.#spiller.hope()
  }

  /** Runs the steps of a value's arrival; the store is not at rest before they end. */
  async #arriving(key: TaskKey, steps: (arrival: Arrival) => Promise<StoredValue>): Promise<StoredValue> {
    const arrival = this.#arrivals.begin(key)
    const arriving = steps(arrival).finally(() => this.#arrivals.end(arrival))
    this.#context.track(arriving.catch(() => {}))
    return arriving
  }

  /** The last step of an arrival: the record is visible from here on, or given up. */
  #enter(record: BlobRecord, arrival: Arrival): StoredValue {
    const held = arrival.freed ? undefined : this.#supersededBy(record, true)
    if (arrival.freed || held !== undefined) {
      record.dropped = true
      record.inline?.retire()
      record.stored?.retire()
    }
    arrival.check()
    if (held !== undefined) return held.snapshot()
    this.#insert(record)
    return record.snapshot()
  }

  /** The record that makes an arriving one superfluous: of a newer run, or of the same one and as durable (T1). */
  #supersededBy(entry: BlobEntry, durable: boolean): BlobRecord | undefined {
    const held = this.#index.get(entry.key)
    if (held === undefined || held.runId < entry.runId) return undefined
    if (held.runId > entry.runId || held.durable || !durable) return held
    return undefined
  }

  #insert(record: BlobRecord): void {
    const older = this.#index.get(record.key)
    if (older !== undefined) this.#remove(older)
    this.#index.set(record.key, record)
    this.#victims.place(record)
    this.#changed()
  }

  #remove(record: BlobRecord): void {
    if (record.dropped) return
    record.dropped = true
    if (record.diverted) this.#spiller.divertedEnds(record)
    this.#index.delete(record.key)
    this.#victims.place(record)
    record.inline?.retire()
    record.stored?.retire()
  }

  async #checkPart(place: Place, entry: BlobEntry): Promise<string> {
    const { fs } = this.#context
    try {
      const stat = await fs.stat(place.path)
      if (stat.size < place.nbytes) {
        const text = `Only ${stat.size} of ${place.nbytes} bytes of ${entry.key} could be written to ${place.path}.`
        throw new PlimsollError('STORE_FULL', text, { key: entry.key, written: stat.size, nbytes: place.nbytes })
      }
      if (stat.size > place.nbytes) {
        throw corruptError(entry, `its file has ${stat.size} bytes instead of ${place.nbytes}`)
      }
      if (entry.fetched === true) await this.#checkHeader(place.path, place.nbytes, entry)
      if (stat.mode !== 0o400) await fs.chmod(place.path, 0o400)
      return stat.mtimeNs
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      throw corruptError(entry, `its file cannot be read (${systemCode(error)})`, error)
    }
  }

  async #checkHeader(path: string, nbytes: number, entry: BlobEntry, known?: Uint8Array): Promise<void> {
    const header = await readBlobHeader(this.#context.fs, path, 0, known)
    if (header.meta.key === entry.key && header.meta.runId === entry.runId && header.totalBytes === nbytes) return
    throw corruptError(
      entry,
      `the file holds run ${header.meta.runId} of ${header.meta.key} in ${header.totalBytes} bytes`,
    )
  }

  /** The memory tier first; a blob that its owner keeps on disk can only be linked there. */
  async #linkIntoTier(path: string, key: TaskKey): Promise<{ tier: FileTier; own: string }> {
    const inMemory = this.#memory.nextBlobPath(key, 'b')
    try {
      await this.#context.fs.link(path, inMemory)
      return { tier: this.#memory, own: inMemory }
    } catch (error) {
      if (systemCode(error) !== 'EXDEV' || this.#spiller.sameDevice) throw error
    }
    const onDisk = this.#disk.nextBlobPath(key, 'b')
    await this.#context.fs.link(path, onDisk)
    return { tier: this.#disk, own: onDisk }
  }
}

function corruptError(entry: BlobEntry, what: string, cause?: unknown): PlimsollError {
  const options = cause === undefined ? undefined : { cause }
  return new PlimsollError(
    'BLOB_CORRUPT',
    `The value of ${entry.key} is not what was announced: ${what}.`,
    { key: entry.key },
    options,
  )
}

function closedError(): PlimsollError {
  return new PlimsollError(
    'STORE_CLOSED',
    'The store of this worker was closed or emptied; run the task again elsewhere.',
  )
}
