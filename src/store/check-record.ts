// The whole check of one stored value, when a reader complained about it (S9).

import { isErrorCode } from '../errors/plimsoll-error.ts'
import { isShortage } from '../errors/shortage.ts'
import { parseBlobHeader, verifyFrames } from '../values/blob.ts'
import type { StoreContext } from './context.ts'
import { findBlobFault } from './file-ops.ts'
import { BlobFile } from './file-tier.ts'
import type { BlobRecord } from './records.ts'

/** What is wrong with the record's bytes, as far as can be seen; or null: once it was checked its readers may trust it. */
export async function checkRecord(context: StoreContext, record: BlobRecord): Promise<string | null> {
  const { inline, stored } = record
  if (inline !== null) return faultOf(inline.bytes, record)
  if (stored === null) return 'it has no bytes'
  stored.pin()
  try {
    const wholeFile = stored instanceof BlobFile
    const at = { path: stored.path, offset: wholeFile ? 0 : stored.offset, nbytes: record.nbytes, wholeFile }
    const fault = await context.permits.reads.use(() => findBlobFault(context.fs, at, record))
    if (fault !== null) return fault
    if (wholeFile) stored.mtimeNs = (await context.fs.stat(stored.path)).mtimeNs
    record.verify = false
    return null
  } catch (error) {
    // Its readers go on checking.
    return isShortage(error) ? null : `reading it failed (${String(error)})`
  } finally {
    stored.unpin(false)
  }
}

function faultOf(bytes: Uint8Array, record: BlobRecord): string | null {
  try {
    const header = parseBlobHeader(bytes)
    if (header.meta.key !== record.key || header.meta.runId !== record.runId) return 'its header names another value'
    if (header.totalBytes !== bytes.byteLength)
      return `it has ${bytes.byteLength} bytes instead of ${header.totalBytes}`
    verifyFrames(header, (offset, length) => bytes.subarray(offset, offset + length))
    return null
  } catch (error) {
    if (isErrorCode(error, 'BLOB_CORRUPT')) return error.message
    throw error
  }
}
