// One tier of files: the memory tier (a RAM file system, or files of the local directory where there is none) or the disk
// tier. It names files, counts what they hold, and unlinks them when their last reader is done. What goes where is decided
// elsewhere (placement.ts, spiller.ts).
//
// Layout of a tier's directory: `blobs/<hash of key>-<counter>[flags]` one file per blob, mode 0400; `blobs/seg-<counter>` packed
// small blobs (segments.ts); `tmp/<incarnation>/<n>.part` files that are being written (S8), `<n>.spare` ones that may be written to again (spare-files.ts). Flags tell adoption what the
// bytes cannot: `f` fetched from a peer, `b` linked from one.
//
// F1. `bytes` counts a file from its acceptance until its unlink was done and no mapping of it is left.
// F2. A `.part` file is counted as `reserved` from the grant until it is accepted or cancelled.

import { hash } from 'node:crypto'
import { join } from 'node:path'
import type { StoreContext } from './context.ts'
import { pageRounded, systemCode } from './file-ops.ts'
import { FreeSpace } from './free-space.ts'
import { Holding } from './holding.ts'
import type { LruList } from './lru.ts'
import { type CachedFile, PageCache } from './page-cache.ts'
import { SegmentSet } from './segments.ts'
import { SpareFiles } from './spare-files.ts'

const HASH_CHARACTERS = 24
/** Worth a collection in the executor that maps it. */
const AWAITED_BYTES_MIN = 64 * 2 ** 20

export class FileTier {
  readonly kind: 'memory' | 'disk'
  readonly directory: string
  readonly space: FreeSpace
  readonly segments: SegmentSet
  readonly spares: SpareFiles
  readonly pageCache: PageCache
  readonly context: StoreContext
  readonly #onAwaited: (nbytes: number) => void
  readonly #files = new Set<BlobFile>()
  #counter = 0
  #partCounter = 0
  #bytes = 0
  #pageBytes = 0
  #deadMapped = 0
  #leaving = 0
  #reserved = 0
  #reservedPages = 0
  /** Files whose unlink failed: still there, still counted, tried again with the next one. */
  readonly #stuck = new Set<BlobFile>()

  /** `onAwaited`: a file of this size could be used again but for its mappings, which a collection may end. */
  constructor(
    kind: 'memory' | 'disk',
    directory: string,
    context: StoreContext,
    onAwaited: (nbytes: number) => void = () => {},
  ) {
    this.#onAwaited = onAwaited
    this.kind = kind
    this.directory = directory
    this.context = context
    this.space = new FreeSpace(context.fs, directory, context.clock, () => this.#reserved)
    this.pageCache = new PageCache(context)
    this.segments = new SegmentSet(this)
    this.spares = new SpareFiles(context, async (path) => {
      const gone = await this.unlinkQuietly(path)
      this.space.forget()
      return gone
    })
  }

  /** File bytes: blobs, segments with their dead space, what only mappings hold, and spare files. */
  get bytes(): number {
    return this.#bytes + this.spares.readyBytes + this.spares.leavingBytes
  }
  get pageBytes(): number {
    return this.#pageBytes + this.#reservedPages + this.spares.pageBytes
  }
  get deadMapped(): number {
    return this.#deadMapped
  }
  /** Bytes of files whose unlink is under way. */
  get leaving(): number {
    return this.#leaving + this.spares.leavingBytes
  }
  get reserved(): number {
    return this.#reserved
  }
  get blobDirectory(): string {
    return join(this.directory, 'blobs')
  }
  get tmpDirectory(): string {
    return join(this.directory, 'tmp', String(this.context.incarnation))
  }
  /** Blob files that are linked or still mapped. */
  get files(): Iterable<BlobFile> {
    return this.#files
  }

  async open(): Promise<void> {
    await this.context.fs.makeDirectory(this.blobDirectory)
    await this.context.fs.makeDirectory(this.tmpDirectory)
  }

  nextPartPath(): string {
    return join(this.tmpDirectory, `${++this.#partCounter}.part`)
  }

  nextBlobPath(key: string, flags: '' | 'f' | 'b'): string {
    const name = hash('sha256', key, 'hex').slice(0, HASH_CHARACTERS)
    return join(this.blobDirectory, `${name}-${++this.#counter}${flags}`)
  }

  nextSegmentPath(): string {
    return join(this.blobDirectory, `seg-${++this.#counter}`)
  }

  /** Names found in the directory are not given out again. */
  skipCounter(past: number): void {
    this.#counter = Math.max(this.#counter, past)
  }

  reserve(nbytes: number): void {
    this.#reserved += nbytes
    this.#reservedPages += pageRounded(nbytes)
    this.space.charge(nbytes)
  }

  unreserve(nbytes: number): void {
    this.#reserved -= nbytes
    this.#reservedPages -= pageRounded(nbytes)
  }

  /** A blob file that is in place from now on. `ownPages`: this process alone wrote it. */
  add(path: string, nbytes: number, mtimeNs: string, ownPages = false): BlobFile {
    const file = new BlobFile(this, path, nbytes, mtimeNs, ownPages)
    this.#files.add(file)
    this.pageCache.keep(file)
    this.count(nbytes, pageRounded(nbytes))
    return file
  }

  count(bytes: number, pages: number): void {
    this.#bytes += bytes
    this.#pageBytes += pages
  }

  /** Unlinks a file that nobody was handed and does not have to open any more. */
  remove(file: BlobFile): void {
    this.#leaving += file.nbytes
    const reuses = file.ownPages && this.spares.wants(file.nbytes)
    this.context.track(reuses ? this.#setAside(file) : this.#remove(file))
  }

  async #remove(file: BlobFile): Promise<void> {
    const gone = await this.unlinkQuietly(file.path)
    this.#leaving -= file.nbytes
    if (!gone) {
      this.#stuck.add(file)
      return
    }
    file.unlinked = true
    this.space.forget()
    if (file.mapped > 0) this.#deadMapped += file.nbytes
    else this.#forget(file)
    this.context.changed()
    this.retryStuck()
  }

  /** As `#remove`, but the file stays under another name and is spare as soon as nobody maps it. */
  async #setAside(file: BlobFile): Promise<void> {
    const path = join(this.tmpDirectory, `${++this.#partCounter}.spare`)
    try {
      await this.context.fs.rename(file.path, path)
    } catch {
      return this.#remove(file)
    }
    this.#leaving -= file.nbytes
    file.unlinked = true
    file.asidePath = path
    if (file.mapped > 0) {
      this.#deadMapped += file.nbytes
      if (file.nbytes >= AWAITED_BYTES_MIN) this.#onAwaited(file.nbytes)
    } else {
      this.#spare(file, path)
    }
    this.context.changed()
  }

