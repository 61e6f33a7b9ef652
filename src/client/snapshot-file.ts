// The copy of a large value that waits for its worker, as the file that a worker of this host takes over by a second name:
// the value is copied once instead of twice, and summed while it is in the processor's cache.
//
// N1. The file has no name of its own: it ends with this process, or when the value has been sent, whatever happens.
// N2. Nobody writes to it after it was given a name.
// N3. A blob's buffers begin where its header ends, and what the header says is known only when a worker was chosen. They are
//     written where they probably belong; where that was wrong, the value is read back and goes the ordinary way.

import { closeSync, constants, openSync, read, statfsSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { isMainThread } from 'node:worker_threads'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { loadLibc } from '../native/libc.ts'
import { type BlobMeta, blobStart, buffersAt, encodedBlobBytes, nextBufferAt } from '../values/blob.ts'
import type { EncodedValue, SizedValue } from '../values/encoded-value.ts'

/** Where workers keep values in memory, unless they were told otherwise. */
const RAM_DIRECTORY = '/dev/shm'
/** Linux's own; Node has no name for it. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY
/** Smaller values are not worth it, nor are those of many small buffers. */
const VALUE_BYTES_MIN = 32 * 2 ** 20
const BUFFER_BYTES_MIN = 2 ** 20
/** Read, written and summed while it is in the cache. */
const PORTION_BYTES = 2 ** 18
const COPIED_BYTES = 8 * 2 ** 20
/** So many times its own size has to be free. */
const FREE_FACTOR = 2

const readAsync = promisify(read)
/** Of snapshots that nobody sent after all. */
const forgotten = new FinalizationRegistry<{ fd: number | null }>((held) => close(held))

export class SnapshotFile implements SizedValue {
  readonly family: string
  readonly type: string
  readonly nbytes: number
  readonly frames: readonly { readonly byteLength: number }[]
  readonly #body: Uint8Array
  readonly #sums: readonly number[]
  /** Where the first buffer begins. */
  readonly #at: number
  readonly #held: { fd: number | null }
  #isNamed = false
  #loaded: Promise<EncodedValue> | null = null

  private constructor(value: EncodedValue, fd: number, at: number, sums: readonly number[]) {
    this.family = value.family
    this.type = value.type
    this.nbytes = value.nbytes
    this.frames = value.frames.map(({ byteLength }) => ({ byteLength }))
    this.#body = value.frames[0] as Uint8Array
    this.#sums = sums
    this.#at = at
    this.#held = { fd }
    forgotten.register(this, this.#held, this.#held)
  }

  static suits({ nbytes, frames }: SizedValue): boolean {
    return nbytes >= VALUE_BYTES_MIN && frames.length > 1 && nbytes / (frames.length - 1) >= BUFFER_BYTES_MIN
  }

  /** Null where there is no such file to be had. `likely`: the value's name, as far as it is known. */
  static of(value: EncodedValue, likely: BlobMeta): SnapshotFile | null {
    if (process.platform !== 'linux' || !isMainThread || loadLibc() === null) return null
    const at = buffersAt(likely, value)
    let fd: number
    try {
      const { bavail, bsize } = statfsSync(RAM_DIRECTORY)
      if (bavail * bsize < FREE_FACTOR * value.nbytes) return null
      fd = openSync(RAM_DIRECTORY, O_TMPFILE | constants.O_RDWR, 0o400)
    } catch {
      return null
    }
    try {
      return new SnapshotFile(value, fd, at, writeFrames(fd, value.frames, at))
    } catch {
      closeSync(fd)
      return null
    }
  }

  /**
   * The whole blob as a file of this name, where there is none yet; at best without another copy. @throws the system's error;
   * the file may be there in part.
   */
  async writeTo(path: string, meta: BlobMeta): Promise<void> {
    const { fd } = this.#held
    if (fd === null) throw sentAlready()
    const start = blobStart(meta, this, this.#body, this.#sums)
    if (start.length === this.#at && !this.#isNamed) {
      writeAll(fd, start, 0)
      this.#isNamed = loadLibc()?.linkDescriptor(fd, path) ?? false
      if (this.#isNamed) return
    }
    const file = await open(path, 'wx', 0o400)
    try {
      writeAll(file.fd, start, 0)
      const total = encodedBlobBytes(meta, this)
      const buffer = Buffer.allocUnsafeSlow(COPIED_BYTES)
      for (let at = start.length; at < total;) {
        const piece = buffer.subarray(0, Math.min(buffer.length, total - at))
        await this.#fill(piece, this.#at + at - start.length)
        for (let done = 0; done < piece.length;)
          done += (await file.write(piece, done, piece.length - done, at + done)).bytesWritten
        at += piece.length
      }
    } finally {
      await file.close()
    }
  }

  /** The value in memory of this process. @throws BLOB_CORRUPT, and the system's error. */
  load(): Promise<EncodedValue> {
    this.#loaded ??= this.#read()
    return this.#loaded
  }

  /** It was sent, or never will be. */
  close(): void {
    forgotten.unregister(this.#held)
    close(this.#held)
  }

  async #read(): Promise<EncodedValue> {
    const frames: Uint8Array[] = [this.#body]
    let at = this.#at
    for (const { byteLength } of this.frames.slice(1)) {
      const frame = new Uint8Array(byteLength)
      await this.#fill(frame, at)
      frames.push(frame)
      at = nextBufferAt(at + byteLength)
    }
    return { family: this.family, type: this.type, nbytes: this.nbytes, frames }
  }

  /** Reads from this position until the array is full, so that nobody waits for long who reads something else meanwhile. */
  async #fill(into: Uint8Array, position: number): Promise<void> {
    for (let filled = 0; filled < into.length;) {
      const { fd } = this.#held
      if (fd === null) throw sentAlready()
      const length = Math.min(COPIED_BYTES, into.length - filled)
      const { bytesRead } = await readAsync(fd, into, filled, length, position + filled)
      if (bytesRead === 0) throw cut()
      filled += bytesRead
    }
  }
}

/** The buffers, with zeros between them, and no hole: one is a SIGBUS for whoever maps it when memory runs out. Returns all checksums. */
function writeFrames(fd: number, frames: readonly Uint8Array[], start: number): number[] {
  const sums: number[] = []
  let at = start
  for (const [index, frame] of frames.entries()) {
    let sum = 0
    for (let done = 0; done < frame.length; done += PORTION_BYTES) {
      const portion = frame.subarray(done, done + PORTION_BYTES)
      if (index > 0) writeAll(fd, portion, at + done)
      sum = crc32(portion, sum)
    }
    sums.push(sum)
    if (index === 0) continue
    const end = at + frame.length
    at = nextBufferAt(end)
    if (index < frames.length - 1 && at > end) writeAll(fd, new Uint8Array(at - end), end)
  }
  return sums
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, position + done)
}

function close(held: { fd: number | null }): void {
  if (held.fd !== null) closeSync(held.fd)
  held.fd = null
}

const sentAlready = (): Error => new PlimsollError('INTERNAL', 'a value that was sent is asked for again')
const cut = (): Error => new PlimsollError('BLOB_CORRUPT', 'The copy of a value that was to be sent was cut.')
