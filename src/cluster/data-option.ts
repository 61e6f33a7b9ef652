// The option `data`: what a user gives instead of the tiers of the store, on its way to the process of the worker.
//
// An object is used where it is, so it needs a worker in the same process. A function, alone or with options, is called
// where the worker runs: it is captured like a task, or named by `fromModule`.

import { PlimsollError } from '../errors/plimsoll-error.ts'
import { capture } from '../functions/capture.ts'
import type { CapturedFactory } from '../protocol/nanny.ts'
import type { DataContainer } from '../store/container.ts'
import { encodeArgs } from '../values/args.ts'
import type { ContainerFactory } from '../worker/open-container.ts'

/** What a factory is called with beside its own options. */
export interface DataFactoryContext {
  /** An empty directory for this worker alone, removed with it. */
  readonly workerLocalDirectory: string
}

export type DataFactory<Options extends object = object> = (
  context: DataFactoryContext & Options,
) => DataContainer | Promise<DataContainer>

/** A container; a function that makes one; or that function with options for it. */
export type DataOption = DataContainer | DataFactory | readonly [factory: DataFactory<never>, options: object]

/** @throws PlimsollError INVALID_ARGUMENT, CANNOT_CAPTURE, NOT_SERIALIZABLE for what cannot be sent to a worker's process. */
export function captureFactory(data: DataOption): CapturedFactory {
  const made = factoryOf(data)
  if (made === null) {
    const given =
      typeof data === 'object' && data !== null
        ? 'an object, and the workers are processes of their own'
        : 'no container'
    const message = `LocalCluster option data is ${given}: give a function that makes it there, such as () => new Map(), or fromModule(url, name); or use inProcess.`
    throw new PlimsollError('INVALID_ARGUMENT', message, { option: 'data' })
  }
  const [factory, options] = made
  const { bytes } = capture(factory)
  const args = encodeArgs([options], () => undefined)
  return { fn: Buffer.from(bytes).toString('base64'), args: Buffer.from(args.bytes).toString('base64') }
}

/** Null for what is no factory. @throws PlimsollError INVALID_ARGUMENT */
export function factoryOf(data: DataOption): readonly [ContainerFactory, object] | null {
  if (typeof data === 'function') return [data as ContainerFactory, {}]
  if (!Array.isArray(data)) return null
  const [factory, options] = data as readonly unknown[]
  if (data.length === 2 && typeof factory === 'function' && typeof options === 'object' && options !== null)
    return [factory as ContainerFactory, options]
  const message = 'LocalCluster option data is an array: it takes [function, options], two members.'
  throw new PlimsollError('INVALID_ARGUMENT', message, { option: 'data' })
}
