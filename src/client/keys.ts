import { hash, randomUUID } from 'node:crypto'
import { taskKey, type FunctionId, type TaskKey } from '../base/ids.ts'
import type { EncodedValue } from '../values/encode.ts'

/** 128 bits: enough that two different calls never meet by chance. */
const DIGEST_HEX = 32

/** Makes the keys of one function's calls: `<name>-<hash of function and arguments>`. */
export class PureKeys {
  readonly #prefix: string
  readonly #idBytes: number
  // One buffer for all calls of a map: the function's id, then the arguments.
  #scratch: Buffer

  constructor(prefix: string, fn: FunctionId) {
    this.#prefix = `${prefix}-`
    this.#scratch = Buffer.alloc(Math.max(256, 4 * fn.length))
    this.#idBytes = this.#scratch.write(fn, 'latin1')
  }

  keyOf(args: Uint8Array): TaskKey {
    const length = this.#idBytes + args.length
    if (length > this.#scratch.length) {
      const grown = Buffer.alloc(2 * length)
      this.#scratch.copy(grown, 0, 0, this.#idBytes)
      this.#scratch = grown
    }
    this.#scratch.set(args, this.#idBytes)
    return taskKey(this.#prefix + hash('sha256', this.#scratch.subarray(0, length), 'hex').slice(0, DIGEST_HEX))
  }
}

/** The name in front of a key's hash or uuid; a key given by hand is its own name. */
export function prefixOf(key: TaskKey): string {
  return key.replace(/-([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/, '')
}

/** A key nobody else has. */
export function freshKey(prefix: string): TaskKey {
  return taskKey(`${prefix}-${randomUUID()}`)
}

/** The key of a value by its content: the same data scattered twice is one key. */
export function contentKey(value: EncodedValue): TaskKey {
  let digests = `${value.family}/${value.type}`
  for (const frame of value.frames) digests += `/${frame.length}:${hash('sha256', frame, 'hex')}`
  return taskKey(`${value.type}-${hash('sha256', digests, 'hex').slice(0, DIGEST_HEX)}`)
}
