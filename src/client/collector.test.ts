import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { Collector } from './collector.ts'

const GIB = 2 ** 30

function setup(costMs = 1) {
  const clock = new VirtualClock()
  const runs: number[] = []
  const held = { keys: 10, bytes: 1000 }
  const collection = {
    run: () => {
      runs.push(clock.now())
      clock.advance(costMs)
      return costMs
    },
    heapBytes: () => 2 ** 20,
  }
  clock.advance(60_000)
  const collector = new Collector({ clock, collection, held: () => held })
  clock.advance(60_000)
  return { clock, collector, held, runs }
}

const news = { op: 'key-in-memory', key: 'x', nbytes: 1, type: 't' } as never

describe('the collector of a client', () => {
  it('runs when it is quiet for a while, and stops to look when nothing is held', () => {
    const { clock, collector, held, runs } = setup()
    collector.touch()
    clock.advance(1400)
    expect(runs).toEqual([])
    clock.advance(200)
    expect(runs).toHaveLength(1)
    held.keys = 0
    clock.advance(600_000)
    expect(runs).toHaveLength(1)
  })

  it('runs at once when memory gets short, or what is held has grown', () => {
    const { collector, held, runs } = setup()
    collector.look([{ op: 'cluster-memory', limitBytes: GIB, isShort: false }])
    held.bytes = 0.09 * GIB
    collector.look([news])
    expect(runs).toHaveLength(0)
    collector.look([{ op: 'cluster-memory', limitBytes: GIB, isShort: true }])
    expect(runs).toHaveLength(1)
    held.bytes = 0.2 * GIB
    collector.look([news])
    expect(runs).toHaveLength(1)
  })

  it('waits for more growth when it found nothing, until something is released', () => {
    const { clock, collector, held, runs } = setup()
    /** Comes in pieces of a hundredth of the cluster's memory; how many there were before the next collection. */
    const piecesBefore = (): number => {
      const before = runs.length
      for (let pieces = 0; pieces < 150; pieces++) {
        if (runs.length > before) return pieces
        held.bytes += 0.01 * GIB
        clock.advance(100)
        collector.look([news])
      }
      return Number.POSITIVE_INFINITY
    }
    collector.look([{ op: 'cluster-memory', limitBytes: GIB, isShort: false }])
    const waits = [piecesBefore(), piecesBefore(), piecesBefore(), piecesBefore()]
    expect(waits).toEqual([10, 20, 40, 80])
    held.bytes -= 0.5 * GIB
    collector.noteReleases()
    held.bytes += 0.5 * GIB
    clock.advance(100)
    collector.look([news])
    expect(runs).toHaveLength(5)
  })

  it('does nothing after its end', () => {
    const { clock, collector, runs } = setup()
    collector.touch()
    collector.close()
    collector.touch()
    clock.advance(600_000)
    expect(runs).toEqual([])
  })
})
