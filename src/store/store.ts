// The store of one worker: what it offers, to whom, and what holds whatever happens. tiered-store.ts is the
// implementation; container-store.ts keeps values in a container of the user's, where S1-S5, S7 and S10 mean nothing. The store moves and counts blobs (values/blob.ts); it never decodes a value, and it decides nothing
// about tasks: the worker tells it what to keep and hears what was dropped.
//
// A key's blob is `inline` (bytes in the worker's slabs), in the `memory` tier (a file in a RAM file system) or on `disk`.
// Small blobs that must be in a file share segment files (segments.ts).
//
// S1. A key is readable from the moment its blob is renamed into place until its last reader is done, also while it moves.
// S2. A pinned key is neither moved nor dropped, and a mapped one is never chosen to make room. A pin is taken before the
//     path is sent to a reader, not when the reader opens it.
// S3. File work is asynchronous; at most 3 writes and 8 reads run at a time (1 and 2 with the default thread pool of 4).
//     Dropping a file from the kernel's cache (page-cache.ts) counts as a read.
// S4. No space on disk: blobs stay in memory and `onSpillFailing` says so. No space at all: the request alone fails with
//     STORE_FULL and nothing stored is touched.
// S5. `maxSpill` caps the disk tier, dead space of segments included.
// S6. `totals` equal a recount of the directories at any quiet moment; `recount()` compares.
// S7. A blob linked from another worker of the host is borrowed: both count it in full, so the sum over workers is never
//     too low. The borrower never spills it but drops it first, unless its owner's name for the file is gone by then
//     (link count 1): then the borrower owns it.
// S8. Room is reserved before a blob is written: `requestPlace` answers memory, disk, or waits. Writers write only the
//     `.part` file they were given; only the store renames, in `accept`.
// S9. A blob that fails a check is lost: dropped, told by `onLost`, never returned.
// S10. Replicas fetched from peers are dropped before anything is spilled.

import type { Clock } from '../base/clock.ts'
import type { RunId, TaskKey } from '../base/ids.ts'
import type { InputSource, ResultPlace } from '../protocol/worker-executor.ts'
import type { PlaceWriter } from './place-writer.ts'
import type { StoreFs } from './store-fs.ts'

export type Tier = 'inline' | 'memory' | 'disk'

/** What the store holds under a key, as of the moment it was asked. */
export interface StoredValue {
  readonly key: TaskKey
  readonly runId: RunId
  /** Bytes of the whole blob, header included. */
  readonly nbytes: number
  /** Type name of the value, for people. */
  readonly type: string
  readonly tier: Tier
  /** In a file: survives the worker's process. */
  readonly durable: boolean
  /** A copy of what another worker holds as well; the first to go when room is needed (S10). */
  readonly fetched: boolean
  /** Shares its file with another worker of this host (S7). */
  readonly borrowed: boolean
}

/** What the writer of a value knows of it. */
export interface BlobEntry {
  readonly key: TaskKey
  readonly runId: RunId
  readonly type: string
  readonly fetched?: boolean
  /** Of a file that is linked: its change time when it was known to be whole. Its readers check any other. */
  readonly mtimeNs?: string
}

/** Reserved room for one blob (S8): write exactly `nbytes` into a new file at `path`, then `accept` it, or `cancelPlace`. */
export type Place = ResultPlace

/** Where a reader finds a blob's bytes. */
export type BlobSource = InputSource

/** A reader's hold on one key (S2). Ends with `release`, or, when the reader keeps a mapping, with `unmapped` after it. */
export interface Pin {
  readonly id: number
  readonly key: TaskKey
  readonly runId: RunId
  readonly source: BlobSource
  /** `stillMapped`: the reader is done but its mapping lives until its garbage collector ran. Repeated calls do nothing. */
  release(stillMapped?: boolean): void
  /** After `release(true)`: the mapping is gone. */
  unmapped(): void
}

export interface StoreOptions {
  /** The worker's own directory on disk. */
  readonly localDirectory: string
  /** The worker's own directory in a RAM file system; null keeps the memory tier as files in the local directory. */
  readonly memoryDirectory: string | null
  /** Grows with each start of the worker's process. */
  readonly incarnation: number
  /** Bytes; 0 = no limit, and then no target either. */
  readonly memoryLimit: number
  /** Managed bytes above which the store spills; Infinity = never. */
  readonly target: number
  /** Cap of the disk tier in bytes; Infinity = none. */
  readonly maxSpill: number
  /** Most bytes of the disk tier that the kernel's cache is to keep (page-cache.ts); absent or Infinity: as it likes. */
  readonly pageCache?: number
  /** Larger blobs do not belong inline. */
  readonly inlineLimit: number
  /** Threads of the process's file pool (UV_THREADPOOL_SIZE, 4 when unset). */
  readonly threadPool: number
  /** Managed bytes that may pile up above `target` while the disk cannot take them; default 0.9 of the limit. */
  readonly ceiling?: number
  /** Names the boot of this machine; read from the system when absent, null where that cannot be told. */
  readonly bootId?: string | null
  readonly fs?: StoreFs
  readonly clock?: Clock
  /** Calls back when this turn of the event loop is over; `setImmediate` when absent. */
  readonly defer?: (callback: () => void) => void
}

