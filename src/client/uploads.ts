// Values that a client puts on the cluster itself: scattered ones, and large arguments sent ahead of their task. The scheduler
// chooses workers and gives run ids; the bytes go straight there; what became of them is returned, and told to the
// scheduler by whoever asked (in its place in the outbox).
//
// U1. A value counts as sent when at least one worker has it in a file.
// U2. A worker that fails costs a new placement, not the value, up to ATTEMPTS_MAX times. When no place is given, that is
//     the scheduler's last word: it has waited for a worker already.
// U3. At most TRANSFERS_MAX values are on their way at once; the client holds the bytes until they have arrived.

import type { RunId, TaskKey, WorkerId } from '../base/ids.ts'
import { CHUNK_BYTES } from '../comm/index.ts'
import { toError } from '../errors/plimsoll-error.ts'
import { hostToken } from '../native/host-token.ts'
import type { SchedulerRequests } from '../protocol/scheduler-client.ts'
import type { Holder } from '../protocol/tasks.ts'
import type { WorkerRequests } from '../protocol/worker-worker.ts'
import { encodedBlobBytes, layoutBlob, type BlobMeta } from '../values/blob.ts'
import type { EncodedValue } from '../values/encode.ts'
import { writeBlobFile } from './blob-file.ts'
import { SnapshotFile } from './snapshot-file.ts'
import type { Peers, WorkerConnection } from './peers.ts'

const ATTEMPTS_MAX = 5
const TRANSFERS_MAX = 4
/** Below, the two more round trips cost as much as the bytes. */
const FILE_BYTES_MIN = 2 ** 20
const RETRY_PAUSE_MS = 100
/** Of a value scattered on a cluster that did something already. */
const FIRST_RUN_ID = 1000
/** Without progress for this long a transfer is given up; a worker may have to spill before it has room. */
const STALLED_MS = 60_000

/** A value that does not change any more. */
export type UploadValue = EncodedValue | SnapshotFile

export interface Upload {
  readonly key: TaskKey
  readonly value: UploadValue
}

export interface PlaceOptions {
  /** Names, hosts or addresses. */
  readonly workers?: readonly string[]
  readonly broadcast: boolean | number
  readonly timeoutMs: number
}

export type UploadOutcome =
  | {
      readonly kind: 'sent'
      readonly key: TaskKey
      readonly runId: RunId
      readonly nbytes: number
      readonly type: string
      readonly workers: readonly WorkerId[]
    }
  /** It was in memory already: the same content was scattered before. */
  | { readonly kind: 'present'; readonly key: TaskKey; readonly nbytes: number; readonly type: string }
  | { readonly kind: 'failed'; readonly key: TaskKey; readonly error: Error }

export interface UploaderDeps {
  readonly peers: Peers
  place(question: SchedulerRequests['scatter-place'][0]): Promise<SchedulerRequests['scatter-place'][1]>
  pause(ms: number): Promise<void>
  /** A worker did not take a value, and another is tried. */
  warn(key: string, address: string, error: Error): void
}

export class Uploader {
  readonly #deps: UploaderDeps
  readonly #waiting: (() => void)[] = []
  #transfers = 0
  /** Of the last value that was placed: the next one's is as long, most likely. */
  lastRunId = FIRST_RUN_ID
  /** Whether the last worker that was asked granted a place in a file; for a worker of this host to begin with. */
  grantsFiles = true

  constructor(deps: UploaderDeps) {
    this.#deps = deps
  }

  /** Sends all values; one outcome each, in no particular order. Never rejects. */
  async send(uploads: readonly Upload[], options: PlaceOptions): Promise<UploadOutcome[]> {
    const outcomes: UploadOutcome[] = []
    let left = uploads
    for (let attempt = 1; left.length > 0; attempt++) {
      let answer: SchedulerRequests['scatter-place'][1]
      try {
        answer = await this.#place(left, options)
      } catch (thrown) {
        const error = toError(thrown)
        return [...outcomes, ...left.map(({ key }): UploadOutcome => ({ kind: 'failed', key, error }))]
      }
      const round = await this.#sendOnce(left, answer)
      const again = new Set<TaskKey>()
      for (const outcome of round) {
        if (outcome.kind === 'failed' && attempt < ATTEMPTS_MAX) again.add(outcome.key)
        else outcomes.push(outcome)
      }
      left = left.filter((upload) => again.has(upload.key))
      if (left.length > 0) await this.#deps.pause(RETRY_PAUSE_MS * attempt)
    }
    return outcomes
  }

