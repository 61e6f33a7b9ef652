// The few calls into the C library that Node does not offer, through koffi. koffi is an optional dependency: without it
// (not installed, no binary for this platform, or PLIMSOLL_NO_KOFFI=1) `loadLibc` returns null and every caller has a
// slower way of its own: copies instead of maps, a watchdog instead of a death signal, no data limit.
//
// L1. Loaded on first use only, and once: importing this module costs nothing.
// L2. Calls are made from the main thread only (koffi has crashed in worker threads), and are synchronous but for `crc32` and
//     `dropFromCache`.
// L3. A call that this platform does not have returns false; a call that fails throws an error with `code`.

import { createRequire } from 'node:module'
import { closeSync, openSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { crc32 } from 'node:zlib'
import { createMapping, type Mapping } from './mapping.ts'

export type { Mapping } from './mapping.ts'

export interface Libc {
  /**
   * Maps a part of a file for reading; writes stay private to this process (copy on write). Any offset will do.
   * `onUnmapped` runs when the last frame was collected and the memory is given back.
   */
  mapFile(path: string, offset: number, length: number, onUnmapped?: (id: number) => void): Mapping
  /** As `mapFile`, over an open descriptor, which may be closed afterwards. */
  mapDescriptor(fd: number, offset: number, length: number, onUnmapped?: (id: number) => void): Mapping
  /** One view that several processes share; for the status page only. Unmapped when it is collected. */
  mapShared(path: string, length: number): SharedMapping
  /** An advisory lock on an open file, released with the last descriptor. False when another process holds it. */
  flock(fd: number, exclusive: boolean, nonBlocking: boolean): boolean
  /** This process gets `signal` when the thread that started it ends. False where the platform has no such thing. */
  setParentDeathSignal(signal: number): boolean
  /** Caps the private writable memory of a process (the soft limit, so that it can be raised again). False where there is no such limit. */
  setDataLimit(pid: number, bytes: number): boolean
  /** Gives freed heap pages back to the system. False where the allocator offers no such call. */
  mallocTrim(): boolean
  /** Gives memory that is about to be written its pages, all at once: half the price of one fault each. False where that cannot be asked for. */
  populate(bytes: Uint8Array): boolean
  /**
   * Moves bytes of a file straight into a socket, as many as it takes without waiting. Returns their number; 0 when it takes
   * none, and also for whatever else is in the way: who reads and writes those bytes finds out. 0 where there is no such call.
   */
  sendFile(socket: number, fd: number, offset: number, length: number): number
  /** Gives an open file without a name one. False when it cannot have that one, and where there is no such call. */
  linkDescriptor(fd: number, path: string): boolean
  /**
   * Gives an open file that is about to be written its place on the disk, in one piece and beyond its end: writing it takes a
   * quarter less time. False where there is no such call, the file system has none, or there is no room: who writes finds out.
   */
  reserve(fd: number, nbytes: number): boolean
  /**
   * Writes a part of an open file back to its disk and lets the kernel's cache go of it, on threads of the pool. Pages that
   * somebody maps stay. False when that failed, and where there are no such calls.
   */
  dropFromCache(fd: number, offset: number, length: number): Promise<boolean>
  /** CRC-32 continued from a sum, on a thread of the pool; the bytes must not change meanwhile. Null where Node does not export its zlib. */
  readonly crc32: ((bytes: Uint8Array, sum: number) => Promise<number>) | null
}

export interface SharedMapping {
  readonly buffer: ArrayBuffer
}

/** The part of koffi that is used here. */
interface Koffi {
  load(path: string | null): KoffiLibrary
  view(pointer: bigint, length: number): ArrayBuffer
  address(buffer: ArrayBufferLike): bigint
  errno(): number
}
interface KoffiLibrary {
  func(name: string, result: string, parameters: readonly string[]): NativeFunction
}
/** `async`: on a thread of libuv's pool; a callback comes last. */
type NativeFunction = ((...args: unknown[]) => unknown) & { async(...args: unknown[]): void }

const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const MAP_PRIVATE = 2
const MAP_FAILED = 0xffff_ffff_ffff_ffffn
const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4
const PR_SET_PDEATHSIG = 1
const RLIMIT_DATA = 2
const MADV_POPULATE_WRITE = 23
const FALLOC_FL_KEEP_SIZE = 1
/** Wait for what is under way, write, and wait for that. */
const SYNC_FILE_RANGE_ALL = 1 | 2 | 4
const POSIX_FADV_DONTNEED = 4
const AT_FDCWD = -100
const AT_SYMLINK_FOLLOW = 0x400

let loaded: Libc | null | undefined

/** The C library, or null when it cannot be reached from here (then callers fall back). */
export function loadLibc(): Libc | null {
  if (loaded === undefined) loaded = process.env['PLIMSOLL_NO_KOFFI'] === '1' ? null : tryLoad()
  return loaded
}

function tryLoad(): Libc | null {
  if (process.platform === 'win32') return null
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi
    return bind(koffi, koffi.load(null))
  } catch {
    // Not installed, or no prebuilt binary for this platform: the fallbacks do.
    return null
  }
}

