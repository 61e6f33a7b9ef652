// Reads the inputs of one task attempt: inline bytes, small files into fresh buffers, large files as maps. Every attempt
// reads anew and nothing is kept between tasks, since only then can the memory of a freed blob come back.
// When maps end is the business of native/mapping.ts; which input is to be read with its checksums, that of the store.
//
// R1. An input that cannot be read is a `BadInput`: the replica is lost, the task is not to blame. Not so where this process can
//     read nothing at all (errors/shortage.ts): that is thrown as it is.
// R2. A file is compared with its record before anything of it is used; one that was changed since, or that the store does
//     not vouch for, is read with its checksums. So is one on disk, unless all of it is in memory still: then it is what was
//     written, or what a read before this one has checked.
// R3. Frames that are small are copied even out of a mapped blob, so that they do not keep the whole map alive.
// R4. No more than `MAX_MAPPINGS` maps at a time (Node dies at the kernel's 65,530): beyond, files are copied.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { RunId, TaskKey } from '../base/ids.ts'
import { PlimsollError, isErrorCode, toError } from '../errors/plimsoll-error.ts'
import { isShortage } from '../errors/shortage.ts'
import type { Libc } from '../native/libc.ts'
import { livingMappings } from '../native/mapping.ts'
import type { ExecutorInput, InputSource } from '../protocol/worker-executor.ts'
import { BLOB_PREFIX_BYTES, type BlobHeader, blobHeaderLength, parseBlobHeader, verifyFrames } from '../values/blob.ts'
import { decodeBlob, decodeFrames } from '../values/decode.ts'

type FileSource = Extract<InputSource, { via: 'file' }>

const MAX_MAPPINGS = 16_384
/** One read that gets most headers, and all of a small blob. */
const FIRST_READ_BYTES = 64 * 1024
const MAX_READ_BYTES = 2 ** 30
const COPIED_FRAME_BYTES = 64 * 1024

/** A replica that cannot be read as what it should be. */
export class BadInput extends Error {
  readonly key: TaskKey

  constructor(key: TaskKey, reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.key = key
  }
}

export interface InputReaderOptions {
  readonly libc: Libc | null
  /** Files of at least this many bytes are mapped. */
  readonly mapThreshold: number
  /** The last mapping of an input of a run is gone. */
  readonly onUnmapped: (run: RunId, key: TaskKey) => void
}

export class InputReader {
  readonly #options: InputReaderOptions
  /** Bytes of the maps that are not gone yet. */
  mappedBytes = 0

  constructor(options: InputReaderOptions) {
    this.#options = options
  }

  /**
   * The decoded value. `mapped` is told when a mapping was made for it.
   * @throws BadInput; PlimsollError TASK_OUT_OF_MEMORY when there is no memory to read it into; a shortage (R1).
   */
  read(input: ExecutorInput, run: RunId, mapped: (key: TaskKey) => void): unknown {
    const { key, source } = input
    try {
      if (source.via === 'inline') return decodeBlob(source.bytes, { verify: false }).value
      return this.#readFile(key, source, run, mapped)
    } catch (thrown) {
      if (thrown instanceof RangeError) throw outOfMemory(input, thrown)
      // A class that is unknown here is no fault of the replica.
      if (isErrorCode(thrown, 'NOT_SERIALIZABLE') || isShortage(thrown)) throw thrown
      const reason = thrown instanceof Error ? thrown.message : String(thrown)
      throw thrown instanceof BadInput ? thrown : new BadInput(key, reason, { cause: thrown })
    }
  }

