// A store over the simulated file system, with events recorded and blobs made to size; shared by the tests of this folder.

import { VirtualClock } from '../base/clock.ts'
import { runId, taskKey } from '../base/ids.ts'
import { blobToBytes, encodedBlobBytes } from '../values/blob.ts'
import type { EncodedValue } from '../values/encoded-value.ts'
import { SimFs } from './sim-fs.ts'
import type { BlobEntry, Place, StoredValue, StoreEvents, StoreOptions } from './store.ts'
import { TieredStore } from './tiered-store.ts'

export const KiB = 1024
export const MiB = 1024 * KiB
export const CLUSTER = 'cluster-1'

/** A whole, valid blob of exactly `nbytes` (at least 200). */
export function blobOf(key: string, run: number, nbytes: number, generation = 1, clusterId = CLUSTER): Uint8Array {
  const meta = { clusterId, generation, key, runId: run }
  const valueOf = (body: Uint8Array): EncodedValue => ({
    family: 'js1',
    type: 'Test',
    frames: [body],
    nbytes: body.byteLength,
  })
  let size = nbytes
  for (let round = 0; round < 4; round++) {
    const total = encodedBlobBytes(meta, valueOf(new Uint8Array(size)))
    if (total === nbytes) return blobToBytes(meta, valueOf(new Uint8Array(size).fill(key.length + run)))
    size = Math.max(0, size + nbytes - total)
  }
  throw new Error(`no blob of ${nbytes} bytes`)
}

export function entryOf(key: string, run = 1, fetched = false): BlobEntry {
  return { key: taskKey(key), runId: runId(run), type: 'Test', fetched }
}

export interface Recorded {
  durable: StoredValue[]
  evicted: StoredValue[]
  lost: { value: StoredValue; reason: string }[]
  spillFailing: (string | null)[]
  deadMappings: number[]
}

export function recorder(): { recorded: Recorded; events: StoreEvents } {
  const recorded: Recorded = { durable: [], evicted: [], lost: [], spillFailing: [], deadMappings: [] }
  const events: StoreEvents = {
    onDurable: (values) => void recorded.durable.push(...values),
    onEvicted: (values) => void recorded.evicted.push(...values),
    onLost: (value, reason) => void recorded.lost.push({ value, reason }),
    onSpillFailing: (reason) => void recorded.spillFailing.push(reason),
    onDeadMappings: (bytes) => void recorded.deadMappings.push(bytes),
  }
  return { recorded, events }
}

export interface Fixture {
  readonly fs: SimFs
  readonly clock: VirtualClock
  readonly store: TieredStore
  readonly recorded: Recorded
  readonly adopted: readonly StoredValue[]
}

export const baseOptions = {
  localDirectory: '/disk/w',
  memoryDirectory: '/shm/w',
  incarnation: 1,
  memoryLimit: 100 * MiB,
  target: 60 * MiB,
  maxSpill: Infinity,
  inlineLimit: 64 * KiB,
  threadPool: 16,
  bootId: 'boot-1',
} satisfies StoreOptions

export async function openStore(
  options: Partial<StoreOptions> = {},
  fs: SimFs = new SimFs({ '/shm': 1024 * MiB, '/disk': 4096 * MiB }),
): Promise<Fixture> {
  const clock = new VirtualClock()
  const { recorded, events } = recorder()
  const store = new TieredStore({ ...baseOptions, fs, clock, ...options }, events)
  const adopted = await store.open()
  if (store.identity === null) await store.setIdentity(CLUSTER, 1)
  return { fs, clock, store, recorded, adopted }
}

/** What an executor does with a place. */
export function fill(fs: SimFs, place: Place, key: string, run = 1): void {
  fs.write(place.path, blobOf(key, run, place.nbytes))
}

/** A value by way of a place, in whatever tier. */
export async function store1(
  { store, fs }: Fixture,
  key: string,
  nbytes: number,
  run = 1,
  fetched = false,
): Promise<StoredValue> {
  const place = await store.requestPlace(nbytes)
  fill(fs, place, key, run)
  return store.accept(place, entryOf(key, run, fetched))
}

/** A fetched value, as a transfer stores it: through the store's own writer, in pieces. */
export async function fetchValue(
  { store }: Pick<Fixture, 'store'>,
  name: string,
  nbytes: number,
): Promise<StoredValue> {
  const place = await store.requestPlace(nbytes)
  const writer = await store.openPlace(place)
  const blob = blobOf(name, 1, nbytes)
  for (let at = 0; at < nbytes; at += MiB) await writer.write(blob.subarray(at, at + MiB))
  await writer.close()
  return store.accept(place, entryOf(name, 1, true))
}
