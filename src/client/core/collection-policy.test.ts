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
})
