// A reader's hold on one holding of one key (S2). The pin stays with the holding it was served from, also when the record
// moves on meanwhile.

import type { RunId, TaskKey } from '../base/ids.ts'
import { invariant } from '../base/invariant.ts'
import { BlobFile } from './file-tier.ts'
import type { Holding } from './holding.ts'
import type { BlobRecord } from './records.ts'
import type { BlobSource, Pin } from './store.ts'

export interface PinOwner {
  /** A hold on one of the record's holdings ended. */
  released(record: BlobRecord): void
}

export class StorePin implements Pin {
  readonly id: number
  readonly source: BlobSource
  readonly #record: BlobRecord
  readonly #holding: Holding
  readonly #owner: PinOwner
  #state: 'held' | 'mapped' | 'over' = 'held'

  constructor(id: number, record: BlobRecord, holding: Holding, owner: PinOwner) {
    this.id = id
    this.source = sourceOf(record)
    this.#record = record
    this.#holding = holding
    this.#owner = owner
    holding.pin()
  }

  get key(): TaskKey {
    return this.#record.key
  }

  get runId(): RunId {
    return this.#record.runId
  }

  release(stillMapped = false): void {
    if (this.#state !== 'held') return
    // Inline bytes are handed over as they are; there is nothing to map.
    const mapped = stillMapped && this.source.via === 'file'
    this.#state = mapped ? 'mapped' : 'over'
    this.#holding.unpin(mapped)
    this.#owner.released(this.#record)
  }

  unmapped(): void {
    if (this.#state !== 'mapped') return
    this.#state = 'over'
    this.#holding.unmap()
    this.#owner.released(this.#record)
  }
}

function sourceOf(record: BlobRecord): BlobSource {
  if (record.inline !== null) return { via: 'inline', bytes: record.inline.bytes }
  const { stored } = record
  invariant(stored !== null, 'a record in the index has its bytes somewhere')
  const { path, tier } = stored
  const base = { via: 'file', path, nbytes: record.nbytes, tier } as const
  if (stored instanceof BlobFile) {
    return { ...base, offset: 0, mtimeNs: stored.mtimeNs, verify: record.verify }
  }
  return { ...base, offset: stored.offset, mtimeNs: null, verify: true }
}
