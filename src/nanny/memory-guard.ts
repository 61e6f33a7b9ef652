// The last rung of the memory ladder, `terminate`: watches the private memory of a worker from outside, since one that swaps
// or collects without end no longer watches itself. The memory tier does not count: it survives the kill, so a worker
// that is full of values would be killed again and again.
//
// G1. Only what was above the rung in two looks in a row counts: the worker may be about to help itself (`kill-task`).
// G2. Linux only: elsewhere the memory of another process is not known.

import type { Clock } from '../base/clock.ts'
import { ProcessTreeReader } from '../native/process-memory.ts'

export interface MemoryGuardParts {
  readonly clock: Clock
  readonly intervalMs: number
  /** Bytes of private memory; Infinity = off. */
  readonly terminateBytes: number
  /** The worker process; null while there is none. */
  pid(): number | null
  /** Private memory of a process and all its descendants, bytes; default: as /proc tells. */
  readonly read?: (pid: number) => number
  onExceeded(privateBytes: number): void
}

export class MemoryGuard {
  readonly #parts: MemoryGuardParts
  #reader: ProcessTreeReader | null = null
  #cancelTimer: (() => void) | null = null
  /** The process that was above the rung at the last look. */
  #suspect: number | null = null

  constructor(parts: MemoryGuardParts) {
    this.#parts = parts
  }

  start(): void {
    if (this.#parts.terminateBytes === Number.POSITIVE_INFINITY) return
    this.#cancelTimer = this.#parts.clock.after(this.#parts.intervalMs, () => {
      this.start()
      this.#look()
    })
  }

  stop(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#reader?.close()
  }

  #look(): void {
    const worker = this.#parts.pid()
    const privateBytes = worker === null ? 0 : this.#read(worker)
    const suspect = privateBytes > this.#parts.terminateBytes ? worker : null
    const confirmed = suspect !== null && suspect === this.#suspect
    this.#suspect = confirmed ? null : suspect
    if (confirmed) this.#parts.onExceeded(privateBytes)
  }

  #read(pid: number): number {
    const { clock, read } = this.#parts
    if (read !== undefined) return read(pid)
    if (this.#reader?.pid !== pid) {
      this.#reader?.close()
      this.#reader = new ProcessTreeReader(pid)
    }
    return this.#reader.read(clock.now())?.privateBytes ?? 0
  }
}
