// The file systems of one simulated machine, and what one process sees of them: every call takes virtual time, may fail as
// the faults say, and stops in the middle when its process is killed.
//
// D1. A call takes effect at its beginning or at its end; a killed process may have done what it never heard of.
// D2. A write or copy that a kill interrupts leaves a part of its bytes.

import type { Prng } from '../base/prng.ts'
import { SimFs } from '../store/sim-fs.ts'
import type { FileStat, StoreFs, WritableFile } from '../store/store-fs.ts'
import type { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

export interface DiskOptions {
  readonly memoryBytes: number
  readonly diskBytes: number
  /** Mean time of one call on disk; a tenth of it in memory. */
  readonly callMs: number
  readonly bytesPerMs: number
}

export const MEMORY_MOUNT = '/shm'
export const DISK_MOUNT = '/disk'

/** Shared by the processes of one machine. */
export class SimDisk {
  readonly files: SimFs
  readonly options: DiskOptions
  readonly prng: Prng
  readonly #world: World
  #slowFactor = 1
  #slowUntilMs = 0
  #failing = 0
  #failingUntilMs = 0

  constructor(world: World, machine: string, options: DiskOptions) {
    this.#world = world
    this.options = options
    this.prng = world.prng(`disk of ${machine}`)
    this.files = new SimFs({ '/': Infinity, [MEMORY_MOUNT]: options.memoryBytes, [DISK_MOUNT]: options.diskBytes })
  }

  slow(factor: number, forMs: number): void {
    this.#slowFactor = factor
    this.#slowUntilMs = this.#world.now + forMs
  }

  /** Reads and writes fail with this probability. */
  failing(probability: number, forMs: number): void {
    this.#failing = probability
    this.#failingUntilMs = this.#world.now + forMs
  }

  /** Nothing more fits, or as much as there was. */
  setFull(mount: typeof MEMORY_MOUNT | typeof DISK_MOUNT, full: boolean): void {
    const { memoryBytes, diskBytes } = this.options
    this.files.setCapacity(mount, full ? this.files.used(mount) : mount === MEMORY_MOUNT ? memoryBytes : diskBytes)
  }

  heal(): void {
    this.#slowUntilMs = 0
    this.#failingUntilMs = 0
    this.setFull(MEMORY_MOUNT, false)
    this.setFull(DISK_MOUNT, false)
  }

  delayMs(path: string, bytes: number): number {
    const onDisk = path.startsWith(DISK_MOUNT)
    const slow = onDisk && this.#slowUntilMs > this.#world.now ? this.#slowFactor : 1
    const base = onDisk ? this.options.callMs : this.options.callMs / 10
    return slow * (base * (0.2 + 1.6 * this.prng.next()) + bytes / this.options.bytesPerMs)
  }

  /** Only what a store has to survive: data of blobs, not the directories themselves. */
  faultOf(operation: string, path: string): string | null {
    if (this.#failingUntilMs <= this.#world.now || !path.startsWith(DISK_MOUNT)) return null
    const fails = operation === 'write' || operation === 'create' || operation === 'copy' || operation === 'read'
    return fails && this.prng.next() < this.#failing ? 'EIO' : null
  }
}

/** The file systems as one process uses them. */
export class ProcessFs implements StoreFs {
  readonly #process: SimProcess
  readonly #disk: SimDisk
  readonly #interrupted = new Set<() => void>()

  constructor(process: SimProcess, disk: SimDisk) {
    this.#process = process
    this.#disk = disk
    process.onKilled(() => {
      for (const leavePart of this.#interrupted) leavePart()
      this.#interrupted.clear()
    })
  }

  makeDirectory(path: string): Promise<void> {
    return this.#do('makeDirectory', path, 0, (files) => files.makeDirectory(path))
  }
  list(path: string): Promise<string[]> {
    return this.#do('list', path, 0, (files) => files.list(path))
  }
  stat(path: string): Promise<FileStat> {
    return this.#do('stat', path, 0, (files) => files.stat(path))
  }
  freeBytes(path: string): Promise<number> {
    return this.#do('freeBytes', path, 0, (files) => files.freeBytes(path))
  }
  read(path: string, offset: number, length: number): Promise<Uint8Array> {
    return this.#do('read', path, length, (files) => files.read(path, offset, length))
  }
  async peek(path: string, length: number): Promise<{ stat: FileStat; bytes: Uint8Array }> {
    return { stat: await this.stat(path), bytes: await this.read(path, 0, length) }
  }
  link(from: string, to: string): Promise<void> {
    return this.#do('link', to, 0, (files) => files.link(from, to))
  }
  rename(from: string, to: string): Promise<void> {
    return this.#do('rename', to, 0, (files) => files.rename(from, to))
  }
  chmod(path: string, mode: number): Promise<void> {
    return this.#do('chmod', path, 0, (files) => files.chmod(path, mode))
  }
  unlink(path: string): Promise<void> {
    return this.#do('unlink', path, 0, (files) => files.unlink(path))
  }
  dropFromCache(path: string, offset: number, length: number): Promise<void> {
    return this.#do('dropFromCache', path, length, (files) => files.dropFromCache(path, offset, length))
  }
  removeTree(path: string): Promise<void> {
    return this.#do('removeTree', path, 0, (files) => files.removeTree(path))
  }
  replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    return this.#do('replaceFile', path, bytes.length, (files) => files.replaceFile(path, bytes))
  }

  async copy(from: string, to: string): Promise<void> {
    const { size } = await this.#disk.files.stat(from)
    const whole = (files: SimFs): Promise<void> => files.copy(from, to)
    await this.#do('copy', to, size, whole, async (files, part) => {
      const file = await files.create(to)
      await file.write([await files.read(from, 0, Math.floor(part * size))], 0)
    })
  }

  async create(path: string): Promise<WritableFile> {
    return this.#writable(path, await this.#do('create', path, 0, (files) => files.create(path)))
  }

  async reopen(path: string, nbytes: number): Promise<WritableFile> {
    return this.#writable(path, await this.#do('reopen', path, 0, (files) => files.reopen(path, nbytes)))
  }

  #writable(path: string, file: WritableFile): WritableFile {
    return {
      close: () => file.close(),
      write: (buffers, position) => {
        const bytes = Buffer.concat(buffers)
        return this.#do(
          'write',
          path,
          bytes.length,
          () => file.write(buffers, position),
          async (_, part) => void (await file.write([bytes.subarray(0, Math.floor(part * bytes.length))], position)),
        )
      },
    }
  }

  /** `partly`: what is left when the process dies in the middle. */
  async #do<T>(
    operation: string,
    path: string,
    bytes: number,
    act: (files: SimFs) => Promise<T>,
    partly?: (files: SimFs, part: number) => Promise<void>,
  ): Promise<T> {
    const { prng, files } = this.#disk
    this.#process.world.touchPromises()
    const delayMs = this.#disk.delayMs(path, bytes)
    const code = this.#disk.faultOf(operation, path)
    if (code !== null) {
      await this.#wait(delayMs)
      throw Object.assign(new Error(`${code}: ${path}`), { code })
    }
    if (partly === undefined && prng.next() < 0.5) {
      const outcome = act(files)
      outcome.catch(() => {})
      await this.#wait(delayMs)
      return outcome
    }
    const leavePart = (): void => {
      if (partly !== undefined) partly(files, prng.next()).catch(() => {})
    }
    this.#interrupted.add(leavePart)
    await this.#wait(delayMs)
    this.#interrupted.delete(leavePart)
    return act(files)
  }

  /** Never ends for a process that is dead by then. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#process.after(ms, resolve))
  }
}