  #readFile(key: TaskKey, source: FileSource, run: RunId, mapped: (key: TaskKey) => void): unknown {
    const fd = openSync(source.path, 'r')
    try {
      const { size, mtimeNs } = fstatSync(fd, { bigint: true })
      if (Number(size) < source.offset + source.nbytes) {
        throw new BadInput(key, `${source.path} has ${size} bytes instead of ${source.offset + source.nbytes}`)
      }
      const changed = source.mtimeNs !== null && String(mtimeNs) !== source.mtimeNs
      const verify = source.verify || changed
      if (source.nbytes <= FIRST_READ_BYTES) {
        const bytes = readExactly(fd, source.offset, source.nbytes)
        return this.#checked(key, decodeBlob(bytes, { verify: verify || source.tier === 'disk' }))
      }
      const header = readHeader(fd, source)
      if (header.meta.key !== key || header.totalBytes !== source.nbytes) {
        throw new BadInput(key, `${source.path} holds ${header.meta.key} (${header.totalBytes} bytes) instead`)
      }
      const { frames, isCached } = this.#mapFrames(fd, key, source, header, run, mapped) ?? {
        frames: copyFrames(fd, source, header),
        isCached: false,
      }
      if (verify || (source.tier === 'disk' && !isCached))
        verifyFrames(header, (offset) => new Uint8Array(frames[frameAt(header, offset)] as ArrayBuffer))
      return decodeFrames(header, frames)
    } finally {
      closeSync(fd)
    }
  }

  #checked(key: TaskKey, decoded: { header: BlobHeader; value: unknown }): unknown {
    if (decoded.header.meta.key !== key) throw new BadInput(key, `the blob holds ${decoded.header.meta.key} instead`)
    return decoded.value
  }

  /** Null when the blob is to be copied: it is small, there are too many maps, or the system refuses another. */
  #mapFrames(
    fd: number,
    key: TaskKey,
    source: FileSource,
    header: BlobHeader,
    run: RunId,
    mapped: (key: TaskKey) => void,
  ): { readonly frames: ArrayBuffer[]; readonly isCached: boolean } | null {
    const { libc, mapThreshold, onUnmapped } = this.#options
    const large = header.frames.some((frame) => frame.length > COPIED_FRAME_BYTES)
    if (libc === null || source.nbytes < mapThreshold || !large || livingMappings() >= MAX_MAPPINGS) return null
    const ended = (): void => {
      this.mappedBytes -= source.nbytes
      onUnmapped(run, key)
    }
    let mapping
    try {
      mapping = libc.mapDescriptor(fd, source.offset, source.nbytes, ended)
    } catch {
      return null
    }
    this.mappedBytes += source.nbytes
    mapped(key)
    try {
      const isCached = source.tier === 'disk' && mapping.isCached()
      const frames = header.frames.map(({ offset, length }) =>
        length > COPIED_FRAME_BYTES
          ? mapping.frame(offset, length)
          : ownBuffer(readExactly(fd, source.offset + offset, length)),
      )
      return { frames, isCached }
    } finally {
      mapping.seal()
    }
  }
}

/** Reads the header alone: its length is known after the first few bytes. */
function readHeader(fd: number, source: FileSource): BlobHeader {
  const first = readExactly(fd, source.offset, Math.min(source.nbytes, 4096))
  const length = blobHeaderLength(first.subarray(0, BLOB_PREFIX_BYTES))
  if (length > source.nbytes) throw new Error(`the header of ${source.path} is longer than its blob`)
  return parseBlobHeader(length <= first.byteLength ? first : readExactly(fd, source.offset, length))
}

function copyFrames(fd: number, source: FileSource, header: BlobHeader): ArrayBuffer[] {
  return header.frames.map(({ offset, length }) => ownBuffer(readExactly(fd, source.offset + offset, length)))
}

function frameAt(header: BlobHeader, offset: number): number {
  return header.frames.findIndex((frame) => frame.offset === offset)
}

/** Reads into a buffer of exactly this size, in chunks, however short the single reads are. */
export function readExactly(fd: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const count = readSync(fd, bytes, done, Math.min(length - done, MAX_READ_BYTES), position + done)
    if (count === 0) throw new Error(`the file ended after ${done} of ${length} bytes`)
    done += count
  }
  return bytes
}

const ownBuffer = (bytes: Uint8Array): ArrayBuffer => bytes.buffer as ArrayBuffer

function outOfMemory(input: ExecutorInput, cause: RangeError): PlimsollError {
  const nbytes = input.source.via === 'inline' ? input.source.bytes.byteLength : input.source.nbytes
  const message = `There is no memory to read the input ${input.key} (${nbytes} bytes): ${toError(cause).message}.`
  return new PlimsollError('TASK_OUT_OF_MEMORY', message, { input: input.key, nbytes }, { cause })
}
