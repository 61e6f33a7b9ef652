// Results are made forty times as fast as the disk takes them, in the time of a disk that is only simulated. The brake (S8: a
// place before a result is written) and writing beside the event loop (S3) are what keeps memory below the limit and the
// worker awake; without either, this shows what happens. (That real files do not block the loop: real-files.test.ts.)

import { afterEach, describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { Prng } from '../base/prng.ts'
import { baseOptions, CLUSTER, entryOf, fill, MiB, recorder } from './fixture.conformance.ts'
import { SimFs } from './sim-fs.ts'
import { TieredStore } from './tiered-store.ts'

const LIMIT = 40 * MiB
const TARGET = 24 * MiB
const BLOB = 2 * MiB
const BLOBS = 40
const DISK_BYTES_PER_MS = 20_000
const TASK_MS = 5
const PRODUCERS = 2
const MONITOR_MS = 100

/** Time passes by a millisecond with each turn of the loop, and by more when something blocks it. */
class LoopClock extends VirtualClock {
  #blockedMs = 0

  block(ms: number): void {
    this.#blockedMs += ms
  }

  override now(): number {
    return super.now() + this.#blockedMs
  }

  turn(): void {
    const blockedMs = this.#blockedMs
    this.#blockedMs = 0
    this.advance(1 + blockedMs)
  }
}

interface Outcome {
  /** Most that the memory tier took. */
  readonly peakBytes: number
  /** From the first task until all results are stored and memory is below `target`, in the time of the disk. */
  readonly tookMs: number
  readonly spilledBytes: number
  /** Longest time between two turns of the event loop: so late may a heartbeat be. */
  readonly longestTurnMs: number
}

let stores: TieredStore[] = []
afterEach(async () => {
  await Promise.all(stores.map((store) => store.close({ keep: false })))
  stores = []
})

async function run({ brake, offLoop }: { readonly brake: boolean; readonly offLoop: boolean }): Promise<Outcome> {
  const clock = new LoopClock()
  const fs = new SimFs({ '/shm': 1024 * MiB, '/disk': 1024 * MiB })
  const { events } = recorder()
  const target = brake ? TARGET : Infinity
  const store = new TieredStore({ ...baseOptions, memoryLimit: LIMIT, target, fs, clock }, events)
  stores.push(store)
  await store.open()
  await store.setIdentity(CLUSTER, 1)
  fs.delay = diskOf(clock, offLoop)

  let made = 0
  const produce = async (): Promise<void> => {
    while (made < BLOBS) {
      const name = `k${made++}`
      await new Promise<void>((resolve) => clock.after(TASK_MS, resolve))
      const place = await store.requestPlace(BLOB)
      fill(fs, place, name)
      await store.accept(place, entryOf(name))
    }
  }
  let pending = PRODUCERS
  const startedAt = clock.now()
  for (let n = 0; n < PRODUCERS; n++) void produce().finally(() => pending--)
  let peakBytes = 0
  let longestTurnMs = 0
  let room: Promise<void> | null = null
  while (pending > 0 || store.totals.managed > TARGET) {
    if (room === null && Math.round(clock.now()) % MONITOR_MS === 0 && store.totals.managed > TARGET)
      room = store.makeRoom(TARGET).finally(() => (room = null))
    const turnAt = clock.now()
    clock.turn()
    await new Promise((resolve) => setImmediate(resolve))
    longestTurnMs = Math.max(longestTurnMs, clock.now() - turnAt)
    peakBytes = Math.max(peakBytes, store.totals.memoryTierFileBytes)
  }
  expect((await store.recount()).differences).toEqual([])
  return {
    peakBytes,
    longestTurnMs,

    tookMs: clock.now() - startedAt,
    spilledBytes: store.totals.spilledTotal,
  }
}

const goesToDisk = (operation: string, path: string): boolean =>
  path.startsWith('/disk') && (operation === 'copy' || operation === 'write')

/** One disk for all writers, one after the other; `offLoop: false`: as if the event loop itself did the writing. */
function diskOf(clock: LoopClock, offLoop: boolean): SimFs['delay'] {
  let freeAt = 0
  return (operation, path, bytes) => {
    if (!goesToDisk(operation, path)) return
    if (!offLoop) return clock.block(bytes / DISK_BYTES_PER_MS)
    freeAt = Math.max(freeAt, clock.now()) + bytes / DISK_BYTES_PER_MS
    return new Promise((resolve) => clock.after(freeAt - clock.now(), resolve))
  }
}

describe('with a disk of 20 MB/s', () => {
  it('memory stays below target, the disk is busy all the time, and the loop turns', async () => {
    const { peakBytes, tookMs, spilledBytes, longestTurnMs } = await run({
      brake: true,
      offLoop: true,
    })
    expect(peakBytes).toBeLessThanOrEqual(TARGET)
    expect(spilledBytes).toBe(BLOBS * BLOB - TARGET)
    const atDiskRateMs = spilledBytes / DISK_BYTES_PER_MS
    expect(tookMs).toBeGreaterThan(0.9 * atDiskRateMs)
    expect(tookMs).toBeLessThan(1.1 * atDiskRateMs)
    expect(longestTurnMs).toBeLessThan(50)
  })

  it('and no brake, memory rises far above the limit before the disk has caught up', async () => {
    const { peakBytes, spilledBytes } = await run({ brake: false, offLoop: true })
    expect(peakBytes).toBeGreaterThan(1.5 * LIMIT)
    expect(spilledBytes).toBeGreaterThanOrEqual(BLOBS * BLOB - TARGET)
  })

  it('and copies made by the loop itself, it stands still as long as the disk takes', async () => {
    const { longestTurnMs } = await run({ brake: true, offLoop: false })
    expect(longestTurnMs).toBeGreaterThan(100)
  })
})

describe('with a disk of 20 MB/s, and results that come as fast as it takes them, but irregularly', () => {
  it('the disk works on while there is little room, so that hardly a result has to wait', async () => {
    const clock = new LoopClock()
    const fs = new SimFs({ '/shm': 1024 * MiB, '/disk': 1024 * MiB })
    const { events } = recorder()
    const store = new TieredStore({ ...baseOptions, memoryLimit: LIMIT, target: TARGET, fs, clock }, events)
    stores.push(store)
    await store.open()
    await store.setIdentity(CLUSTER, 1)
    let writing = 0
    const disk = diskOf(clock, true)
    fs.delay = async (operation, path, bytes) => {
      if (goesToDisk(operation, path)) writing++
      await disk?.(operation, path, bytes)
      if (goesToDisk(operation, path)) writing--
    }
    const prng = new Prng(7)
    let waitedMs = 0
    const make = async (name: string): Promise<void> => {
      store.expect(BLOB)
      await new Promise<void>((resolve) => clock.after((2 * prng.next() * BLOB) / DISK_BYTES_PER_MS, resolve))
      store.expect(0)
      const askedAt = clock.now()
      const place = await store.requestPlace(BLOB)
      waitedMs += clock.now() - askedAt
      fill(fs, place, name)
      await store.accept(place, entryOf(name))
    }
    let done = false
    const producing = (async () => {
      for (let n = 0; n < 3 * BLOBS; n++) await make(`k${n}`)
      done = true
    })()
    let idleMs = 0
    let shortMs = 0
    while (!done) {
      clock.turn()
      await new Promise((resolve) => setImmediate(resolve))
      if (store.totals.managed + 2 * BLOB <= TARGET) continue
      shortMs++
      if (writing === 0) idleMs++
    }
    await producing
    expect(store.totals.spilledTotal).toBeGreaterThan(BLOBS * BLOB)
    expect(idleMs).toBeLessThan(0.02 * shortMs)
    expect(waitedMs).toBeLessThan(0.05 * clock.now())
  })
})
