// Fetches values: asks the scheduler where they are, reads them from the workers that hold them, tries again elsewhere
// when that fails. Reading from one worker is value-reader.ts; who waits, and for how long, is not known here.
//
// G1. A key is fetched once at a time, however many wait for it; all of them get the same value.
// G2. What is asked for in one turn is located with one request and read with one request per worker and batch; one
//     request at a time per worker, at most LANES_MAX workers at once.
// G3. A replica that is missing or corrupt is reported to the scheduler; the key waits to be finished again. No value that
//     failed its checks is ever returned.
// G4. A holder that failed is not asked again while another one is left. When all have failed, the key is located anew
//     after a pause, and given up when that has gone on for `retryMs`.
// G5. The scheduler is told which values are awaited, so that small ones come along with the news that they are there: that
//     saves two questions, where the value is and for it: four of the ten hops of a round trip. It is an offer only: what
//     did not come, or cannot be read, is fetched.

import type { Clock } from '../base/clock.ts'
import type { TaskKey, WorkerId } from '../base/ids.ts'
import { formatBytes } from '../base/units.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { ClientToScheduler, SchedulerRequests } from '../protocol/scheduler-client.ts'
import type { FutureState } from './future-state.ts'
import { type Located, readAttached, type ReadOutcome } from './value-reader.ts'

const LOCATE_KEYS_MAX = 10_000
const LANES_MAX = 8
const BATCH_KEYS_MAX = 4_096
const BATCH_BYTES_MAX = 64 * 2 ** 20
const BUSY_PAUSE_MS = 100
const RETRY_PAUSE_MS = { first: 20, most: 2_000 } as const

export interface FetchListener {
  onValue(state: FutureState, value: unknown): void
  onFailure(state: FutureState, error: Error): void
}

export interface FetcherDeps {
  retain(state: FutureState): void
  release(state: FutureState): void
  locate(keys: readonly TaskKey[]): Promise<SchedulerRequests['locate'][1]>
  send(message: ClientToScheduler): void
  /** The scheduler does not have a key that it called finished: wait until it says something about it again. */
  reassert(state: FutureState): void
  /** Tells the scheduler which values are awaited, after everything said before. */
  announce(keys: readonly TaskKey[]): void
  /** Reads values from one worker; one outcome per item, never rejects. */
  read(items: readonly Located[]): Promise<readonly ReadOutcome[]>
  /** Largest value in bytes that may be fetched. */
  gatherLimit(): number
  /** How long unreachable holders are tried, milliseconds. */
  readonly retryMs: number
  readonly clock: Clock
  /** Calls back when this turn of the event loop is over. */
  readonly defer: (callback: () => void) => void
}

interface Job {
  readonly state: FutureState
  readonly listeners: FetchListener[]
  failedHolders: Set<WorkerId> | null
  failures: number
  firstFailureMs: number
  lastError: Error | null
}

interface Lane {
  readonly waiting: Located[]
  active: boolean
}

export class Fetcher {
  readonly #deps: FetcherDeps
  readonly #jobs = new Map<FutureState, Job>()
  readonly #lanes = new Map<string, Lane>()
  #due: Job[] = []
  #roundScheduled = false
  /** To be announced at the end of this microtask: before the messages of this turn leave. */
  #awaited: TaskKey[] = []
  #activeLanes = 0
  #closed: Error | null = null

  constructor(deps: FetcherDeps) {
    this.#deps = deps
  }

  /** Waits until the state is finished, then fetches its value; the listener hears exactly once, never during this call. */
  fetch(state: FutureState, listener: FetchListener): void {
    const known = this.#jobs.get(state)
    if (known !== undefined) {
      known.listeners.push(listener)
      return
    }
    const job: Job = {
      state,
      listeners: [listener],
      failedHolders: null,
      failures: 0,
      firstFailureMs: 0,
      lastError: null,
    }
    this.#jobs.set(state, job)
    this.#deps.retain(state)
    if (!state.settled) this.#announce(state.key)
    this.#await(job)
  }

