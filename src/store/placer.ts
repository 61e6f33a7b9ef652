// Grants places (S8): reserves room before a blob is written, and keeps those waiting for whom there is none yet.
//
// Q1. Requests are served in order of arrival; a later one passes an earlier one only into room that the earlier one does
//     not need (placement.ts, `ahead`).
// Q2. A request waits only while something is under way that makes room; else it is refused with STORE_FULL (S4).
// Q3. A place is reserved from its grant until `take` (accepted or failed) or `cancel`.

import { type Deferred, deferred } from '../base/deferred.ts'
import { formatBytes } from '../base/units.ts'
import { isErrorCode, PlimsollError } from '../errors/plimsoll-error.ts'
import type { StoreContext } from './context.ts'
import type { FileTier } from './file-tier.ts'
import { type AvoidTier, type Placement, type PlacementView, decidePlacement } from './placement.ts'
import type { Spiller, WantedRoom } from './spiller.ts'
import type { Place } from './store.ts'

/** Far above what executors and fetches of one worker ask for at a time. */
const WAITING_MAX = 10_000

interface Waiting {
  readonly nbytes: number
  readonly avoid: AvoidTier
  readonly granted: Deferred<Place>
  /** Was refused once on numbers that may have been old. */
  doubted: boolean
}

export class Placer {
  readonly #context: StoreContext
  readonly #tiers: Readonly<Record<'memory' | 'disk', FileTier>>
  readonly #spiller: Spiller
  readonly #granted = new Map<number, Place>()
  /** Being accepted or given up: nobody else touches their files. */
  readonly #taken = new Set<number>()
  #waiting: Waiting[] = []
  #nextId = 1

  constructor(context: StoreContext, memory: FileTier, disk: FileTier, spiller: Spiller) {
    this.#context = context
    this.#tiers = { memory, disk }
    this.#spiller = spiller
  }

  get waiting(): number {
    return this.#waiting.length
  }

  get granted(): Iterable<Place> {
    return this.#granted.values()
  }

