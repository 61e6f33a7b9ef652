// Large values of a container as files, for as long as somebody reads them: executors map a file and share it, where bytes in
// a message would be copied for each of them. Written at once, since a pin is taken at once; in RAM where there is a place.

import { statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RunId, TaskKey } from '../base/ids.ts'
import type { BlobSource, Pin } from './store.ts'

type FileSource = Extract<BlobSource, { readonly via: 'file' }>
type Tier = FileSource['tier']

interface SharedFile {
  readonly source: FileSource
  readers: number
}

export class ScratchReads {
  /** In order of preference. */
  readonly #directories: readonly (readonly [Tier, string])[]
  readonly #files = new Map<string, SharedFile>()
  #counter = 0
  #memoryBytes = 0

  constructor(directories: readonly (readonly [Tier, string])[]) {
    this.#directories = directories
  }

  /** What its files take of RAM. */
  get memoryBytes(): number {
    return this.#memoryBytes
  }

  /** A reader's hold on the file of one value; null when the bytes cannot be had, or written anywhere. */
  pin(id: number, key: TaskKey, runId: RunId, read: () => Uint8Array | null): Pin | null {
    const name = `${runId} ${key}`
    const file = this.#files.get(name) ?? this.#write(name, read)
    if (file === null) return null
    file.readers++
    let state: 'held' | 'mapped' | 'over' = 'held'
    const end = (): void => {
      state = 'over'
      this.#leave(name, file)
    }
    return {
      id,
      key,
      runId,
      source: file.source,
      release: (stillMapped = false) => {
        if (state !== 'held') return
        if (stillMapped) state = 'mapped'
        else end()
      },
      unmapped: () => {
        if (state === 'mapped') end()
      },
    }
  }

  #write(name: string, read: () => Uint8Array | null): SharedFile | null {
    const bytes = read()
    if (bytes === null) return null
    const nbytes = bytes.byteLength
    for (const [tier, directory] of this.#directories) {
      const path = join(directory, `${++this.#counter}.read`)
      try {
        writeFileSync(path, bytes, { mode: 0o400, flag: 'wx' })
        const mtimeNs = statSync(path, { bigint: true }).mtimeNs.toString()
        const file: SharedFile = {
          source: { via: 'file', path, offset: 0, nbytes, tier, mtimeNs, verify: false },
          readers: 0,
        }
        this.#files.set(name, file)
        if (tier === 'memory') this.#memoryBytes += nbytes
        return file
      } catch {
        // No room here: the next place, or the message itself.
        removeQuietly(path)
      }
    }
    return null
  }

  #leave(name: string, file: SharedFile): void {
    if (--file.readers > 0) return
    this.#files.delete(name)
    if (file.source.tier === 'memory') this.#memoryBytes -= file.source.nbytes
    removeQuietly(file.source.path)
  }
}

/** What stays is removed with its directory. */
function removeQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // It was never made, or went with the directory.
  }
}