  #announce(key: TaskKey): void {
    if (this.#awaited.push(key) > 1) return
    queueMicrotask(() => {
      const keys = this.#awaited
      this.#awaited = []
      if (this.#closed === null) this.#deps.announce(keys)
    })
  }

  /** The listener does not want to hear any more. */
  detach(state: FutureState, listener: FetchListener): void {
    const job = this.#jobs.get(state)
    const index = job?.listeners.indexOf(listener) ?? -1
    if (job !== undefined && index >= 0) job.listeners.splice(index, 1)
    if (job?.listeners.length === 0) this.#end(job)
  }

  close(error: Error): void {
    this.#closed = error
    const jobs = [...this.#jobs.values()]
    for (const job of jobs) {
      const { outcome } = job.state
      this.#fail(job, outcome.status === 'pending' || outcome.status === 'finished' ? error : outcome.error)
    }
    this.#due = []
    this.#lanes.clear()
  }

  #await(job: Job): void {
    if (job.state.settled) this.#enqueue(job)
    else job.state.whenSettled(this.#onSettled)
  }

  readonly #onSettled = (state: FutureState): void => {
    const job = this.#jobs.get(state)
    if (job !== undefined && !this.#takeAttached(job)) this.#enqueue(job)
  }

  #takeAttached(job: Job): boolean {
    const { state } = job
    const { attached } = state
    if (attached === null || attached.length > this.#deps.gatherLimit()) return false
    state.attached = null
    const outcome = readAttached(state.key, attached)
    if (outcome.kind === 'value') this.#succeed(job, outcome.value)
    return outcome.kind === 'value'
  }

  #enqueue(job: Job): void {
    this.#due.push(job)
    if (this.#roundScheduled) return
    this.#roundScheduled = true
    this.#deps.defer(() => {
      this.#roundScheduled = false
      this.#round()
    })
  }

  #round(): void {
    const due = this.#due
    this.#due = []
    const limit = this.#deps.gatherLimit()
    const finished: Job[] = []
    for (const job of due) {
      if (!this.#live(job)) continue
      const { outcome, key } = job.state
      if (this.#closed !== null) this.#fail(job, this.#closed)
      else if (outcome.status === 'pending') this.#await(job)
      else if (outcome.status !== 'finished') this.#fail(job, outcome.error)
      else if (outcome.nbytes > limit) this.#fail(job, gatherTooLarge([{ key, nbytes: outcome.nbytes }], limit))
      else if (!this.#takeAttached(job)) finished.push(job)
    }
    for (let from = 0; from < finished.length; from += LOCATE_KEYS_MAX) {
      void this.#locate(finished.slice(from, from + LOCATE_KEYS_MAX))
    }
  }

  async #locate(jobs: readonly Job[]): Promise<void> {
    const found = new Map<string, SchedulerRequests['locate'][1]['found'][number]>()
    try {
      const answer = await this.#deps.locate(jobs.map((job) => job.state.key))
      for (const entry of answer.found) found.set(entry.key, entry)
    } catch (error) {
      for (const job of jobs) this.#fail(job, toError(error))
      return
    }
    const assigned = new Map<string, number>()
    for (const job of jobs) {
      if (!this.#live(job)) continue
      const entry = found.get(job.state.key)
      if (entry === undefined) {
        this.#vanished(job)
        continue
      }
      if (entry.holders.length === 0) {
        // It exists, and whoever holds it is away: that worker comes back, or the scheduler says what follows.
        this.#noteFailure(job, null, null)
        this.#retryLater(job)
        continue
      }
      const holder = chooseHolder(entry.holders, job.failedHolders, assigned)
      if (holder === null) {
        job.failedHolders = null
        this.#retryLater(job)
        continue
      }
      assigned.set(holder.address, (assigned.get(holder.address) ?? 0) + entry.nbytes)
      this.#laneOf(holder.address).waiting.push({ state: job.state, runId: entry.runId, nbytes: entry.nbytes, holder })
    }
    this.#fillLanes()
  }

  #laneOf(address: string): Lane {
    let lane = this.#lanes.get(address)
    if (lane === undefined) this.#lanes.set(address, (lane = { waiting: [], active: false }))
    return lane
  }

  #fillLanes(): void {
    for (const [address, lane] of this.#lanes) {
      if (this.#activeLanes >= LANES_MAX) return
      if (!lane.active && lane.waiting.length > 0) void this.#drive(address, lane)
    }
  }

  async #drive(address: string, lane: Lane): Promise<void> {
    lane.active = true
    this.#activeLanes++
    while (lane.waiting.length > 0 && this.#closed === null) {
      const batch = this.#nextBatch(lane)
      if (batch.length === 0) continue
      const outcomes = await this.#deps.read(batch)
      batch.forEach((item, index) => this.#apply(item, outcomes[index] as ReadOutcome))
    }
    lane.active = false
    this.#activeLanes--
    if (this.#lanes.get(address) === lane) this.#lanes.delete(address)
    this.#fillLanes()
  }

  #nextBatch(lane: Lane): Located[] {
    let bytes = 0
    let count = 0
    for (const { nbytes } of lane.waiting) {
      if (count >= BATCH_KEYS_MAX || (count > 0 && bytes + nbytes > BATCH_BYTES_MAX)) break
      bytes += nbytes
      count++
    }
    return lane.waiting.splice(0, count).filter((item) => this.#jobs.has(item.state))
  }

  #apply(item: Located, outcome: ReadOutcome): void {
    const job = this.#jobs.get(item.state)
    if (job === undefined) return
    switch (outcome.kind) {
      case 'value':
        this.#succeed(job, outcome.value)
        return
      case 'undecodable':
        this.#fail(job, outcome.error)
        return
      case 'busy':
        this.#deps.clock.after(BUSY_PAUSE_MS, () => this.#again(job))
        return
      case 'missing':
        this.#deps.send({ op: 'report-missing', key: item.state.key, runId: item.runId, workers: [item.holder.id] })
        this.#noteFailure(job, item.holder.id, outcome.error)
        this.#again(job)
        return
      case 'unreachable':
        this.#noteFailure(job, item.holder.id, outcome.error)
        this.#again(job)
        return
    }
  }

  #again(job: Job): void {
    if (this.#live(job)) this.#await(job)
  }

  /** Called finished, but nowhere to be found: the scheduler is asked to say again what became of it. */
  #vanished(job: Job): void {
    this.#noteFailure(job, null, null)
    if (this.#expired(job)) return
    if (job.state.outcome.status === 'finished') this.#deps.reassert(job.state)
    this.#await(job)
  }

  #retryLater(job: Job): void {
    if (this.#expired(job)) return
    const pause = Math.min(RETRY_PAUSE_MS.most, RETRY_PAUSE_MS.first * 2 ** Math.min(job.failures, 10))
    this.#deps.clock.after(pause, () => this.#again(job))
  }

  #noteFailure(job: Job, holder: WorkerId | null, error: Error | null): void {
    if (job.failures++ === 0) job.firstFailureMs = this.#deps.clock.now()
    if (error !== null) job.lastError = error
    if (holder !== null) (job.failedHolders ??= new Set()).add(holder)
  }