function bind(koffi: Koffi, library: KoffiLibrary): Libc {
  const mmap = library.func('mmap', 'void *', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])
  const munmap = library.func('munmap', 'int', ['uintptr_t', 'size_t'])
  const pageBytes = Number(library.func('getpagesize', 'int', [])())
  const flock = library.func('flock', 'int', ['int', 'int'])
  const fail = (call: string, detail: string): never => {
    throw systemError(koffi.errno(), call, detail)
  }

  const inCore = process.platform === 'linux' ? bindInCore(library, pageBytes) : () => false
  const map = (
    fd: number,
    offset: number,
    length: number,
    flags: number,
    onUnmapped?: (id: number) => void,
  ): Mapping => {
    const start = offset - (offset % pageBytes)
    const total = length + (offset - start)
    const pointer = mmap(0, total, PROT_READ | PROT_WRITE, flags, fd, start) as bigint | null
    if (pointer === null || BigInt.asUintN(64, pointer) === MAP_FAILED) fail('mmap', `${length} bytes at ${offset}`)
    const base = pointer as bigint
    return createMapping({
      skip: offset - start,
      length,
      view: (at, size) => koffi.view(base + BigInt(at), size),
      unmap: () => {
        munmap(base, total)
      },
      isCached: () => inCore(base, total),
      onUnmapped,
    })
  }

  const libc: Libc = {
    mapDescriptor: (fd, offset, length, onUnmapped) => map(fd, offset, length, MAP_PRIVATE, onUnmapped),
    mapFile: (path, offset, length, onUnmapped) =>
      withDescriptor(path, 'r', (fd) => map(fd, offset, length, MAP_PRIVATE, onUnmapped)),
    mapShared: (path, length) =>
      withDescriptor(path, 'r+', (fd) => {
        const mapping = map(fd, 0, length, MAP_SHARED)
        const buffer = mapping.frame(0, length)
        mapping.seal()
        return { buffer }
      }),
    flock(fd, exclusive, nonBlocking) {
      if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | (nonBlocking ? LOCK_NB : 0)) === 0) return true
      const code = errorName(koffi.errno())
      if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return false
      return fail('flock', `descriptor ${fd}`)
    },
    setParentDeathSignal: () => false,
    setDataLimit: () => false,
    mallocTrim: () => false,
    populate: () => false,
    sendFile: () => 0,
    linkDescriptor: () => false,
    reserve: () => false,
    dropFromCache: async () => false,
    crc32: bindCrc32(library),
  }
  return process.platform === 'linux' ? { ...libc, ...bindLinux(koffi, library, pageBytes, fail) } : libc
}

/** Node exports the zlib that it is linked with. */
function bindCrc32(library: KoffiLibrary): Libc['crc32'] {
  const native = optional(() => library.func('crc32', 'ulong', ['ulong', 'void *', 'uint']))
  if (native === null) return null
  return async (bytes, sum) => {
    // A null pointer would start anew.
    if (bytes.length === 0) return sum
    return (await callAside(native, sum, bytes, bytes.length)) ?? crc32(bytes, sum)
  }
}

/** Whether every page of a mapped range is in memory. */
function bindInCore(library: KoffiLibrary, pageBytes: number): (address: bigint, length: number) => boolean {
  const mincore = library.func('mincore', 'int', ['uintptr_t', 'size_t', 'void *'])
  return (address, length) => {
    const pages = new Uint8Array(Math.ceil(length / pageBytes))
    return mincore(address, length, pages) === 0 && pages.every((page) => (page & 1) === 1)
  }
}

