// Published datasets: structures with futures in them, under a name, for other clients and later ones. A pseudo client of
// its own wants the keys of each, so they live until the dataset is unpublished, replaced, or the cluster is restarted.
//
// D1. The structure is bytes to the scheduler: the client that reads it makes futures of the keys it names.
// D2. Who is given a dataset wants its keys from that moment on: no gap in which they could be unpublished and freed.

import { clientId, type TaskKey } from '../../../base/ids.ts'
import { nearestName } from '../../../base/nearest-name.ts'
import type { EventOf } from '../events.ts'
import type { TaskRecord } from '../records.ts'
import { addWant, recommend, type SchedulerState } from '../state.ts'
import { forgetClient, newClient, releaseKeys } from './client.ts'

/** So many names are shown to whoever asks for one that is not there. */
const NAMES_SHOWN = 10

export function publishRequested(state: SchedulerState, event: EventOf<'PublishRequested'>): void {
  const { request, question } = event
  const { name, value, keys, override } = question
  const before = state.datasets.get(name)
  if (before !== undefined && !override) {
    const message = `A dataset named "${name}" is published already: choose another name, unpublish it first, or publish with { override: true }.`
    return state.outbox.refuse(request, 'DATASET_EXISTS', message, { name })
  }
  const tasks = keys.map((key) => state.tasks.get(key))
  const unknown = keys.filter((_, index) => tasks[index] === undefined)
  if (unknown.length > 0) return refuseUnknownKeys(state, event, unknown)
  const pseudo = before?.pseudo ?? newClient(clientId(`published ${name}`), name, null)
  state.clients.set(pseudo.id, pseudo)
  state.datasets.set(name, { name, value, keys, pseudo })
  for (const task of tasks as readonly TaskRecord[]) {
    addWant(pseudo, task)
    recommend(state, task, 'settled')
  }
  const kept = new Set(keys)
  releaseKeys(state, pseudo, before?.keys.filter((key) => !kept.has(key)) ?? [])
  state.outbox.answer(request, {})
}

function refuseUnknownKeys(
  state: SchedulerState,
  { request, question }: EventOf<'PublishRequested'>,
  unknown: readonly TaskKey[],
): void {
  const message = `The dataset "${question.name}" has futures that the scheduler does not know (any more), such as "${unknown[0]}": were they cancelled? Submit them again.`
  state.outbox.refuse(request, 'INVALID_ARGUMENT', message, {
    name: question.name,
    keys: unknown.slice(0, NAMES_SHOWN),
  })
}

/** D2. It says `client-desires-keys` when it has made its futures, and is told then how they stand. */
export function datasetRequested(state: SchedulerState, event: EventOf<'DatasetRequested'>): void {
  const dataset = state.datasets.get(event.name)
  if (dataset === undefined) return refuseUnknownName(state, event)
  const client = state.clients.get(event.client)
  for (const key of dataset.keys) {
    const task = state.tasks.get(key)
    if (task !== undefined && client !== undefined) addWant(client, task)
  }
  const { value, keys } = dataset
  state.outbox.answer(event.request, { value, keys })
}

export function unpublishRequested(state: SchedulerState, event: EventOf<'UnpublishRequested'>): void {
  const dataset = state.datasets.get(event.name)
  if (dataset === undefined) return refuseUnknownName(state, event)
  state.datasets.delete(event.name)
  forgetClient(state, dataset.pseudo)
  state.outbox.answer(event.request, {})
}

/** The values are gone with everything else. */
export function forgetDatasets(state: SchedulerState): void {
  for (const { pseudo } of state.datasets.values()) state.clients.delete(pseudo.id)
  state.datasets.clear()
}

function refuseUnknownName(
  state: SchedulerState,
  { request, name }: { readonly request: number; readonly name: string },
): void {
  const names = [...state.datasets.keys()]
  const near = nearestName(name, names)
  const shown = names.slice(0, NAMES_SHOWN).join(', ')
  const rest = names.length > NAMES_SHOWN ? ` and ${names.length - NAMES_SHOWN} more` : ''
  const hint =
    near !== undefined
      ? `did you mean "${near}"?`
      : names.length === 0
        ? 'none is published.'
        : `published are ${shown}${rest}.`
  state.outbox.refuse(request, 'DATASET_UNKNOWN', `No dataset named "${name}" is published: ${hint}`, { name })
}
