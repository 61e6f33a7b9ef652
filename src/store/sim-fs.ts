// A file system in memory behind the StoreFs interface, for tests and simulations: mounts with a capacity, links, short
// writes before ENOSPC as a full tmpfs gives them, errors and delays on demand. Directories exist once they were made.

import { dirname } from 'node:path'
import type { FileStat, StoreFs, WritableFile } from './store-fs.ts'

interface SimFile {
  bytes: Uint8Array
  size: number
  mode: number
  nlink: number
  mtimeNs: bigint
  readonly mount: Mount
}

interface Mount {
  readonly prefix: string
  readonly dev: number
  capacity: number
  used: number
}

/** What a test wants to happen instead; called before each operation. */
export type SimFault = (operation: keyof StoreFs | 'write', path: string, bytes: number) => string | null

export class SimFs implements StoreFs {
  readonly #files = new Map<string, SimFile>()
  readonly #directories = new Set<string>(['/'])
  readonly #mounts: Mount[] = []
  #clock = 1n
  /** A system error code, or null to let the operation through. */
  fault: SimFault = () => null
  /** Awaited before each operation: a slow disk, or other work in between. */
  delay: (operation: string, path: string, bytes: number) => Promise<void> | void = () => {}
  /** What was to leave the kernel's cache, of which there is none here. */
  readonly droppedFromCache: { readonly path: string; readonly offset: number; readonly length: number }[] = []

  constructor(mounts: Readonly<Record<string, number>>) {
    for (const [prefix, capacity] of Object.entries(mounts)) {
      this.#mounts.push({ prefix, capacity, used: 0, dev: this.#mounts.length + 1 })
      this.#directories.add(prefix)
    }
  }

  setCapacity(prefix: string, capacity: number): void {
    this.#mountOf(prefix).capacity = capacity
  }

  used(prefix: string): number {
    return this.#mountOf(prefix).used
  }

