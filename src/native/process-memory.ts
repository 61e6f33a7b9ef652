// What a process weighs, read from /proc. `RssAnon` is private memory: clean pages of mapped blobs are not in it, copies
// made by writing to them are. A killed process reads 0 long before its memory is back: who samples it keeps the last one.

import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { type KnownProcess, descendants, knownProcess } from './process-tree.ts'

export interface ProcessMemory {
  readonly rssAnonBytes: number
  readonly swapBytes: number
  /** Private writable memory, touched or not: what RLIMIT_DATA is compared with. 0 where it is unknown. */
  readonly vmDataBytes: number
}

/** Memory of one process; null when it is gone. Elsewhere than on Linux: the resident size of this process, null for others. */
export function readProcessMemory(pid: number): ProcessMemory | null {
  if (process.platform !== 'linux') return ownResidentSize(pid)
  try {
    return parseStatus(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return null
  }
}

/** A small file of /proc that is read again and again: kept open, that is one system call instead of five. */
class ProcFile {
  readonly #path: string
  #fd: number | null = null
  static readonly #buffer = Buffer.alloc(4096)

  constructor(path: string) {
    this.#path = path
  }

  /** Its beginning; null when the process is gone, or /proc does not tell. */
  read(): string | null {
    try {
      this.#fd ??= openSync(this.#path, 'r')
      const length = readSync(this.#fd, ProcFile.#buffer, 0, 4096, 0)
      return ProcFile.#buffer.toString('latin1', 0, length)
    } catch {
      this.close()
      return null
    }
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd)
    this.#fd = null
  }
}

/** Reads the same process again and again for half the cost. */
export class ProcessMemoryReader {
  readonly pid: number
  readonly #status: ProcFile

  constructor(pid: number) {
    this.pid = pid
    this.#status = new ProcFile(`/proc/${pid}/status`)
  }

  read(): ProcessMemory | null {
    if (process.platform !== 'linux') return ownResidentSize(this.pid)
    const text = this.#status.read()
    return text === null ? null : parseStatus(text)
  }

  close(): void {
    this.#status.close()
  }
}

/** Looking for all children, of all threads, costs much more than reading their memory; those of the main thread are cheap to see. */
const DESCENDANTS_EVERY_MS = 500

/** Reads the memory of one process and all its descendants, again and again. */
export class ProcessTreeReader {
  readonly #own: ProcessMemoryReader
  readonly #mainThread: ProcFile
  #children: readonly KnownProcess[] = []
  #childrenAtMs = Number.NEGATIVE_INFINITY
  /** Of the main thread, as last seen. */
  #ownChildren = ''

  constructor(pid: number) {
    this.#own = new ProcessMemoryReader(pid)
    this.#mainThread = new ProcFile(`/proc/${pid}/task/${pid}/children`)
  }

  get pid(): number {
    return this.#own.pid
  }

  /** All its descendants, as last seen. */
  get descendants(): readonly KnownProcess[] {
    return this.#children
  }

  /** Null when the process itself is gone. `privateBytes`: private memory and swap of all; `nowMs` of any monotonic clock. */
  read(nowMs: number): { readonly own: ProcessMemory; readonly privateBytes: number } | null {
    const own = this.#own.read()
    if (own === null) return null
    const ownChildren = this.#mainThread.read() ?? ''
    if (ownChildren !== this.#ownChildren || nowMs - this.#childrenAtMs > DESCENDANTS_EVERY_MS) {
      this.#ownChildren = ownChildren
      this.#children = descendants(this.pid).flatMap((pid) => knownProcess(pid) ?? [])
      this.#childrenAtMs = nowMs
    }
    let privateBytes = own.rssAnonBytes + own.swapBytes
    for (const child of this.#children) {
      const memory = readProcessMemory(child.pid)
      privateBytes += (memory?.rssAnonBytes ?? 0) + (memory?.swapBytes ?? 0)
    }
    return { own, privateBytes }
  }

  close(): void {
    this.#own.close()
    this.#mainThread.close()
  }
}

function parseStatus(text: string): ProcessMemory | null {
  if (!text.includes('VmData:'))
    return text.includes('State:\tZ') ? null : { rssAnonBytes: 0, swapBytes: 0, vmDataBytes: 0 }
  return { rssAnonBytes: kib(text, 'RssAnon:'), swapBytes: kib(text, 'VmSwap:'), vmDataBytes: kib(text, 'VmData:') }
}

function kib(text: string, name: string): number {
  const start = text.indexOf(name)
  return start < 0 ? 0 : Number.parseInt(text.slice(start + name.length, start + name.length + 24), 10) * 1024
}

function ownResidentSize(pid: number): ProcessMemory | null {
  return pid === process.pid ? { rssAnonBytes: process.memoryUsage.rss(), swapBytes: 0, vmDataBytes: 0 } : null
}
