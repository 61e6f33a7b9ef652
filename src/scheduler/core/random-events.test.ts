// Random histories: invariants hold after every step; when the trouble ends, every wanted task ends as well, books and
// workers agree, and when everybody lets go nothing is left.

import { describe, expect, it } from 'vitest'
import { ModelCluster } from './model-cluster.conformance.ts'

describe('random histories', () => {
  let moved = 0

  it.each(Array.from({ length: 60 }, (_, seed) => seed))('with faults, seed %i', (seed) => {
    const model = new ModelCluster(seed, true)
    model.run(250)
    model.check()
    model.forgetAll()
    moved += model.sim.state.stealing.moved
  })

  it.each(Array.from({ length: 15 }, (_, seed) => 1000 + seed))(
    'without faults, seed %i: whatever moves, no value is lost',
    (seed) => {
      const model = new ModelCluster(seed, false)
      model.run(200)
      model.check()
      expect(model.lost).toBe(0)
      model.forgetAll()
    },
  )

  it('have stolen tasks among them', () => {
    expect(moved).toBeGreaterThan(20)
  })
})
