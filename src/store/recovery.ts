// Adoption: what an earlier process of this worker left in its directories (design: blobs survive the process that wrote
// them). Called once, before anything else happens in the store.
//
// A1. Only blobs whose header is whole, whose length is the one the header says, and which carry the identity found in both
//     directories are taken; everything else is deleted. Nothing is decoded.
// A2. A whole file's frames are checked by its readers until the store checked them once; blobs in segments are checked
//     here, since a torn write leaves headers with rubbish behind them.
// A3. Of several blobs of one key the newest run wins, then the one in memory.
// A4. `.part` files of earlier processes are deleted: their writers are dead before a new process is started.

import { join } from 'node:path'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { runId, taskKey } from '../base/ids.ts'
import { type BlobHeader, parseBlobHeader, verifyFrames } from '../values/blob.ts'
import { readBlobHeader } from './file-ops.ts'
import type { FileTier } from './file-tier.ts'
import { BlobRecord } from './records.ts'
import { type Segment, SEGMENT_PREAMBLE, segmentAligned } from './segments.ts'
import type { StoreIdentity } from './store.ts'

const BLOB_NAME = /^[0-9a-f]{24}-(\d+)([fb]?)$/
const SEGMENT_NAME = /^seg-(\d+)$/

/** The records found in `tiers`, least recently written first; losers and rubbish are gone. `identity` null adopts nothing. */
export async function adoptAll(tiers: readonly FileTier[], identity: StoreIdentity | null): Promise<BlobRecord[]> {
  const best = new Map<string, BlobRecord>()
  for (const tier of tiers) {
    await sweepParts(tier)
    for (const record of await adoptTier(tier, identity)) keepBetter(best, record)
  }
  for (const tier of tiers) tier.segments.reviewAll()
  return [...best.values()]
}

function keepBetter(best: Map<string, BlobRecord>, record: BlobRecord): void {
  const other = best.get(record.key)
  // Tiers come memory first, so that a tie keeps the one in memory (A3).
  const loser = other === undefined ? null : record.runId > other.runId ? other : record
  if (loser !== record) best.set(record.key, record)
  if (loser !== null) {
    loser.dropped = true
    loser.stored?.retire()
  }
}

async function sweepParts(tier: FileTier): Promise<void> {
  const { fs } = tier.context
  const parent = join(tier.directory, 'tmp')
  for (const name of await listOrNothing(tier, parent)) await fs.removeTree(join(parent, name))
}

async function adoptTier(tier: FileTier, identity: StoreIdentity | null): Promise<BlobRecord[]> {
  const names = await listOrNothing(tier, tier.blobDirectory)
  const numbered = names.map((name) => ({ name, number: counterOf(name) }))
  for (const { number } of numbered) tier.skipCounter(number ?? 0)
  numbered.sort((a, b) => (a.number ?? 0) - (b.number ?? 0))
  const found = await Promise.all(
    numbered.map(({ name }) => tier.context.permits.reads.use(() => adoptName(tier, name, identity))),
  )
  return found.flat()
}

async function listOrNothing(tier: FileTier, path: string): Promise<string[]> {
  try {
    return await tier.context.fs.list(path)
  } catch {
    return []
  }
}

function counterOf(name: string): number | null {
  const digits = (BLOB_NAME.exec(name) ?? SEGMENT_NAME.exec(name))?.[1]
  return digits === undefined ? null : Number(digits)
}

async function adoptName(tier: FileTier, name: string, identity: StoreIdentity | null): Promise<BlobRecord[]> {
  const path = join(tier.blobDirectory, name)
  const blob = BLOB_NAME.exec(name)
  try {
    if (identity !== null && blob !== null) return [await adoptFile(tier, path, blob[2] as '' | 'f' | 'b', identity)]
    if (identity !== null && SEGMENT_NAME.test(name)) return await adoptSegment(tier, path, identity)
  } catch {
    // Unreadable, torn or of another cluster: deleted below.
  }
  await tier.unlinkQuietly(path)
  return []
}

async function adoptFile(
  tier: FileTier,
  path: string,
  flag: '' | 'f' | 'b',
  identity: StoreIdentity,
): Promise<BlobRecord> {
  const { fs } = tier.context
  const stat = await fs.stat(path)
  const header = await readBlobHeader(fs, path)
  if (header.totalBytes !== stat.size || !belongs(header, identity)) throw new Error('not to be adopted')
  const record = recordOf(tier, header)
  record.stored = tier.add(path, stat.size, stat.mtimeNs)
  record.verify = true
  // A link whose other name is gone is the last copy on this host: it is owned (S7).
  record.borrowed = flag === 'b' && stat.nlink > 1
  record.fetched = flag === 'f' || record.borrowed
  return record
}

async function adoptSegment(tier: FileTier, path: string, identity: StoreIdentity): Promise<BlobRecord[]> {
  const { fs } = tier.context
  const { size } = await fs.stat(path)
  const bytes = await fs.read(path, 0, size)
  if (Buffer.compare(bytes.subarray(0, SEGMENT_PREAMBLE.byteLength), SEGMENT_PREAMBLE) !== 0) {
    throw new Error('not a segment')
  }
  const segment = tier.segments.adopt(path, size)
  const records: BlobRecord[] = []
  for (let offset = SEGMENT_PREAMBLE.byteLength; offset < bytes.byteLength;) {
    const length = adoptBlob(tier, segment, bytes, offset, identity, records)
    if (length === null) break
    offset += segmentAligned(length)
  }
  return records
}

/** Enters the blob at `offset` when it is whole; its length, or null where nothing readable follows. */
function adoptBlob(
  tier: FileTier,
  segment: Segment,
  bytes: Uint8Array,
  offset: number,
  identity: StoreIdentity,
  records: BlobRecord[],
): number | null {
  const rest = bytes.subarray(offset)
  let header: BlobHeader
  try {
    header = parseBlobHeader(rest)
  } catch (error) {
    if (isErrorCode(error, 'BLOB_CORRUPT')) return null
    throw error
  }
  if (header.totalBytes > rest.byteLength) return null
  if (!belongs(header, identity) || !isWhole(header, rest)) return header.totalBytes
  const record = recordOf(tier, header)
  const slot = tier.segments.adoptSlot(segment, offset, header.totalBytes)
  slot.record = record
  record.stored = slot
  records.push(record)
  return header.totalBytes
}

function isWhole(header: BlobHeader, bytes: Uint8Array): boolean {
  try {
    verifyFrames(header, (offset, length) => bytes.subarray(offset, offset + length))
    return true
  } catch (error) {
    if (isErrorCode(error, 'BLOB_CORRUPT')) return false
    throw error
  }
}

function belongs(header: BlobHeader, identity: StoreIdentity): boolean {
  return header.meta.clusterId === identity.clusterId && header.meta.generation === identity.generation
}

function recordOf(tier: FileTier, header: BlobHeader): BlobRecord {
  const entry = { key: taskKey(header.meta.key), runId: runId(header.meta.runId), type: header.type }
  return new BlobRecord(entry, header.totalBytes, tier.context.clock.now())
}