/** What the store tells its worker. Called from the event loop, never from inside a call into the store. */
export interface StoreEvents {
  /** Values that were only in the process are in a file now. */
  onDurable(values: readonly StoredValue[]): void
  /** Fetched or borrowed replicas were dropped for room. */
  onEvicted(values: readonly StoredValue[]): void
  /** A value failed a check and was dropped (S9). */
  onLost(value: StoredValue, reason: string): void
  /** Values that should leave memory cannot, and why; null when they can again. */
  onSpillFailing(reason: string | null): void
  /** Room is needed and this many bytes are held by nothing but dead mappings: collect. At most once a second. */
  onDeadMappings(bytes: number): void
}

export interface StoreTotals {
  /** inline + memory. */
  readonly managed: number
  /** Blob bytes in the worker's slabs. */
  readonly inline: number
  /** File bytes of the memory tier: blobs, segments with their dead space, dead mappings, and spare files. */
  readonly memory: number
  /** File bytes of the disk tier, dead space of segments included. */
  readonly disk: number
  /** Granted places of the memory tier that were not accepted yet. */
  readonly reserved: number
  /** The same of the disk tier. */
  readonly reservedDisk: number
  /** Part of `memory` that is unlinked and held only by mappings of readers that are done. */
  readonly deadMapped: number
  /** Part of `memory` that is kept to be written to again (spare-files.ts). */
  readonly spare: number
  /** What `deadMapped` is, of `disk`. */
  readonly deadMappedDisk: number
  /** What the memory tier takes from RAM: files rounded up to pages, `.part` files and dead mappings included. */
  readonly memoryTierFileBytes: number
  /** Bytes ever spilled to or placed on disk by this process. */
  readonly spilledTotal: number
  /** Bytes on their way to disk right now. */
  readonly spilling: number
}

/** What a worker needs of its store. */
export interface Store {
  /** Adopts what the directories hold and returns it; to be called once, first. */
  open(): Promise<readonly StoredValue[]>
  /** What the held values belong to; null before `setIdentity` in empty directories. */
  readonly identity: StoreIdentity | null
  /** Binds the store to a cluster and generation; values of another one are wiped first. */
  setIdentity(clusterId: string, generation: number): Promise<void>
  /** Process memory above `spill` can be brought down by `makeRoom`. */
  readonly canSpill: boolean
  requestPlace(nbytes: number, options?: { readonly avoid?: 'memory' | 'disk' }): Promise<Place>
  cancelPlace(place: Place): void
  openPlace(place: Place): Promise<PlaceWriter>
  accept(place: Place, entry: BlobEntry): Promise<StoredValue>
  putInline(entry: BlobEntry, blob: Uint8Array, options?: { readonly durable?: boolean }): Promise<StoredValue>
  putInlineNow(entry: BlobEntry, blob: Uint8Array): StoredValue
  link(path: string, nbytes: number, entry: BlobEntry, kept?: 'memory' | 'disk'): Promise<StoredValue>
  get(key: TaskKey): StoredValue | undefined
  has(key: TaskKey): boolean
  values(): IterableIterator<StoredValue>
  /** `peer`: the reader, or what it reads, is outside of this worker. */
  pin(key: TaskKey, reader?: 'own' | 'peer'): Pin | undefined
  keepReplicas(keys: readonly TaskKey[]): readonly { readonly key: TaskKey; readonly runId: RunId }[]
  /** Writes those of these that are only in the process to files, as far as there is room. Never rejects. */
  persist(keys: readonly TaskKey[]): Promise<void>
  free(keys: readonly TaskKey[]): void
  check(key: TaskKey): Promise<boolean>
  makeRoom(belowBytes: number): Promise<void>
  /**
   * Bytes of values that process memory leaves room for below `spill`: new ones that do not fit go to disk at once. And
   * below the limit itself: more are not taken into memory where there is no disk for them, either.
   */
  allow(bytes: number, atMost?: number): void
  /** This many bytes of results are going to come: room for them is made ahead. */
  expect(bytes: number): void
  readonly totals: StoreTotals
  keyCounts(): Record<Tier, number>
  wipe(): Promise<void>
  close(options: { readonly keep: boolean }): Promise<void>
}

/** Which client generation of which scheduler the held values belong to. */
export interface StoreIdentity {
  readonly clusterId: string
  readonly generation: number
}