  #spare(file: BlobFile, path: string): void {
    this.#forget(file)
    this.spares.add(path, file.nbytes)
  }

  retryStuck(): void {
    const files = [...this.#stuck]
    this.#stuck.clear()
    for (const file of files) this.remove(file)
  }

  /** The last mapping of an unlinked file is gone. */
  lastUnmapped(file: BlobFile): void {
    this.#deadMapped -= file.nbytes
    if (file.asidePath === null) this.#forget(file)
    else this.#spare(file, file.asidePath)
    this.space.forget()
    this.context.changed()
  }

  #forget(file: BlobFile): void {
    this.#files.delete(file)
    this.count(-file.nbytes, -pageRounded(file.nbytes))
  }

  /** True when there is no such file any more. */
  unlinkQuietly(path: string): Promise<boolean> {
    return this.context.permits.unlinks.use(async () => {
      try {
        await this.context.fs.unlink(path)
        return true
      } catch (error) {
        return systemCode(error) === 'ENOENT'
      }
    })
  }
}

/** One blob in a file of its own. */
export class BlobFile extends Holding implements CachedFile {
  readonly kind = 'file'
  readonly home: FileTier
  readonly path: string
  mtimeNs: string
  unlinked = false
  /** It was not unlinked but waits here for its last mapping to end. */
  asidePath: string | null = null
  /** Nobody else has written it, and nobody outside of this worker was told of it. */
  ownPages: boolean
  lru: LruList<CachedFile> | null = null
  older: CachedFile | null = null
  newer: CachedFile | null = null
  #removing = false

  constructor(home: FileTier, path: string, nbytes: number, mtimeNs: string, ownPages: boolean) {
    super(nbytes)
    this.home = home
    this.path = path
    this.mtimeNs = mtimeNs
    this.ownPages = ownPages
  }

  get tier(): 'memory' | 'disk' {
    return this.home.kind
  }

  get gone(): boolean {
    return this.retired
  }

  override pin(): void {
    super.pin()
    this.home.pageCache.keep(this)
  }

  override unmap(): void {
    super.unmap()
    this.home.pageCache.keep(this)
  }

  protected settle(): void {
    this.home.pageCache.release(this)
    if (this.pins > 0) return
    if (!this.#removing) {
      this.#removing = true
      this.home.remove(this)
    } else if (this.unlinked && this.mapped === 0) {
      this.home.lastUnmapped(this)
    }
  }
}
