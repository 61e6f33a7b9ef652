// A store whose values are in a container of the user's (container.ts) instead of the two tiers. Large values pass through
// files: executors and peers write them there, and they are read into the container as soon as they are complete; readers get
// them as files again (scratch-reads.ts).
//
// K1. A key's bytes are what the container gives: they are never cached here beyond the end of a `set` that takes time. What
//     it does not give, or gives in another size, is a lost replica (S9).
// K2. One `set` or `delete` of a key at a time, in order, also when the container takes its time.
// K3. At most ROOM_PART of the limit is in files at a time, or a single one; who asks for more waits (the brake).
// K4. Nothing is spilled and nothing survives the process: `durable` is never true. With `fast` and `evict()` the container
//     is asked to move values out of memory; where they go is its own business.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { TaskKey } from '../base/ids.ts'
import { isThenable } from '../base/thenable.ts'
import { formatBytes } from '../base/units.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { parseBlobHeader, verifyFrames } from '../values/blob.ts'
import { Arrivals, type Arrival } from './arrivals.ts'
import { canEvict, type DataContainer, hasEvictable } from './container.ts'
import { asStoreError, filePermits } from './file-ops.ts'
import { PlaceWriter } from './place-writer.ts'
import { ScratchPlaces } from './scratch-places.ts'
import { ScratchReads } from './scratch-reads.ts'
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

/** Larger values do not pass through the memory of the worker. */
const BLOB_BYTES_MAX = 2 ** 30

export interface ContainerStoreOptions extends Pick<
  StoreOptions,
  'localDirectory' | 'memoryDirectory' | 'incarnation' | 'memoryLimit' | 'target' | 'inlineLimit' | 'threadPool'
> {
  /** Makes the container; it is given an empty directory of its own. */
  open(directory: string): Promise<DataContainer>
  /** The container threw where nobody waits. */
  onContainerError(error: Error, what: string): void
}

interface Entry {
  readonly value: StoredValue
  /** The bytes while the container takes its time to store them. */
  pending: Uint8Array | null
}

export class ContainerStore implements Store {
  readonly #options: ContainerStoreOptions
  readonly #events: StoreEvents
  readonly #permits
  readonly #places: ScratchPlaces
  readonly #reads: ScratchReads
  readonly #arrivals = new Arrivals()
  readonly #index = new Map<TaskKey, Entry>()
  /** K2: the last thing asked of the container, by key. */
  readonly #writing = new Map<TaskKey, Promise<void>>()
  #container: DataContainer | null = null
  #identity: StoreIdentity | null = null
  #bytes = 0
  #pins = 0
  #evicting: Promise<void> | null = null
  #closed = false

  constructor(options: ContainerStoreOptions, events: StoreEvents) {
    this.#options = options
    this.#events = events
    this.#permits = filePermits(options.threadPool)
    this.#places = new ScratchPlaces(options)
    this.#reads = new ScratchReads(this.#places.directories)
  }

  async open(): Promise<readonly StoredValue[]> {
    const { localDirectory, memoryDirectory } = this.#options
    // What an earlier process kept in tiers, or its container in the directory, has no meaning for this one.
    for (const name of ['memory', 'disk', 'data']) await nodeStoreFs.removeTree(join(localDirectory, name))
    if (memoryDirectory !== null) await nodeStoreFs.removeTree(join(memoryDirectory, 'blobs'))
    const directory = join(localDirectory, 'data')
    await nodeStoreFs.makeDirectory(directory)
    await this.#places.open()
    this.#container = await this.#options.open(directory)
    return []
  }

  get identity(): StoreIdentity | null {
    return this.#identity
  }

  async setIdentity(clusterId: string, generation: number): Promise<void> {
    const held = this.#identity
    if (held !== null && (held.clusterId !== clusterId || held.generation !== generation)) await this.wipe()
    this.#identity = { clusterId, generation }
  }

