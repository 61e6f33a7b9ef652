// Classes that travel as themselves. The table is per process: a class must be registered in every process that meets its
// instances, so the call belongs into a module that the program and its tasks import.

import { PlimsollError } from '../errors/plimsoll-error.ts'

type Constructor<T> = abstract new (...args: never[]) => T

export interface ClassCodec<T, Data> {
  /** Unique name in the encoded form; the class's own name when left out. */
  readonly name?: string
  /** Plain data that says everything; typed arrays in it travel without being copied. */
  serialize(value: T): Data
  deserialize(data: Data): T
}

export interface RegisteredClass {
  readonly name: string
  readonly source: string
  readonly serialize: (value: object) => unknown
  readonly deserialize: (data: unknown) => unknown
}

const byPrototype = new WeakMap<object, RegisteredClass>()
const byName = new Map<string, RegisteredClass>()

/**
 * Teaches this process to send and receive instances of `Class` (not of its subclasses) as themselves.
 * @throws PlimsollError INVALID_ARGUMENT when another class has the name already.
 */
export function registerSerializer<T extends object, Data>(Class: Constructor<T>, codec: ClassCodec<T, Data>): void {
  const name = codec.name ?? Class.name
  const source = Function.prototype.toString.call(Class)
  if (name === '')
    throw new PlimsollError('INVALID_ARGUMENT', 'registerSerializer: the class has no name: pass one with { name }')
  const known = byName.get(name)
  // A module that was loaded twice registers an equal class again; the later one revives.
  if (known !== undefined && known.source !== source) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `registerSerializer: another class is registered as "${name}": pass a different name with { name }`,
      { name },
    )
  }
  const registered: RegisteredClass = {
    name,
    source,
    serialize: (value) => codec.serialize(value as T),
    deserialize: (data) => codec.deserialize(data as Data),
  }
  byName.set(name, registered)
  byPrototype.set(Class.prototype as object, registered)
}

export const registeredByPrototype = (prototype: object): RegisteredClass | undefined => byPrototype.get(prototype)
export const registeredByName = (name: string): RegisteredClass | undefined => byName.get(name)

registerSerializer(URL, { serialize: (url) => url.href, deserialize: (href: string) => new URL(href) })
registerSerializer(URLSearchParams, {
  serialize: (params) => params.toString(),
  deserialize: (text: string) => new URLSearchParams(text),
})
