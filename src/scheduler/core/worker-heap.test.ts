import { describe, expect, it } from 'vitest'
import { workerId } from '../../base/ids.ts'
import { Prng } from '../../base/prng.ts'
import { cluster } from './fixture.conformance.ts'
import type { WorkerRecord } from './records.ts'
import { compareSpare, startKey, WorkerHeap } from './worker-heap.ts'

function workers(count: number): WorkerRecord[] {
  const sim = cluster(
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`w${n}`, { nthreads: 1 + (n % 4) }])),
    { validate: false },
  )
  return Array.from({ length: count }, (_, n) => {
    const worker = sim.state.workers.get(workerId(`w${n}`)) as WorkerRecord
    worker.positions.fill(-1)
    // No ties: the order is total.
    worker.lastAssigned = -n
    return worker
  })
}

function compareStart(a: WorkerRecord, b: WorkerRecord): number {
  return Number(a.crowded) - Number(b.crowded) || startKey(a) - startKey(b) || compareSpare(a, b)
}

describe('WorkerHeap', () => {
  it('has the best and, near the top, the second best at hand whatever happens to loads and members', () => {
    for (let seed = 0; seed < 50; seed++) {
      const random = new Prng(seed)
      const all = workers(12)
      const heap = new WorkerHeap(1, startKey)
      const members = new Set<WorkerRecord>()
      for (let n = 0; n < 200; n++) {
        const worker = random.pick(all) as WorkerRecord
        const dice = random.int(4)
        if (dice === 0) {
          heap.delete(worker)
          members.delete(worker)
        } else if (dice === 1) {
          heap.add(worker)
          members.add(worker)
        } else {
          worker.occupancyUs = random.int(50)
          worker.crowded = random.int(5) === 0
          worker.lastAssigned = n
          heap.moved(worker)
        }
        const [best, second] = [...members].sort(compareStart)
        expect(heap.size).toBe(members.size)
        expect(heap.best).toBe(best)
        if (second !== undefined) expect(heap.top(3)).toContain(second)
        expect(new Set(heap.slice(random.int(12), 20))).toEqual(members)
      }
    }
  })
})