  /** `spill` means something to it. */
  get canSpill(): boolean {
    return canEvict(this.#open())
  }

  requestPlace(nbytes: number, options: { readonly avoid?: 'memory' | 'disk' } = {}): Promise<Place> {
    if (nbytes <= BLOB_BYTES_MAX) return this.#places.request(nbytes, options.avoid ?? null)
    const message = `A value of ${formatBytes(nbytes)} is too large for a container of the program's own (option \`data\`), which takes values up to ${formatBytes(BLOB_BYTES_MAX)}. Make smaller partitions.`
    return Promise.reject(new PlimsollError('STORE_FULL', message, { nbytes }))
  }

  cancelPlace(place: Place): void {
    void this.#places.end(place)
  }

  openPlace(place: Place): Promise<PlaceWriter> {
    return PlaceWriter.open({ fs: nodeStoreFs, permits: this.#permits }, place)
  }

  async accept(place: Place, entry: BlobEntry): Promise<StoredValue> {
    return this.#arriving(entry, async (arrival) => {
      try {
        const bytes = await this.#permits.reads.use(() => nodeStoreFs.read(place.path, 0, place.nbytes))
        if (bytes.byteLength < place.nbytes) throw tooShort(entry, bytes.byteLength, place)
        return await this.#keep(entry, bytes, arrival)
      } finally {
        await this.#places.end(place)
      }
    })
  }

  putInline(entry: BlobEntry, blob: Uint8Array): Promise<StoredValue> {
    return this.#arriving(entry, (arrival) => this.#keep(entry, Uint8Array.from(blob), arrival))
  }

  putInlineNow(entry: BlobEntry, blob: Uint8Array): StoredValue {
    const held = this.#supersededBy(entry)
    if (held !== undefined) return held
    const bytes = Uint8Array.from(blob)
    const writing = this.#write(entry.key, (container) => container.set(entry.key, bytes))
    const kept = this.#insert(entry, bytes, writing === undefined ? null : bytes)
    writing?.then(
      () => (kept.pending = null),
      (error: unknown) => this.#lose(kept, `the container did not take it: ${toError(error).message}`),
    )
    return kept.value
  }

  /** A container cannot share a file with another worker: its bytes are copied. */
  async link(path: string, nbytes: number, entry: BlobEntry): Promise<StoredValue> {
    return this.#arriving(entry, async (arrival) => {
      const bytes = await this.#permits.reads.use(() => nodeStoreFs.read(path, 0, nbytes))
      const fault = faultOf(bytes, entry)
      if (fault !== null) throw corrupt(entry, fault)
      return this.#keep({ ...entry, fetched: true }, bytes, arrival)
    })
  }

  get(key: TaskKey): StoredValue | undefined {
    return this.#index.get(key)?.value
  }

  has(key: TaskKey): boolean {
    return this.#index.has(key)
  }

  *values(): IterableIterator<StoredValue> {
    for (const { value } of this.#index.values()) yield value
  }

  pin(key: TaskKey): Pin | undefined {
    const entry = this.#index.get(key)
    if (entry === undefined) return undefined
    const { runId, nbytes } = entry.value
    const id = ++this.#pins
    if (nbytes > this.#options.inlineLimit) {
      const pin = this.#reads.pin(id, key, runId, () => this.#read(entry))
      if (pin !== null) return pin
    }
    const bytes = this.#read(entry)
    if (bytes === null) return undefined
    return { id, key, runId, source: { via: 'inline', bytes }, release: () => {}, unmapped: () => {} }
  }

  /** Nothing is dropped for room here: all that are there are kept. */
  keepReplicas(keys: readonly TaskKey[]): StoredValue[] {
    return keys.map((key) => this.get(key)).filter((value) => value !== undefined)
  }

  /** K4. */
  persist(): Promise<void> {
    return Promise.resolve()
  }

  free(keys: readonly TaskKey[]): void {
    for (const key of keys) {
      this.#arrivals.free(key)
      const entry = this.#index.get(key)
      if (entry !== undefined) this.#remove(entry)
    }
  }

  async check(key: TaskKey): Promise<boolean> {
    const entry = this.#index.get(key)
    const bytes = entry === undefined ? null : this.#read(entry)
    if (entry === undefined || bytes === null) return false
    const fault = faultOf(bytes, entry.value)
    if (fault === null) return true
    this.#lose(entry, fault)
    return false
  }

  async makeRoom(belowBytes: number): Promise<void> {
    if (!this.canSpill) return
    this.#evicting ??= this.#evictBelow(belowBytes).finally(() => (this.#evicting = null))
    await this.#evicting
  }

  /** Where values go, and whether there is room, is for the container to know. */
  allow(): void {}
  expect(): void {}

  get totals(): StoreTotals {
    const spilled = this.#container?.spilledTotal ?? { memory: 0, disk: 0 }
    const managed = Math.max(0, this.#bytes - spilled.memory)
    return {
      managed,
      inline: managed,
      memory: 0,
      disk: spilled.disk,
      reserved: this.#places.reserved('memory'),
      reservedDisk: this.#places.reserved('disk'),
      deadMapped: 0,
      spare: 0,
      deadMappedDisk: 0,
      memoryTierFileBytes: this.#places.reserved('memory') + this.#reads.memoryBytes,
      spilledTotal: 0,
      spilling: 0,
    }
  }

  keyCounts(): Record<Tier, number> {
    return { inline: this.#index.size, memory: 0, disk: 0 }
  }

  async wipe(): Promise<void> {
    this.#arrivals.freeAll()
    this.#places.reset()
    for (const entry of this.#index.values()) this.#remove(entry)
    await Promise.all(this.#writing.values())
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#arrivals.freeAll()
    this.#places.reset()
    await Promise.all(this.#writing.values())
    try {
      await this.#container?.close?.()
    } catch (error) {
      this.#options.onContainerError(toError(error), 'closing it')
    }
    rmSync(join(this.#options.localDirectory, 'data'), { recursive: true, force: true })
    await this.#places.close()
  }

  #open(): DataContainer {
    if (this.#container === null || this.#closed)
      throw new PlimsollError('STORE_CLOSED', 'The store of this worker is closed; run the task again elsewhere.')
    return this.#container
  }

  async #arriving(entry: BlobEntry, steps: (arrival: Arrival) => Promise<StoredValue>): Promise<StoredValue> {
    const arrival = this.#arrivals.begin(entry.key)
    try {
      return await steps(arrival)
    } finally {
      this.#arrivals.end(arrival)
    }
  }

  /** Visible when the container has it. */
  async #keep(entry: BlobEntry, bytes: Uint8Array, arrival: Arrival): Promise<StoredValue> {
    arrival.check()
    const held = this.#supersededBy(entry)
    if (held !== undefined) return held
    const { key } = entry
    try {
      await this.#write(key, (container) => container.set(key, bytes))
    } catch (error) {
      throw asStoreError(error, `The container of this worker did not take ${key}`)
    }
    const newer = this.#supersededBy(entry)
    if (newer !== undefined || arrival.freed) {
      if (newer === undefined) this.#writeQuietly(key, (container) => container.delete(key))
      arrival.check()
      return newer as StoredValue
    }
    return this.#insert(entry, bytes, null).value
  }

  /** Of a newer run, or the same one. */
  #supersededBy({ key, runId }: BlobEntry): StoredValue | undefined {
    const held = this.#index.get(key)?.value
    return held !== undefined && held.runId >= runId ? held : undefined
  }

  #insert(entry: BlobEntry, bytes: Uint8Array, pending: Uint8Array | null): Entry {
    const older = this.#index.get(entry.key)
    if (older !== undefined) this.#bytes -= older.value.nbytes
    const { key, runId, type, fetched = false } = entry
    const nbytes = bytes.byteLength
    const kept: Entry = {
      value: { key, runId, nbytes, type, tier: 'inline', durable: false, fetched, borrowed: false },
      pending,
    }
    this.#index.set(key, kept)
    this.#bytes += nbytes
    const { target } = this.#options
    if (this.totals.managed > target) void this.makeRoom(target)
    return kept
  }

  #remove(entry: Entry): void {
    const { key, nbytes } = entry.value
    if (this.#index.get(key)?.value !== entry.value) return
    this.#index.delete(key)
    this.#bytes -= nbytes
    this.#writeQuietly(key, (container) => container.delete(key))
  }

  /** K1; a value that is not there is reported as lost. */
  #read(entry: Entry): Uint8Array | null {
    if (entry.pending !== null) return entry.pending
    const { key, nbytes } = entry.value
    try {
      const bytes: unknown = this.#open().get(key)
      if (bytes instanceof Uint8Array && bytes.byteLength === nbytes) return bytes
      this.#lose(entry, `the container gave ${shownFind(bytes)} for its ${nbytes} bytes`)
    } catch (error) {
      this.#lose(entry, `the container threw: ${toError(error).message}`)
    }
    return null
  }

  #lose(entry: Entry, reason: string): void {
    if (this.#index.get(entry.value.key)?.value !== entry.value) return
    this.#remove(entry)
    setImmediate(() => this.#events.onLost(entry.value, reason))
  }

  /** K2. Done at once (undefined) when the container is; otherwise with the promise. Throws what the container throws. */
  #write(key: TaskKey, operation: (container: DataContainer) => unknown): Promise<void> | undefined {
    const before = this.#writing.get(key)
    const result = before === undefined ? operation(this.#open()) : before.then(() => operation(this.#open()))
    if (!isThenable(result)) return undefined
    const writing = Promise.resolve(result).then(() => {})
    const settled = writing
      .catch(() => {})
      .then(() => {
        if (this.#writing.get(key) === settled) this.#writing.delete(key)
      })
    this.#writing.set(key, settled)
    return writing
  }

  #writeQuietly(key: TaskKey, operation: (container: DataContainer) => unknown): void {
    if (this.#closed) return
    const failed = (error: unknown): void => this.#options.onContainerError(toError(error), `deleting ${key}`)
    try {
      this.#write(key, operation)?.catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  async #evictBelow(belowBytes: number): Promise<void> {
    const container = this.#open()
    let missing = this.totals.managed - belowBytes
    while (missing > 0 && hasEvictable(container) && !this.#closed) {
      const freed = await this.#evictOne(container)
      if (freed < 0) return
      missing = Math.min(missing - freed, this.totals.managed - belowBytes)
    }
  }

  async #evictOne(container: DataContainer): Promise<number> {
    try {
      return (await container.evict?.()) ?? -1
    } catch (error) {
      this.#options.onContainerError(toError(error), 'evicting a value')
      return -1
    }
  }
}

function shownFind(found: unknown): string {
  if (found instanceof Uint8Array) return `${found.byteLength} bytes`
  return isThenable(found) ? 'a promise (`get` has to return the bytes at once)' : String(found)
}

/** What is wrong with these bytes, or null. */
function faultOf(bytes: Uint8Array, { key, runId }: { readonly key: string; readonly runId: number }): string | null {
  try {
    const header = parseBlobHeader(bytes)
    if (header.meta.key !== key || header.meta.runId !== runId) return 'its header names another value'
    if (header.totalBytes !== bytes.byteLength)
      return `it has ${bytes.byteLength} bytes instead of ${header.totalBytes}`
    verifyFrames(header, (offset, length) => bytes.subarray(offset, offset + length))
    return null
  } catch (error) {
    return toError(error).message
  }
}

function corrupt({ key }: BlobEntry, what: string): PlimsollError {
  return new PlimsollError('BLOB_CORRUPT', `The value of ${key} is not what was announced: ${what}.`, { key })
}

function tooShort({ key }: BlobEntry, written: number, { path, nbytes }: Place): PlimsollError {
  const text = `Only ${written} of ${nbytes} bytes of ${key} could be written to ${path}.`
  return new PlimsollError('STORE_FULL', text, { key, written, nbytes })
}
