// Published datasets: a structure with futures in it goes to the scheduler as bytes that name the keys, and comes back, to this
// client or another one, with futures of that client in their places.

import { taskKey, type TaskKey } from '../base/ids.ts'
import { formatBytes } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { DATASET_BYTES_MAX } from '../protocol/scheduler-client.ts'
import { decodeArgs } from '../values/args.ts'
import { ArgumentEncoder } from './argument-encoder.ts'
import { flagOption, isName, shown } from './checked-options.ts'
import type { ClientSession } from './client-session.ts'
import { claimOf, type Future } from './future.ts'

export interface PublishOptions {
  /** Replaces a dataset of the same name; otherwise that is refused. */
  readonly override?: boolean
}

export async function publishDataset(
  session: ClientSession,
  name: string,
  value: unknown,
  options: PublishOptions,
): Promise<void> {
  session.assertOpen()
  checkName(name)
  refuseUnknown('publishDataset', options, ['override'])
  const override = flagOption('override', options.override) ?? false
  const { bytes, dependencies, pins } = new ArgumentEncoder(session).encodeStructure(value)
  if (bytes.length > DATASET_BYTES_MAX) throw tooLarge(name, bytes.length)
  const states = pins.map((future) => claimOf(future as Future).state)
  // Held until they are pinned: the caller may drop its futures meanwhile.
  for (const state of states) session.retain(state)
  try {
    await session.askInTurn('publish-dataset', { name, value: bytes, keys: dependencies.map(taskKey), override })
  } finally {
    for (const state of states) session.release(state)
  }
}

/** The structure, with futures of this client. */
export async function getDataset(session: ClientSession, name: string): Promise<unknown> {
  session.assertOpen()
  const { value, keys } = await session.askInTurn('get-dataset', { name: checkName(name) })
  const futures = session.futuresOf(keys)
  const [structure] = decodeArgs(value, (key) => futures.get(key as TaskKey))
  return structure
}

export async function unpublishDataset(session: ClientSession, name: string): Promise<void> {
  await session.askInTurn('unpublish-dataset', { name: checkName(name) })
}

function tooLarge(name: string, bytes: number): PlimsollError {
  const message = `The dataset "${name}" has ${formatBytes(bytes)} beside its futures, and may have ${formatBytes(DATASET_BYTES_MAX)}: scatter what is large, and publish the futures of it.`
  return new PlimsollError('INVALID_ARGUMENT', message, { name, bytes })
}

function checkName(name: unknown): string {
  if (isName(name)) return name
  throw new PlimsollError(
    'INVALID_ARGUMENT',
    `The name of a dataset is a text of whole characters, not empty; it was ${shown(name)}.`,
  )
}
