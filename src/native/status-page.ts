// The status page: one small file that a worker, its executors and its nanny all map. Each executor has a slot that names
// the run it is inside of, so that a death is blamed on exactly that run, and a flag the worker uses to reach an
// executor that does not read its pipe. Without koffi the same bytes are read and written through the file.
//
// P1. The file is written out in full when it is made: a mapped hole would be a SIGBUS.
// P2. It stays readable as a plain file after every process that mapped it is dead (`readStatusFile`).
// P3. Only the executor writes run, phase and pid of its slot; only the worker writes cancel, epoch and the header.
// P4. Runs handed to one executor are numbered. It stores the number of a run *before* it compares the epoch, the worker
//     raises the epoch *before* it reads that number, both with a full fence between: either the executor sees the new
//     epoch, or the worker sees the start (or both). So what was handed over and not started can be taken back without
//     asking an executor that may be in an endless loop.
// P5. The run that ended last stays named beside the one that runs: whoever dies right behind it may never have told. An
//     executor of io tasks, which runs many at a time, names the one that it began last in this way, and no other.
// P6. Behind the slots each executor has an outbox (outbox.ts), when the page is mapped.

import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { type RunId, runId } from '../base/ids.ts'
import { invariant } from '../base/invariant.ts'
import { loadLibc } from './libc.ts'
import { Outbox, OUTBOX_BYTES } from './outbox.ts'

/** `placing` is a result waiting for its place: the executor holds the value and nothing else runs in it. */
export const PHASES = ['idle', 'inputs', 'running', 'encoding', 'placing', 'writing'] as const
export type Phase = (typeof PHASES)[number]

export interface SlotState {
  readonly runId: RunId | null
  readonly phase: Phase
  readonly pid: number
  /** The run that was asked to stop. */
  readonly cancel: RunId | null
}

const MAGIC = 0x50534c50
const VERSION = 3
const SLOT_BYTES = 64
const PAGE_BYTES = 4096
const NO_RUN = -1

// Header: magic u32, version u32, slots u32, unused u32, tier bytes f64.
const HEADER_SLOTS = 8
const HEADER_TIER_BYTES = 16
// Slot: run f64 (-1: none), phase u32, pid u32, cancelled run f64 (-1: none), epoch u32, fence u32, started u32,
// unused u32, last run f64 (-1: none).
const SLOT_RUN = 0
const SLOT_PHASE = 8
const SLOT_PID = 12
const SLOT_CANCEL = 16
const SLOT_EPOCH = 24
const SLOT_FENCE = 28
const SLOT_STARTED = 32
const SLOT_LAST = 40

/** Reads and writes single numbers at byte offsets that are multiples of their size. */
interface Cells {
  double(offset: number): number
  setDouble(offset: number, value: number): void
  uint(offset: number): number
  setUint(offset: number, value: number): void
  /** Nothing before it can be seen by others after anything behind it. */
  fence(offset: number): void
  /** The page itself; null when it is reached through the file. */
  readonly memory: ArrayBuffer | null
  close(): void
}

export class StatusPage {
  readonly slots: number
  readonly #cells: Cells

  private constructor(cells: Cells, slots: number) {
    this.#cells = cells
    this.slots = slots
  }

  /** Makes the file (mode 0600) with every slot idle. An existing one is replaced. */
  static create(path: string, slots: number): StatusPage {
    const bytes = Buffer.alloc(fileBytes(slots))
    bytes.writeUInt32LE(MAGIC, 0)
    bytes.writeUInt32LE(VERSION, 4)
    bytes.writeUInt32LE(slots, HEADER_SLOTS)
    for (let slot = 0; slot < slots; slot++) {
      bytes.writeDoubleLE(NO_RUN, at(slot) + SLOT_RUN)
      bytes.writeDoubleLE(NO_RUN, at(slot) + SLOT_CANCEL)
      bytes.writeDoubleLE(NO_RUN, at(slot) + SLOT_LAST)
    }
    writeFileSync(path, bytes, { mode: 0o600 })
    return StatusPage.open(path)
  }

