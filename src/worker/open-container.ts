// Makes the container of the user's for the values of one worker, in the process that the worker runs in.

import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { rebuild } from '../functions/rebuild.ts'
import type { CapturedFactory } from '../protocol/nanny.ts'
import { checkContainer, type DataContainer } from '../store/container.ts'
import { decodeArgs } from '../values/args.ts'

/** @throws PlimsollError INVALID_ARGUMENT for what can be no container, WORKER_START_FAILED when its factory threw. */
export type OpenContainer = (directory: string) => Promise<DataContainer>

export type ContainerFactory = (context: object) => unknown

/** It is there already. */
export function openGiven(container: unknown): OpenContainer {
  return async () => checkContainer(container)
}

export function openCaptured({ fn, args }: CapturedFactory): OpenContainer {
  return async (directory) => {
    const factory = await rebuild(Buffer.from(fn, 'base64'))
    const [options] = decodeArgs(Buffer.from(args, 'base64'), () => undefined) as [object]
    return openWith(factory, options)(directory)
  }
}

/** The factory gets its options, and an empty directory of its worker's own. */
export function openWith(factory: ContainerFactory, options: object): OpenContainer {
  return async (workerLocalDirectory) => {
    let made: unknown
    try {
      made = await factory({ ...options, workerLocalDirectory })
    } catch (cause) {
      const message = `The function that makes the container for values (option \`data\`) threw: ${toError(cause).message}`
      throw new PlimsollError('WORKER_START_FAILED', message, { option: 'data' }, { cause })
    }
    return checkContainer(made)
  }
}