  #expired(job: Job): boolean {
    if (job.failures === 0 || this.#deps.clock.now() - job.firstFailureMs < this.#deps.retryMs) return false
    const { key } = job.state
    const reason = job.lastError === null ? '' : ` The last attempt: ${job.lastError.message}`
    const message = `The value of "${key}" could not be read from any worker that holds it in ${this.#deps.retryMs} ms. Are the workers' ports reachable from here?${reason}`
    this.#fail(
      job,
      new PlimsollError(
        'CONNECT_FAILED',
        message,
        { key },
        job.lastError === null ? undefined : { cause: job.lastError },
      ),
    )
    return true
  }

  #live(job: Job): boolean {
    return this.#jobs.get(job.state) === job
  }

  #succeed(job: Job, value: unknown): void {
    this.#end(job)
    for (const listener of job.listeners) listener.onValue(job.state, value)
  }

  #fail(job: Job, error: Error): void {
    if (!this.#live(job)) return
    this.#end(job)
    for (const listener of job.listeners) listener.onFailure(job.state, error)
  }

  #end(job: Job): void {
    if (!this.#live(job)) return
    this.#jobs.delete(job.state)
    job.state.unlisten(this.#onSettled)
    this.#deps.release(job.state)
  }
}

type Holders = SchedulerRequests['locate'][1]['found'][number]['holders']

/** The holder with the least to send in this round; null when all have failed. */
function chooseHolder(
  holders: Holders,
  failed: ReadonlySet<WorkerId> | null,
  assigned: ReadonlyMap<string, number>,
): Holders[number] | null {
  let best: Holders[number] | null = null
  for (const holder of holders) {
    if (failed?.has(holder.id) === true) continue
    if (best === null || (assigned.get(holder.address) ?? 0) < (assigned.get(best.address) ?? 0)) best = holder
  }
  return best
}

/** Refuses values that would not fit the client's own memory, with their sizes. */
export function gatherTooLarge(
  values: readonly { readonly key: string; readonly nbytes: number }[],
  limitBytes: number,
): PlimsollError {
  const nbytes = values.reduce((sum, value) => sum + value.nbytes, 0)
  const largest = [...values].sort((a, b) => b.nbytes - a.nbytes).slice(0, 5)
  const list = largest.map((value) => `"${value.key}" ${formatBytes(value.nbytes)}`).join(', ')
  const what =
    values.length === 1
      ? `The value ${list} is`
      : `The ${values.length} values are ${formatBytes(nbytes)} together (largest: ${list}), which is`
  const message = `${what} more than this client may fetch at once (${formatBytes(limitBytes)}). Reduce them on the cluster first, fetch fewer at a time, or raise "client.gather-limit".`
  return new PlimsollError('GATHER_TOO_LARGE', message, { nbytes, limitBytes, largest })
}