  static open(path: string): StatusPage {
    const bytes = readFileSync(path)
    const slots = slotsOf(bytes, path)
    return new StatusPage(loadLibc() === null ? fileCells(path) : mappedCells(path, bytes.byteLength), slots)
  }

  setRun(slot: number, run: RunId | null, phase: Phase = run === null ? 'idle' : 'inputs'): void {
    const base = this.#at(slot)
    // A reader that sees the phase change first must not find a run that has ended already.
    if (run === null) this.#cells.setUint(base + SLOT_PHASE, PHASES.indexOf(phase))
    this.#cells.setDouble(base + SLOT_RUN, run ?? NO_RUN)
    if (run !== null) this.#cells.setUint(base + SLOT_PHASE, PHASES.indexOf(phase))
    this.#cells.fence(base + SLOT_FENCE)
  }

  /** Announces the start of a run; it may begin only if the epoch has not changed *after* this call (P4). */
  begin(slot: number, run: RunId, sequence: number): void {
    this.#cells.setUint(this.#at(slot) + SLOT_STARTED, sequence)
    this.setRun(slot, run, 'inputs')
  }

  /** The run is over (P5). */
  end(slot: number, run: RunId): void {
    this.nameLast(slot, run)
    this.setRun(slot, null)
  }

  /** P5. */
  nameLast(slot: number, run: RunId): void {
    this.#cells.setDouble(this.#at(slot) + SLOT_LAST, run)
  }

  /** The highest number of a run that this executor has begun; numbers grow in the order in which runs were handed over. */
  started(slot: number): number {
    return this.#cells.uint(this.#at(slot) + SLOT_STARTED)
  }

  setPhase(slot: number, phase: Phase): void {
    this.#cells.setUint(this.#at(slot) + SLOT_PHASE, PHASES.indexOf(phase))
  }

  setPid(slot: number, pid: number): void {
    this.#cells.setUint(this.#at(slot) + SLOT_PID, pid)
  }

  setCancel(slot: number, run: RunId | null): void {
    this.#cells.setDouble(this.#at(slot) + SLOT_CANCEL, run ?? NO_RUN)
  }

  /** Cheap enough to be asked in an inner loop. */
  isCancelled(slot: number, run: RunId): boolean {
    return this.#cells.double(this.#at(slot) + SLOT_CANCEL) === run
  }

  epoch(slot: number): number {
    return this.#cells.uint(this.#at(slot) + SLOT_EPOCH)
  }

