// Mapped blobs come and go while the executor's own heap is large, so that its collector is in no hurry: what was freed is
// only back when it has run. The worker's part is played with a budget for dead mappings, as the store does.
// PLIMSOLL_SOAK=full runs 2,000 tasks over 64 MiB blobs beside a heap of 500 MB; otherwise a smaller version.

import { readFileSync } from 'node:fs'
import { afterEach, expect, it } from 'vitest'
import { Harness, fromSource } from './executor-harness.ts'

const MIB = 2 ** 20
const full = process.env['PLIMSOLL_SOAK'] === 'full'
const TASKS = full ? 2000 : 200
const BLOB_BYTES = (full ? 64 : 8) * MIB
const OBJECTS = full ? 4_000_000 : 500_000
const DEAD_BYTES_MAX = (full ? 1024 : 256) * MIB

let harness: Harness | null = null
afterEach(() => harness?.close())

function mappedBytes(pid: number): number {
  let total = 0
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) .*plimsoll-test-.*(blob)/.exec(line)
    if (match !== null) total += Number.parseInt(match[2] as string, 16) - Number.parseInt(match[1] as string, 16)
  }
  return total
}

it(
  'gives mapped memory back in time, beside a large heap',
  async () => {
    harness = await Harness.start({ memoryLimit: 4096 * MIB })
    const here = harness
    const hoard = fromSource(
      'function hoard(n) { globalThis.hoard = Array.from({ length: n }, (_, id) => ({ id, text: `row ${id}`, pair: [id, id] })); return 1 }',
    )
    await here.submit(hoard, [OBJECTS])
    const touch = fromSource(
      'function touch(values) { let total = 0; for (let i = 0; i < values.length; i += 512) total += values[i]; return total }',
    )
    const values = new Float64Array(BLOB_BYTES / 8).fill(1)
    const [pid] = here.pids
    let mapped = 0
    let peak = 0
    const { ref, input } = here.store('blob', values)
    for (let i = 0; i < TASKS; i++) {
      const ending = await here.submit(touch, [ref], { inputs: [input] })
      expect(ending).toMatchObject({ kind: 'finished', value: values.length / 512 })
      if (ending.kind === 'finished') mapped += ending.stillMapped.length
      const dead = (): number => (mapped - here.unmapped.length) * BLOB_BYTES
      if (dead() > DEAD_BYTES_MAX) {
        here.pool.collect()
        await here.until(() => dead() <= DEAD_BYTES_MAX / 2, 60_000)
      }
      if (i % 20 === 0) peak = Math.max(peak, mappedBytes(pid as number))
    }
    expect(here.pids).toEqual([pid])
    expect(mapped).toBe(TASKS)
    expect(peak).toBeLessThan(DEAD_BYTES_MAX + 4 * BLOB_BYTES)
    here.pool.collect()
    await here.until(() => here.unmapped.length === TASKS, 60_000)
    expect(mappedBytes(pid as number)).toBe(0)
  },
  full ? 1_200_000 : 60_000,
)