  /** Paths of all files below `prefix`. */
  paths(prefix: string): string[] {
    return [...this.#files.keys()].filter((path) => path.startsWith(prefix)).sort()
  }

  /** The file's bytes themselves: writing to them corrupts it behind the store's back. */
  contents(path: string): Uint8Array {
    const file = this.#find(path)
    return file.bytes.subarray(0, file.size)
  }

  truncate(path: string, size: number): void {
    cut(this.#find(path), size)
  }

  /** Puts a file in place at once, past faults and capacity: what a writer in another process did. */
  write(path: string, bytes: Uint8Array): void {
    const file = this.#newFile(path)
    file.bytes = bytes.slice()
    file.size = bytes.byteLength
    file.mount.used += bytes.byteLength
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#before('makeDirectory', path)
    for (let at = path; at !== '/' && !this.#directories.has(at); at = dirname(at)) this.#directories.add(at)
  }

  async list(path: string): Promise<string[]> {
    await this.#before('list', path)
    if (!this.#directories.has(path)) throw systemError('ENOENT', path)
    const names = new Set<string>()
    for (const known of [...this.#files.keys(), ...this.#directories]) {
      if (known.startsWith(`${path}/`)) names.add(known.slice(path.length + 1).split('/')[0] as string)
    }
    return [...names]
  }

  async stat(path: string): Promise<FileStat> {
    await this.#before('stat', path)
    if (this.#directories.has(path)) {
      return { size: 0, mode: 0o700, nlink: 2, dev: this.#mountOf(path).dev, mtimeNs: '0' }
    }
    const { size, mode, nlink, mtimeNs, mount } = this.#find(path)
    return { size, mode, nlink, dev: mount.dev, mtimeNs: mtimeNs.toString() }
  }

  async freeBytes(path: string): Promise<number> {
    await this.#before('freeBytes', path)
    const mount = this.#mountOf(path)
    return Math.max(0, mount.capacity - mount.used)
  }

  async create(path: string): Promise<WritableFile> {
    await this.#before('create', path)
    return this.#writable(this.#newFile(path), path)
  }

  async reopen(path: string, nbytes: number): Promise<WritableFile> {
    await this.#before('reopen', path)
    const file = this.#find(path)
    file.mode = 0o600
    if (file.size > nbytes) cut(file, nbytes)
    const whole = this.#writable(file, path)
    let end = 0
    return {
      write: async (buffers, position) => {
        const written = await whole.write(buffers, position)
        end = Math.max(end, position + written)
        return written
      },
      close: async () => cut(file, Math.min(end, file.size)),
    }
  }

  #writable(file: SimFile, path: string): WritableFile {
    return {
      write: async (buffers, position) => {
        const bytes = buffers.reduce((sum, part) => sum + part.byteLength, 0)
        await this.#before('write', path, bytes)
        return this.#append(file, buffers, position, path)
      },
      close: async () => {},
    }
  }

  async read(path: string, offset: number, length: number): Promise<Uint8Array> {
    await this.#before('read', path, length)
    const file = this.#find(path)
    return file.bytes.slice(offset, Math.min(file.size, offset + length))
  }

  async peek(path: string, length: number): Promise<{ stat: FileStat; bytes: Uint8Array }> {
    return { stat: await this.stat(path), bytes: await this.read(path, 0, length) }
  }

  async copy(from: string, to: string): Promise<void> {
    const source = this.#find(from)
    await this.#before('copy', to, source.size)
    const file = this.#newFile(to)
    file.mode = source.mode
    const written = this.#append(file, [source.bytes.subarray(0, source.size)], 0, to)
    if (written < source.size) throw systemError('ENOSPC', to)
  }

  async link(from: string, to: string): Promise<void> {
    await this.#before('link', from)
    const file = this.#find(from)
    if (file.mount !== this.#mountOf(to)) throw systemError('EXDEV', to)
    if (this.#files.has(to)) throw systemError('EEXIST', to)
    this.#files.set(to, file)
    file.nlink++
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#before('rename', from)
    const file = this.#find(from)
    if (file.mount !== this.#mountOf(to)) throw systemError('EXDEV', to)
    if (this.#files.has(to)) this.#unlink(to)
    this.#files.delete(from)
    this.#files.set(to, file)
  }

  async chmod(path: string, mode: number): Promise<void> {
    await this.#before('chmod', path)
    this.#find(path).mode = mode
  }

  async unlink(path: string): Promise<void> {
    await this.#before('unlink', path)
    this.#unlink(path)
  }

  async dropFromCache(path: string, offset: number, length: number): Promise<void> {
    await this.#before('dropFromCache', path, length)
    this.#find(path)
    this.droppedFromCache.push({ path, offset, length })
  }

  async removeTree(path: string): Promise<void> {
    await this.#before('removeTree', path)
    for (const known of this.paths(`${path}/`)) this.#unlink(known)
    for (const known of this.#directories) {
      if (known === path || known.startsWith(`${path}/`)) this.#directories.delete(known)
    }
  }

  async replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    await this.#before('replaceFile', path)
    if (this.#files.has(path)) this.#unlink(path)
    await this.makeDirectory(dirname(path))
    this.write(path, bytes)
  }

  async #before(operation: keyof StoreFs | 'write', path: string, bytes = 0): Promise<void> {
    await this.delay(operation, path, bytes)
    const code = this.fault(operation, path, bytes)
    if (code !== null) throw systemError(code, path)
  }

  #append(file: SimFile, buffers: readonly Uint8Array[], position: number, path: string): number {
    let at = position
    for (const part of buffers) {
      const room = Math.max(0, file.mount.capacity - file.mount.used)
      const piece = part.subarray(0, Math.min(part.byteLength, room))
      reserve(file, at + piece.byteLength)
      file.bytes.set(piece, at)
      at += piece.byteLength
      file.mount.used += Math.max(0, at - file.size)
      file.size = Math.max(file.size, at)
      if (piece.byteLength < part.byteLength) break
    }
    file.mtimeNs = ++this.#clock
    if (at === position && buffers.some((part) => part.byteLength > 0)) throw systemError('ENOSPC', path)
    return at - position
  }

  #newFile(path: string): SimFile {
    if (this.#files.has(path)) throw systemError('EEXIST', path)
    if (!this.#directories.has(dirname(path))) throw systemError('ENOENT', path)
    const mount = this.#mountOf(path)
    const file = { bytes: new Uint8Array(0), size: 0, mode: 0o400, nlink: 1, mtimeNs: ++this.#clock, mount }
    this.#files.set(path, file)
    return file
  }

  #find(path: string): SimFile {
    const file = this.#files.get(path)
    if (file === undefined) throw systemError('ENOENT', path)
    return file
  }

  #unlink(path: string): void {
    const file = this.#find(path)
    this.#files.delete(path)
    file.nlink--
    if (file.nlink === 0) file.mount.used -= file.size
  }

  #mountOf(path: string): Mount {
    let best: Mount | undefined
    for (const mount of this.#mounts) {
      const inside = path === mount.prefix || path.startsWith(`${mount.prefix}/`)
      if (inside && (best === undefined || mount.prefix.length > best.prefix.length)) best = mount
    }
    if (best === undefined) throw systemError('ENOENT', path)
    return best
  }
}

function cut(file: SimFile, size: number): void {
  file.mount.used -= file.size - size
  file.size = size
}

function reserve(file: SimFile, size: number): void {
  if (file.bytes.byteLength >= size) return
  const grown = new Uint8Array(Math.max(size, 2 * file.bytes.byteLength))
  grown.set(file.bytes.subarray(0, file.size))
  file.bytes = grown
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
