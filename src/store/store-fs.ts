// The file system as the store sees it: a few asynchronous calls, so that tests can put a failing or slow one behind the
// same interface (sim-fs.ts). Errors carry the system's `code` (ENOSPC, EXDEV, ENOENT, ...).

import * as fsp from 'node:fs/promises'
import { closeSync, fstatSync, openSync, readSync, type BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { loadLibc } from '../native/libc.ts'

export interface FileStat {
  readonly size: number
  readonly mode: number
  readonly nlink: number
  readonly dev: number
  /** Nanoseconds since the epoch, in decimal: too large for a number. */
  readonly mtimeNs: string
}

export interface WritableFile {
  /** Appends at `position`; may write less than asked for, like write(2). Returns the bytes written. */
  write(buffers: readonly Uint8Array[], position: number): Promise<number>
  close(): Promise<void>
}

export interface StoreFs {
  makeDirectory(path: string): Promise<void>
  list(path: string): Promise<string[]>
  stat(path: string): Promise<FileStat>
  /** Free bytes for this user on the file system that holds `path`. */
  freeBytes(path: string): Promise<number>
  /** A new file, mode 0400; EEXIST when there is one. */
  create(path: string): Promise<WritableFile>
  /**
   * A file of ours, to be written anew from the start: cut to `nbytes`, its pages are used again. What was not written to by
   * `close` is cut off, so that a file too short shows.
   */
  reopen(path: string, nbytes: number): Promise<WritableFile>
  /** Up to `length` bytes from `offset`; fewer at the end of the file. */
  read(path: string, offset: number, length: number): Promise<Uint8Array>
  /** Of a file in RAM: what `stat` says, and its first `length` bytes. No trips through the thread pool. */
  peek(path: string, length: number): Promise<{ readonly stat: FileStat; readonly bytes: Uint8Array }>
  copy(from: string, to: string): Promise<void>
  link(from: string, to: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  chmod(path: string, mode: number): Promise<void>
  unlink(path: string): Promise<void>
  /** Writes a part of a file back and takes it out of the kernel's cache, where the system can be asked for that. */
  dropFromCache(path: string, offset: number, length: number): Promise<void>
  /** The directory with all it holds; nothing when it is not there. */
  removeTree(path: string): Promise<void>
  /** Replaces a small file in one step. */
  replaceFile(path: string, bytes: Uint8Array): Promise<void>
}

/** The real one. */
export const nodeStoreFs: StoreFs = {
  async makeDirectory(path) {
    await fsp.mkdir(path, { recursive: true, mode: 0o700 })
  },
  list: (path) => fsp.readdir(path),
  async stat(path) {
    return fileStat(await fsp.stat(path, { bigint: true }))
  },
  async freeBytes(path) {
    const stat = await fsp.statfs(path)
    // ramfs has no size: every count is zero and only memory itself limits it.
    return stat.blocks === 0 ? Infinity : stat.bavail * stat.bsize
  },
  async create(path) {
    return writable(await fsp.open(path, 'wx', 0o400))
  },
  async reopen(path, nbytes) {
    await fsp.chmod(path, 0o600)
    const handle = await fsp.open(path, 'r+')
    try {
      if ((await handle.stat()).size > nbytes) await handle.truncate(nbytes)
      const file = writable(handle)
      let end = 0
      return {
        async write(buffers, position) {
          const written = await file.write(buffers, position)
          end = Math.max(end, position + written)
          return written
        },
        async close() {
          try {
            if (end < nbytes) await handle.truncate(end)
          } finally {
            await handle.close()
          }
        },
      }
    } catch (error) {
      await handle.close()
      throw error
    }
  },
  async read(path, offset, length) {
    const handle = await fsp.open(path, 'r')
    try {
      const bytes = Buffer.allocUnsafeSlow(length)
      let filled = 0
      while (filled < length) {
        const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return bytes.subarray(0, filled)
    } finally {
      await handle.close()
    }
  },
  async peek(path, length) {
    const fd = openSync(path, 'r')
    try {
      const bytes = Buffer.allocUnsafe(length)
      const count = readSync(fd, bytes, 0, length, 0)
      return { stat: fileStat(fstatSync(fd, { bigint: true })), bytes: bytes.subarray(0, count) }
    } finally {
      closeSync(fd)
    }
  },
  copy: (from, to) => fsp.copyFile(from, to, fsp.constants.COPYFILE_EXCL),
  link: (from, to) => fsp.link(from, to),
  rename: (from, to) => fsp.rename(from, to),
  chmod: (path, mode) => fsp.chmod(path, mode),
  unlink: (path) => fsp.unlink(path),
  async dropFromCache(path, offset, length) {
    const libc = isMainThread ? loadLibc() : null
    if (libc === null) return
    const handle = await fsp.open(path, 'r')
    try {
      await libc.dropFromCache(handle.fd, offset, length)
    } finally {
      await handle.close()
    }
  },
  removeTree: (path) => fsp.rm(path, { recursive: true, force: true }),
  async replaceFile(path, bytes) {
    const next = `${path}.next`
    await fsp.mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await fsp.writeFile(next, bytes, { mode: 0o600 })
    await fsp.rename(next, path)
  },
}

function writable(handle: fsp.FileHandle): WritableFile {
  return {
    async write(buffers, position) {
      const { bytesWritten } = await handle.writev(buffers as Uint8Array[], position)
      return bytesWritten
    },
    close: () => handle.close(),
  }
}

function fileStat(stat: BigIntStats): FileStat {
  return {
    size: Number(stat.size),
    mode: Number(stat.mode) & 0o7777,
    nlink: Number(stat.nlink),
    dev: Number(stat.dev),
    mtimeNs: stat.mtimeNs.toString(),
  }
}
