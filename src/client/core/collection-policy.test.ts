import { describe, expect, it } from 'vitest'
import { CollectionPolicy } from './collection-policy.ts'

const GIB = 2 ** 30
const held = (bytes: number, keys = 10) => ({ keys, bytes })

/** Times (ms) at which it collects within a span, asked every 100 ms. */
function collections(
  policy: CollectionPolicy,
  fromMs: number,
  toMs: number,
  at: (ms: number) => { keys: number; bytes: number },
  costMs = 1,
): number[] {
  const times: number[] = []
  for (let now = fromMs; now <= toMs; now += 100) {
    if (!policy.isDue(now, at(now), costMs, true)) continue
    policy.noteCollection(now, at(now))
    times.push(now)
  }
  return times
}

/** GiB by which what is held grew before each of so many collections that find nothing, in a client that is busy. */
function grownBefore(policy: CollectionPolicy, fromMs: number, count: number): number[] {
  const grown: number[] = []
  let [now, bytes, before] = [fromMs, 0, 0]
  while (grown.length < count) {
    now += 100
    bytes += GIB / 2
    policy.noteActivity(now)
    if (!policy.isDue(now, held(bytes), 1, false)) continue
    policy.noteCollection(now, held(bytes))
    grown.push((bytes - before) / GIB)
    before = bytes
  }
  return grown
}

describe('CollectionPolicy', () => {
  it('collects when what is held grew by a tenth of the cluster’s memory, while the client is busy', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(0, 10 * GIB, false)
    policy.noteActivity(1000)
    expect(policy.isDue(1100, held(0.9 * GIB), 1, true)).toBe(false)
    expect(policy.isDue(1200, held(1.1 * GIB), 1, true)).toBe(true)
    policy.noteCollection(1200, held(1.1 * GIB))
    policy.noteActivity(1500)
    // Finalizers released most of it: growth counts from there.
    expect(policy.isDue(1500, held(0.2 * GIB), 1, true)).toBe(false)
    expect(policy.isDue(1600, held(1.25 * GIB), 1, true)).toBe(true)
  })

  it('counts growth against 2 GiB when no worker has a limit', () => {
    const policy = new CollectionPolicy(0)
    policy.noteActivity(1000)
    expect(policy.isDue(1100, held(0.19 * GIB), 1, true)).toBe(false)
    expect(policy.isDue(1100, held(0.21 * GIB), 1, true)).toBe(true)
  })

  it('never takes more than a twentieth of the time', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(0, GIB, true)
    const times = collections(policy, 0, 60_000, (now) => held(now * 2 ** 20), 200)
    expect(times.length).toBeGreaterThan(5)
    expect(times.length * 200).toBeLessThanOrEqual(0.05 * 60_000)
  })

  it('collects at once under pressure, and at least every 4 s while it lasts', () => {
    const policy = new CollectionPolicy(0)
    policy.noteActivity(100_000)
    policy.noteCluster(100_000, GIB, true)
    const busy = (now: number) => {
      policy.noteActivity(now)
      return held(0.5 * GIB)
    }
    const times = collections(policy, 100_000, 120_000, busy)
    expect(times[0]).toBe(100_000)
    const gaps = times.slice(1).map((time, index) => time - (times[index] as number))
    expect(Math.max(...gaps)).toBe(4000)
    policy.noteCluster(120_000, GIB, false)
    expect(collections(policy, 120_000, 140_000, busy)).toEqual([])
  })

  it('leaves clients alone under pressure that hold next to nothing', () => {
    const policy = new CollectionPolicy(0)
    policy.noteActivity(100_000)
    policy.noteCluster(100_000, GIB, true)
    expect(policy.isDue(100_000, held(1000), 1, true)).toBe(false)
  })

  it('collects after a second of quiet, then ever less often while something is held, and not at all otherwise', () => {
    const policy = new CollectionPolicy(0)
    policy.noteActivity(10_000)
    expect(collections(policy, 10_000, 42_000, () => held(1000))).toEqual([11_000, 13_000, 17_000, 25_000, 41_000])
    expect(collections(policy, 41_000, 200_000, () => held(0, 0))).toEqual([])
  })

  it('waits for twice the growth after a collection that nothing came of, at most for the whole of the memory', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(0, 10 * GIB, false)
    expect(grownBefore(policy, 1000, 8)).toEqual([1, 2, 4, 8, 10, 10, 10, 10])
  })

  it('waits for a tenth again as soon as less is held after a collection, however much later', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(0, 10 * GIB, false)
    expect(grownBefore(policy, 1000, 4)).toEqual([1, 2, 4, 8])
    // 15 GiB are held.
    policy.noteHeld(held(14.95 * GIB))
    policy.noteActivity(8000)
    expect(policy.isDue(8000, held(16 * GIB), 1, false)).toBe(false)
    policy.noteHeld(held(14 * GIB))
    expect(policy.isDue(8000, held(14.9 * GIB), 1, false)).toBe(false)
    expect(policy.isDue(8000, held(15 * GIB), 1, false)).toBe(true)
  })

  it('sees what was released in between, also when as much has come by then', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(0, 10 * GIB, false)
    policy.noteActivity(1000)
    expect(policy.isDue(1000, held(GIB), 1, false)).toBe(true)
    policy.noteCollection(1000, held(GIB))
    policy.noteHeld(held(0))
    expect(policy.isDue(1100, held(GIB), 1, false)).toBe(true)
  })

  it('begins with a tenth again after a time of quiet', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(0, 10 * GIB, false)
    expect(grownBefore(policy, 1000, 3)).toEqual([1, 2, 4])
    const all = held(7 * GIB)
    expect(collections(policy, 5000, 6000, () => all)).toEqual([5000])
    policy.noteActivity(6000)
    expect(policy.isDue(6000, held(8 * GIB), 1, false)).toBe(true)
  })

  it('collects every second under pressure as long as something comes of it', () => {
    const policy = new CollectionPolicy(0)
    policy.noteCluster(100_000, GIB, true)
    let bytes = 0.5 * GIB
    const times = collections(policy, 100_000, 106_000, (now) => {
      policy.noteActivity(now)
      // Each is followed by the release of a fiftieth.
      policy.noteHeld(held(bytes - GIB / 50))
      bytes += 1
      return held(bytes)
    })
    expect(times).toEqual([100_000, 101_000, 102_000, 103_000, 104_000, 105_000, 106_000])
  })

  it('finds what was dropped within 5 s of pressure, however often it comes and goes and nothing was found before', () => {
    const policy = new CollectionPolicy(0)
    const busy = (now: number) => {
      policy.noteActivity(now)
      return held(0.5 * GIB)
    }
    const times: number[] = []
    for (let now = 100_000; now < 130_000; now += 500) {
      policy.noteCluster(now, GIB, now % 1500 !== 0)
      times.push(...collections(policy, now, now + 400, busy))
    }
    const gaps = times.slice(1).map((time, index) => time - (times[index] as number))
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1000)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(4000)
  })
})