  #place(
    uploads: readonly Upload[],
    { workers, broadcast, timeoutMs }: PlaceOptions,
  ): Promise<SchedulerRequests['scatter-place'][1]> {
    const entries = uploads.map(({ key, value }) => ({ key, nbytes: value.nbytes, type: value.type }))
    return this.#deps.place({ entries, broadcast, timeoutMs, ...(workers !== undefined && { workers }) })
  }

  #sendOnce(uploads: readonly Upload[], answer: SchedulerRequests['scatter-place'][1]): Promise<UploadOutcome[]> {
    const placed = new Map(answer.placed.map((place) => [place.key, place]))
    return Promise.all(
      uploads.map(async ({ key, value }): Promise<UploadOutcome> => {
        const place = placed.get(key)
        if (place === undefined || place.runId === null)
          return { kind: 'present', key, nbytes: value.nbytes, type: value.type }
        this.lastRunId = place.runId
        const meta = { clusterId: answer.clusterId, generation: answer.generation, key, runId: place.runId }
        return this.#deliver({ key, value }, place.runId, meta, place.workers)
      }),
    )
  }

  async #deliver(
    { key, value }: Upload,
    runId: RunId,
    meta: BlobMeta,
    holders: readonly Holder[],
  ): Promise<UploadOutcome> {
    const nbytes = encodedBlobBytes(meta, value)
    const sent: WorkerId[] = []
    let failure: Error | null = null
    for (const holder of holders) {
      try {
        await this.#limited(() => this.#put(holder.address, { key, runId, nbytes, type: value.type }, meta, value))
        sent.push(holder.id)
      } catch (thrown) {
        failure = toError(thrown)
        this.#deps.warn(key, holder.address, failure)
      }
    }
    if (sent.length > 0) return { kind: 'sent', key, runId, nbytes, type: value.type, workers: sent }
    return { kind: 'failed', key, error: failure ?? new Error(`no worker was chosen for "${key}"`) }
  }

  async #put(
    address: string,
    question: WorkerRequests['put-data'][0],
    meta: BlobMeta,
    value: UploadValue,
  ): Promise<void> {
    await this.#deps.peers.use(address, async (connection) => {
      if (question.nbytes >= FILE_BYTES_MIN) {
        this.grantsFiles = await putFile(connection, question, meta, value)
        if (this.grantsFiles) return
      }
      const { parts } = layoutBlob(meta, value instanceof SnapshotFile ? await value.load() : value)
      await connection.request('put-data', question, { body: chunksOf(parts), timeoutMs: STALLED_MS })
    })
  }

  async #limited<T>(transfer: () => Promise<T>): Promise<T> {
    if (this.#transfers >= TRANSFERS_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#transfers++
    try {
      return await transfer()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#transfers--
      else next()
    }
  }
}

/** On the worker's own host: the blob goes into a file of the worker's choice. False when it has to be streamed. */
async function putFile(
  connection: WorkerConnection,
  { key, runId, nbytes, type }: WorkerRequests['put-data'][0],
  meta: BlobMeta,
  value: UploadValue,
): Promise<boolean> {
  const token = hostToken()
  if (token === null) return false
  const { place } = await connection.request('grant-place', { nbytes, hostToken: token }, { timeoutMs: STALLED_MS })
  if (place === null) return false
  try {
    await (value instanceof SnapshotFile ? value.writeTo(place.path, meta) : writeBlobFile(place.path, meta, value))
  } catch {
    // No room after all, or a limit of this process: the worker finds out what is wrong, or another place.
    await connection.request('cancel-place', { place: place.id })
    return false
  }
  await connection.request('put-place', { place: place.id, key, runId, type })
  return true
}

/** The parts of a blob in pieces of at most one chunk; small parts are joined. */
export async function* chunksOf(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  let small: Uint8Array[] = []
  let smallBytes = 0
  for (const part of parts) {
    if (smallBytes + part.length <= CHUNK_BYTES) {
      small.push(part)
      smallBytes += part.length
      continue
    }
    if (smallBytes > 0) yield Buffer.concat(small, smallBytes)
    small = []
    smallBytes = 0
    let at = 0
    for (; part.length - at > CHUNK_BYTES; at += CHUNK_BYTES) yield part.subarray(at, at + CHUNK_BYTES)
    small.push(part.subarray(at))
    smallBytes = part.length - at
  }
  if (smallBytes > 0) yield Buffer.concat(small, smallBytes)
}