  request(nbytes: number, avoid: AvoidTier): Promise<Place> {
    if (!Number.isSafeInteger(nbytes) || nbytes < 0) {
      return Promise.reject(
        new PlimsollError('INVALID_ARGUMENT', `a place of ${nbytes} bytes was asked for`, { nbytes }),
      )
    }
    if (this.#waiting.length === 0 && !this.stale) {
      const placement = decidePlacement(nbytes, 0, avoid, this.#spiller.view())
      if (placement === 'memory' || placement === 'disk') return Promise.resolve(this.#grant(nbytes, placement))
    }
    if (this.#waiting.length >= WAITING_MAX) return Promise.reject(this.#full(nbytes, this.#spiller.view()))
    const granted = deferred<Place>()
    this.#waiting.push({ nbytes, avoid, granted, doubted: false })
    this.#context.changed()
    return granted.promise
  }

  /**
   * Room in memory for a file of another worker that gets a second name here: it is counted like any other, but is there
   * already. So its arrival waits for room, and goes on without (null) where none is to be had.
   */
  async requestLink(nbytes: number): Promise<Place | null> {
    const { memoryUsed, target } = this.#spiller.view()
    if (this.#waiting.length === 0 && memoryUsed + nbytes <= target) return this.#grant(nbytes, 'memory')
    try {
      return await this.request(nbytes, 'disk')
    } catch (error) {
      if (isErrorCode(error, 'STORE_FULL')) return null
      throw error
    }
  }

  /** The free space known of is too old to decide on. */
  get stale(): boolean {
    return this.#tiers.memory.space.stale || this.#tiers.disk.space.stale
  }

  async refresh(): Promise<void> {
    await Promise.all([this.#tiers.memory.space.refresh(), this.#tiers.disk.space.refresh()])
  }

  /** What those who wait ask of memory. */
  wanted(): WantedRoom {
    const { target } = this.#spiller.view()
    let light = 0
    let all = 0
    for (const { nbytes, avoid } of this.#waiting) {
      if (avoid === 'memory') continue
      all += nbytes
      if (nbytes <= target) light += nbytes
    }
    return { light, all, first: this.#waiting[0]?.nbytes ?? 0 }
  }

  /** Asks again for everybody who waits. */
  serve(): void {
    if (this.#waiting.length === 0) return
    const left: Waiting[] = []
    let ahead = 0
    for (const request of this.#waiting) {
      const view = this.#spiller.view()
      const placement = this.#decide(request, ahead, view)
      if (placement === 'memory' || placement === 'disk') {
        request.granted.resolve(this.#grant(request.nbytes, placement))
      } else if (placement === 'full') {
        request.granted.reject(this.#full(request.nbytes, view))
      } else {
        left.push(request)
        if (request.avoid !== 'memory') ahead += request.nbytes
      }
    }
    this.#waiting = left
  }

  /** Ends the reservation and returns the place; undefined when it is not granted (any more). */
  take(place: Place): Place | undefined {
    const granted = this.#granted.get(place.id)
    if (granted === undefined) return undefined
    this.#granted.delete(place.id)
    this.#taken.add(place.id)
    return granted
  }

  /** Called when the bytes of a place that was taken are counted elsewhere, or gone. */
  unreserve(place: Place): void {
    this.#taken.delete(place.id)
    this.#tiers[place.tier].unreserve(place.nbytes)
    this.#context.changed()
  }

  cancel(place: Place): void {
    const granted = this.take(place)
    if (granted !== undefined) this.#context.track(this.giveUp(granted))
    else if (!this.#taken.has(place.id)) this.#context.track(this.discard(place))
  }

  /** A writer that did not know its place void may have written there all the same. */
  async discard(place: Place): Promise<void> {
    await this.#tiers[place.tier].unlinkQuietly(place.path)
  }

  /** Unlinks what was written to a place that was taken; its bytes stay reserved until then. */
  async giveUp(place: Place): Promise<void> {
    const tier = this.#tiers[place.tier]
    await tier.unlinkQuietly(place.path)
    tier.space.forget()
    this.unreserve(place)
  }

  /** Refuses all who wait and voids all places. */
  reset(reason: () => Error): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const request of waiting) request.granted.reject(reason())
    for (const place of this.#granted.values()) this.cancel(place)
  }

  #decide(request: Waiting, ahead: number, view: PlacementView): Placement {
    let placement = decidePlacement(request.nbytes, ahead, request.avoid, view)
    if (placement !== 'full') return placement
    // What earlier requests wait for may be there in a moment, and so may replicas that rest.
    if (ahead > 0) placement = decidePlacement(request.nbytes, 0, request.avoid, view)
    if (placement !== 'full' || this.#spiller.resting) return 'wait'
    if (request.doubted) return 'full'
    request.doubted = true
    this.#tiers.memory.space.forget()
    this.#tiers.disk.space.forget()
    this.#context.changed()
    return 'wait'
  }

  #grant(nbytes: number, placement: 'memory' | 'disk'): Place {
    const tier = this.#tiers[placement]
    const place: Place = { id: this.#nextId++, tier: placement, path: tier.nextPartPath(), nbytes }
    tier.reserve(nbytes)
    this.#granted.set(place.id, place)
    return place
  }

  #full(nbytes: number, view: PlacementView): PlimsollError {
    const bound = Number.isFinite(view.maxSpill) ? ` of at most ${formatBytes(view.maxSpill)}` : ''
    const disk = view.diskBlocked
      ? `the disk of ${this.#tiers.disk.directory} just failed (${this.#spiller.failing ?? 'write error'})`
      : `the disk tier holds ${formatBytes(view.diskUsed)}${bound} with ${formatBytes(view.diskFree)} free in ${this.#tiers.disk.directory}`
    return new PlimsollError(
      'STORE_FULL',
      `No room for a value of ${formatBytes(nbytes)}: memory holds ${formatBytes(view.memoryUsed)} of at most ${formatBytes(view.ceiling)} ` +
        `with ${formatBytes(view.memoryFree)} free in ${this.#tiers.memory.directory}, and ${disk}. ` +
        'Free disk space, raise worker.memory.max-spill or the memory limit, add workers, or release futures; then try again.',
      {
        nbytes,
        memoryUsed: view.memoryUsed,
        memoryCeiling: finite(view.ceiling),
        memoryFree: finite(view.memoryFree),
        diskUsed: view.diskUsed,
        maxSpill: finite(view.maxSpill),
        diskFree: finite(view.diskFree),
      },
    )
  }
}

const finite = (bytes: number): number | null => (Number.isFinite(bytes) ? bytes : null)
