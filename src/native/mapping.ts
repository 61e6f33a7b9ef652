// One mapped range of a file, and when it may be unmapped. Unmapping under a living view is a segmentation fault, and only
// the garbage collector knows which views live; so each frame is registered with it, and the last one to go unmaps.
// Who maps what, and when a collection is worth its time, is decided elsewhere (runner/inputs.ts, the worker's store).
//
// M1. A mapping is unmapped exactly once: when it is sealed and every frame that was handed out has been finalized.
// M2. What the registry holds for a frame never refers to its ArrayBuffer, or nothing would ever be finalized.
// M3. `ArrayBuffer.prototype.transfer*` (Node 22+) moves the memory to another object: the result takes over the registration.
// M4. No frame is larger than 4 GiB: a larger view aborts Node 20.

/** A mapped range. Each frame is an ArrayBuffer of its own; offsets count from the start of the range asked for. */
export interface Mapping {
  readonly id: number
  /** An empty frame is an ordinary empty buffer. Throws RangeError outside of the range, or above `MAX_FRAME_BYTES`. */
  frame(offset: number, length: number): ArrayBuffer
  /** True when all of the file's part is in memory now; false as well where the system does not say. To be asked before `seal`. */
  isCached(): boolean
  /** No more frames follow: from now on the mapping ends with its last frame. */
  seal(): void
}

export const MAX_FRAME_BYTES = 2 ** 32

export interface MappedRange {
  /** Bytes between the page boundary and the range asked for. */
  readonly skip: number
  readonly length: number
  view(offset: number, length: number): ArrayBuffer
  unmap(): void
  isCached(): boolean
  readonly onUnmapped?: ((id: number) => void) | undefined
}

class CountedMapping implements Mapping {
  readonly id: number
  readonly #range: MappedRange
  #frames = 0
  #sealed = false

  constructor(id: number, range: MappedRange) {
    this.id = id
    this.#range = range
  }

  frame(offset: number, length: number): ArrayBuffer {
    if (this.#sealed || offset < 0 || length < 0 || offset + length > this.#range.length) {
      throw new RangeError(
        `frame of ${length} bytes at ${offset} is outside of a mapping of ${this.#range.length} bytes`,
      )
    }
    if (length > MAX_FRAME_BYTES)
      throw new RangeError(`a frame of ${length} bytes is larger than one view can be (4 GiB)`)
    if (length === 0) return new ArrayBuffer(0)
    const buffer = this.#range.view(this.#range.skip + offset, length)
    this.#frames++
    register(buffer, this)
    return buffer
  }

  isCached(): boolean {
    return this.#range.isCached()
  }

  seal(): void {
    if (this.#sealed) return
    this.#sealed = true
    if (this.#frames === 0) this.#end()
  }

  frameFinalized(): void {
    this.#frames--
    if (this.#frames === 0 && this.#sealed) this.#end()
  }

  #end(): void {
    counts.living--
    this.#range.unmap()
    this.#range.onUnmapped?.(this.id)
  }
}

const counts = { created: 0, living: 0 }
const finalizers = new FinalizationRegistry<CountedMapping>((mapping) => mapping.frameFinalized())
const owners = new WeakMap<ArrayBuffer, CountedMapping>()
let transferWrapped = false

export function createMapping(range: MappedRange): Mapping {
  if (!transferWrapped) wrapTransfer()
  counts.living++
  return new CountedMapping(++counts.created, range)
}

/** Mappings of this process that are not unmapped yet. */
export function livingMappings(): number {
  return counts.living
}

function register(buffer: ArrayBuffer, mapping: CountedMapping): void {
  owners.set(buffer, mapping)
  finalizers.register(buffer, mapping, buffer)
}

/** The result may be a copy (another length), but treating it as the owner only delays the end of the mapping. */
function wrapTransfer(): void {
  transferWrapped = true
  const prototype = ArrayBuffer.prototype as unknown as Record<string, unknown>
  for (const name of ['transfer', 'transferToFixedLength']) {
    const original = prototype[name]
    if (typeof original !== 'function') continue
    const wrapped = function (this: ArrayBuffer, ...args: unknown[]): ArrayBuffer {
      const result = original.apply(this, args) as ArrayBuffer
      const mapping = owners.get(this)
      if (mapping !== undefined) {
        register(result, mapping)
        owners.delete(this)
        finalizers.unregister(this)
      }
      return result
    }
    Object.defineProperty(wrapped, 'name', { value: name })
    Object.defineProperty(prototype, name, { value: wrapped, writable: true, configurable: true, enumerable: false })
  }
}