type LinuxCalls = Pick<
  Libc,
  | 'setParentDeathSignal'
  | 'setDataLimit'
  | 'mallocTrim'
  | 'populate'
  | 'sendFile'
  | 'linkDescriptor'
  | 'reserve'
  | 'dropFromCache'
>

function bindLinux(
  koffi: Koffi,
  library: KoffiLibrary,
  pageBytes: number,
  fail: (call: string, detail: string) => never,
): LinuxCalls {
  const prctl = library.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong'])
  const prlimit = library.func('prlimit', 'int', ['int', 'int', 'void *', 'void *'])
  const madvise = library.func('madvise', 'int', ['uintptr_t', 'size_t', 'int'])
  const sendfile = library.func('sendfile', 'intptr_t', ['int', 'int', 'void *', 'size_t'])
  const linkat = library.func('linkat', 'int', ['int', 'str', 'int', 'str', 'int'])
  const fallocate = library.func('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t'])
  const syncRange = optional(() => library.func('sync_file_range', 'int', ['int', 'int64_t', 'int64_t', 'uint']))
  const advise = optional(() => library.func('posix_fadvise', 'int', ['int', 'int64_t', 'int64_t', 'int']))
  const position = new BigInt64Array(1)
  const trim = optional(() => library.func('malloc_trim', 'int', ['size_t']))
  return {
    setParentDeathSignal(signal) {
      if (prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) !== 0) fail('prctl', 'PR_SET_PDEATHSIG')
      return true
    },
    setDataLimit(pid, bytes) {
      const limit = new BigUint64Array(2)
      if (prlimit(pid, RLIMIT_DATA, null, limit) !== 0) fail('prlimit', `process ${pid}`)
      const hard = limit[1] as bigint
      const wanted = BigInt(Math.ceil(bytes))
      limit[0] = wanted < hard ? wanted : hard
      if (prlimit(pid, RLIMIT_DATA, limit, null) !== 0) fail('prlimit', `process ${pid}`)
      return true
    },
    mallocTrim() {
      if (trim === null) return false
      trim(0)
      return true
    },
    populate({ buffer, byteOffset, byteLength }) {
      const from = Number(koffi.address(buffer)) + byteOffset
      const start = Math.ceil(from / pageBytes) * pageBytes
      const end = Math.floor((from + byteLength) / pageBytes) * pageBytes
      return end > start && madvise(start, end - start, MADV_POPULATE_WRITE) === 0
    },
    sendFile(socket, fd, offset, length) {
      position[0] = BigInt(offset)
      return Math.max(0, Number(sendfile(socket, fd, position, length)))
    },
    linkDescriptor: (fd, path) => linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW) === 0,
    reserve: (fd, nbytes) => nbytes > 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, nbytes) === 0,
    async dropFromCache(fd, offset, length) {
      if (syncRange === null || advise === null) return false
      // Only what is written can go.
      if ((await callAside(syncRange, fd, offset, length, SYNC_FILE_RANGE_ALL)) !== 0) return false
      return (await callAside(advise, fd, offset, length, POSIX_FADV_DONTNEED)) === 0
    },
  }
}

/** On a thread of the pool. What it returned, or null when it could not be called. */
function callAside(call: NativeFunction, ...args: readonly unknown[]): Promise<number | null> {
  return new Promise((resolve) => {
    try {
      call.async(...args, (error: unknown, result: unknown) => resolve(error ? null : Number(result)))
    } catch {
      // Too many at a time.
      resolve(null)
    }
  })
}

/** A function that some C libraries lack (musl has no malloc_trim). */
function optional<T>(find: () => T): T | null {
  try {
    return find()
  } catch {
    return null
  }
}

function withDescriptor<T>(path: string, flags: string, use: (fd: number) => T): T {
  const fd = openSync(path, flags)
  try {
    return use(fd)
  } finally {
    closeSync(fd)
  }
}

function systemError(errno: number, call: string, detail: string): NodeJS.ErrnoException {
  const code = errorName(errno)
  return Object.assign(new Error(`${call} failed with ${code} (${detail})`), { code, errno, syscall: call })
}

function errorName(errno: number): string {
  try {
    return getSystemErrorName(-errno)
  } catch {
    return `errno ${errno}`
  }
}
