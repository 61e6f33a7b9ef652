// S6: counts everything anew, from the directories and from the records, and says where the running totals differ.

import { basename, join } from 'node:path'
import { pageRounded } from './file-ops.ts'
import type { FileTier } from './file-tier.ts'
import type { CachedFile } from './page-cache.ts'
import type { BlobRecord } from './records.ts'
import type { Slabs } from './slabs.ts'
import type { StoreFs } from './store-fs.ts'
import type { Place } from './store.ts'
import type { Victims } from './victims.ts'

export interface RecountParts {
  readonly fs: StoreFs
  readonly tiers: readonly FileTier[]
  readonly slabs: Slabs
  readonly victims: Victims
  readonly records: readonly BlobRecord[]
  readonly places: readonly Place[]
}

/** To be called when no file work is under way. */
export async function recount(parts: RecountParts): Promise<{ differences: string[] }> {
  const differences: string[] = []
  const expect = (what: string, counted: number, found: number): void => {
    if (counted !== found) differences.push(`${what}: counted ${counted}, found ${found}`)
  }
  for (const tier of parts.tiers) await recountTier(tier, parts, expect, differences)
  recountRecords(parts, expect)
  return { differences }
}

type Expect = (what: string, counted: number, found: number) => void

async function recountTier(tier: FileTier, parts: RecountParts, expect: Expect, differences: string[]): Promise<void> {
  const sizes = new Map<string, number>()
  let linked = 0
  for (const name of await parts.fs.list(tier.blobDirectory)) {
    const { size } = await parts.fs.stat(join(tier.blobDirectory, name))
    sizes.set(name, size)
    linked += size
  }
  let unlinked = 0
  let pages = 0
  for (const file of tier.files) {
    pages += pageRounded(file.nbytes)
    if (file.unlinked) unlinked += file.nbytes
    else if (sizes.get(basename(file.path)) !== file.nbytes) differences.push(`${file.path} is not as recorded`)
    sizes.delete(basename(file.path))
  }
  let dead = 0
  let spare = 0
  for (const segment of tier.segments.segments) {
    const live = [...segment.slots].reduce((sum, slot) => sum + Math.ceil(slot.nbytes / 64) * 64, 0)
    expect(`live bytes of ${segment.path}`, segment.live, live)
    if (sizes.get(basename(segment.path)) !== segment.size) differences.push(`${segment.path} is not as recorded`)
    sizes.delete(basename(segment.path))
    pages += pageRounded(segment.size)
    dead += segment.size - live
  }
  for (const name of sizes.keys()) differences.push(`${name} in the ${tier.kind} tier belongs to no record`)
  for (const path of tier.spares.paths) {
    const { size } = await parts.fs.stat(path)
    spare += size
    pages += pageRounded(size)
  }
  const places = parts.places.filter((place) => place.tier === tier.kind)
  for (const place of places) pages += pageRounded(place.nbytes)
  expect(`bytes of the ${tier.kind} tier`, tier.bytes, linked + unlinked + spare)
  expect(`dead mappings of the ${tier.kind} tier`, tier.deadMapped, unlinked)
  expect(`dead segment bytes of the ${tier.kind} tier`, tier.segments.deadBytes, dead)
  expect(
    `reserved bytes of the ${tier.kind} tier`,
    tier.reserved,
    places.reduce((sum, place) => sum + place.nbytes, 0),
  )
  expect(`pages of the ${tier.kind} tier`, tier.pageBytes, pages)
  expect(`bytes leaving the ${tier.kind} tier`, tier.leaving, 0)
  recountCache(tier, differences)
  await recountParts(tier, parts.fs, places, differences)
}

function recountCache({ kind, files, segments, pageCache }: FileTier, differences: string[]): void {
  const there = new Set<CachedFile>([...files, ...segments.segments])
  let bytes = 0
  for (const file of pageCache.files) {
    bytes += file.nbytes
    if (file.gone || !there.has(file))
      differences.push(`${file.path} of the ${kind} tier is gone, but counts as cached`)
  }
  if (bytes !== pageCache.bytes) differences.push(`cached files: counted ${pageCache.bytes}, found ${bytes}`)
  if (bytes > pageCache.boundBytes)
    differences.push(`${bytes} bytes count as cached, of at most ${pageCache.boundBytes}`)
}

async function recountParts(
  tier: FileTier,
  fs: StoreFs,
  places: readonly Place[],
  differences: string[],
): Promise<void> {
  const granted = new Set(places.map((place) => basename(place.path)))
  for (const path of tier.spares.paths) granted.add(basename(path))
  for (const file of tier.files) if (file.asidePath !== null) granted.add(basename(file.asidePath))
  for (const name of await fs.list(tier.tmpDirectory)) {
    if (!granted.has(name)) differences.push(`${name} in the ${tier.kind} tier belongs to no place`)
  }
}

function recountRecords(parts: RecountParts, expect: Expect): void {
  const { slabs, victims, records } = parts
  const sum = (of: (record: BlobRecord) => boolean): number =>
    records.reduce((total, record) => total + (of(record) ? record.nbytes : 0), 0)
  expect(
    'inline bytes',
    slabs.bytes - slabs.lingering,
    sum((record) => record.inline !== null),
  )
  for (const list of [victims.own, victims.replicas, victims.diskReplicas]) {
    expect(
      'bytes of an order of use',
      list.bytes,
      sum((record) => record.lru === list),
    )
  }
  expect('records outside their order', 0, records.filter((record) => record.lru !== victims.listOf(record)).length)
  expect(
    'records without bytes',
    0,
    records.filter((record) => record.inline === null && record.stored === null).length,
  )
  expect('records on the move', 0, records.filter((record) => record.moving).length)
}