  /** From the return of this call on the executor starts nothing before it has read its messages (P4). */
  raiseEpoch(slot: number): number {
    const base = this.#at(slot)
    const next = (this.#cells.uint(base + SLOT_EPOCH) + 1) >>> 0
    this.#cells.setUint(base + SLOT_EPOCH, next)
    this.#cells.fence(base + SLOT_FENCE)
    return next
  }

  read(slot: number): SlotState {
    const base = this.#at(slot)
    return {
      runId: toRun(this.#cells.double(base + SLOT_RUN)),
      phase: PHASES[this.#cells.uint(base + SLOT_PHASE)] ?? 'idle',
      pid: this.#cells.uint(base + SLOT_PID),
      cancel: toRun(this.#cells.double(base + SLOT_CANCEL)),
    }
  }

  /** Makes a slot ready for its next executor. */
  clear(slot: number): void {
    this.setRun(slot, null, 'idle')
    this.setPid(slot, 0)
    this.setCancel(slot, null)
    this.#cells.setDouble(this.#at(slot) + SLOT_LAST, NO_RUN)
    this.#cells.setUint(this.#at(slot) + SLOT_STARTED, 0)
    this.outbox(slot)?.empty()
  }

  /** Bytes in the memory tier, for the nanny, which must not count what survives a restart. */
  setTierBytes(bytes: number): void {
    this.#cells.setDouble(HEADER_TIER_BYTES, bytes)
  }

  get tierBytes(): number {
    return this.#cells.double(HEADER_TIER_BYTES)
  }

  /** Null without a mapping: then nobody may hold anything back. */
  outbox(slot: number): Outbox | null {
    invariant(slot >= 0 && slot < this.slots, () => `slot ${slot} of ${this.slots}`)
    const { memory } = this.#cells
    return memory === null ? null : new Outbox(memory, slotBytes(this.slots) + slot * OUTBOX_BYTES)
  }

  close(): void {
    this.#cells.close()
  }

  #at(slot: number): number {
    invariant(slot >= 0 && slot < this.slots, () => `slot ${slot} of ${this.slots}`)
    return at(slot)
  }
}

export interface LastWords {
  readonly slot: number
  readonly pid: number
  readonly runId: RunId | null
  readonly phase: Phase
  /** P5. */
  readonly lastRun: RunId | null
}

/** What each slot said last, without mapping anything; an empty list when the file is gone or is not a status page. */
export function readStatusFile(path: string): readonly LastWords[] {
  let bytes: Buffer
  let slots: number
  try {
    bytes = readFileSync(path)
    slots = slotsOf(bytes, path)
  } catch {
    return []
  }
  return Array.from({ length: slots }, (_, slot) => ({
    slot,
    pid: bytes.readUInt32LE(at(slot) + SLOT_PID),
    runId: toRun(bytes.readDoubleLE(at(slot) + SLOT_RUN)),
    phase: PHASES[bytes.readUInt32LE(at(slot) + SLOT_PHASE)] ?? 'idle',
    lastRun: toRun(bytes.readDoubleLE(at(slot) + SLOT_LAST)),
  }))
}

/** Of the header and all slots, in whole pages. */
const slotBytes = (slots: number): number => Math.ceil(((slots + 1) * SLOT_BYTES) / PAGE_BYTES) * PAGE_BYTES
const fileBytes = (slots: number): number => slotBytes(slots) + slots * OUTBOX_BYTES
const at = (slot: number): number => (slot + 1) * SLOT_BYTES
const toRun = (value: number): RunId | null => (value === NO_RUN ? null : runId(value))

function slotsOf(bytes: Buffer, path: string): number {
  const known = bytes.byteLength >= PAGE_BYTES && bytes.readUInt32LE(0) === MAGIC && bytes.readUInt32LE(4) === VERSION
  const slots = known ? bytes.readUInt32LE(HEADER_SLOTS) : 0
  if (slots === 0 || fileBytes(slots) > bytes.byteLength)
    throw new Error(`${path} is not a status page of this version`)
  return slots
}

function mappedCells(path: string, length: number): Cells {
  const libc = loadLibc()
  invariant(libc !== null, 'mapped cells need koffi')
  const { buffer } = libc.mapShared(path, length)
  const doubles = new Float64Array(buffer)
  const uints = new Uint32Array(buffer)
  return {
    double: (offset) => doubles[offset >>> 3] as number,
    setDouble: (offset, value) => {
      doubles[offset >>> 3] = value
    },
    uint: (offset) => uints[offset >>> 2] as number,
    setUint: (offset, value) => {
      uints[offset >>> 2] = value
    },
    fence: (offset) => {
      Atomics.add(uints, offset >>> 2, 1)
    },
    memory: buffer,
    close: () => {},
  }
}

/**
 * A system call orders memory by itself; the file is in a RAM file system or in the page cache. Once closed, a page reads
 * zero and takes nothing: whoever reports its last words at an exit is late.
 */
function fileCells(path: string): Cells {
  const fd = openSync(path, 'r+')
  const cell = Buffer.alloc(8)
  let open = true
  const write = (length: number, offset: number): void => {
    if (open) writeSync(fd, cell, 0, length, offset)
  }
  return {
    double: (offset) => (open && readSync(fd, cell, 0, 8, offset) === 8 ? cell.readDoubleLE(0) : 0),
    setDouble: (offset, value) => {
      cell.writeDoubleLE(value, 0)
      write(8, offset)
    },
    uint: (offset) => (open && readSync(fd, cell, 0, 4, offset) === 4 ? cell.readUInt32LE(0) : 0),
    setUint: (offset, value) => {
      cell.writeUInt32LE(value >>> 0, 0)
      write(4, offset)
    },
    fence: () => {},
    memory: null,
    close: () => {
      if (open) closeSync(fd)
      open = false
    },
  }
}
