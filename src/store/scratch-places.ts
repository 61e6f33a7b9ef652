// Files that values pass through on their way into a container: granted, written by somebody else, read once, removed.

import { join } from 'node:path'
import { type Deferred, deferred } from '../base/deferred.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { nodeStoreFs } from './store-fs.ts'
import type { Place, StoreOptions } from './store.ts'

type Options = Pick<StoreOptions, 'localDirectory' | 'memoryDirectory' | 'incarnation' | 'memoryLimit'>

/** So much of the limit is in files at a time (or a single one); without a limit, so many bytes. */
const ROOM_PART = 0.1
const ROOM_BYTES = 256 * 2 ** 20

interface Waiting {
  readonly nbytes: number
  readonly tier: Place['tier']
  readonly directory: string
  readonly place: Deferred<Place>
}

export class ScratchPlaces {
  /** In order of preference. */
  readonly directories: readonly (readonly [Place['tier'], string])[]
  readonly #roomBytes: number
  readonly #granted = new Map<number, Place>()
  #waiting: Waiting[] = []
  #counter = 0
  #bytes = 0

  constructor({ localDirectory, memoryDirectory, incarnation, memoryLimit }: Options) {
    const name = `scratch-${incarnation}`
    const disk = ['disk', join(localDirectory, name)] as const
    this.directories = memoryDirectory === null ? [disk] : [['memory', join(memoryDirectory, name)], disk]
    this.#roomBytes = memoryLimit === 0 ? ROOM_BYTES : ROOM_PART * memoryLimit
  }

  async open(): Promise<void> {
    for (const [, directory] of this.directories) {
      await nodeStoreFs.removeTree(directory)
      await nodeStoreFs.makeDirectory(directory)
    }
  }

  /** Granted bytes. */
  reserved(tier: Place['tier']): number {
    let sum = 0
    for (const place of this.#granted.values()) if (place.tier === tier) sum += place.nbytes
    return sum
  }

  /** `avoid`: the writer met ENOSPC there. */
  async request(nbytes: number, avoid: Place['tier'] | null): Promise<Place> {
    const after = avoid === null ? 0 : 1 + this.directories.findIndex(([tier]) => tier === avoid)
    const found = this.directories[after]
    if (found === undefined) {
      const places = this.directories.map(([, directory]) => directory).join(' and ')
      throw new PlimsollError('STORE_FULL', `There is no room for a value of ${nbytes} bytes in ${places}.`, { nbytes })
    }
    const [tier, directory] = found
    const waiting: Waiting = { nbytes, tier, directory, place: deferred() }
    this.#waiting.push(waiting)
    this.#serve()
    return waiting.place.promise
  }

  /** Its file has been read, or never will be; resolves when it is gone. Does nothing when repeated. */
  async end(place: Place): Promise<void> {
    if (!this.#granted.delete(place.id)) return
    this.#bytes -= place.nbytes
    this.#serve()
    // A file that was never made is no loss; one that stays is removed with the directory.
    await nodeStoreFs.unlink(place.path).catch(() => {})
  }

  /** Voids all places and refuses whoever waits for one. */
  reset(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const place of this.#granted.values()) void this.end(place)
    const error = new PlimsollError(
      'STORE_CLOSED',
      'The store of this worker was closed or emptied; run the task again.',
    )
    for (const { place } of waiting) place.reject(error)
  }

  async close(): Promise<void> {
    for (const [, directory] of this.directories) await nodeStoreFs.removeTree(directory)
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#granted.size > 0 && this.#bytes + next.nbytes > this.#roomBytes) return
      this.#waiting.shift()
      const id = ++this.#counter
      const path = join(next.directory, `${id}.part`)
      const place: Place = { id, tier: next.tier, path, nbytes: next.nbytes }
      this.#granted.set(id, place)
      this.#bytes += next.nbytes
      next.place.resolve(place)
    }
  }
}
